"""Uncertainty of means over users, and of differences between them."""

from llmrs_bench.stats.bootstrap import bootstrap_interval
from llmrs_bench.stats.correction import CORRECTIONS, benjamini_hochberg, holm
from llmrs_bench.stats.paired import Paired, all_pairs, describe, sign_flip, users_needed

__all__ = [
    "CORRECTIONS",
    "Paired",
    "all_pairs",
    "benjamini_hochberg",
    "bootstrap_interval",
    "describe",
    "holm",
    "sign_flip",
    "users_needed",
]
