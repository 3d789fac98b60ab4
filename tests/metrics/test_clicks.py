"""Metrics of click data: against definitions by hand, an outside implementation, and simulated users."""

from typing import get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from llmrs_bench.core.errors import OptionError
from llmrs_bench.metrics.clicks import (
    CLICK_METRICS,
    ClickRows,
    ValidRows,
    best_threshold,
    calibrate,
    reliability,
    sigmoid,
    user_aucs,
)
from llmrs_bench.metrics.labelled import user_intervals, value
from llmrs_bench.stats import sign_flip

Numbers = NDArray[np.float64]


def rows(users: list[int], labels: list[int], scores: list[float], raw: list[float] | None = None) -> ClickRows:
    probability = None if raw is None else np.array(raw, dtype=np.float64)
    return ClickRows(
        np.array(users, dtype=np.intp),
        max(users) + 1,
        np.array(labels, dtype=np.bool_),
        np.array(scores, dtype=np.float64),
        probability,
        probability,
        0.0,
    )


def simulated(seed: int, users: int = 40, size: int = 12, decimals: int = 1) -> ClickRows:
    """Return rows of users who like more or fewer items, and scores with ties that know something of both."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 2 * size, users)
    user = np.repeat(np.arange(users), sizes)
    taste, item = generator.normal(size=users)[user], generator.normal(size=len(user))
    labels = generator.random(len(user)) < sigmoid(taste + item)
    scores = np.round(item + 0.5 * taste + generator.normal(size=len(user)), decimals)
    probability = sigmoid(scores)
    return ClickRows(user.astype(np.intp), users, labels, scores, probability, sigmoid(0.5 * scores), 0.2)


@pytest.mark.parametrize("seed", range(4))
def test_auc_is_the_mann_whitney_statistic_with_ties(seed: int) -> None:
    found = simulated(seed)
    liked, disliked = found.scores[found.labels], found.scores[~found.labels]
    outside = mannwhitneyu(liked, disliked).statistic / (len(liked) * len(disliked))
    assert value(found, "auc") == pytest.approx(outside, abs=1e-12)
    own = user_aucs(found)
    for user in range(found.n_users):
        part = found.only(found.users == user)
        if part.labels.all() or not part.labels.any():
            assert np.isnan(own[user])
        else:
            outside = mannwhitneyu(part.scores[part.labels], part.scores[~part.labels]).statistic
            assert own[user] == pytest.approx(outside / (part.labels.sum() * (~part.labels).sum()), abs=1e-12)


def test_uauc_leaves_out_users_of_one_row_or_one_label_and_weighs_nobody() -> None:
    # User 0: 1 of 1 pair won; user 1: 1.5 of 3; user 2 likes all; user 3 has one row.
    found = rows([0, 0, 1, 1, 1, 1, 2, 2, 3], [1, 0, 1, 0, 0, 0, 1, 1, 1], [2, 1, 5, 5, 4, 9, 1, 2, 3])
    assert value(found, "uauc") == pytest.approx((1 + 1.5 / 3) / 2)
    assert value(found, "uauc-weighted") == pytest.approx((2 * 1 + 4 * 0.5) / 6)
    assert np.isnan(found.per_user("uauc")[2:]).all()


def test_a_score_that_is_the_same_for_all_rows_of_a_user_has_a_uauc_of_a_half() -> None:
    found = simulated(1)
    constant = ClickRows(found.users, found.n_users, found.labels, found.users.astype(np.float64))
    assert value(constant, "uauc") == 0.5
    nothing = ClickRows(found.users, found.n_users, found.labels, np.zeros(len(found.users)))
    assert value(nothing, "auc") == 0.5


def test_labels_permuted_within_users_leave_a_uauc_of_a_half() -> None:
    found = simulated(2, users=300)
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(40):
        order = np.lexsort((generator.random(len(found.users)), found.users))
        labels = np.empty_like(found.labels)
        labels[np.argsort(found.users, kind="stable")] = found.labels[order]
        drawn.append(value(found.relabelled(labels), "uauc"))
    assert np.mean(drawn) == pytest.approx(0.5, abs=4 * np.std(drawn) / len(drawn) ** 0.5)
    assert value(found, "uauc") > max(drawn)


def test_log_loss_ece_and_accuracy_by_hand() -> None:
    found = rows([0, 0, 1, 1], [1, 0, 1, 0], [3, 1, 1, -2], [0.95, 0.55, 0.52, 0.0])
    assert value(found, "log-loss") == pytest.approx(-(np.log(0.95) + np.log(0.45) + np.log(0.52) + 0.0) / 4)
    # Bins: .95 | .55 and .52 | 0.
    assert value(found, "ece") == pytest.approx((0.05 + abs(0.55 - 0 + 0.52 - 1) + 0.0) / 4)
    assert value(found, "accuracy") == 3 / 4
    assert value(found, "accuracy-tuned") == 3 / 4
    bins = reliability(found.labels, np.array([0.95, 0.55, 0.52, 0.0]))
    assert [(each.rows, each.liked) for each in bins] == [(1, 0.0), (2, 0.5), (1, 1.0)]
    assert bins[1].probability == pytest.approx(0.535)
    assert (bins[1].low, bins[1].high) == (0.5, 0.6)


def test_one_impossible_answer_costs_a_finite_amount() -> None:
    assert value(rows([0, 0], [1, 0], [0, 1], [0.0, 1.0]), "log-loss") == pytest.approx(-np.log(1e-15))


def test_rows_of_one_label_have_no_auc() -> None:
    found = rows([0, 0, 1], [1, 1, 1], [1, 2, 3], [0.5, 0.5, 0.5])
    assert np.isnan(value(found, "auc"))
    assert np.isnan(value(found, "uauc"))
    assert value(found, "accuracy") == 1.0
    [made] = user_intervals([[found]], ["auc"], samples=100, seed=0)
    assert np.isnan(made["auc"].low)
    assert made["auc"].dropped == 1.0


@pytest.mark.parametrize("metric", CLICK_METRICS.names)
def test_the_mean_over_users_the_value_and_the_resample_of_all_agree(metric: str) -> None:
    found = simulated(3)
    values = found.per_user(metric)
    whole = found.resampler(metric)(np.ones((found.n_users, 1)))
    assert float(np.nanmean(values)) == pytest.approx(float(whole[0]), abs=1e-12)


@pytest.mark.parametrize("metric", CLICK_METRICS.names)
def test_a_resample_is_the_metric_of_its_users_rows(metric: str) -> None:
    found = simulated(4)
    drawn = np.random.default_rng(5).multinomial(found.n_users, np.full(found.n_users, 1 / found.n_users))
    # A user drawn twice is two users with the same rows.
    copies = [np.flatnonzero(found.users == user) for user in np.repeat(np.arange(found.n_users), drawn)]
    places = np.concatenate(copies)
    user = np.repeat(np.arange(len(copies)), list(map(len, copies)))
    raw, calibrated = found.raw, found.calibrated
    assert raw is not None
    assert calibrated is not None
    again = ClickRows(
        user.astype(np.intp),
        len(copies),
        found.labels[places],
        found.scores[places],
        raw[places],
        calibrated[places],
        found.threshold,
    )
    resampled = found.resampler(metric)(drawn[:, None].astype(np.float64))
    assert float(resampled[0]) == pytest.approx(value(again, metric), abs=1e-12)


def test_resamples_without_both_labels_are_dropped_and_their_share_is_said() -> None:
    found = rows([0, 0, 1, 1], [1, 1, 0, 0], [2, 3, 1, 1])
    [made] = user_intervals([[found]], ["auc"], samples=400, seed=0)
    assert (made["auc"].low, made["auc"].high) == (1.0, 1.0)
    assert made["auc"].dropped == pytest.approx(0.5, abs=0.1)  # two users: one of them twice, half of the time


def test_users_are_resampled_whole() -> None:
    """Ten copies of every row are no more to learn from: a rows' interval would shrink to a third."""
    once = simulated(6)
    places = np.repeat(np.arange(len(once.users)), 10)
    tenfold = ClickRows(once.users[places], once.n_users, once.labels[places], once.scores[places])
    [one] = user_intervals([[once]], ["auc"], samples=300, seed=0)
    [ten] = user_intervals([[tenfold]], ["auc"], samples=300, seed=0)
    assert (ten["auc"].low, ten["auc"].high) == pytest.approx((one["auc"].low, one["auc"].high), abs=1e-12)


