"""A board as one web page that loads nothing: charts, groups, and sampled requests with what was asked and answered."""

from llmrs_bench.report.html.page import to_html
from llmrs_bench.report.html.values import Call, Extra, Ranked, Sampled, Title

__all__ = ["Call", "Extra", "Ranked", "Sampled", "Title", "to_html"]
