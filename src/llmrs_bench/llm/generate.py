"""Prompts answered once: from the cache, and from the engine where the cache has none."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from llmrs_bench.core.formatting import number
from llmrs_bench.core.types import Prompt, Response, Step
from llmrs_bench.llm.base import CountsPrompts, Engine, TellsTokens
from llmrs_bench.llm.cache import ResponseCache, cache_key
from llmrs_bench.llm.clipping import Clipped, Question, clip
from llmrs_bench.llm.cost import SERVING_COUNTS
from llmrs_bench.prompts.frames import answer_row

Row = dict[str, Any]


class Meter:
    """Reads energy and memory of all visible NVIDIA GPUs; every reading is None where there is none.

    Energy is that of whole devices, whoever else uses them (`nvmlDeviceGetTotalEnergyConsumption`).
    """

    def __init__(self) -> None:
        self._nvml: Any = None
        self._devices: list[Any] = []
        with suppress(ImportError):  # nvidia-ml-py comes with vLLM for GPUs; without it there is nothing to read
            import pynvml

            with suppress(pynvml.NVMLError):
                pynvml.nvmlInit()
                self._nvml = pynvml
                self._devices = [
                    pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
                ]

    def joules(self) -> float | None:
        """Return the energy that the devices have used since their driver was loaded."""
        readings = [self._read(self._nvml.nvmlDeviceGetTotalEnergyConsumption, device) for device in self._devices]
        known = [reading for reading in readings if reading is not None]
        return sum(known) / 1000 if known else None  # millijoules

    def memory_gb(self) -> float | None:
        """Return the memory in use on the fullest device, in GB."""
        readings = [self._read(self._nvml.nvmlDeviceGetMemoryInfo, device) for device in self._devices]
        return max((reading.used / 1e9 for reading in readings if reading is not None), default=None)

    def _read(self, question: Any, device: Any) -> Any:
        try:
            return question(device)
        except self._nvml.NVMLError:  # older devices do not count energy
            return None


class Stopwatch:
    """Measures the time and the energy that answers take, lap by lap; what happens before `start` does not count.

    Args:
        meter: Reads the energy.
        clock: Seconds that never go back.
    """

    def __init__(self, meter: Meter, clock: Callable[[], float] = time.perf_counter) -> None:
        self.total = 0.0  # seconds of all laps
        self._meter = meter
        self._clock = clock
        self.start()

    @property
    def with_lap(self) -> float:
        """Return the seconds of all laps and of the one that is running."""
        return self.total + self._clock() - self._mark

    def start(self) -> None:
        """Begin a lap."""
        self._mark, self._joules = self._clock(), self._meter.joules()

    def lap(self) -> tuple[float, float | None]:
        """End a lap and begin the next; return its seconds, and its joules where they can be read."""
        seconds, before = self._clock() - self._mark, self._joules
        self.total += seconds
        self.start()
        return seconds, None if before is None or self._joules is None else self._joules - before


# Answers are kept after this share of the time spent asking so far, but neither every moment nor after minutes: what a
# kill can lose stays small, and so does the number of shards. Where the disk is slow, or others use it, they are kept
# less often, so that keeping takes no more than its share of the time.
_KEPT_AFTER, _AT_LEAST, _AT_MOST = 0.01, 0.5, 30.0  # share, seconds, seconds
_KEEPING = 0.005  # share
_KEPT_TOGETHER = 2000  # answers of one shard at most
_PIECE = 2048  # prompts that are tokenised before the first of them is answered
_PIECE_TEXT = 8_000_000  # their letters: with what is cut off long ones they fit what a PromptReader remembers


class CachedGenerator:
    """Answers prompts from the store, and from the engine where the store has none.

    Args:
        store: Where answers are found and kept.
        start: Loads the engine; called at the first prompt without an answer.
        again: Whether to ask for prompts again that a server did not answer before.
        spend: Told of new answers; it may raise, and they are kept before that passes.
        begin: Told of how many prompts the largest batch has, before batches are answered.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        store: ResponseCache,
        start: Callable[[], Engine],
        *,
        again: bool = True,
        spend: Callable[[Sequence[Row]], None] = lambda rows: None,
        begin: Callable[[int], None] = lambda largest: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.store = store
        self._spend, self._begin = spend, begin
        self._again = again
        self._found = 0
        self._start = start
        self._clock = clock
        self._meter = Meter()
        self._spent = Stopwatch(self._meter, clock)
        self._shards, self._keeping = 0, 0.0  # written, and the seconds that took
        self._engine: Engine | None = None
        self._before: Mapping[str, Any] = {}  # what its engine had counted for others
        self._about: dict[str, Any] = {"started": datetime.now(UTC).isoformat(), "peak_device_gb": None}
        self._tokens = 0  # computed by this process
        self._under_way = 0  # of them in a batch that is not answered yet
        self.show(lambda done, note="", total=None: None, 0)

    def show(self, step: Step, prompts: int) -> None:
        """Report to `step` from here on how many prompts are answered, of at least `prompts`."""
        self._step, self._done, self._asked, self._to_come = step, 0, 0, prompts

    def turn_to(self, prompts: int) -> None:
        """Say that the next `ask` begins with so many of the prompts that `show` counts; what else it asks is more."""
        self._to_come -= prompts

    def ask(self, questions: Sequence[Question]) -> dict[str, Row]:
        """Return the answer to each prompt, as a row of the schema `answers`, by prompt id.

        Raises:
            EngineError: If the engine fails; what it answered before is kept.
        """
        keys = {prompt.prompt_id: cache_key(prompt) for question in questions for prompt in question.prompts}
        found = self.store.find(keys.values(), unanswered=not self._again)
        self._found += len(found)
        missing = {key for key in keys.values() if key not in found}
        self._asked += len(keys)
        self._say(sum(key in found for key in keys.values()))
        if missing:
            found |= self._fresh(questions, keys, missing)
        self._say(sum(key in missing for key in keys.values()) - len(missing))  # asked twice, answered once
        return {prompt_id: found[key] for prompt_id, key in keys.items()}

    def _fresh(self, questions: Sequence[Question], keys: Mapping[str, str], missing: set[str]) -> dict[str, Row]:
        """Return answers to the missing keys: those that another process asks for meanwhile are waited for."""
        found: dict[str, Row] = {}
        while missing:
            answered, missing = self._asked_here(questions, keys, missing)
            found |= answered
            if missing:
                self.store.wait_for(missing)
                taken = self.store.find(missing)
                self._say(len(taken))
                found |= taken
                missing -= taken.keys()
        return found

    def _asked_here(
        self, questions: Sequence[Question], keys: Mapping[str, str], missing: set[str]
    ) -> tuple[dict[str, Row], set[str]]:
        """Ask for those of the missing keys that no other process asks for, with the prompts that fit the context.

        Batches are cut as if nothing had been answered yet: after a crash the rest is computed in the same ones.

        Returns:
            The answers, and the keys that others ask for or have just answered.
        """
        kept: dict[str, Row] = {}
        elsewhere: set[str] = set()
        planned: set[str] = set()
        for piece in _pieces(questions):
            asked = {keys[prompt.prompt_id] for question in piece for prompt in question.prompts} - planned
            planned |= asked
            with self.store.claimed(asked & missing) as claimed:
                elsewhere |= (asked & missing) - claimed
                if claimed:
                    kept |= self._ask_piece(piece, keys, asked, claimed)
        return kept, elsewhere

    def _ask_piece(
        self, piece: Sequence[Question], keys: Mapping[str, str], asked: set[str], claimed: set[str]
    ) -> dict[str, Row]:
        """Ask for the claimed ones of the keys that a piece is the first to ask for."""
        engine = self._loaded()
        if isinstance(engine, CountsPrompts):
            engine.found(self._found)
        fitting: dict[str, Clipped] = {}
        for clipped in clip(piece, engine):
            if (key := keys[clipped.prompt.prompt_id]) in asked:
                fitting.setdefault(key, clipped)
        prompts = [clipped.prompt for clipped in fitting.values()]
        self._say(0, "self-check")
        engine.check(prompts)  # before the stopwatch starts; what it finds may change the batches
        batches = [
            left
            for batch in engine.batches(prompts)
            if (left := [prompt for prompt in batch if keys[prompt.prompt_id] in claimed])
        ]
        known = {clipped.prompt.prompt_id: (key, clipped) for key, clipped in fitting.items()}
        return self._answer(engine, batches, known)

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
        tells = engine if isinstance(engine, TellsTokens) else None
        if tells:
            tells.tell(self._hear)
        self._say(0)
        self._spend([])
        self._begin(max(map(len, batches), default=0))
        self._spent.start()
        try:
            for responses in engine.answer_batches(batches):
                seconds, joules = self._spent.lap()
                new = list(_rows(responses, asked, seconds, joules))
                rows += new
                held += seconds
                self._tokens, self._under_way = self._tokens + sum(map(_computed, responses)), 0
                self._say(len(responses))
                # Another batch like this one would keep them waiting for too long.
                late = held >= self._patience or held + seconds >= _AT_MOST
                self._spend(new)
                if late or len(rows) >= _KEPT_TOGETHER:
                    kept |= self._keep(rows, engine)
                    rows, held = [], 0.0
                    self._spent.start()
        except OSError:  # keeping failed: nothing more can be kept
            raise
        except BaseException:
            if rows:
                self._keep(rows, engine)
            raise
        finally:
            if tells:
                tells.tell(lambda tokens: None)
        return kept | (self._keep(rows, engine) if rows else {})

    def _keep(self, rows: Sequence[Row], engine: Engine) -> dict[str, Row]:
        began = self._clock()
        kept = self.store.keep(rows, self._session(engine))
        self._shards, self._keeping = self._shards + 1, self._keeping + self._clock() - began
        return kept

    @property
    def _patience(self) -> float:
        shard = self._keeping / max(self._shards, 1)
        return min(max(_KEPT_AFTER * self._spent.total, shard / _KEEPING, _AT_LEAST), _AT_MOST)

    def _loaded(self) -> Engine:
        if self._engine is None:
            self._say(0, "loading the model")
            started = self._clock()
            self._engine = self._start()
            self._about["seconds_loading"] = round(self._clock() - started, 3)
            self._before = self._engine.facts()
        return self._engine

    def _session(self, engine: Engine) -> dict[str, Any]:
        memory, known = self._meter.memory_gb(), self._about["peak_device_gb"]
        if memory is not None:
            self._about["peak_device_gb"] = max(memory, known or 0.0)
        facts: Mapping[str, Any] = engine.facts()
        own = {name: (facts[name] or 0) - (self._before.get(name) or 0) for name in SERVING_COUNTS if name in facts}
        return {**self._about, "serving": {**facts, **own}}

    def _say(self, answers: int, note: str = "") -> None:
        """Report that so many more prompts are answered, and what is done, or at which speed this process computes."""
        self._done += answers
        tokens = self._tokens + self._under_way
        spent = self._spent.with_lap if self._under_way else self._spent.total
        self._step(
            self._done,
            note or (f"{number(tokens / spent)} tokens/s" if tokens and spent else ""),
            self._asked + self._to_come,
        )

    def _hear(self, tokens: int) -> None:
        """Take tokens of a batch that is not answered yet."""
        self._under_way += tokens
        self._say(0)


