"""Position bias: how the position at which a candidate is shown changes its rank."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.cores import in_parts
from llmrs_bench.stats import mean_interval

CUTOFF = 10
_SAMPLES, _SEED = 2000, 0
_LARGE = 1e7  # draws of users: from so many on they are divided among cores


def position_bias(shown: pl.DataFrame, relevant: pl.DataFrame, rankings: pl.DataFrame) -> dict[str, Any]:
    """Measure what the place of a candidate does.

    - `slots`: for each place, from 0: `targets`, how many requests showed a relevant item there; `ndcg`, the mean
      NDCG@10 of these items, each taken as the only one; `chosen`, the share of views whose first choice stood there.
      Without bias `ndcg` is flat, and `chosen` follows how often targets stand there. Intervals are 95 %
      intervals over requests, as `mean_interval` has them; one request alone has none.
    - `kendall_tau`: the mean over requests of the mean tau-b (Kendall, 1945) of each two views, over the candidates
      that both name; None where no request has two views to compare.
    - `single` and `joined`: the mean NDCG@10 of a single view, and of the rankings of all views together.

    Args:
        shown: Frame of the schema `view_rankings`.
        relevant: Rows (request_id, item_id).
        rankings: Frame of the schema `rankings`.

    Returns:
        Plain values, as above; also `views` and `requests`, how many there were.
    """
    sized = relevant.with_columns(relevant=pl.len().over("request_id"))
    pair = ["request_id", "item_id"]
    hits = shown.join(sized, on=pair, maintain_order="left").with_columns(gain=_gain())
    joined = rankings.join(sized, on=pair, maintain_order="left").with_columns(gain=_gain(), view_id="request_id")
    views = shown.group_by("request_id").agg(views=pl.col("view_id").n_unique()).sort("request_id")
    taus = kendall_taus(shown) if (views["views"] > 1).any() else np.zeros(0)
    return {
        "requests": views.height,
        "views": int(views["views"].sum()),
        "slots": _slots(hits, shown, views),
        "kendall_tau": float(np.mean(taus)) if len(taus) else None,
        "single": _mean(hits),
        "joined": _mean(joined),
    }


def _gain() -> pl.Expr:
    """NDCG@10 of one relevant item alone."""
    rank = pl.col("rank").cast(pl.Float64)
    return pl.when(rank <= CUTOFF).then(1.0 / (rank + 1.0).log(2.0)).otherwise(0.0)


def _mean(hits: pl.DataFrame) -> float | None:
    """Return the mean NDCG@10 over requests of the mean over their views."""
    most = int(hits["relevant"].max() or 0)  # type: ignore[arg-type]
    ideal = np.cumsum(1.0 / np.log2(np.arange(2, most + 2)))
    best = (
        pl.col("relevant")
        .first()
        .replace_strict(
            list(range(1, most + 1)),
            [float(ideal[min(n, CUTOFF) - 1]) for n in range(1, most + 1)],
            return_dtype=pl.Float64,
        )
    )
    # In order: in another one the same numbers add up to another last digit.
    views = hits.group_by("request_id", "view_id", maintain_order=True).agg(ndcg=pl.col("gain").sum() / best)
    requests = views.group_by("request_id", maintain_order=True).agg(pl.col("ndcg").mean())
    return requests["ndcg"].mean()  # type: ignore[return-value]


def _slots(hits: pl.DataFrame, shown: pl.DataFrame, views: pl.DataFrame) -> list[dict[str, Any]]:
    size = int(shown["slot"].max() or 0) + 1  # type: ignore[arg-type]
    chosen = shown.filter((pl.col("rank") == 1) & pl.col("score").is_not_null())
    places = chosen.join(views.with_row_index("place"), on="request_id")
    shares = np.zeros((size, views.height))
    np.add.at(shares, (places["slot"].to_numpy(), places["place"].to_numpy()), 1)
    shares /= views["views"].to_numpy()
    ends = mean_interval(shares, samples=_SAMPLES, seed=_SEED)
    gains = _by_slot(hits)
    drawn = [slot for slot, values in gains.items() if len(values) > 1]
    found = in_parts(_gain_interval, ((gains[slot],) for slot in drawn), large=hits.height * _SAMPLES > _LARGE)
    intervals = dict(zip(drawn, found, strict=True))
    rows = []
    for slot in range(size):
        values = gains.get(slot, np.zeros(0))
        row: dict[str, Any] = {"slot": slot, "targets": len(values), "ndcg": None, "ndcg_low": None, "ndcg_high": None}
        if len(values):
            row["ndcg"] = float(values.mean())
        if slot in intervals:
            low, high = intervals[slot]
            row |= {"ndcg_low": float(low), "ndcg_high": float(high)}
        low, high = (None if np.isnan(end) else float(end) for end in ends[slot])
        rows.append(row | {"chosen": float(shares[slot].mean()), "chosen_low": low, "chosen_high": high})
    return rows


def _gain_interval(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return both ends of the interval of a mean."""
    ends: NDArray[np.float64] = mean_interval(gains[None, :], samples=_SAMPLES, seed=_SEED)[0]
    return ends


def _by_slot(hits: pl.DataFrame) -> dict[int, NDArray[np.float64]]:
    """Return slot to one gain for each request whose relevant item stood there, by request."""
    values = hits.group_by("slot", "request_id").agg(pl.col("gain").mean()).sort("slot", "request_id")
    return {int(slot): part["gain"].to_numpy() for (slot,), part in values.group_by("slot")}


def kendall_taus(shown: pl.DataFrame) -> NDArray[np.float64]:
    """Return for each request the mean tau-b of each two of its views; requests without two to compare are left out.

    Args:
        shown: Frame of the schema `view_rankings`; a null score is that of a candidate that was not named.
    """
    lists = (
        shown.sort("request_id", "view_id", "item_id")
        .group_by("request_id", "view_id", maintain_order=True)
        .agg("score")
        .group_by("request_id", maintain_order=True)
        .agg("score")
        .filter(pl.col("score").list.len() > 1)
    )
    means = [_mean_tau(views) for views in lists["score"].to_list()]
    return np.array([mean for mean in means if mean is not None])


def _mean_tau(views: Sequence[Sequence[float | None]]) -> float | None:
    scores = np.array(views, dtype=np.float64)  # (views, candidates), NaN where not named
    signs = np.sign(scores[:, :, None] - scores[:, None, :])
    taus = []
    for one, other in combinations(signs, 2):
        both = ~(np.isnan(one) | np.isnan(other))
        agreed = float((one * other)[both].sum())
        size = float(np.sqrt(np.square(one[both]).sum() * np.square(other[both]).sum()))
        if size:
            taus.append(agreed / size)
    return float(np.mean(taus)) if taus else None
