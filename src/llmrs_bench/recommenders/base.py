"""What a recommender is, and how it is asked for scores."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core import config
from llmrs_bench.core.config import Options
from llmrs_bench.core.errors import ModelError, TooLittleError
from llmrs_bench.core.types import Json, Progress, no_progress
from llmrs_bench.recommenders.sequences import Sequences, Vocabulary

# Requests in one block of scores, so that the matrix (request, item) is never held whole.
BLOCK = 256
# Rows of a wide catalogue are fewer, so that a block stays in the cache of a CPU: 16 MB in float64.
_SCORES, _FEWEST_ROWS = 2**21, 32


@dataclass(frozen=True, slots=True)
class Corpus:
    """All that a recommender may learn from: the tables `interactions` and `items`."""

    interactions: pl.DataFrame
    items: pl.DataFrame


@dataclass(frozen=True, slots=True)
class TrainContext:
    """How a fit reports and survives: its progress display, and the file an interrupted training goes on from.

    Without a checkpoint, training starts at the beginning and leaves nothing behind.
    """

    progress: Progress = no_progress
    checkpoint: Path | None = None


@dataclass(frozen=True, slots=True)
class ScoreBlock:
    """Scores of every asked item for some requests: `scores[i, j]` belongs to request row `rows[i]`, item j."""

    rows: NDArray[np.int64]
    scores: "NDArray[np.float32] | NDArray[np.float64]"


class Recommender(Protocol):
    """A model that is trained here, not downloaded.

    Laws: the same seed gives the same model; a score depends on its request and its item alone, whatever else is asked.
    A recommender with `save(folder)` and the class method `load(folder, *, device)` is fitted once, and kept.
    """

    Options: ClassVar[type[config.Options]]
    # Whether it learns from interactions, so that fewer of them make another model.
    learns: ClassVar[bool]

    def __init__(self, options: config.Options, *, seed: int, device: str) -> None: ...

    def fit(self, corpus: Corpus, work: TrainContext) -> dict[str, Json]:
        """Learn from `corpus` and return facts about the training.

        Raises:
            ModelError: If there is too little data to learn from, or the training diverges.
        """
        ...

    def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[ScoreBlock]:
        """Yield finite scores of all `items` (distinct ids) for every row of the table `requests` once.

        Higher is better. The column `candidates` is not read.

        Raises:
            ModelError: If the model is not trained yet.
        """
        ...


@runtime_checkable
class Forgetful(Protocol):
    """A recommender that may know nothing of a request, and then ranks as `fallback` says."""

    fallback: ClassVar[str]

    def unknown(self, requests: pl.DataFrame) -> int:
        """Return for how many rows of the table `requests` it knows neither the user nor an item of the history."""
        ...


def score_blocks(count: int, width: int = 1) -> Iterator[NDArray[np.int64]]:
    """Yield the row numbers 0 to `count` - 1 in runs of at most `BLOCK`, or fewer where a row has a large `width`."""
    size = min(BLOCK, max(_FEWEST_ROWS, _SCORES // width // _FEWEST_ROWS * _FEWEST_ROWS))
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


class FitOptions(Options):
    """`fit_on` names the parts to learn from: what tuned models train on, or the validation events as well."""

    fit_on: Literal["train", "train+valid"] = "train"


def fitted_events(interactions: pl.DataFrame, options: FitOptions) -> pl.DataFrame:
    """Return the rows of the table `interactions` to learn from.

    Raises:
        TooLittleError: If there are none.
    """
    events = interactions.filter(pl.col("part").is_in(options.fit_on.split("+")))
    if events.is_empty():
        raise TooLittleError(
            f"no interactions in part {options.fit_on!r}", hint="Prepare a data set with more events per user."
        )
    return events


TEXT = "text"  # a column of requests that a content-based recommender reads where it is there: more to search for


def item_texts(items: pl.DataFrame) -> tuple[Vocabulary, list[str]]:
    """Return the items of the table `items` that say anything, and the text of each in the order of the vocabulary.

    A text is the title, the categories with commas between them, and the item's own text, one line each; what is
    empty is left out. The year is not part of it.

    Raises:
        ModelError: If no item says anything.
    """
    lines = [pl.col("title"), pl.col("categories").list.join(", "), pl.col("text")]
    told = [pl.when(line.str.strip_chars() != "").then(line.str.strip_chars()) for line in lines]
    texts = items.select("item_id", said=pl.concat_str(told, separator="\n", ignore_nulls=True))
    texts = texts.filter(pl.col("said") != "").sort("item_id")
    if texts.is_empty():
        raise ModelError(
            "no item has a title, a category or a text to compare it by",
            hint="Prepare a data set with a table of items, or use a model that learns from interactions.",
        )
    return Vocabulary(tuple(texts["item_id"])), list(texts["said"])


SCORES = pl.Schema({"request_id": pl.String(), "item_id": pl.String(), "score": pl.Float64()})


def score_candidates(model: Recommender, requests: pl.DataFrame) -> pl.DataFrame:
    """Return one row (request_id, item_id, score) for each candidate of each request.

    Raises:
        ModelError: If a request has no list of candidates (an empty list is fine).
    """
    missing = requests.filter(pl.col("candidates").is_null())["request_id"]
    if len(missing):
        raise ModelError(
            f"{len(missing)} requests have no candidates, the first is {missing[0]!r}",
            hint="Prepare the data set with candidate lists.",
        )
    listed = requests["candidates"].filter(requests["candidates"].list.len() > 0).explode()
    known = Vocabulary.of(listed)
    lists = Sequences.of(requests["candidates"], known)
    parts = [
        _rows(requests, known, block.rows, lists.take(block.rows), block) for block in _ask(model, requests, known)
    ]
    return pl.concat([pl.DataFrame(schema=SCORES), *parts])


def best_items(
    model: Recommender, requests: pl.DataFrame, catalogue: pl.Series, *, depth: int, include_seen: bool
) -> Iterator[pl.DataFrame]:
    """Yield, for some requests at a time, rows (request_id, item_id, score) of the best `depth` items of the catalogue.

    Every item that ties with the last of them is there, too: which of those come first is not decided here.

    Args:
        model: A fitted recommender.
        requests: The table `requests`; its column `candidates` is not read.
        catalogue: Distinct item ids.
        depth: At least so many items of each request, or all that there are.
        include_seen: Whether items of a request's history are ranked, too.
    """
    known = Vocabulary.of(catalogue)
    quick = "torch" in sys.modules or requests.height * len(catalogue) > _FEW
    histories = Sequences.of(requests["history"], known)
    for block in _ask(model, requests, known):
        scores = np.array(block.scores, dtype=np.float64)
        if not include_seen:
            rows, seen = histories.take(block.rows).flat()
            scores[rows, seen - 1] = -np.inf
        worst = _worst_of_best(scores, min(depth, scores.shape[1]), quick=quick)
        floor = np.maximum(worst, np.finfo(np.float64).min)
        rows, columns = np.nonzero(scores >= floor)
        chosen = Sequences(columns + 1, *_ends(rows, len(scores)))
        yield _rows(requests, known, block.rows, chosen, ScoreBlock(block.rows, scores))


_FEW = 50_000_000  # scores for which PyTorch takes longer to import than it saves


def _worst_of_best(scores: NDArray[np.float64], depth: int, *, quick: bool) -> NDArray[np.float64]:
    """Return (rows, 1), the score at place `depth` of each row; `quick` by PyTorch, which also does not mind ties."""
    if not quick:
        return np.partition(scores, -depth, axis=1)[:, [-depth]]
    import torch

    best = torch.topk(torch.from_numpy(scores), depth, sorted=False).values
    return np.asarray(best.numpy().min(1, keepdims=True))


def _ask(model: Recommender, requests: pl.DataFrame, known: Vocabulary) -> Iterator[ScoreBlock]:
    """Yield the blocks of all requests, columns in the order of `known`; nothing where there is nothing to ask."""
    if len(requests) and len(known):
        yield from model.score(requests, pl.Series(known.ids, dtype=pl.String))


def _rows(
    requests: pl.DataFrame, known: Vocabulary, asked: NDArray[np.int64], chosen: Sequences, block: ScoreBlock
) -> pl.DataFrame:
    """Return the `chosen` items of the requests `asked` with their scores."""
    rows, codes = chosen.flat()
    ids = pl.Series(known.ids, dtype=pl.String)
    return pl.DataFrame(
        {
            "request_id": requests["request_id"].gather(asked[rows]),
            "item_id": ids.gather(codes - 1),
            "score": block.scores[rows, codes - 1].astype(np.float64),
        },
        schema=SCORES,
    )


def _ends(rows: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each of `count` rows starts and how long it is, from sorted row numbers."""
    lengths = np.bincount(rows, minlength=count).astype(np.int64)
    return np.cumsum(lengths) - lengths, lengths