def _pieces(questions: Sequence[Question]) -> Iterator[list[Question]]:
    """Cut questions into parts of so many prompts, or of so much text, or a few more."""
    piece: list[Question] = []
    prompts, letters = 0, 0
    for question in questions:
        piece.append(question)
        prompts += len(question.prompts)
        letters += sum(map(_letters, question.prompts))
        if prompts >= _PIECE or letters >= _PIECE_TEXT:
            yield piece
            piece, prompts, letters = [], 0, 0
    if piece:
        yield piece


def _letters(prompt: Prompt) -> int:
    """Return the length of all texts of a prompt."""
    return sum(len(message.content) for message in prompt.messages) + sum(map(len, prompt.choices or ()))


def _rows(
    responses: Sequence[Response], asked: Mapping[str, tuple[str, Clipped]], seconds: float, joules: float | None
) -> Iterator[Row]:
    """Yield responses as rows of the schema `answers` but for the session, each with its share of time and energy."""
    share = {"seconds": seconds / len(responses), "joules": None if joules is None else joules / len(responses)}
    for response in responses:
        key, (_, lost, without_attributes) = asked[response.prompt_id]
        yield {
            "key": key,
            **answer_row(response),
            "n_truncated": lost,
            "without_attributes": without_attributes,
            **share,
        }


def _computed(response: Response) -> int:
    """Return how many tokens were computed for a response."""
    return response.prompt_tokens - response.cached_tokens + response.completion_tokens
