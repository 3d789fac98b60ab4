"""Learned weights: the best there are on the requests they are learned from."""

import numpy as np
import polars as pl
import pytest

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.schemas import RANKINGS, REQUESTS, TRUTH
from llmrs_bench.fusion import fit_weights, standard_scores, weighted_score
from llmrs_bench.metrics import measure, parse_metrics
from llmrs_bench.ranking import rank_candidates

ITEMS = [f"i{number}" for number in range(12)]


def requests(users: int) -> pl.DataFrame:
    nothing: list[str] = []
    rows = [(f"test-{user}", f"{user}", "test", 0, nothing, ITEMS) for user in range(users)]
    return pl.DataFrame(rows, schema=REQUESTS, orient="row")


def truth(users: int) -> pl.DataFrame:
    rows = [(f"test-{user}", ITEMS[user * 7 % len(ITEMS)], 1.0) for user in range(users)]
    return pl.DataFrame(rows, schema=TRUTH, orient="row")


def run(users: int, *, lift: float, seed: int) -> pl.DataFrame:
    """Return rankings by noise that lifts the target by `lift` standard deviations."""
    noise = np.random.default_rng(seed).normal(size=(users, len(ITEMS)))
    rows = [
        (f"test-{user}", item, 1, float(noise[user, place] + lift * (place == user * 7 % len(ITEMS))))
        for user in range(users)
        for place, item in enumerate(ITEMS)
    ]
    return pl.DataFrame(rows, schema=RANKINGS, orient="row")


def fit(runs: list[pl.DataFrame], users: int, told: pl.DataFrame | None = None) -> list[float]:
    return fit_weights(standard_scores(runs), truth(users) if told is None else told)


def ndcg(runs: list[pl.DataFrame], weights: list[float], users: int, told: pl.DataFrame | None = None) -> float:
    scores = weighted_score(standard_scores(runs), weights)
    known = truth(users) if told is None else told
    ranked = rank_candidates(requests(users), scores, seed=0)
    return float(measure(known, ranked, parse_metrics(["ndcg@10"]))["value"].mean())  # type: ignore[arg-type]


@pytest.mark.slow
def test_weights_are_the_best_of_all_hundredths() -> None:
    users = 60
    runs = [run(users, lift=1.5, seed=1), run(users, lift=1.0, seed=2)]
    weights = fit(runs, users)
    means = [ndcg(runs, [unit / 100, 1 - unit / 100], users) for unit in range(101)]
    assert means[round(weights[0] * 100)] == pytest.approx(max(means))
    assert sum(weights) == pytest.approx(1)


def test_a_run_of_noise_gets_little_and_a_good_one_most() -> None:
    users = 400
    weights = fit([run(users, lift=0, seed=1), run(users, lift=2, seed=2), run(users, lift=0, seed=3)], users)
    assert weights[1] >= 0.7
    assert min(weights) >= 0
    assert sum(weights) == pytest.approx(1)


def test_equal_runs_share_their_weight() -> None:
    one = run(20, lift=1, seed=1)
    assert fit([one, one], 20) == [0.5, 0.5]


def test_targets_that_no_run_ranks_are_missed_and_break_nothing() -> None:
    users = 20
    runs = [run(users, lift=1, seed=1), run(users, lift=1, seed=2)]
    gone = [each.filter(pl.col("request_id") != "test-3") for each in runs]
    assert sum(fit(gone, users)) == pytest.approx(1)


@pytest.mark.slow
def test_several_targets_of_a_user_are_all_weighed() -> None:
    users = 40
    runs = [run(users, lift=0.5, seed=1), run(users, lift=0.2, seed=2)]
    more = [(f"test-{user}", ITEMS[(user * 7 + step) % len(ITEMS)], 1.0) for user in range(users) for step in (3, 5)]
    both = pl.concat([truth(users), pl.DataFrame(more, schema=TRUTH, orient="row")])
    weights = fit(runs, users, both)
    means = [ndcg(runs, [unit / 100, 1 - unit / 100], users, both) for unit in range(101)]
    assert means[round(weights[0] * 100)] == pytest.approx(max(means))


def test_without_a_target_nothing_is_learned() -> None:
    with pytest.raises(OptionError, match="no validation request has a target"):
        fit([run(3, lift=1, seed=1)] * 2, 3, truth(0))
