"""A computation in parts, divided among the cores of the machine."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def on_all_cores(compute: Callable[..., _Result], parts: Iterable[tuple[Any, ...]]) -> Iterator[_Result]:
    """Yield what is computed of each part, in their order, a part on each core.

    Products of matrices have one thread meanwhile: many threads that share a small product wait for each other.

    Args:
        compute: What does most of its work without the lock of the interpreter, as numpy does.
        parts: Its arguments; as many are taken at once as there are cores.
    """
    from threadpoolctl import threadpool_limits

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores) as pool:
        waiting: deque[Future[_Result]] = deque()
        for part in parts:
            waiting.append(pool.submit(compute, *part))
            if len(waiting) > cores:
                yield waiting.popleft().result()
        for left in waiting:
            yield left.result()
