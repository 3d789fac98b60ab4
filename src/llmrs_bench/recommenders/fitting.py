"""Which events a recommender learns from."""

from typing import Literal

import polars as pl

from llmrs_bench.config import Options
from llmrs_bench.errors import ModelError


class FitOptions(Options):
    """`fit_on` names the parts to learn from: what tuned models train on, or the validation events as well."""

    fit_on: Literal["train", "train+valid"] = "train"


def fitted_events(interactions: pl.DataFrame, options: FitOptions) -> pl.DataFrame:
    """Return the rows of the table `interactions` to learn from.

    Raises:
        ModelError: If there are none.
    """
    events = interactions.filter(pl.col("part").is_in(options.fit_on.split("+")))
    if events.is_empty():
        raise ModelError(
            f"no interactions in part {options.fit_on!r}", hint="Prepare a data set with more events per user."
        )
    return events
