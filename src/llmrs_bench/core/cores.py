"""A computation in parts, divided among the cores of the machine."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def in_parts(compute: Callable[..., _Result], parts: Iterable[tuple[Any, ...]], *, large: bool) -> Iterator[_Result]:
    """Yield what is computed of each part, in their order: a part on each core if it is large work, else one by one.

    Products of matrices have one thread meanwhile: many threads that share a small product wait for each other, at the
    cost of ten times the work.

    Args:
        compute: What does most of its work without the lock of the interpreter, as numpy does.
        parts: Its arguments; as many are taken at once as there are cores.
        large: Whether the parts are worth threads.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with _products_in_one_thread():
        if not large:
            for part in parts:
                yield compute(*part)
            return
        with ThreadPoolExecutor(cores) as pool:
            waiting: deque[Future[_Result]] = deque()
            for part in parts:
                waiting.append(pool.submit(compute, *part))
                if len(waiting) > cores:
                    yield waiting.popleft().result()
            for left in waiting:
                yield left.result()


@contextmanager
def _products_in_one_thread() -> Iterator[None]:
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@lru_cache(maxsize=1)
def _libraries() -> Any:
    """Return what sets the threads of numpy's products; numpy is imported by whoever computes."""
    import numpy as np  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
