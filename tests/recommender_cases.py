"""Small data, requests and trained models for the tests of recommenders."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl

from llmrs_bench.core.registry import RECOMMENDERS
from llmrs_bench.core.schemas import INTERACTIONS, ITEMS, REQUESTS
from llmrs_bench.core.types import Step
from llmrs_bench.recommenders.base import Corpus, Recommender, TrainContext, score_candidates

RING = [f"i{number:02}" for number in range(24)]
# Small enough that an epoch of the ring takes milliseconds.
SMALL: dict[str, dict[str, str]] = {
    "sasrec": {"max_history": "6", "dim": "16", "heads": "2", "epochs": "4", "batch": "4"},
    "gru4rec": {"max_history": "6", "dim": "16", "hidden": "16", "epochs": "4", "batch": "4"},
    "bert4rec": {"max_history": "6", "dim": "16", "heads": "2", "epochs": "4", "batch": "4"},
    "bprmf": {"dim": "8", "epochs": "4", "batch": "16"},
    "fpmc": {"dim": "8", "epochs": "4", "batch": "16"},
}
SEQUENTIAL = ["sasrec", "gru4rec", "bert4rec"]
FACTORS = ["bprmf", "fpmc"]
NEURAL = [*SEQUENTIAL, *FACTORS]


def interactions_of(events: Sequence[tuple[str, str, int, str]]) -> pl.DataFrame:
    """Return the table `interactions` of events (user, item, time, part)."""
    rows = [(user, item, time, None, part) for user, item, time, part in events]
    return pl.DataFrame(rows, schema=INTERACTIONS, orient="row")


def ring(users: int = 8) -> pl.DataFrame:
    """Return users who walk the ring of items two steps forward at a time, each from a place of its own.

    The last of a user's nine events is in the part valid.
    """
    return interactions_of(
        [
            (f"u{user}", RING[(3 * user + 2 * time) % 24], time, "train" if time < 8 else "valid")
            for user in range(users)
            for time in range(9)
        ]
    )


def twins() -> pl.DataFrame:
    """Return four pairs of users who choose the same six of 24 items in the same order, no item in two pairs.

    The last event is in the part valid for one of a pair, in train for the other: what is to be guessed can be known.
    """
    return interactions_of(
        [
            (f"{who}{pair}", RING[(5 * (6 * pair + time)) % 24], time, "train" if time < 5 else last)
            for who, last in (("a", "valid"), ("b", "train"))
            for pair in range(4)
            for time in range(6)
        ]
    )


def corpus_of(interactions: pl.DataFrame) -> Corpus:
    """Return a corpus of `interactions` and the items in them."""
    rows = [
        {"item_id": item, "title": f"The Film {item}", "text": "", "year": None, "categories": []}
        for item in interactions["item_id"].unique().sort()
    ]
    return Corpus(interactions, pl.DataFrame(rows, schema=ITEMS))


def request_of(
    history: Sequence[str], candidates: Sequence[str] | None, *, name: str = "r", user: str = "u", cutoff: int = 99
) -> pl.DataFrame:
    """Return the table `requests` of one request."""
    return pl.DataFrame([(name, user, "test", cutoff, history, candidates)], schema=REQUESTS, orient="row")


def ring_requests(candidates: int = 5) -> pl.DataFrame:
    """Return a request of each user of the ring and of one more, with histories of none to eight items."""
    return pl.concat(
        [
            request_of(
                [RING[(user + 2 * time) % 24] for time in range(user)],
                RING[user : user + candidates],
                name=f"r{user}",
                user=f"u{user}",
            )
            for user in range(9)
        ]
    )


def untrained(name: str, seed: int = 0, **options: str) -> Any:
    """Return a small recommender called `name`."""
    kind = RECOMMENDERS.load(name)
    return kind(kind.Options.parse({**SMALL.get(name, {}), **options}, owner=name), seed=seed, device="cpu")


def trained(name: str, interactions: pl.DataFrame, seed: int = 0, **options: str) -> Any:
    """Return a small recommender called `name`, fitted on `interactions`."""
    model = untrained(name, seed, **options)
    model.fit(corpus_of(interactions), TrainContext())
    return model


def scores_of(model: Recommender, requests: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Return the scores of candidates by request and item."""
    table: dict[str, dict[str, float]] = {name: {} for name in requests["request_id"]}
    for name, item, score in score_candidates(model, requests).iter_rows():
        assert item not in table[name]
        table[name][item] = score
    return table


class Interrupt:
    """A progress display that is interrupted, as by Ctrl-C, when the `at`-th epoch of the job called `label` is done.

    It keeps what it was told: (label, total, done, note).
    """

    def __init__(self, at: int = 0, label: str = "") -> None:
        self.at, self.label = at, label
        self.told: list[tuple[str, int, int, str]] = []

    @contextmanager
    def __call__(self, label: str, total: int) -> Iterator[Step]:
        known = total

        def step(done: int, note: str = "", total: int | None = None) -> None:
            self.told.append((label, total or known, done, note))
            if done == self.at and self.label in label:
                raise KeyboardInterrupt

        yield step
