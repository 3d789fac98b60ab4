"""Batches are kept as they come, cut by the prompts alone, and counted once: an engine and a clock made for it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmrs_bench.core.errors import BudgetError
from llmrs_bench.core.types import Message, Prompt, Response
from llmrs_bench.llm.base import Engine
from llmrs_bench.llm.cache import ResponseCache
from llmrs_bench.llm.clipping import Question
from llmrs_bench.llm.cost import Budget
from llmrs_bench.llm.generate import CachedGenerator

BATCH = 4


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """An engine that takes `pace` seconds for a batch of four prompts, and is killed in the batch number `at`."""

    context = 100

    def __init__(self, clock: Clock, pace: float, at: int | None = None, by: type[BaseException] = KeyboardInterrupt):
        self.clock, self.pace, self.at, self.by = clock, pace, at, by
        self.seen: list[list[str]] = []

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        self.clock.now += 1000.0  # slow to tokenise: no part of any answer's cost
        return [1] * len(prompts)

    def check(self, prompts: Sequence[Prompt]) -> None:
        self.clock.now += 1000.0

    def batches(self, prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
        self.clock.now += 1000.0
        return (prompts[start : start + BATCH] for start in range(0, len(prompts), BATCH))

    def answer_batches(self, batches: Iterable[Sequence[Prompt]]) -> Iterator[Sequence[Response]]:
        for number, batch in enumerate(batches):
            if number == self.at:
                self.clock.now += self.pace / 2
                raise self.by
            self.clock.now += self.pace
            self.seen.append([prompt.prompt_id for prompt in batch])
            yield [Response(prompt.prompt_id, "1", None, 10, 2, 3, "stop") for prompt in batch]

    def facts(self) -> dict[str, Any]:
        return {"engine": "slow"}

    def close(self) -> None:
        return None


class Telling(Slow):
    """The same, which tells of each fifth of its batches."""

    def tell(self, heard: Callable[[int], None]) -> None:
        self.heard = heard

    def answer_batches(self, batches: Iterable[Sequence[Prompt]]) -> Iterator[Sequence[Response]]:
        for batch in batches:
            for _ in range(4):
                self.clock.now += self.pace / 5
                self.heard(len(batch) * 2)
            self.clock.now += self.pace / 5
            yield from super().answer_batches([batch])


def questions(count: int, *, alike: int = 1) -> list[Question]:
    """Return questions of one prompt each, of which so many read the same."""
    prompts = [
        Prompt(f"p{number}", f"r{number}", (Message("user", f"question {number // alike}"),), ("a",))
        for number in range(count)
    ]
    return [
        Question([prompt], 0, lambda fewer, *, without_attributes=False, asked=prompt: [asked]) for prompt in prompts
    ]


def cached_generator(folder: Path, engine: Slow) -> CachedGenerator:
    def start() -> Engine:
        engine.clock.now += 1000.0
        return engine  # type: ignore[return-value]

    return CachedGenerator(ResponseCache(folder, {"model": "slow"}), start, clock=engine.clock)


def shards(folder: Path) -> list[pl.DataFrame]:
    return [pl.read_parquet(path) for path in sorted((folder / "shards").glob("*.parquet"))]


@pytest.mark.parametrize(("pace", "most"), [(0.01, 1000), (0.4, 2), (5.0, 1), (29.0, 1), (300.0, 1)])
def test_what_is_not_kept_yet_is_half_a_minute_or_a_batch(tmp_path: Path, pace: float, most: int) -> None:
    engine = Slow(Clock(), pace)
    cached_generator(tmp_path, engine).ask(questions(40))
    kept = shards(tmp_path)
    assert sum(map(len, kept)) == 40
    assert all(len(shard) % BATCH == 0 for shard in kept)
    assert max(map(len, kept)) <= most * BATCH
    assert all(shard["seconds"].sum() <= max(30.0, pace) + 1e-3 for shard in kept)


def test_a_batch_that_takes_long_tells_what_is_done_and_how_fast(tmp_path: Path) -> None:
    engine = Telling(Clock(), 10.0)
    generator, told = cached_generator(tmp_path, engine), list[tuple[int, str]]()
    generator.show(lambda done, note="", total=None: told.append((done, note)), 8)
    generator.ask(questions(8))
    speeds = [(done, note) for done, note in told if note.endswith("tokens/s")]
    assert [note for _, note in told[:5]] == ["", "loading the model", "self-check", "", "4 tokens/s"]
    assert speeds[:4] == [(0, "4 tokens/s")] * 4
    engine.heard(1_000_000)  # nobody listens any more
    assert told[-1][0] == 8
    assert "000" not in told[-1][1]


def test_answers_are_kept_less_often_where_keeping_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shards_where_keeping_takes(seconds: float) -> int:
        engine, folder = Slow(Clock(), 1.0), tmp_path / str(seconds)
        generator = cached_generator(folder, engine)
        keep = generator.store.keep

        def slow(*rows: Any) -> Any:
            engine.clock.now += seconds
            return keep(*rows)

        monkeypatch.setattr(generator.store, "keep", slow)
        generator.ask(questions(200))
        return len(shards(folder))

    quick, late = shards_where_keeping_takes(0.0), shards_where_keeping_takes(0.1)
    assert late * 0.1 <= 0.005 * 100 + 0.1 < quick * 0.1


@pytest.mark.slow
def test_a_long_run_keeps_a_shard_at_least_every_half_minute(tmp_path: Path) -> None:
    cached_generator(tmp_path, Slow(Clock(), 7.0)).ask(questions(8000))
    assert max(shard["seconds"].sum() for shard in shards(tmp_path)) <= 30.0


@pytest.mark.parametrize("by", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("at", [0, 1, 7])
def test_a_run_that_was_stopped_goes_on_in_the_same_batches_at_the_same_cost(
    tmp_path: Path, at: int, by: type[BaseException]
) -> None:
    whole = Slow(Clock(), 0.1)
    cached_generator(tmp_path / "whole", whole).ask(questions(42))
    stopped = Slow(Clock(), 0.1, at=at, by=by)
    with pytest.raises(by):
        cached_generator(tmp_path / "parts", stopped).ask(questions(42))
    assert sum(map(len, shards(tmp_path / "parts"))) == at * BATCH  # nothing that was computed is lost
    resumed = Slow(Clock(), 0.1)
    cached_generator(tmp_path / "parts", resumed).ask(questions(42))
    assert stopped.seen + resumed.seen == whole.seen
    one, other = (pl.concat(shards(tmp_path / name)) for name in ("whole", "parts"))
    for column in ("prompt_tokens", "cached_tokens", "completion_tokens"):
        assert one[column].sum() == other[column].sum()
    assert one.sort("key")["seconds"].to_list() == pytest.approx(other.sort("key")["seconds"].to_list())
    assert one["seconds"].sum() == pytest.approx(0.1 * len(whole.seen))  # not the time to load, to tokenise and to cut


def test_answers_of_others_do_not_move_the_batches(tmp_path: Path) -> None:
    first = Slow(Clock(), 0.1)
    cached_generator(tmp_path, first).ask(questions(6))
    more = Slow(Clock(), 0.1)
    cached_generator(tmp_path, more).ask(questions(12))
    assert more.seen == [["p6", "p7"], ["p8", "p9", "p10", "p11"]]


def test_progress_counts_what_is_asked_and_never_more_than_there_is(tmp_path: Path) -> None:
    told: list[tuple[int, str, int | None]] = []
    engine = Slow(Clock(), 0.5)
    made = cached_generator(tmp_path, engine)
    made.show(lambda done, note="", total=None: told.append((done, note, total)), 16)
    for size in (8, 8):
        made.turn_to(size)
        made.ask(questions(size, alike=2))  # first prompts of a block
        made.ask(questions(3))  # and those of a later round
    assert told[0][::2] == (0, 16)
    assert told[-1][::2] == (22, 22)
    assert all(done <= (total or 0) for done, _, total in told)
    assert [total for _, _, total in told] == sorted(total or 0 for _, _, total in told)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][1] == "88 tokens/s"  # 11 for each of 4 prompts in half a second


def test_found_answers_say_nothing_about_speed(tmp_path: Path) -> None:
    cached_generator(tmp_path, Slow(Clock(), 0.5)).ask(questions(8))
    notes: list[str] = []
    made = cached_generator(tmp_path, Slow(Clock(), 0.5))
    made.show(lambda done, note="", total=None: notes.append(note), 8)
    made.ask(questions(8))
    assert notes[-1] == ""


def test_a_failure_to_keep_is_raised_and_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cached_generator(tmp_path, Slow(Clock(), 1.0))
    tries = []

    def full(*_: object) -> None:
        tries.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        made.ask(questions(8))
    assert len(tries) == 1


def test_two_runs_at_once_ask_each_question_once_and_share_the_answers(tmp_path: Path) -> None:
    """The second asks what the first has not claimed, and then waits for what it has."""
    others = Slow(Clock(), 1.0)
    second = cached_generator(tmp_path, others)
    pool = ThreadPoolExecutor(1)

    class First(Slow):
        def answer_batches(self, batches: Iterable[Sequence[Prompt]]) -> Iterator[Sequence[Response]]:
            for responses in super().answer_batches(batches):
                if len(self.seen) == 1:
                    self.later = pool.submit(second.ask, questions(16))
                    while len(others.seen) < 2:
                        assert not self.later.done(), self.later.exception()
                yield responses

    first = First(Clock(), 1.0)
    with pool:
        answers = cached_generator(tmp_path, first).ask(questions(8))
        shared = first.later.result(timeout=60)
    assert [len(engine.seen) for engine in (first, others)] == [2, 2]
    assert {number for batch in others.seen for number in batch} == {f"p{number}" for number in range(8, 16)}
    assert sorted(shared) == sorted(f"p{number}" for number in range(16))
    assert all(shared[name] == row for name, row in answers.items())
    assert sum(map(len, shards(tmp_path))) == 16
    assert list((tmp_path / "claims").iterdir()) == []


def test_the_claims_of_a_killed_run_bind_nobody(tmp_path: Path) -> None:
    store = ResponseCache(tmp_path, {"model": "slow"})
    (tmp_path / "claims").mkdir()
    for name in ("dead.keys", "dead.lock"):
        (tmp_path / "claims" / name).write_text("k1\nk2\n", "utf-8")
    with store.claimed(["k1", "k3"]) as claimed:
        assert claimed == {"k1", "k3"}
        with ResponseCache(tmp_path, {"model": "slow"}).claimed(["k3", "k4"]) as others:
            assert others == {"k4"}
    assert list((tmp_path / "claims").iterdir()) == []


def test_seconds_that_a_batch_may_pass_are_said_before_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    engine, budget = Slow(Clock(), 9.0), Budget(seconds=5.0)
    store = ResponseCache(tmp_path, {"model": "slow"})
    asking = CachedGenerator(
        store,
        lambda: engine,  # type: ignore[arg-type,return-value]
        clock=engine.clock,
        spend=lambda rows: budget.spend(rows, {}),
        begin=budget.begin,
    )
    with pytest.raises(BudgetError, match=r"after 9\.0 s of answering, of which --max-seconds allows 5"):
        asking.ask(questions(3 * BATCH))
    said = f"--max-seconds 5: a batch that has started is finished, here up to {BATCH} prompts"
    assert [record.message for record in caplog.records].count(said) == 1
    assert sum(map(len, shards(tmp_path))) == BATCH