def test_calibration_finds_temperature_and_offset() -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(2.0, 3.0, 40_000)
    labels = generator.random(40_000) < sigmoid(scores / 2.5 - 0.7)
    found = calibrate(ValidRows(scores, labels))
    assert found is not None
    assert 1 / found.slope == pytest.approx(2.5, rel=0.03)
    assert found.offset == pytest.approx(-0.7, abs=0.03)
    assert found.threshold == pytest.approx(0.7 * 2.5, abs=0.5)
    assert found.rows == 40_000


def test_calibration_turns_no_order_around_and_stays_finite() -> None:
    labels = np.array([False] * 30 + [True] * 20)
    turned = calibrate(ValidRows(np.where(labels, -1.0, 1.0), labels))
    assert turned is not None
    assert turned.slope == 0.0
    assert turned.probability(np.array([5.0]))[0] == pytest.approx(0.4, abs=0.01)
    apart = calibrate(ValidRows(np.where(labels, 1e6, -1e6), labels))
    assert apart is not None
    assert apart.probability(np.array([-1e6, 1e6])) == pytest.approx([1 / 32, 21 / 22], abs=1e-4)
    for constant in (7.0, 0.1 + 0.2, 0.657142857142857):
        flat = calibrate(ValidRows(np.full(50, constant), labels))
        assert flat is not None
        smoothed = (20 * 21 / 22 + 30 * 1 / 32) / 50
        assert flat.probability(np.array([constant]))[0] == pytest.approx(smoothed, abs=1e-6)


