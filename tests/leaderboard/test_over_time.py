"""Curves over time: points of windows, slopes and their tests, differences of slopes, crossings, releases."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from board_cases import entry
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard import BoardPlan, EvaluatedRun
from llmrs_bench.leaderboard.build_over_time import Axis, build_over_time
from llmrs_bench.leaderboard.curves import Curves, Slope
from llmrs_bench.leaderboard.matrix import score_matrix
from llmrs_bench.report.curves import curves_markdown, curves_value
from llmrs_bench.stats import slope_tests, slopes

USERS, WINDOWS = 60, 3
REQUESTS = [f"r{user:02d}-{window}" for user in range(USERS) for window in range(WINDOWS)]
TIMES = np.tile(np.arange(1.0, WINDOWS + 1), USERS)
OWNERS = {name: name.split("-")[0] for name in REQUESTS}
DAY = 86_400


def values(start: float, change: float, seed: int = 0) -> Any:
    """Return a value of each request: users differ, and all change alike from window to window."""
    generator = np.random.default_rng(seed)
    noise = np.repeat(generator.normal(0, 0.05, USERS), WINDOWS) + generator.normal(0, 0.05, len(REQUESTS))
    return start + change * (TIMES - 1) + noise - noise.mean()


def row(run: str, start: float, change: float, *, seed: int = 0, **more: Any) -> EvaluatedRun:
    return entry(run, values(start, change, seed), requests=REQUESTS, **more)


def drawn(
    entries: Sequence[EvaluatedRun], *, owners: Any = OWNERS, windows: Any = TIMES, over: str = "time", **plan: Any
) -> Curves:
    matrix = score_matrix(entries, ["ndcg@10"], owners)
    number = dict(zip(REQUESTS, windows, strict=True))
    frame = pl.DataFrame(
        {
            "request_id": list(matrix.requests),
            "number": [int(number[name]) for name in matrix.requests],
            "cutoff": [int(DAY * 30 * number[name]) for name in matrix.requests],
        }
    )
    options = {"samples": 400, "permutations": 2000, "users": owners} | plan
    made = BoardPlan(("ndcg@10",), **options)
    words: dict[str, Any] = {"title": "made up", "protocol": ["p"], "shown": ("ndcg@10",), "notes": []}
    return build_over_time(entries, matrix, Axis(over, frame), made, **words)


def slope(made: Curves, curve: str, other: str = "") -> Slope:
    [found] = [each for each in (*made.slopes, *made.contrasts) if (each.curve, each.other) == (curve, other)]
    return found


def test_a_point_is_the_mean_of_the_requests_of_its_window() -> None:
    made = drawn([row("a", 0.3, 0.1), row("b", 0.5, 0.0, seed=1)])
    own = values(0.3, 0.1)
    [curve] = [each for each in made.curves if each.label == "a"]
    assert [point.x for point in curve.points] == [1, 2, 3]
    for point in curve.points:
        inside = own[point.x == TIMES]
        assert point.cell.mean == pytest.approx(inside.mean())
        assert point.users == USERS
        assert point.cell.low is not None
        assert point.cell.high is not None
        assert point.cell.low < point.cell.mean < point.cell.high
        assert point.p is None  # points have other requests
    assert made.of_requests
    assert "window 2: 1970-03-02, 60 users" in made.protocol


def test_a_planted_drift_is_found_and_a_level_row_has_none() -> None:
    made = drawn([row("falls", 0.6, -0.04), row("stays", 0.5, 0.0, seed=3)])
    falls, stays = slope(made, "falls"), slope(made, "stays")
    fitted = np.polyfit(TIMES, values(0.6, -0.04), 1)[0]
    assert falls.slope == pytest.approx(fitted)
    assert falls.low is not None
    assert falls.high is not None
    assert falls.low < fitted < falls.high < 0
    assert falls.corrected < 0.01
    assert stays.corrected > 0.05
    between = slope(made, "falls", "stays")
    assert between.slope == pytest.approx(falls.slope - stays.slope)
    assert between.corrected < 0.01
    assert falls.users == USERS


def test_rows_that_change_alike_differ_in_no_slope() -> None:
    made = drawn([row("a", 0.6, -0.05), row("b", 0.4, -0.05, seed=7)])
    assert slope(made, "a").p < 0.01
    assert slope(made, "a", "b").p > 0.05


@pytest.mark.parametrize("several", [True, False])
def test_on_permuted_times_a_slope_is_significant_in_a_twentieth(several: bool) -> None:
    """400 permutations: three standard errors about 5 % are 1.7 % to 8.3 %; `benchmarks/drift.py` has many more."""
    rows, found = values(0.6, -0.1)[None], []
    clusters = np.repeat(np.arange(USERS), WINDOWS) if several else None
    generator = np.random.default_rng(0)
    for seed in range(400):
        times = generator.permutation(TIMES)
        found.append(slope_tests(rows, times, samples=199, seed=seed, clusters=clusters)[0] <= 0.05)
    assert 0.017 <= np.mean(found) <= 0.083


def test_a_user_is_drawn_and_flipped_as_a_whole() -> None:
    """Of one user there is no interval and no test; copies of requests of a user make no slope surer."""
    one = slopes(values(0.5, 0.1)[None], TIMES, samples=100, seed=0, clusters=np.zeros(len(REQUESTS), dtype=np.intp))
    assert one[0, 0] == pytest.approx(np.polyfit(TIMES, values(0.5, 0.1), 1)[0])
    assert np.isnan(one[0, 1:]).all()
    two = np.stack([values(0.5, 0.1), np.where(np.arange(len(REQUESTS)) < WINDOWS, values(0.5, 0.1), np.nan)])
    found = slopes(two, TIMES, samples=100, seed=0, clusters=np.repeat(np.arange(USERS), WINDOWS))
    assert np.isnan(found).tolist() == [[False] * 3, [False, True, True]]  # the other row knows one user
    single = np.array([0.1, 0.2, 0.9, 0.4, 0.3, 0.8])
    times = np.array([1.0, 1, 3, 2, 1, 3])
    copied, owners = np.repeat(single, 5), np.repeat(np.arange(6), 5)
    for function in (slopes, slope_tests):
        plain = function(single[None], times, samples=300, seed=4)
        many = function(copied[None], np.repeat(times, 5), clusters=owners, samples=300, seed=4)
        assert many == pytest.approx(plain)


def test_rows_cross_where_the_lines_between_their_points_do() -> None:
    flat = entry("smol", np.full(len(REQUESTS), 0.5), requests=REQUESTS, kind="language model")
    made = drawn([row("sasrec", 0.3, 0.15), flat])
    [found] = made.crossings
    means = [float(values(0.3, 0.15)[window == TIMES].mean()) for window in (1, 2, 3)]
    assert (found.curve, found.other) == ("sasrec", "smol")
    assert found.at == pytest.approx(2 + (0.5 - means[1]) / (means[2] - means[1]))
    assert 2 < found.low <= found.at <= found.high < 3
    [turned] = drawn([row("sasrec", 0.7, -0.15), flat]).crossings
    assert (turned.curve, turned.other) == ("smol", "sasrec")
    assert 2 < turned.at < 3


def test_chance_and_bounds_are_drawn_and_have_no_slope() -> None:
    chance = entry("chance", np.full(len(REQUESTS), 0.2), requests=REQUESTS, kind="baseline", exact=True)
    bound = entry("oracle", values(0.9, 0.0, 5), requests=REQUESTS, kind="oracle")
    made = drawn([row("a", 0.6, -0.04), chance, bound])
    assert {each.label for each in made.curves} == {"a", "chance", "oracle"}
    assert [each.curve for each in made.slopes] == ["a"]
    assert made.contrasts == ()


def test_seeds_are_one_curve_with_a_spread() -> None:
    seeds = [row(f"a-{seed}", 0.5, 0.0, seed=seed, model="a", group="a") for seed in (1, 2)]
    made = drawn(seeds)
    assert [each.label for each in made.curves] == ["a (2 seeds)"]
    assert all(point.cell.spread is not None for point in made.curves[0].points)


@pytest.mark.parametrize(("over", "least"), [("time", 1.0), ("cold-users", 0.0)])
def test_a_crossing_knows_where_its_number_begins(over: str, least: float) -> None:
    flat = row("lm", 0.5, 0.0, seed=1, kind="language model")
    made = drawn([row("itemknn", 0.3, 0.15), flat], over=over)
    assert [each.least for each in made.crossings] == [least]


def test_a_day_of_release_says_which_windows_are_later() -> None:
    known = {"requests": 1, "seconds": 1.0, "released": "1970-02-15", "cutoff": "1970-01"}
    late = {"requests": 1, "seconds": 1.0, "released": "2024-10-31"}
    made = drawn(
        [
            row("old", 0.5, 0.0, kind="language model", about=known),
            row("new", 0.5, 0.0, seed=1, kind="language model", about=late),
        ]
    )
    assert made.notes == (
        "old was released on 1970-02-15, with data until 1970-01: windows from 2 on begin after that",
        "new was released on 2024-10-31: no window begins after that",
        "†: requests after the release of the model, which it cannot have seen in training",
    )
    old, new = made.curves
    assert (old.released, old.cutoff, [point.unseen for point in old.points]) == (
        "1970-02-15", "1970-01", [point.x >= 2 for point in old.points],
    )  # fmt: skip
    assert (new.released, new.cutoff, [point.unseen for point in new.points]) == (
        "2024-10-31", "", [False for _ in new.points],
    )  # fmt: skip
    values = [each for each in curves_value(made)["curves"] if each["curve"] == "old"]
    assert (values[0]["released"], values[0]["cutoff"]) == ("1970-02-15", "1970-01")
    assert [point["unseen"] for point in values[0]["points"]] == [point["x"] >= 2 for point in values[0]["points"]]
    assert "2 †" in curves_markdown(made)


def test_a_board_without_later_requests_does_not_explain_a_mark() -> None:
    late = {"requests": 1, "seconds": 1.0, "released": "2024-10-31"}
    made = drawn([row("new", 0.5, 0.0, kind="language model", about=late)])
    assert made.notes == ("new was released on 2024-10-31: no window begins after that",)
    assert "unseen" not in curves_value(drawn([row("a", 0.5, 0.0)]))["curves"][0]["points"][0]


def test_one_window_is_no_time() -> None:
    with pytest.raises(OptionError, match="all requests are of one time"):
        drawn([row("a", 0.5, 0.0)], windows=np.ones(len(REQUESTS)))


def test_over_known_events_rows_cross_in_the_logarithm_and_have_no_slope() -> None:
    flat = entry("smol", np.full(len(REQUESTS), 0.5), requests=REQUESTS, kind="language model")
    made = drawn([row("itemknn", 0.3, 0.15), flat], windows=10.0 ** (TIMES - 2) * 10, over="cold-users")  # 1, 10, 100
    [curve] = [each for each in made.curves if each.label == "itemknn"]
    assert [point.x for point in curve.points] == [1, 10, 100]
    assert (made.over, made.logarithmic, made.of_requests) == ("known_events", True, True)
    assert not made.slopes
    assert not made.contrasts
    assert not made.notes
    means = [float(values(0.3, 0.15)[window == TIMES].mean()) for window in (1, 2, 3)]
    [found] = made.crossings
    assert found.at == pytest.approx(10 ** (1 + (0.5 - means[1]) / (means[2] - means[1])))
    with pytest.raises(OptionError, match="--over cold-users: all requests show the same number"):
        drawn([flat], windows=np.ones(len(REQUESTS)), over="cold-users")
