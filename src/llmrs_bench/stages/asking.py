"""Ask a model what it was not asked before, and keep every answer as soon as it is there."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from llmrs_bench.engines.meter import Meter, Stopwatch
from llmrs_bench.engines.protocol import Engine
from llmrs_bench.prompts.frames import answer_row
from llmrs_bench.report.words import number
from llmrs_bench.stages.answers import AnswerStore, prompt_key
from llmrs_bench.stages.clip import Clipped, Question, clip
from llmrs_bench.types import Prompt, Response, Step

# Answers are kept after this share of the time spent asking so far, but neither every moment nor after minutes: what a
# kill can lose stays small, and so does the number of shards.
_KEPT_AFTER, _AT_LEAST, _AT_MOST = 0.01, 0.5, 30.0  # share, seconds, seconds
_KEPT_TOGETHER = 2000  # answers of one shard at most
_PIECE = 2048  # prompts that are tokenised before the first of them is answered

Row = dict[str, Any]


class Asker:
    """Answers prompts from the store, and from the engine where the store has none.

    Args:
        store: Where answers are found and kept.
        start: Loads the engine; called at the first prompt without an answer.
        clock: Seconds that never go back.
    """

    def __init__(
        self, store: AnswerStore, start: Callable[[], Engine], *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.store = store
        self._start = start
        self._clock = clock
        self._meter = Meter()
        self._spent = Stopwatch(self._meter, clock)
        self._engine: Engine | None = None
        self._about: dict[str, Any] = {"started": datetime.now(UTC).isoformat(), "peak_device_gb": None}
        self._tokens = 0  # computed by this process
        self.show(lambda done, note="", total=None: None, 0)

    def show(self, step: Step, prompts: int) -> None:
        """Tell `step` from here on how many prompts are answered, of at least `prompts`."""
        self._step, self._done, self._asked, self._to_come = step, 0, 0, prompts

    def turn_to(self, prompts: int) -> None:
        """Say that the next `ask` begins with so many of the prompts that `show` counts; what else it asks is more."""
        self._to_come -= prompts

    def ask(self, questions: Sequence[Question]) -> dict[str, Row]:
        """Return the answer to each prompt, as a row of the schema `answers`, by prompt id.

        Raises:
            EngineError: If the engine fails; what it answered before is kept.
        """
        keys = {prompt.prompt_id: prompt_key(prompt) for question in questions for prompt in question.prompts}
        found = self.store.find(keys.values())
        missing = {key for key in keys.values() if key not in found}
        self._asked += len(keys)
        self._say(sum(key in found for key in keys.values()))
        if missing:
            found |= self._fresh(questions, keys, missing)
        self._say(sum(key in missing for key in keys.values()) - len(missing))  # asked twice, answered once
        return {prompt_id: found[key] for prompt_id, key in keys.items()}

    def close(self) -> None:
        """Stop the engine, if there is one."""
        if self._engine is not None:
            self._engine.close()

    def _fresh(self, questions: Sequence[Question], keys: Mapping[str, str], missing: set[str]) -> dict[str, Row]:
        """Ask for the missing keys, each once, with the prompts that fit the model's context.

        Batches are cut as if nothing had been answered yet: after a crash the rest is computed in the same ones.
        """
        engine = self._loaded()
        kept: dict[str, Row] = {}
        planned: set[str] = set()
        for piece in _pieces(questions):
            asked = {keys[prompt.prompt_id] for question in piece for prompt in question.prompts}
            if asked & missing - planned:
                fitting: dict[str, Clipped] = {}
                for clipped in clip(piece, engine):
                    if (key := keys[clipped.prompt.prompt_id]) not in planned:
                        fitting.setdefault(key, clipped)
                prompts = [clipped.prompt for clipped in fitting.values()]
                engine.check(
                    prompts
                )  # before the stopwatch starts, and before batches are cut: a check may change them
                batches = [
                    left
                    for batch in engine.batches(prompts)
                    if (left := [prompt for prompt in batch if keys[prompt.prompt_id] in missing])
                ]
                known = {clipped.prompt.prompt_id: (key, clipped) for key, clipped in fitting.items()}
                kept |= self._answer(engine, batches, known)
            planned |= asked
        return kept

    def _answer(
        self, engine: Engine, batches: Sequence[Sequence[Prompt]], asked: Mapping[str, tuple[str, Clipped]]
    ) -> dict[str, Row]:
        """Have batches answered, and keep each of them whole; what came before a failure is kept, too.

        Args:
            engine: What answers.
            batches: In the order of the engine.
            asked: By prompt id the key, and what was left out of the prompt.
        """
        kept: dict[str, Row] = {}
        rows: list[Row] = []  # answered, and not kept yet
        held = 0.0  # seconds that they took
        self._say(0)
        self._spent.start()
        try:
            for responses in engine.answer_batches(batches):
                seconds, joules = self._spent.lap()
                rows += _rows(responses, asked, seconds, joules)
                held += seconds
                self._tokens += sum(map(_computed, responses))
                self._say(len(responses))
                # Another batch like this one would keep them waiting for too long.
                late = held >= self._patience or held + seconds >= _AT_MOST
                if late or len(rows) >= _KEPT_TOGETHER:
                    kept |= self.store.keep(rows, self._session(engine))
                    rows, held = [], 0.0
                    self._spent.start()
        except OSError:  # keeping failed: nothing more can be kept
            raise
        except BaseException:
            if rows:
                self.store.keep(rows, self._session(engine))
            raise
        return kept | (self.store.keep(rows, self._session(engine)) if rows else {})

    @property
    def _patience(self) -> float:
        return min(max(_KEPT_AFTER * self._spent.total, _AT_LEAST), _AT_MOST)

    def _loaded(self) -> Engine:
        if self._engine is None:
            started = self._clock()
            self._engine = self._start()
            self._about["seconds_loading"] = round(self._clock() - started, 3)
        return self._engine

    def _session(self, engine: Engine) -> dict[str, Any]:
        memory, known = self._meter.memory_gb(), self._about["peak_device_gb"]
        if memory is not None:
            self._about["peak_device_gb"] = max(memory, known or 0.0)
        return {**self._about, "serving": engine.facts()}

    def _say(self, answers: int) -> None:
        """Tell that so many more prompts are answered, and at which speed this process computes."""
        self._done += answers
        spent = self._spent.total
        note = f"{number(self._tokens / spent)} tokens/s" if self._tokens and spent else ""
        self._step(self._done, note, self._asked + self._to_come)


def _pieces(questions: Sequence[Question]) -> Iterator[list[Question]]:
    """Cut questions into parts of so many prompts, or a few more."""
    piece: list[Question] = []
    prompts = 0
    for question in questions:
        piece.append(question)
        prompts += len(question.prompts)
        if prompts >= _PIECE:
            yield piece
            piece, prompts = [], 0
    if piece:
        yield piece


def _rows(
    responses: Sequence[Response], asked: Mapping[str, tuple[str, Clipped]], seconds: float, joules: float | None
) -> Iterator[Row]:
    """Yield responses as rows of the schema `answers` but for the session, each with its share of time and energy."""
    share = {"seconds": seconds / len(responses), "joules": None if joules is None else joules / len(responses)}
    for response in responses:
        key, (_, lost, bare) = asked[response.prompt_id]
        yield {"key": key, **answer_row(response), "clipped": lost, "bare": bare, **share}


def _computed(response: Response) -> int:
    """Return how many tokens were computed for a response."""
    return response.prompt_tokens - response.cached_tokens + response.completion_tokens
