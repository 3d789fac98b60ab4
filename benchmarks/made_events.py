"""Made-up interactions of a given shape, for measuring cost where no real data of that size is at hand."""

import numpy as np
import polars as pl

from llmrs_bench.core.schemas import INTERACTIONS, ITEMS, REQUESTS
from llmrs_bench.recommenders.base import Corpus

GENRES = 50


def corpus(users: int, items: int, events: int, *, seed: int = 0) -> Corpus:
    """Return about `events` events: every user has at least five, few have many, and few items have most of them.

    Four of five events of a user are of one genre of the items. Nobody has an item twice, which costs some events.
    The last event of each user is in the part `valid`.
    """
    rng = np.random.default_rng(seed)
    wanted = np.maximum(rng.pareto(2.2, users) + 0.3, 0.3)
    lengths = 5 + rng.poisson((events - 5 * users) * wanted / wanted.sum())
    who = np.repeat(np.arange(users), lengths)
    per_genre = -(-items // GENRES)
    own = rng.integers(GENRES, size=users)[who]
    genre = np.where(rng.random(len(who)) < 0.8, own, rng.integers(GENRES, size=len(who)))
    what = np.minimum(genre + GENRES * (rng.beta(0.6, 3, len(who)) * per_genre).astype(int), items - 1)
    table = pl.DataFrame({"user": who, "item": what}).unique(maintain_order=True)
    table = table.with_columns(
        user_id=pl.format("u{}", "user"),
        item_id=pl.format("i{}", "item"),
        timestamp=pl.int_range(pl.len()).over("user").cast(pl.Int64),
        rating=pl.lit(None, dtype=pl.Float64),
        part=pl.when(pl.int_range(pl.len()).over("user") == pl.len().over("user") - 1)
        .then(pl.lit("valid"))
        .otherwise(pl.lit("train")),
    ).select(list(INTERACTIONS))
    names = pl.DataFrame({"item_id": [f"i{item}" for item in range(items)]})
    columns = [pl.lit(None, dtype=kind).alias(name) for name, kind in ITEMS.items() if name != "item_id"]
    return Corpus(table.cast(pl.Schema(INTERACTIONS)), names.with_columns(columns))


def requests(known: Corpus, count: int | None = None) -> pl.DataFrame:
    """Return a request for each of the first `count` users (None: of all), after all events."""
    histories = known.interactions.group_by("user_id", maintain_order=True).agg(history="item_id")
    return (
        histories.head(len(histories) if count is None else count)
        .select(
            pl.col("user_id").alias("request_id"),
            "user_id",
            pl.lit("test").alias("part"),
            pl.col("history").list.len().cast(pl.Int64).alias("cutoff"),
            "history",
            pl.lit(None, dtype=pl.List(pl.String)).alias("candidates"),
        )
        .select(list(REQUESTS))
    )
