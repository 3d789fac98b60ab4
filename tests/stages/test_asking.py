"""What is asked of an engine, in which order, and what of it has a cost."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines.meter import Stopwatch
from llmrs_bench.engines.mock import MockEngine, MockOptions
from llmrs_bench.stages.answers import AnswerStore
from llmrs_bench.stages.asking import Asker
from llmrs_bench.stages.clip import Question
from llmrs_bench.types import Message, Prompt, Response

PROMPTS = [Prompt(f"p{n}", f"r{n}", (Message("user", f"Which of {n}?"),), ("a", "b"), (" A", " B")) for n in range(5)]


def test_the_engine_checks_all_that_is_asked_before_the_stopwatch_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    class Noting(MockEngine):
        def check(self, prompts: Sequence[Prompt]) -> None:
            events.append(f"check {len(prompts)}")

        def answer(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
            events.append("answer")
            yield from super().answer(prompts)

    start = Stopwatch.start

    def noted(watch: Stopwatch) -> None:
        events.append("start")
        start(watch)

    monkeypatch.setattr(Stopwatch, "start", noted)
    engine = Noting(ModelSpec("mock", "mock"), MockOptions(), device="cpu", seed=0)
    asker = Asker(AnswerStore(tmp_path, {}), lambda: engine, lambda count: None)
    question = Question(PROMPTS, 0, lambda fewer, bare=False: PROMPTS)
    asker.ask([question])
    asker.ask([question])  # all of it is kept
    first = events.index("check 5")
    assert events[first : first + 3] == ["check 5", "start", "answer"]
    assert events.count("check 5") == events.count("answer") == 1
