"""The profile in a terminal: words within 80 columns, and a picture."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from llmrs_bench.data.demo import Demo
from llmrs_bench.data.profile import Example, Profile, Ratings, Spread, profile
from llmrs_bench.report.profile import WIDTH, profile_lines, profile_rows


@pytest.fixture(scope="module")
def demo() -> Profile:
    return profile(Demo().load(None))


def lines(found: Profile, *, blocks: bool = True, **other: Any) -> list[str]:
    return profile_lines("demo, read as demo", asdict(found), **{"rules": (), "warnings": (), **other}, blocks=blocks)


def rows(found: Profile, **other: Any) -> dict[str, str]:
    return dict(profile_rows(asdict(replace(found, **other))))


def test_lines_fit_80_columns_whatever_is_in_them(demo: Profile) -> None:
    long = Example("u" * 500, "i" * 500, "t" * 500, "1970-01-01 00:00:00", 1.0)
    huge = replace(demo, events=10**12, users=10**9, examples=(long,))
    found = lines(huge, rules=("rule " * 60,), warnings=("w" * 300,))
    assert max(map(len, found)) <= WIDTH
    assert "u" * 58 not in "".join(found)


def test_bars_are_in_proportion_and_nothing_that_is_there_is_invisible(demo: Profile) -> None:
    spread = Spread(2, 2, 3, 4, 9, 3.0, (0, 800, 400, 1))
    found = lines(replace(demo, per_user=spread, per_item=None, times=None))
    [two, four, eight] = [line for line in found if line.startswith(("2-3", " 4-7", "8-15", " 2-3"))]
    assert (two.count("█"), four.count("█")) == (69, 34)  # and a half
    assert eight.endswith("▏")
    assert not any(line.lstrip().startswith("1  ") for line in found)  # nothing begins with an empty bin


def test_a_terminal_without_blocks_gets_plain_signs(demo: Profile) -> None:
    assert "".join(lines(demo, blocks=False)).isascii()
    assert "█" in "".join(lines(demo))


def test_the_tallest_span_of_time_reaches_the_top(demo: Profile) -> None:
    assert demo.times is not None
    once = replace(demo, times=replace(demo.times, bins=(1, 0, 8, 4)), per_user=None, per_item=None)
    found = lines(once)
    at = found.index("events over time")
    assert found[at + 1 : at + 5] == ["  █", "  █", "  ██", "▄ ██"]


def test_what_a_terminal_would_obey_is_not_printed(demo: Profile) -> None:
    found = lines(replace(demo, examples=(Example("u\x1b[31m", "i\n", "t\r", None, None),)))
    assert all(line.isprintable() for line in found)


def test_sparsity_has_the_digits_that_tell_it_from_100_percent(demo: Profile) -> None:
    assert rows(demo, sparsity=0.9)["sparsity"].startswith("90.00 %")
    assert rows(demo, sparsity=1 - 6.4e-7)["sparsity"].startswith("99.999936 %")


def test_a_wrong_import_is_seen(demo: Profile) -> None:
    """Ratings that are times, times that are ratings, and repeats, stand in the rows."""
    assert rows(demo)["repeats"] == rows(demo)["ties"] == rows(demo)["labels"] == "none"
    assert rows(demo, repeats=100, copies=7)["repeats"].startswith("100 (0.3 %) of events")
    assert "7 are copies" in rows(demo, repeats=100, copies=7)["repeats"]
    assert rows(demo, tied_users=990)["ties"].startswith("990 (99.0 %) of users")
    assert rows(demo, times=None)["times"] == "none: the order of the source counts"
    assert "32,786 different ones" in rows(demo, ratings=Ratings(32_789, 32_786, 9e8, 1e9, ()))["ratings"]
