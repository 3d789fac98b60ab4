"""BM25: candidates whose words are those of the items of the history."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import ClassVar
from unicodedata import normalize

import numpy as np
import polars as pl
from pydantic import Field
from scipy.sparse import csr_matrix

from llmrs_bench.core import config
from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.types import Json
from llmrs_bench.recommenders.base import TEXT, Corpus, ScoreBlock, TrainContext, item_texts, score_blocks
from llmrs_bench.recommenders.sequences import Sequences, Vocabulary

_WORD = re.compile(r"[^\W_]+")


class BM25Options(config.Options):
    """`max_history` is the number of newest items of a user whose texts are the query.

    `k1` says how slowly a word that comes again adds less, `b` how much long texts are held back. The defaults are
    those of Lucene.
    """

    max_history: int = Field(default=10, ge=1)
    k1: float = Field(default=1.2, ge=0)
    b: float = Field(default=0.75, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class _Index:
    """Known items, their word counts (item + 1, word), and what a word is worth to them (word, item + 1).

    Row and column 0 are those of an unknown item, and empty.
    """

    items: Vocabulary
    words: Mapping[str, int]
    counts: csr_matrix
    weights: csr_matrix


class BM25:
    """Scores an item by the BM25 of its text for the texts of the newest items of the history, all as one query.

    Texts are those of `item_texts`, split by `words`. The weights are those of the library `bm25s` in its variant
    `lucene`: the logarithm of 1 + (N - n + 0.5) / (n + 0.5), times f / (f + k1 * (1 - b + b * length / mean length)).
    A word counts as often as it stands in the query; a column `text` of the requests is part of it. An item without a
    text scores 0, as does every item where the query holds no known word.
    """

    Options: ClassVar[type[config.Options]] = BM25Options
    learns: ClassVar[bool] = False

    def __init__(self, options: BM25Options, *, seed: int, device: str) -> None:
        self.options = options
        self._index: _Index | None = None

    def fit(self, corpus: Corpus, work: TrainContext) -> dict[str, Json]:
        """Weigh the words of every item.

        Raises:
            ModelError: If there are no words in the table `items`.
        """
        items, texts = item_texts(corpus.items)
        documents = [words(text) for text in texts]
        vocabulary = {word: code for code, word in enumerate(sorted({word for said in documents for word in said}))}
        if not vocabulary:
            raise ModelError("no item has a word in its text", hint="Use a model that learns from interactions.")
        codes = [[vocabulary[word] for word in said] for said in documents]
        rows = np.repeat(np.arange(1, len(codes) + 1), [len(said) for said in codes])
        columns = np.array([code for said in codes for code in said], dtype=np.int64)
        shape = (len(items) + 1, len(vocabulary))
        counts = csr_matrix((np.ones(len(columns)), (rows, columns)), shape=shape)
        self._index = _Index(items, vocabulary, counts, self._weigh(codes, len(vocabulary)))
        return {"items": len(items), "words": len(vocabulary), "library": f"bm25s {version('bm25s')}"}

    def _weigh(self, codes: list[list[int]], size: int) -> csr_matrix:
        """Return what each of `size` words is worth to each item (word, item + 1)."""
        import bm25s  # imports numba: late, for vLLM cannot start in a process that did

        scorer = bm25s.BM25(k1=self.options.k1, b=self.options.b, method="lucene", dtype="float64")
        found = scorer.build_index_from_ids(list(range(size)), codes, show_progress=False)
        return csr_matrix((found["data"], found["indices"] + 1, found["indptr"]), shape=(size, len(codes) + 1))

    def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[ScoreBlock]:
        """Yield the BM25 of every item.

        Raises:
            ModelError: If the model is not fitted.
        """
        if self._index is None:
            raise ModelError("bm25 is not fitted yet", hint="Call fit before score.")
        index = self._index
        histories = Sequences.of(requests["history"], index.items).last(self.options.max_history)
        weights = index.weights[:, index.items.encode(items)]
        for rows in score_blocks(len(requests)):
            users, events = histories.take(rows).flat()
            chosen = csr_matrix((np.ones(len(events)), (users, events)), shape=(len(rows), len(index.items) + 1))
            queries = chosen @ index.counts
            if TEXT in requests.columns:
                queries = csr_matrix(queries + self._count(requests[TEXT][rows.tolist()].to_list()))
            queries.sort_indices()  # float sums depend on the order
            yield ScoreBlock(rows, (queries @ weights).toarray())

    def _count(self, texts: list[str]) -> csr_matrix:
        """Return how often known words stand in texts (text, word)."""
        known = self._index.words if self._index else {}
        found = [(row, known[word]) for row, text in enumerate(texts) for word in words(text) if word in known]
        places = np.array(found, dtype=np.int64).reshape(-1, 2).T
        return csr_matrix((np.ones(places.shape[1]), (places[0], places[1])), shape=(len(texts), len(known)))


def words(text: str) -> list[str]:
    """Return the words of `text`: its runs of letters and digits of any script, composed (NFC) and in lower case.

    Nothing else is done: no stop word is left out, no word is cut to its stem.
    """
    return _WORD.findall(normalize("NFC", text).lower())
