"""What a run is told to ask, it counts: prompts of every template and its rounds, and none beyond the total."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llmrs_bench.core.config import LanguageModelConfig
from llmrs_bench.core.types import Step, no_progress
from llmrs_bench.stages.infer import infer
from llmrs_bench.stages.workspace import Data

Told = list[tuple[str, int, int]]  # label, done, total


def follow(told: Told) -> object:
    @contextmanager
    def progress(label: str, total: int) -> Iterator[Step]:
        first = total

        def step(done: int, note: str = "", total: int | None = None) -> None:
            told.append((label, done, total or first))

        yield step

    return progress


@pytest.mark.parametrize(
    ("template", "options", "prior"),
    [
        ("likelihood", {}, True),
        ("listwise", {"orders": "2"}, False),
        ("pairwise", {"method": "heapsort"}, False),
        ("setwise", {}, False),
        ("sliding-window", {"window": "4", "stride": "2"}, False),
        ("label", {"past": "none"}, False),
    ],
)
def test_progress_ends_at_its_total_and_never_passes_it(
    data: Data, template: str, options: dict[str, str], prior: bool
) -> None:
    told: Told = []
    config = LanguageModelConfig(model="mock", template=template, template_options=options)
    run = infer(data, config, follow(told), prior=prior).artifact  # type: ignore[arg-type]
    assert all(0 <= done <= total for _, done, total in told)
    for label in dict.fromkeys(label for label, _, _ in told):
        (*_, last) = [(done, total) for name, done, total in told if name == label]
        assert last[0] == last[1] > 0
    assert told[0][0] == "mock"
    assert max(done for label, done, _ in told if label == "mock") == run.facts["prompts"]
    assert len({label for label, _, _ in told}) == 1 + prior


def test_a_run_of_kept_answers_counts_them_as_well(data: Data) -> None:
    config = LanguageModelConfig(model="mock", template="pairwise", template_options={"method": "heapsort"})
    made = infer(data, config, no_progress).artifact
    for path in sorted(made.path.glob("*")):
        path.unlink()
    made.path.rmdir()
    told: Told = []
    again = infer(data, config, follow(told)).artifact  # type: ignore[arg-type]
    assert again.facts["prompts"] == told[-1][1] == told[-1][2]
    same = ("prompts", "prompt_tokens", "completion_tokens", "seconds")
    assert {name: again.facts[name] for name in same} == {name: made.facts[name] for name in same}
