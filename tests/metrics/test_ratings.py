"""Metrics of ratings: against definitions by hand, and simulated users."""

import numpy as np
import pytest
from numpy.typing import NDArray

from llmrs_bench.core.errors import OptionError
from llmrs_bench.metrics.labelled import user_intervals, value
from llmrs_bench.metrics.ratings import RATING_METRICS, LinearMap, RatingRows, fit_line
from llmrs_bench.stats import sign_flip

Numbers = NDArray[np.float64]
SCALE = (1.0, 5.0)


def rows(users: list[int], labels: list[float], predicted: list[float]) -> RatingRows:
    found = np.array(predicted, dtype=np.float64)
    return RatingRows(np.array(users, dtype=np.intp), max(users) + 1, np.array(labels, dtype=np.float64), found, found)


def drawn(generator: np.random.Generator, users: int, size: int = 6) -> tuple[NDArray[np.intp], Numbers]:
    """Return users, and ratings that hang together within each."""
    user = np.repeat(np.arange(users), size).astype(np.intp)
    return user, 3.0 + generator.normal(size=users)[user] + generator.normal(size=len(user))


def simulated(seed: int, users: int = 30) -> RatingRows:
    generator = np.random.default_rng(seed)
    user, labels = drawn(generator, users)
    kept = generator.random(len(user)) < 0.7
    predicted = labels + generator.normal(size=len(user))
    return RatingRows(user, users, labels, predicted, np.clip(predicted, 2, 4)).only(kept)


def test_values_by_hand() -> None:
    # Errors of user 0: 1, -2; of user 1: 0, 0, 0, 3.
    found = rows([0, 0, 1, 1, 1, 1], [3, 4, 1, 2, 3, 1], [4, 2, 1, 2, 3, 4])
    assert value(found, "rmse") == pytest.approx(((1 + 4 + 9) / 6) ** 0.5)
    assert value(found, "mae") == pytest.approx((1 + 2 + 3) / 6)
    assert value(found, "mae-user") == pytest.approx((3 / 2 + 3 / 4) / 2)
    assert value(found, "rmse-calibrated") == value(found, "rmse")


def test_the_rmse_of_a_constant_at_the_mean_is_the_standard_deviation() -> None:
    found = simulated(0)
    constant = RatingRows(found.users, found.n_users, found.labels, np.full(len(found.labels), found.labels.mean()))
    assert value(constant, "rmse") == pytest.approx(found.labels.std())
    assert not constant.has("rmse-calibrated")
    with pytest.raises(ValueError, match="needs calibrated ratings"):
        value(constant, "mae-calibrated")


@pytest.mark.parametrize("metric", RATING_METRICS.names)
def test_the_mean_over_users_the_value_and_the_resample_of_all_agree(metric: str) -> None:
    found = simulated(1)
    whole = found.resampler(metric)(np.ones((found.n_users, 1)))
    assert float(np.nanmean(found.per_user(metric))) == pytest.approx(float(whole[0]), abs=1e-12)


@pytest.mark.parametrize("metric", RATING_METRICS.names)
def test_a_resample_is_the_metric_of_its_users_rows(metric: str) -> None:
    found = simulated(2)
    counts = np.random.default_rng(5).multinomial(found.n_users, np.full(found.n_users, 1 / found.n_users))
    # A user drawn twice is two users with the same rows.
    parts: list[NDArray[np.intp]] = []
    owners: list[NDArray[np.intp]] = []
    for user in range(found.n_users):
        for _ in range(counts[user]):
            parts.append(np.flatnonzero(found.users == user))
            owners.append(np.full(len(parts[-1]), len(owners), dtype=np.intp))
    at, numbers = np.concatenate(parts), np.concatenate(owners)
    assert found.calibrated is not None
    again = RatingRows(numbers, len(owners), found.labels[at], found.predicted[at], found.calibrated[at])
    resampled = found.resampler(metric)(counts[:, None].astype(np.float64))
    assert float(resampled[0]) == pytest.approx(value(again, metric), abs=1e-12)


@pytest.mark.parametrize("metric", RATING_METRICS.names)
def test_users_without_rows_have_no_value_and_one_user_is_the_whole(metric: str) -> None:
    one = rows([2, 2], [1, 2], [2, 5])
    found = one.per_user(metric)
    assert np.isnan(found[:2]).all()
    assert found[2] == pytest.approx(5**0.5 if metric.startswith("rmse") else 2.0)
    none = one.only(np.zeros(2, dtype=np.bool_))
    assert np.isnan(value(none, metric))


def test_a_line_is_fitted_by_least_squares_and_stays_within_the_scale() -> None:
    predicted = np.array([0.0, 1.0, 2.0, 3.0])
    line = fit_line(predicted, 1.5 + 0.5 * predicted, SCALE)
    assert line is not None
    assert [line.slope, line.offset] == pytest.approx([0.5, 1.5])
    assert (line.scale, line.rows) == (SCALE, 4)
    assert line.ratings(np.array([-9.0, 1.0, 99.0])).tolist() == pytest.approx([1.0, 2.0, 5.0])


def test_a_line_never_turns_an_order_around() -> None:
    line = fit_line(np.array([1.0, 2.0, 3.0]), np.array([5.0, 4.0, 1.0]), SCALE)
    assert line == LinearMap(0.0, 10 / 3, SCALE, 3)
    constant = fit_line(np.array([4.0, 4.0]), np.array([1.0, 2.0]), SCALE)
    assert constant == LinearMap(0.0, 1.5, SCALE, 2)
    rounded = fit_line(np.full(1_000, 3.1689), np.tile([2.0, 4.0], 500), SCALE)  # their mean is not 3.1689
    assert rounded == LinearMap(0.0, 3.0, SCALE, 1_000)
    assert fit_line(np.empty(0), np.empty(0), SCALE) is None


def test_names_are_those_of_ratings() -> None:
    assert RATING_METRICS.parse(["MAE", "rmse", "mae"]) == ("mae", "rmse")
    with pytest.raises(OptionError, match="metric of ratings 'auc'"):
        RATING_METRICS.parse(["auc"])


@pytest.mark.slow
def test_the_interval_of_rmse_covers_the_true_value_where_rows_of_a_user_hang_together() -> None:
    """Predictions are constant, so an error is a rating's distance from 3: its variance is that of users and rows."""

    def draw(generator: np.random.Generator, users: int) -> RatingRows:
        user, labels = drawn(generator, users)
        return RatingRows(user, users, labels, np.full(len(user), 3.0))

    generator, trials, inside = np.random.default_rng(0), 1000, 0
    for trial in range(trials):
        [made] = user_intervals([[draw(generator, 200)]], ["rmse"], samples=400, seed=trial)
        inside += made["rmse"].low <= 2**0.5 <= made["rmse"].high
    assert inside / trials == pytest.approx(0.95, abs=0.025)


def test_paired_tests_of_two_equally_good_models_keep_their_level() -> None:
    generator, trials, found = np.random.default_rng(1), 600, []
    for trial in range(trials):
        user, labels = drawn(generator, 60)
        pair = [
            RatingRows(user, 60, labels, labels + generator.normal(size=60)[user] + generator.normal(size=len(user)))
            for _ in range(2)
        ]
        values = np.stack([[each.per_user(metric) for each in pair] for metric in ("rmse", "mae")])
        found.append(sign_flip(values, np.array([[0, 1]]), samples=299, seed=trial)[:, 0])
    shares = (np.array(found) < 0.05).mean(0)
    assert shares == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / trials) ** 0.5)
