"""Progress where no terminal is: when a line is due, what it says, and that it is JSON where that is asked for."""

import logging
import sys
from collections.abc import Iterator
from io import StringIO
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console

from llmrs_bench.cli import logs
from llmrs_bench.cli.logs import logged
from llmrs_bench.cli.progress import EVERY, FIRST_AFTER, Lines, bar, lines
from llmrs_bench.core.errors import DataError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def done(self) -> list[int]:
        return [record.fields["done"] for record in self.records]


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    with logged(as_json=False):
        logging.getLogger("llmrs_bench").addHandler(handler)
        yield handler
        logging.getLogger("llmrs_bench").removeHandler(handler)


def test_a_fast_job_is_not_noise_and_a_slow_one_is_never_silent(kept: Kept) -> None:
    clock = Clock()
    shown = Lines("asking", 1000, clock=clock)
    for done in range(1, 1001):  # 100 units a second
        clock.now += 0.01
        shown.step(done)
    shown.close()
    assert len(kept.records) == 2  # after 3 s, and the last
    kept.records.clear()
    slow = Lines("asking", 50, clock=clock)
    said = []
    slow.step(1)
    started = clock.now
    for second in range(1, 601):  # nothing more for ten minutes
        clock.now = started + second
        before = len(kept.records)
        slow.tick()
        if len(kept.records) > before:
            said.append(second)
    assert said[0] == FIRST_AFTER <= 5
    assert {later - earlier for earlier, later in pairwise(said)} == {EVERY}


def test_a_unit_that_ends_between_two_looks_at_the_clock_writes_the_line_that_is_due(kept: Kept) -> None:
    clock = Clock()
    shown = Lines("asking", 50, clock=clock)
    shown.step(1)
    clock.now += FIRST_AFTER
    shown.step(2)
    clock.now += EVERY - 1
    shown.step(3)
    assert kept.done == [2]
    clock.now += 1
    shown.step(4)
    assert kept.done == [2, 4]


def test_the_last_line_says_where_a_job_ended_once(kept: Kept) -> None:
    clock = Clock()
    shown = Lines("asking", 50, clock=clock)
    shown.step(20, "1,200 tokens/s")
    clock.now += 2
    shown.step(50, "1,300 tokens/s")
    shown.close()
    shown.close()
    (record,) = kept.records
    assert record.getMessage() == "asking: 50 of 50 1,300 tokens/s, 15/s"
    assert record.fields["per_second"] == 15
    assert record.fields["seconds_left"] is None


def test_a_job_that_fails_says_how_far_it_came(kept: Kept) -> None:
    def job() -> None:
        with lines("asking", 50) as step:
            step(7)
            raise DataError("gone")

    with pytest.raises(DataError):
        job()
    assert kept.done == [7]


def test_a_job_that_does_nothing_says_nothing(kept: Kept) -> None:
    with lines("asking", 0):
        pass
    assert kept.records == []


def test_done_is_never_more_than_the_total(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    with lines("asking", 50) as step:
        step(55)
    assert kept.records[0].fields["total"] == 55
    assert "55 of 55" in capsys.readouterr().err
    with bar("asking", 50) as step:
        step(55)
    assert "55/50" not in capsys.readouterr().err


def test_what_was_done_by_an_earlier_run_says_nothing_about_speed(kept: Kept) -> None:
    clock = Clock()
    shown = Lines("asking", 1000, clock=clock)
    shown.step(900)
    clock.now += 10
    shown.step(910)
    assert kept.records[0].fields["per_second"] == 1
    assert kept.records[0].fields["seconds_left"] == 90


def test_loading_a_model_says_nothing_about_speed(kept: Kept) -> None:
    clock = Clock()
    shown = Lines("asking", 1000, clock=clock)
    shown.step(0)
    clock.now += 300
    shown.step(64)
    clock.now += EVERY
    shown.step(128)
    assert kept.records[-1].fields["per_second"] == 64 / EVERY


def test_a_job_that_ends_with_its_first_units_is_as_fast_as_they_were(kept: Kept) -> None:
    clock = Clock()
    shown = Lines("asking", 50, clock=clock)
    shown.step(0)
    clock.now += 300  # a model is loaded
    shown.step(0)
    clock.now += EVERY
    shown.step(50)
    assert kept.records[-1].fields["per_second"] == 50 / EVERY


def test_what_is_told_of_the_first_units_before_they_are_done_starts_no_clock_anew(kept: Kept) -> None:
    clock = Clock()
    shown = Lines("asking", 12, clock=clock)
    for note, seconds in (
        ("", 0),
        ("loading the model", 30),
        ("", 0),
        ("200 tokens/s", EVERY),
        ("210 tokens/s", EVERY),
    ):
        shown.step(0, note)
        clock.now += seconds
    shown.step(12, "220 tokens/s")
    assert [record.fields["note"] for record in kept.records] == ["", "210 tokens/s", "220 tokens/s"]
    assert kept.records[-1].fields["per_second"] == 12 / (2 * EVERY)


def test_a_job_that_tells_nothing_for_long_is_seen_to_go_on(kept: Kept) -> None:
    clock = Clock()
    shown = Lines("tuning", 4, clock=clock)
    for _ in range(3):
        clock.now += EVERY
        shown.tick()
    assert [record.getMessage() for record in kept.records] == ["tuning: 0 of 4"] * 3


def test_a_last_unit_that_is_told_again_is_written_once(kept: Kept) -> None:
    clock = Clock()
    shown = Lines("asking", 3, clock=clock)
    shown.step(0)
    clock.now += EVERY
    shown.step(3, "9 tokens/s", 3)
    clock.now += 1
    shown.step(3, "9 tokens/s", 3)
    shown.close()
    assert kept.done == [3]


def test_a_bar_on_a_terminal_prints_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.stdout
    monkeypatch.setattr(logs, "_terminal", Console(file=StringIO(), force_terminal=True))
    with bar("asking", 1) as step:
        step(1)
        assert sys.stdout is before
    assert "asking" in logs.terminal().file.getvalue()  # type: ignore[attr-defined]
