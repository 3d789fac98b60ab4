"""Batches where memory runs out."""

from collections.abc import Callable, Sequence

import pytest
import torch

from llmrs_bench.core.errors import EngineError
from llmrs_bench.llm.loading import Memory


def hungry(most: int, seen: list[int], error: RuntimeError) -> Callable[[Sequence[int]], list[int]]:
    def work(batch: Sequence[int]) -> list[int]:
        seen.append(len(batch))
        if len(batch) > most:
            raise error
        assert torch.is_inference_mode_enabled()
        return [item * 10 for item in batch]

    return work


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["GPU", "CPU"])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(error: RuntimeError) -> None:
    memory, seen = Memory(800, deterministic=False), list[int]()
    assert list(memory.run(range(7), hungry(2, seen, error))) == [0, 10, 20, 30, 40, 50, 60]
    assert seen == [7, 4, 2, 2, 3, 2, 1]
    assert (memory.halved, memory.tokens, memory.batches) == (3, 100, 4)
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["GPU", "CPU"])
def test_what_fits_is_yielded_before_one_that_never_does(error: RuntimeError) -> None:
    def work(batch: Sequence[int]) -> list[int]:
        if 3 in batch:
            raise error
        return list(batch)

    found = list[int]()
    with pytest.raises(EngineError, match="out of memory") as caught:
        found.extend(Memory(800, deterministic=False).run(range(4), work))
    assert found == [0, 1, 2]
    assert "bfloat16" in caught.value.hint


def test_other_failures_of_the_device_are_not_tried_again() -> None:
    seen = list[int]()
    with pytest.raises(EngineError, match="device-side assert"):
        list(Memory(800, deterministic=False).run([1, 2], hungry(0, seen, RuntimeError("device-side assert"))))
    assert seen == [2]


def test_a_failure_of_the_models_own_code_is_told_as_such() -> None:
    def work(batch: Sequence[int]) -> list[int]:
        raise AttributeError("no router_logits")

    with pytest.raises(EngineError, match="own code failed while answering: AttributeError: no router_logits"):
        list(Memory(1, deterministic=False).run([0], work))


def test_deterministic_algorithms_are_asked_for_while_answering_alone() -> None:
    def asked(batch: Sequence[int]) -> list[bool]:
        return [torch.are_deterministic_algorithms_enabled()]

    assert list(Memory(1, deterministic=True).run([0], asked)) == [True]
    assert list(Memory(1, deterministic=False).run([0], asked)) == [False]
    assert not torch.are_deterministic_algorithms_enabled()
