"""Intervals and tests are as sure as they say: calibrated on simulated users, within sampling error."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from llmrs_bench import stats
from llmrs_bench.core.cores import in_parts
from llmrs_bench.stats import (
    CORRECTIONS,
    all_pairs,
    benjamini_hochberg,
    bootstrap_interval,
    describe,
    difference_intervals,
    holm,
    mean_interval,
    share_interval,
    sign_flip,
    users_needed,
)

Rows = NDArray[np.float64]


def ndcg(generator: np.random.Generator, rows: int, users: int, candidates: int = 20) -> Rows:
    """Return NDCG@10 of random orders, (rows, users)."""
    ranks = generator.integers(1, candidates + 1, (rows, users))
    return np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)


def four_errors(rate: float, trials: int) -> float:
    """Return four standard errors of a share."""
    return float(4 * (rate * (1 - rate) / trials) ** 0.5)


def test_interval_covers_the_true_mean() -> None:
    generator = np.random.default_rng(0)
    draws = (generator.random((400, 300)) < 0.3).astype(np.float64)
    # Every row is a sample of its own, so resampling them together changes nothing.
    ends = bootstrap_interval(draws, samples=500, seed=1)
    covered = ((ends[:, 0] <= 0.3) & (ends[:, 1] >= 0.3)).mean()
    assert covered == pytest.approx(0.95, abs=four_errors(0.95, 400))


def test_constant_values_have_no_width_and_seeds_repeat() -> None:
    values = np.vstack([np.full(50, 0.25), np.arange(50) / 50])
    ends = bootstrap_interval(values, samples=200, seed=3)
    assert ends[0] == pytest.approx([0.25, 0.25])
    assert ends[1, 0] < values[1].mean() < ends[1, 1]
    assert np.array_equal(ends, bootstrap_interval(values, samples=200, seed=3))


def test_rows_share_their_resamples() -> None:
    values = np.random.default_rng(2).random((1, 80))
    ends = bootstrap_interval(np.vstack([values, values]), samples=200, seed=0)
    assert np.array_equal(ends[0], ends[1])


def test_users_without_a_value_are_no_part_of_a_rows_interval() -> None:
    values = np.random.default_rng(4).random((2, 300))
    values[1, 100:] = np.nan
    ends = bootstrap_interval(values, samples=800, seed=0)
    assert ends[1, 0] < values[1, :100].mean() < ends[1, 1]
    alone = bootstrap_interval(values[1:, :100], samples=800, seed=0)[0]
    assert ends[1] == pytest.approx(alone, abs=0.01)
    values[1] = np.nan
    assert np.isnan(bootstrap_interval(values, samples=100, seed=0)[1]).all()


@pytest.mark.parametrize("interval", [bootstrap_interval, mean_interval])
def test_one_user_has_no_interval(interval: Callable[..., Rows]) -> None:
    """Each resample of a single user is that user: percentiles of it would be certain of the value."""
    assert np.isnan(interval(np.array([[0.43], [1.0], [0.0]]), samples=100, seed=0)).all()
    apart = np.array([[0.2, np.nan, np.nan], [0.1, 0.2, 0.3]])
    found = interval(apart, samples=100, seed=0)
    assert np.isnan(found).tolist() == [[True, True], [False, False]]
    windows = np.array([[0.2, 0.9, 0.4, np.nan], [0.2, 0.9, 0.4, 0.1]])
    found = interval(windows, samples=100, seed=0, clusters=np.array([0, 0, 0, 1]))
    assert np.isnan(found).tolist() == [[True, True], [False, False]]


def test_a_permutation_test_is_wrong_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    rows = ndcg(generator, 1600, 60)
    pairs = np.arange(1600).reshape(800, 2)  # disjoint: 800 experiments in which nothing differs
    p = sign_flip(rows[None], pairs, samples=999, seed=6)[0]
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() == pytest.approx(level, abs=four_errors(level, 800))


def test_a_planted_effect_is_found_with_the_power_that_was_asked_for() -> None:
    generator = np.random.default_rng(7)
    needed = users_needed(0.25)
    assert needed == 126  # (1.95996 + 0.84162)^2 / 0.0625
    planted = generator.normal(0.25, 1.0, (400, needed))
    rows = np.stack([planted, np.zeros_like(planted)], axis=1).reshape(800, needed)
    p = sign_flip(rows[None], np.arange(800).reshape(400, 2), samples=999, seed=8)[0]
    assert (p <= 0.05).mean() == pytest.approx(0.8, abs=four_errors(0.8, 400))


def test_a_share_has_the_interval_of_wilson_and_a_mean_that_of_the_bootstrap() -> None:
    shares = np.zeros((3, 50))
    shares[1, :5], shares[2, :5] = 1.0, 0.5
    found = mean_interval(shares, samples=200, seed=0)
    # 0 and 5 of 50, as scipy's binomtest(k, n).proportion_ci(method="wilson") has them.
    assert found[0] == pytest.approx((0.0, 0.07134760), abs=1e-8)
    assert found[1] == pytest.approx((0.04347576, 0.21360231), abs=1e-8)
    assert np.array_equal(found[2], bootstrap_interval(shares, samples=200, seed=0)[2])
    some = shares[1:2].copy()
    some[0, 25:] = np.nan
    assert mean_interval(some, samples=200, seed=0)[0] == pytest.approx((0.08860585, 0.39130950), abs=1e-8)
    assert np.array_equal(mean_interval(shares, samples=200, seed=0, clusters=np.arange(50)), found)
    owners = np.arange(50) // 2
    clustered = mean_interval(shares, samples=200, seed=0, clusters=owners)
    assert np.array_equal(clustered, bootstrap_interval(shares, samples=200, seed=0, clusters=owners))


def test_rows_that_are_shares_draw_no_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = np.array([[0.0, 1.0, 1.0, 0.0], [np.nan, 1.0, np.nan, np.nan]])
    found = mean_interval(shares, samples=200, seed=0)
    monkeypatch.setattr("llmrs_bench.stats.resamples", lambda *asked: pytest.fail(f"drew {asked}"))
    assert mean_interval(shares, samples=200, seed=0) == pytest.approx(found, abs=0.0, nan_ok=True)
    assert np.isnan(found).any(1).tolist() == [False, True]
    assert tuple(found[0]) == share_interval(shares[0])


def test_the_interval_of_a_small_share_covers_it() -> None:
    values = (np.random.default_rng(0).random((4000, 50)) < 0.05).astype(np.float64)
    ends = mean_interval(values, samples=100, seed=0)
    assert 0.955 < ((ends[:, 0] <= 0.05) & (ends[:, 1] >= 0.05)).mean() < 0.97


@pytest.mark.slow
@pytest.mark.parametrize("correction", ["holm", "bh"])
def test_twenty_copies_of_chance_differ_on_one_board_in_twenty_at_most(correction: str) -> None:
    generator, pairs, boards = np.random.default_rng(9), all_pairs(20), 60
    found = [
        CORRECTIONS[correction](sign_flip(ndcg(generator, 20, 100)[None], pairs, samples=7600, seed=board)).min() < 0.05
        for board in range(boards)
    ]
    assert np.mean(found) <= 0.05 + four_errors(0.05, boards) / 2


def test_the_p_value_of_few_users_is_that_of_all_sign_vectors() -> None:
    values = np.array([[3.0, 1.0, 4.0, 1.0, 5.0], [2.0, 1.5, 1.0, 0.0, 2.0]])
    d = values[0] - values[1]
    signs = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, -1)
    exact = (np.abs(d @ signs) >= abs(d.sum())).mean()
    p = sign_flip(values[None], np.array([[0, 1], [1, 0]]), samples=20_000, seed=1)[0]
    assert p == pytest.approx([exact] * 2, abs=four_errors(float(exact), 20_000))
    assert np.array_equal(p, sign_flip(values[None], np.array([[0, 1], [1, 0]]), samples=20_000, seed=1)[0])


@pytest.mark.parametrize("level", [0.0, 2000.0])
def test_rows_that_differ_for_few_of_many_users_have_the_p_value_of_those_few(level: float) -> None:
    """Sums of thousands of values are rounded by more than what such rows differ by."""
    same = ndcg(np.random.default_rng(6), 1, 6000)[0] + level
    other = same.copy()
    other[99::1200] += 0.1  # of 32 sign vectors two take all five to one side
    p = sign_flip(np.stack([same, other, same[::-1]])[None], np.array([[0, 1], [1, 0]]), samples=4000, seed=1)[0]
    assert p == pytest.approx([2 / 32] * 2, abs=four_errors(2 / 32, 4000))


def test_tests_and_intervals_on_all_cores_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.round(np.random.default_rng(4).random((2, 5, 90)), 2)
    alone = sign_flip(values, all_pairs(5), samples=3333, seed=2)
    ends = difference_intervals(values, all_pairs(5), samples=500, seed=2)
    monkeypatch.setattr(stats, "_LARGE", 0)
    assert np.array_equal(sign_flip(values, all_pairs(5), samples=3333, seed=2), alone)
    assert np.array_equal(difference_intervals(values, all_pairs(5), samples=500, seed=2), ends)
    powers = [(2, power) for power in range(50)]
    assert [list(in_parts(pow, powers, large=large)) for large in (True, False)] == [[2**n for n in range(50)]] * 2


def test_products_have_one_thread_while_parts_are_computed() -> None:
    def threads() -> set[int]:
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    before = threads()
    assert list(in_parts(threads, [()], large=False)) == [{1}]
    assert threads() == before


def test_identical_rows_and_single_users_have_a_p_of_one() -> None:
    same = np.tile(np.random.default_rng(1).random(70), (2, 1))
    assert sign_flip(same[None], all_pairs(2), samples=500, seed=0) == pytest.approx(np.ones((1, 1)))
    better = np.stack([same[0] + 1.0, same[0]])
    assert sign_flip(better[None], all_pairs(2), samples=499, seed=0).item() == 1 / 500  # no p is 0
    one = np.array([[1.0], [0.0]])
    assert sign_flip(one[None], all_pairs(2), samples=500, seed=0) == pytest.approx(np.ones((1, 1)))
    summary = describe(same[0], same[1])
    assert (summary.difference, summary.effect, summary.needed) == (0.0, 0.0, None)
    assert (summary.wins, summary.ties, summary.losses) == (0, 70, 0)
    assert describe(one[0], one[1]).effect is None


def test_pairs_are_tested_on_the_users_both_rows_have() -> None:
    generator = np.random.default_rng(3)
    values = generator.random((3, 200))
    values[1, :50] = np.nan
    values[2, 150:] = np.nan
    blocks = np.stack([values, generator.random((3, 200))])
    together = sign_flip(blocks, all_pairs(3), samples=4000, seed=0)
    for place, (i, j) in enumerate(all_pairs(3).tolist()):
        common = ~np.isnan(values[i] + values[j])
        alone = sign_flip(values[None][:, [i, j]][:, :, common], all_pairs(2), samples=4000, seed=1)
        assert together[0, place] == pytest.approx(alone[0, 0], abs=0.04)
    assert describe(values[1], values[2]).users == 100


def test_corrections_are_those_of_the_papers() -> None:
    p = np.array([[0.01, 0.04], [0.03, 0.005]])
    assert holm(p) == pytest.approx(np.array([[0.03, 0.06], [0.06, 0.02]]))
    assert benjamini_hochberg(p) == pytest.approx(np.array([[0.02, 0.04], [0.04, 0.02]]))
    assert holm(np.array([0.9, 0.8])).max() == 1.0
    assert np.array_equal(CORRECTIONS["none"](p), p)


def test_effect_sizes_by_hand() -> None:
    found = describe(np.array([1.0, 2.0, 3.0, np.nan]), np.array([0.0, 2.0, 4.0, 1.0]))
    assert (found.users, found.wins, found.ties, found.losses) == (3, 1, 1, 1)
    found = describe(np.array([2.0, 3.0, 4.0]), np.array([1.0, 1.0, 1.0]))
    assert found.effect == pytest.approx(2.0)  # differences 1, 2, 3: mean 2, deviation 1
    assert found.needed == 2


def several(generator: np.random.Generator, rows: int, users: int) -> tuple[Rows, NDArray[np.intp]]:
    """Return values (rows, requests) of users who have 1 to 9 requests, alike in each row, and whose they are."""
    owners = np.repeat(np.arange(users), generator.integers(1, 10, users))
    own = generator.normal(size=(rows, users))[:, owners]
    return own + 0.3 * generator.normal(size=(rows, len(owners))), owners.astype(np.intp)


def test_requests_of_one_user_are_drawn_together() -> None:
    generator = np.random.default_rng(5)
    covered: list[bool] = []
    alone: list[bool] = []
    for _ in range(40):
        values, owners = several(generator, 10, 60)
        for found, clusters in ((covered, owners), (alone, None)):
            ends = bootstrap_interval(values, samples=200, seed=1, clusters=clusters)
            found += list((ends[:, 0] <= 0) & (ends[:, 1] >= 0))
    assert np.mean(covered) == pytest.approx(0.94, abs=four_errors(0.94, 400))
    assert np.mean(alone) < 0.75  # what is lost when they count as independent


def test_signs_of_one_user_are_flipped_together() -> None:
    generator = np.random.default_rng(6)
    flipped: list[bool] = []
    alone: list[bool] = []
    for _ in range(40):
        values, owners = several(generator, 10, 60)
        pairs = np.arange(10).reshape(-1, 2)
        for found, clusters in ((flipped, owners), (alone, None)):
            found += list(sign_flip(values[None], pairs, samples=400, seed=1, clusters=clusters)[0] < 0.05)
    assert np.mean(flipped) == pytest.approx(0.05, abs=four_errors(0.05, 200))
    assert np.mean(alone) > 0.25


def test_one_request_a_user_in_any_order_is_as_without_clusters() -> None:
    values = np.random.default_rng(7).random((3, 50))
    values[2, 10:20] = np.nan
    single, pairs = np.arange(50, dtype=np.intp), all_pairs(3)
    assert bootstrap_interval(values, samples=100, seed=0, clusters=single) == pytest.approx(
        bootstrap_interval(values, samples=100, seed=0)
    )
    assert np.array_equal(
        sign_flip(values[None], pairs, samples=100, seed=0, clusters=single),
        sign_flip(values[None], pairs, samples=100, seed=0),
    )
    assert describe(values[0], values[2], single) == describe(values[0], values[2])


def test_a_difference_is_that_of_all_requests_and_wins_are_of_users() -> None:
    first, second = np.array([1.0, 1.0, 0.0, np.nan]), np.array([0.0, 0.0, 1.0, 1.0])
    found = describe(first, second, np.array([4, 4, 7, 9], dtype=np.intp))
    assert found.users == 2
    assert found.difference == pytest.approx((1 + 1 - 1) / 3)
    assert (found.wins, found.ties, found.losses) == (1, 0, 1)


def test_intervals_of_differences_are_those_of_the_differences() -> None:
    generator = np.random.default_rng(3)
    values = generator.normal(0, 1, (2, 3, 40))
    gaps = values.copy()
    gaps[0, 0, :10] = gaps[0, 1, 5:15] = gaps[1, 2, 1:] = np.nan
    users = np.repeat(np.arange(20), 2)
    pairs = all_pairs(3)
    for given, clusters in ((values, None), (gaps, None), (values, users), (gaps, users)):
        found = difference_intervals(given, pairs, samples=200, seed=1, clusters=clusters)
        for block, own in zip(given, found, strict=True):
            for (i, j), ends in zip(pairs, own, strict=True):
                drawn = block[i] - block[j]
                alone = bootstrap_interval(drawn[None], samples=200, seed=1, clusters=clusters)[0]
                single = (~np.isnan(drawn)).sum() == 1
                assert ends == pytest.approx([np.nan] * 2 if single else alone, nan_ok=True)