def test_without_both_labels_in_the_valid_rows_nothing_is_calibrated() -> None:
    assert calibrate(ValidRows(np.array([1.0, 2.0]), np.array([True, True]))) is None
    assert calibrate(ValidRows(np.empty(0), np.empty(0, dtype=np.bool_))) is None


def test_a_calibration_takes_rows_of_the_validation_part_alone() -> None:
    assert get_type_hints(calibrate)["valid"] is ValidRows
    assert get_type_hints(best_threshold)["valid"] is ValidRows


def test_yes_begins_at_the_threshold() -> None:
    assert value(rows([0, 0, 0], [1, 1, 0], [0.0, 0.5, -0.5]), "accuracy-tuned") == 1.0  # the threshold is 0


@pytest.mark.parametrize(
    ("scores", "labels", "threshold"),
    [
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], 2.5),
        ([1.0, 1.0, 1.0], [1, 1, 0], 1.0),  # all one score: yes to all
        ([1.0, 1.0, 1.0], [1, 0, 0], float(np.nextafter(1.0, 2.0))),  # no to all
        ([1.0, 2.0, 3.0], [0, 1, 0], 1.5),
    ],
)
def test_the_threshold_is_the_best_one_on_valid_rows(scores: list[float], labels: list[int], threshold: float) -> None:
    assert best_threshold(ValidRows(np.array(scores), np.array(labels, dtype=np.bool_))) == threshold


def test_names_of_metrics() -> None:
    assert CLICK_METRICS.parse(["UAUC", "auc", "uauc"]) == ("uauc", "auc")
    with pytest.raises(OptionError, match="'ndcg@10'"):
        CLICK_METRICS.parse(["ndcg@10"])
    with pytest.raises(OptionError, match="no metrics"):
        CLICK_METRICS.parse([])


def two_rankers(generator: np.random.Generator, users: int) -> list[ClickRows]:
    """Return rows of two scorers that are as good as each other; some users have far more rows than others."""
    sizes = np.maximum(1, np.round(np.exp(generator.normal(2.0, 0.8, users)))).astype(int)
    user = np.repeat(np.arange(users), sizes).astype(np.intp)
    taste, item = generator.normal(size=users)[user], generator.normal(size=len(user))
    labels = generator.random(len(user)) < sigmoid(taste + item)
    made = []
    for _ in range(2):
        own = generator.normal(size=users)[user] + generator.normal(size=len(user))
        scores = item + 0.5 * taste + own
        made.append(ClickRows(user, users, labels, scores, sigmoid(scores)))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("users", [16, 60])
def test_a_paired_test_is_wrong_as_often_as_it_says(users: int) -> None:
    generator = np.random.default_rng(users)
    trials, metrics = 1200, ("auc", "uauc", "log-loss", "accuracy")
    found = np.empty((trials, len(metrics)))
    for trial in range(trials):
        pair = two_rankers(generator, users)
        values = np.stack([[each.per_user(metric) for each in pair] for metric in metrics])
        found[trial] = sign_flip(values, np.array([[0, 1]]), samples=299, seed=trial)[:, 0]
    shares = (found < 0.05).mean(0)
    assert (shares < 0.05 + 4 * (0.05 * 0.95 / trials) ** 0.5).all(), dict(zip(metrics, shares, strict=True))
    assert shares[:3] == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / trials) ** 0.5)


@pytest.mark.slow
def test_the_interval_covers_the_true_value_where_rows_of_a_user_hang_together() -> None:
    def draw(generator: np.random.Generator, users: int) -> ClickRows:
        user = np.repeat(np.arange(users), 6).astype(np.intp)
        taste, item = generator.normal(size=users)[user], generator.normal(size=len(user))
        labels = generator.random(len(user)) < sigmoid(taste + item)
        return ClickRows(user, users, labels, item + 0.8 * taste)

    generator, trials = np.random.default_rng(0), 1500
    true = float(np.mean([value(draw(generator, 40_000), "auc") for _ in range(4)]))
    inside = 0
    for trial in range(trials):
        [made] = user_intervals([[draw(generator, 200)]], ["auc"], samples=400, seed=trial)
        inside += made["auc"].low <= true <= made["auc"].high
    assert inside / trials == pytest.approx(0.95, abs=0.02)
