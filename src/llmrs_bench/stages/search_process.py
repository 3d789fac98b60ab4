"""A retriever in a process of its own: libraries of search start threads, beside which vLLM does not start."""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Self

import polars as pl

from llmrs_bench.config import ViewOptions
from llmrs_bench.errors import ArtifactError
from llmrs_bench.stages.search import Retriever, open_retriever

_opened: list[Retriever] = []  # in the process of its own alone


class SearchProcess:
    """Does what `Retriever` does.

    Args:
        options: How items are found.
        items: Frame of the schema `items`.

    Raises:
        OptionError: As `open_retriever` does.
        ModelError: As `Retriever` does.
    """

    def __init__(self, options: ViewOptions, items: pl.DataFrame) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            self._call(_open, options, items)
        except BaseException:
            self.close()
            raise

    def search(
        self, requests: pl.DataFrame, *, query: str, recent: int, count: int, texts: pl.Series | None = None
    ) -> pl.Series:
        """Return what `Retriever.search` does.

        Raises:
            ArtifactError: If the process was killed.
        """
        found: pl.Series = self._call(_search, requests, query, recent, count, texts)
        return found

    def close(self) -> None:
        """Stop the process."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, function: Any, *args: Any) -> Any:
        try:
            return self._pool.submit(function, *args).result()
        except BrokenProcessPool as error:
            raise ArtifactError(
                "the process that searches histories was killed",
                hint="Most often memory ran out: see the system's log.",
            ) from error


def _open(options: ViewOptions, items: pl.DataFrame) -> None:
    _opened[:] = [open_retriever(options, items)]


def _search(requests: pl.DataFrame, query: str, recent: int, count: int, texts: pl.Series | None) -> pl.Series:
    return _opened[0].search(requests, query=query, recent=recent, count=count, texts=texts)
