"""Learned weights: the best there are on other users, and blind to a user's own target."""

import numpy as np
import polars as pl
import pytest

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.schemas import RANKINGS, REQUESTS, TRUTH
from llmrs_bench.core.types import no_progress
from llmrs_bench.fusion import FittedWeights, cross_fit, standard_scores, weighted_score
from llmrs_bench.metrics import measure, parse_metrics
from llmrs_bench.ranking import rank_candidates

ITEMS = [f"i{number}" for number in range(12)]
FOLDS = 4


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


def fit(runs: list[pl.DataFrame], users: int, *, told: pl.DataFrame | None = None, seed: int = 0) -> FittedWeights:
    known = truth(users) if told is None else told
    return cross_fit(standard_scores(runs), requests(users), known, folds=FOLDS, seed=seed, progress=no_progress)


def ndcg(runs: list[pl.DataFrame], weights: list[float], users: int, told: pl.DataFrame | None = None) -> pl.DataFrame:
    names = {f"w{place}": weight for place, weight in enumerate(weights)}
    scores = weighted_score(
        standard_scores(runs), requests(users).select("request_id", **{k: pl.lit(v) for k, v in names.items()})
    )
    known = truth(users) if told is None else told
    return measure(known, rank_candidates(requests(users), scores, seed=0), parse_metrics(["ndcg@10"]))


def test_weights_are_the_best_of_all_hundredths_on_the_other_folds() -> None:
    users = 60
    runs = [run(users, lift=1.5, seed=1), run(users, lift=1.0, seed=2)]
    fitted = fit(runs, users)
    values = [
        ndcg(runs, [unit / 100, 1 - unit / 100], users).join(fitted.folds, on="request_id") for unit in range(101)
    ]
    for fold, weights in enumerate(fitted.weights):
        means = [float(value.filter(pl.col("fold") != fold)["value"].mean()) for value in values]  # type: ignore[arg-type]
        assert means[round(weights[0] * 100)] == pytest.approx(max(means))
        assert sum(weights) == pytest.approx(1)


def test_a_run_of_noise_gets_little_and_a_good_one_most() -> None:
    users = 400
    fitted = fit([run(users, lift=0, seed=1), run(users, lift=2, seed=2), run(users, lift=0, seed=3)], users)
    for weights in fitted.weights:
        assert weights[1] >= 0.7
        assert min(weights) >= 0
        assert sum(weights) == pytest.approx(1)


def test_no_target_of_a_fold_has_a_part_in_its_weights() -> None:
    users = 40
    runs = [run(users, lift=1, seed=1), run(users, lift=1, seed=2)]
    honest = fit(runs, users)
    changed = 0
    for fold in range(FOLDS):
        inside = honest.folds.filter(pl.col("fold") == fold)["request_id"].implode()
        # Other targets for the users of this fold, chosen to please the first run alone.
        best = runs[0].sort("score", descending=True).unique("request_id", keep="first").select("request_id", "item_id")
        told = truth(users).join(best.rename({"item_id": "best"}), on="request_id", maintain_order="left")
        told = told.select(
            "request_id",
            item_id=pl.when(pl.col("request_id").is_in(inside)).then("best").otherwise("item_id"),
            label="label",
        )
        other = fit(runs, users, told=told)
        assert other.weights[fold] == honest.weights[fold]
        changed += other.weights != honest.weights
    assert changed


def test_folds_hold_whole_users_evenly_and_depend_on_the_seed() -> None:
    users = 42
    runs = [run(users, lift=1, seed=1), run(users, lift=1, seed=2)]
    folds = fit(runs, users).folds
    assert folds["request_id"].to_list() == requests(users)["request_id"].to_list()
    assert sorted(folds["fold"].value_counts()["count"].to_list()) == [10, 10, 11, 11]
    assert not folds.equals(fit(runs, users, seed=1).folds)
    twice = pl.concat([requests(4), requests(4).with_columns(request_id=pl.col("request_id") + "-again")])
    dealt = cross_fit(standard_scores(runs), twice, truth(4), folds=4, seed=0, progress=no_progress).folds
    named = dealt.join(twice, on="request_id").group_by("user_id").agg(pl.col("fold").n_unique())
    assert named["fold"].to_list() == [1] * 4


def test_equal_runs_share_their_weight() -> None:
    users = 20
    one = run(users, lift=1, seed=1)
    assert fit([one, one], users).weights == [[0.5, 0.5]] * FOLDS


def test_targets_that_no_run_ranks_are_missed_and_break_nothing() -> None:
    users = 20
    runs = [run(users, lift=1, seed=1), run(users, lift=1, seed=2)]
    gone = [each.filter(pl.col("request_id") != "test-3") for each in runs]
    assert len(fit(gone, users).weights) == FOLDS


def test_several_targets_of_a_user_are_all_weighed() -> None:
    users = 40
    runs = [run(users, lift=0.5, seed=1), run(users, lift=0.2, seed=2)]
    more = [(f"test-{user}", ITEMS[(user * 7 + step) % len(ITEMS)], 1.0) for user in range(users) for step in (3, 5)]
    both = pl.concat([truth(users), pl.DataFrame(more, schema=TRUTH, orient="row")])
    fitted = fit(runs, users, told=both)
    values = [ndcg(runs, [unit / 100, 1 - unit / 100], users, both) for unit in range(101)]
    for fold, weights in enumerate(fitted.weights):
        others = fitted.folds.filter(pl.col("fold") != fold)
        means = [float(value.join(others, on="request_id")["value"].mean()) for value in values]  # type: ignore[arg-type]
        assert means[round(weights[0] * 100)] == pytest.approx(max(means))


def test_fewer_users_than_folds_are_refused() -> None:
    with pytest.raises(OptionError, match="4 folds need 4 users, the data set has 3"):
        fit([run(3, lift=1, seed=1)] * 2, 3)
