"""Where the relevant items of each request stand: what every metric of accuracy is made from."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

PAIR = ["request_id", "item_id"]


@dataclass(frozen=True, slots=True)
class Found:
    """The requests of `truth` that have a relevant item, in its order; arrays are one value per request.

    Args:
        request_ids: Their ids.
        starts: Where the relevant items of each begin in `ranks`.
        ranks: The rank of every relevant item, in ascending order within a request; infinite where the model was
            silent about it, or it is in no ranking. # (relevant items,)
        relevant: How many items are relevant, at least 1.
        found: How many of these the model itself ranked.
        unsaid: How many of these are in the ranking, but the model was silent about them.
        ranked: How many items the model itself ranked.
        silent: How many items of the ranking it was silent about.
    """

    request_ids: pl.Series
    starts: NDArray[np.int64]
    ranks: NDArray[np.float64]
    relevant: NDArray[np.int64]
    found: NDArray[np.int64]
    unsaid: NDArray[np.int64]
    ranked: NDArray[np.int64]
    silent: NDArray[np.int64]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which requests have no ranking at all."""
        return np.asarray(self.ranked + self.silent == 0)

    @property
    def mute(self) -> NDArray[np.bool_]:
        """Which requests have a ranking in which the model ranked nothing."""
        return np.asarray((self.ranked == 0) & (self.silent > 0))


def find_relevant(truth: pl.DataFrame, rankings: pl.DataFrame) -> Found:
    """Join truth with rankings.

    Args:
        truth: Frame of the schema `truth`; rows with a label above 0 are relevant.
        rankings: Frame of the schema `rankings`.
    """
    relevant = truth.filter(pl.col("label") > 0).select(PAIR)
    requests = relevant.select(pl.col("request_id").unique(maintain_order=True)).with_row_index("at")
    own = pl.col("score").is_not_null()
    seen = rankings.select(*PAIR, "rank", own=own).join(relevant, on=PAIR)
    rows = (
        relevant.join(seen, on=PAIR, how="left")
        .join(requests, on="request_id")
        .select("at", rank=pl.when("own").then(pl.col("rank").cast(pl.Float64)).otherwise(float("inf")), own="own")
        .sort("at", "rank")
    )
    sizes = rankings.group_by("request_id").agg(ranked=own.sum(), silent=(~own).sum())
    sizes = requests.join(sizes, on="request_id", how="left", maintain_order="left").fill_null(0)
    at, told = rows["at"].to_numpy(), rows["own"]
    starts = np.flatnonzero(np.diff(at, prepend=-1)) if len(at) else np.empty(0, np.int64)
    return Found(
        request_ids=requests["request_id"],
        starts=starts,
        ranks=rows["rank"].to_numpy(),
        relevant=_per_request(at, np.ones(len(at)), requests.height),
        found=_per_request(at, told.fill_null(False).to_numpy(), requests.height),
        unsaid=_per_request(at, (~told).fill_null(False).to_numpy(), requests.height),
        ranked=sizes["ranked"].to_numpy().astype(np.int64),
        silent=sizes["silent"].to_numpy().astype(np.int64),
    )


def _per_request(at: NDArray[np.uint32], values: NDArray[np.float64], requests: int) -> NDArray[np.int64]:
    return np.bincount(at, weights=values, minlength=requests).astype(np.int64)
