"""Metrics of rankings: values for each request first, means second."""

from llmrs_bench.metrics.accuracy import chance
from llmrs_bench.metrics.beyond import Background, catalogue_figures
from llmrs_bench.metrics.measuring import chance_level, check_rankings, check_truth, count_answers, measure
from llmrs_bench.metrics.names import (
    BEYOND,
    CHANGED,
    DEFINITIONS,
    METRIC_FORMS,
    SCORED,
    Metric,
    default_metrics,
    is_measurable,
    measurable,
    parse_metrics,
)

__all__ = [
    "BEYOND",
    "CHANGED",
    "DEFINITIONS",
    "METRIC_FORMS",
    "SCORED",
    "Background",
    "Metric",
    "catalogue_figures",
    "chance",
    "chance_level",
    "check_rankings",
    "check_truth",
    "count_answers",
    "default_metrics",
    "is_measurable",
    "measurable",
    "measure",
    "parse_metrics",
]
