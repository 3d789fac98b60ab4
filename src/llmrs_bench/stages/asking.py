"""Ask a model what it was not asked before, and keep every answer as soon as it is there."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from llmrs_bench.engines.meter import Meter, Stopwatch
from llmrs_bench.engines.protocol import Engine
from llmrs_bench.prompts.frames import answer_row
from llmrs_bench.stages.answers import AnswerStore, prompt_key
from llmrs_bench.stages.clip import Question, clip
from llmrs_bench.types import Prompt, Response

# Answers are kept after this share of the time spent asking so far, but neither every moment nor after minutes: what a
# kill can lose stays small, and so does the number of shards.
_KEPT_AFTER, _AT_LEAST, _AT_MOST = 0.01, 0.5, 30.0  # share, seconds, seconds
_KEPT_TOGETHER = 2000  # answers of one shard at most

Row = dict[str, Any]


class Asker:
    """Answers prompts from the store, and from the engine where the store has none.

    Args:
        store: Where answers are found and kept.
        start: Loads the engine; called at the first prompt without an answer.
        answered: Told how many prompts are answered so far.
    """

    def __init__(self, store: AnswerStore, start: Callable[[], Engine], answered: Callable[[int], None]) -> None:
        self.store = store
        self._start = start
        self._answered = answered
        self._done = 0
        self._meter = Meter()
        self._spent = Stopwatch(self._meter)
        self._engine: Engine | None = None
        self._about: dict[str, Any] = {"started": datetime.now(UTC).isoformat(), "peak_device_gb": None}

    def ask(self, questions: Sequence[Question]) -> dict[str, Row]:
        """Return the answer to each prompt, as a row of the schema `answers`, by prompt id.

        Raises:
            EngineError: If the engine fails; what it answered before is kept.
        """
        keys = {prompt.prompt_id: prompt_key(prompt) for question in questions for prompt in question.prompts}
        found = self.store.find(keys.values())
        missing = {key for key in keys.values() if key not in found}
        self._step(len(keys) - len(missing))
        if missing:
            asked = [question for question in questions if any(keys[p.prompt_id] in missing for p in question.prompts)]
            found |= self._fresh(asked, keys, missing)
        self._step(sum(key in missing for key in keys.values()) - len(missing))  # asked twice, answered once
        return {prompt_id: found[key] for prompt_id, key in keys.items()}

    def close(self) -> None:
        """Stop the engine, if there is one."""
        if self._engine is not None:
            self._engine.close()

    def _fresh(self, questions: Sequence[Question], keys: Mapping[str, str], missing: set[str]) -> dict[str, Row]:
        """Ask for the missing keys, each once, with the prompts that fit the model's context."""
        engine = self._loaded()
        clipped: dict[str, dict[str, Any]] = {}  # key to what was left out
        prompts: list[Prompt] = []
        for prompt, lost, bare in clip(questions, engine):
            key = keys[prompt.prompt_id]
            if key in missing and key not in clipped:
                clipped[key] = {"clipped": lost, "bare": bare}
                prompts.append(prompt)
        engine.check(prompts)  # before the stopwatch starts
        kept: dict[str, Row] = {}
        for responses, seconds, joules in self._shards(engine, prompts):
            share = {"seconds": seconds / len(responses), "joules": None if joules is None else joules / len(responses)}
            rows = [
                {"key": (key := keys[response.prompt_id]), **answer_row(response), **clipped[key], **share}
                for response in responses
            ]
            kept |= self.store.keep(rows, self._session(engine))
        return kept

    def _shards(
        self, engine: Engine, prompts: Sequence[Prompt]
    ) -> Iterator[tuple[list[Response], float, float | None]]:
        """Yield answers to keep together, with the seconds and the energy that they took.

        An engine with windows is cut between them alone: the rest is then asked in the same windows after a crash,
        and the same prompts beside each other give the same bits.
        """
        whole: list[Response] = []  # of finished windows, not yielded yet
        part: list[Response] = []  # of the window that is asked now
        self._spent.start()
        try:
            for window in _windows(prompts, engine.window):
                for response in engine.answer(window):
                    part.append(response)
                    self._step(1)
                    due = len(whole) + len(part) >= _KEPT_TOGETHER or self._spent.waited >= self._patience
                    if due and (engine.window is None or len(part) == len(window)):
                        yield [*whole, *part], *self._spent.lap()
                        whole, part = [], []
                whole, part = [*whole, *part], []
        except GeneratorExit:  # keeping failed: nothing more can be kept
            raise
        except BaseException:  # what was answered before the failure is kept, too
            if rest := [*whole, *(part if engine.window is None else ())]:
                yield rest, *self._spent.lap()
            raise
        if whole:
            yield whole, *self._spent.lap()

    @property
    def _patience(self) -> float:
        return min(max(_KEPT_AFTER * self._spent.total, _AT_LEAST), _AT_MOST)

    def _loaded(self) -> Engine:
        if self._engine is None:
            started = time.perf_counter()
            self._engine = self._start()
            self._about["seconds_loading"] = round(time.perf_counter() - started, 3)
        return self._engine

    def _session(self, engine: Engine) -> dict[str, Any]:
        memory, known = self._meter.memory_gb(), self._about["peak_device_gb"]
        if memory is not None:
            self._about["peak_device_gb"] = max(memory, known or 0.0)
        return {**self._about, "serving": engine.facts()}

    def _step(self, answers: int) -> None:
        self._done += answers
        self._answered(self._done)


def _windows(prompts: Sequence[Prompt], size: int | None) -> Iterator[Sequence[Prompt]]:
    for start in range(0, len(prompts), size or max(len(prompts), 1)):
        yield prompts[start : start + (size or len(prompts))]
