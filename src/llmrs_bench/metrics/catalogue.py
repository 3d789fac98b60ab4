"""Figures of a whole run: how much of the catalogue its first items reach, and how evenly."""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from llmrs_bench.metrics.beyond import shown
from llmrs_bench.metrics.names import Metric


def catalogue_figures(
    rankings: Iterable[pl.DataFrame], items: pl.DataFrame, metrics: Sequence[Metric]
) -> dict[str, float]:
    """Return the metrics that are no means over requests, by their printed names.

    - `catalogue-coverage@k`: share of the items of the catalogue that are among the first k of some request (Ge et al.,
      RecSys 2010; aggregate diversity of Adomavicius and Kwon 2012, as a share).
    - `gini@k`: inequality of how often the items of the catalogue are among the first k, those that never are
      included: sum over j of (2j - n - 1) p_j, over n - 1, for n items with shares p in ascending order (Shani and
      Gunawardana 2011). 0: all equally often; 1: always the same one.

    Items that a model was silent about count with the chance at which they would be among the first: coverage is then
    the expectation over their orders, Gini that of the expected numbers. Lists of candidates limit both: compare them
    for the same lists alone, with the row of chance beside them.

    Args:
        rankings: Frames of the schema `rankings`, each of other requests; items that the catalogue does not hold are
            left out.
        items: The catalogue; frame with the column item_id.
        metrics: Those wanted; where nothing is ranked, none is returned.
    """
    parts: dict[Metric, list[pl.DataFrame]] = {metric: [] for metric in metrics}
    for part in rankings:
        for metric, counts in parts.items():
            rows = shown(part, metric.cutoff or 1).join(items, on="item_id", how="semi").group_by("item_id")
            counts.append(rows.agg(times=pl.col("weight").sum(), never=(-pl.col("weight")).log1p().sum()))
    found: dict[str, float] = {}
    for metric, counts in parts.items():
        if not any(map(len, counts)):
            continue
        seen = pl.concat(counts).group_by("item_id").sum()
        every = items.select("item_id").join(seen, on="item_id", how="left").fill_null(0.0)
        reached = (1.0 - pl.col("never").exp()).mean()
        found[str(metric)] = gini(every["times"]) if metric.name == "gini" else every.select(reached).item()
    return found


def gini(times: pl.Series) -> float:
    """Return the Gini index of numbers, 0 where all are equal and 1 where one has everything."""
    values = np.sort(times.to_numpy().astype(np.float64))
    n = len(values)
    return float(((2 * np.arange(1, n + 1) - n - 1) * values).sum() / (values.sum() * max(n - 1, 1)))
