"""Evaluations: what is measured once, found again, and refused."""

from math import comb
from pathlib import Path

import polars as pl
import pytest

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.config import METRIC_NAMES, WHOLE, EvaluateConfig, Invalid
from llmrs_bench.core.errors import ArtifactError, OptionError
from llmrs_bench.core.schemas import METRICS
from llmrs_bench.core.types import no_progress
from llmrs_bench.metrics import METRIC_FORMS, parse_metrics
from llmrs_bench.stages.evaluate import COUNTS, evaluate, is_evaluated, measured
from llmrs_bench.stages.workspace import Data
from made_data import make_data, make_run
from ranked_lists import Lists, ranked, values

HISTORIES = {"r": ["a", "b"], "s": ["c"], "t": ["d", "a", "e"]}
ANSWERS: Lists = {"r": (["c", "d"], ["e"]), "s": ([], ["a", "b", "d"]), "t": (["c", "b", "f"], [])}
TARGETS = {"r": "d", "s": "a", "t": "b"}
SETS = {"a": ["x"], "b": ["x", "y"], "c": ["y"], "d": ["z"], "e": ["x", "z"], "f": ["y"]}


def made(home: Path, **config: object) -> Data:
    lists = None if config.get("candidates") == WHOLE else {name: [*a, *b] for name, (a, b) in ANSWERS.items()}
    return make_data(
        home,
        items=[{"item_id": item, "categories": names} for item, names in SETS.items()],
        events=[{"user_id": user, "item_id": item} for user, past in HISTORIES.items() for item in past],
        requests=[
            {"request_id": name, "user_id": name, "history": past, "candidates": lists[name] if lists else None}
            for name, past in HISTORIES.items()
        ],
        truth=[{"request_id": name, "item_id": item} for name, item in TARGETS.items()],
        **config,
    )


@pytest.fixture
def small(tmp_path: Path) -> Data:
    return made(tmp_path)


@pytest.fixture
def answered(small: Data) -> Artifact:
    return make_run(small, "answered", ranked(ANSWERS))


def config(*metrics: str, invalid: Invalid = "expected") -> EvaluateConfig:
    return EvaluateConfig(metrics=metrics, invalid=invalid)


EVERY = [form.replace("K", "2") for form in METRIC_FORMS]


def test_every_metric_is_measured_of_every_run_and_of_chance(small: Data, answered: Artifact) -> None:
    done = evaluate(small, ["answered"], config(*EVERY), no_progress)
    assert {made.name for made in done} == {"chance", answered.path.name}
    metrics = parse_metrics(EVERY)
    for run in (None, answered):
        found = measured(small, run, metrics)
        assert found.metrics.schema == METRICS
        assert set(found.metrics["metric"]) == {*EVERY, *METRIC_NAMES} - {"catalogue-coverage@2", "gini@2"}
        assert not found.metrics["value"].is_null().any()
        assert found.metrics["value"].is_finite().all()
        assert found.figures.keys() == {"catalogue-coverage@2", "gini@2"}
        assert found.counts.keys() == set(COUNTS)


def test_what_was_measured_is_not_measured_again(small: Data, answered: Artifact) -> None:
    first = evaluate(small, ["answered"], config("map", "auc"), no_progress)
    assert all(made.fresh for made in first)
    again = evaluate(small, ["answered"], config("auc", "recall@3", "hit@1"), no_progress)
    assert [made.fresh for made in again] == [False, False, True, False, False, True]
    assert len(list(small.place.evals.iterdir())) == 2 * 4


def test_what_was_not_measured_is_measured_when_it_is_read(small: Data, answered: Artifact) -> None:
    metrics = parse_metrics(["map", "recall@3", "hit@1"])
    assert not is_evaluated(small, answered, [], "expected")
    measured(small, answered, [])
    assert is_evaluated(small, answered, [], "expected")
    assert not is_evaluated(small, answered, metrics, "expected")
    found = measured(small, answered, metrics)
    assert {"map", "recall@3", "hit@1"} <= set(found.metrics["metric"])
    assert is_evaluated(small, answered, metrics, "expected")
    assert not is_evaluated(small, answered, metrics, "worst")
    assert not any(made.fresh for made in evaluate(small, ["answered"], config("map", "recall@3"), no_progress)[3:])


def test_a_policy_makes_evaluations_of_its_own(small: Data, answered: Artifact) -> None:
    expected = {"expected": {"r": 1.0, "s": 2 / 3, "t": 1.0}, "worst": {"r": 1.0, "s": 0.0, "t": 1.0}}
    for invalid in ("expected", "worst", "drop"):
        found = measured(small, answered, parse_metrics(["hit@2"]), invalid)
        want = expected.get(invalid, {"r": 1.0, "t": 1.0})
        assert values(found.metrics, "hit@2") == pytest.approx(want)
        assert found.counts["requests_unanswered"] == 1
        assert found.counts["requests_dropped"] == (invalid == "drop")
        assert values(found.metrics, "answered") == {"r": 1, "s": 0, "t": 1}
        chance = measured(small, None, parse_metrics(["hit@2"]), invalid)
        assert values(chance.metrics, "hit@2") == pytest.approx({"r": 2 / 3, "s": 2 / 3, "t": 2 / 3})


def test_chance_is_what_a_model_gets_that_is_silent_about_everything(small: Data) -> None:
    nothing: Lists = {name: ([], [*told, *rest]) for name, (told, rest) in ANSWERS.items()}
    mute = make_run(small, "mute", ranked(nothing))
    names = [name for name in EVERY if name not in ("answered", "coverage", "listed", "listed@2")]
    evaluate(small, ["mute"], config(*names), no_progress)
    metrics = parse_metrics(names)
    chance, same = measured(small, None, metrics), measured(small, mute, metrics)
    for name in names:
        assert values(chance.metrics, name) == pytest.approx(values(same.metrics, name)), name
    assert chance.figures == pytest.approx(same.figures)


def test_chance_on_a_whole_catalogue_leaves_out_what_was_seen(tmp_path: Path) -> None:
    data = made(tmp_path, candidates=WHOLE)
    names = ["popularity@2", "diversity@2", "catalogue-coverage@2", "recall@2"]
    evaluate(data, [], config(*names), no_progress)
    chance = measured(data, None, parse_metrics(names))
    counts = {"a": 2, "b": 1, "c": 1, "d": 1, "e": 1, "f": 0}
    free = {name: [item for item in SETS if item not in past] for name, past in HISTORIES.items()}
    means = {name: sum(counts[item] for item in items) / len(items) for name, items in free.items()}
    assert values(chance.metrics, "popularity@2") == pytest.approx(means)
    assert values(chance.metrics, "recall@2") == pytest.approx({"r": 2 / 4, "s": 2 / 5, "t": 2 / 3})
    apart = {name: _mean_distance(items) for name, items in free.items()}
    assert values(chance.metrics, "diversity@2") == pytest.approx(apart)
    never = dict.fromkeys(SETS, 1.0)
    for items in free.values():
        for item in items:
            never[item] *= 1 - 2 / len(items)
    assert chance.figures["catalogue-coverage@2"] == pytest.approx(1 - sum(never.values()) / len(SETS))


def _mean_distance(items: list[str]) -> float:
    pairs = [(set(SETS[a]), set(SETS[b])) for at, a in enumerate(items) for b in items[at + 1 :]]
    assert len(pairs) == comb(len(items), 2)
    return sum(1 - len(a & b) / len(a | b) for a, b in pairs) / len(pairs)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("mrr", "mrr@10"), ("ndcg@101", "at most 100"), ("auc", "lists of candidates"), ("listed", "listed@10")],
)
def test_metrics_that_look_deeper_than_the_ranks_kept_are_refused(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(OptionError, match=f"{name} cannot be measured") as caught:
        evaluate(made(tmp_path, candidates=WHOLE), [], config(name), no_progress)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("score", float("nan"), "not a finite number"),
        ("item_id", "c", "is ranked twice"),
        ("request_id", "stranger", "truth of this data set does not have"),
    ],
)
def test_runs_that_cannot_be_measured_are_refused_and_leave_nothing(
    small: Data, column: str, value: object, fault: str
) -> None:
    rows = pl.col("item_id") == "d" if column != "request_id" else pl.col("request_id") == "t"
    broken = ranked(ANSWERS).with_columns(
        pl.when(rows & (pl.col("request_id") != "s")).then(pl.lit(value)).otherwise(column).alias(column)
    )
    run = make_run(small, "broken", broken)
    with pytest.raises(ArtifactError, match=fault) as caught:
        evaluate(small, ["broken"], config(), no_progress)
    assert str(run.path) in caught.value.message
    assert not [path for path in small.place.evals.iterdir() if path.name.startswith("broken")]


def test_truth_without_a_relevant_item_is_refused(tmp_path: Path) -> None:
    events = [{"user_id": "u", "item_id": "a"}]
    requests = [{"request_id": "r", "user_id": "u", "candidates": ["a", "b"]}]
    truth = [{"request_id": "r", "item_id": "b", "label": 0.0}]
    data = make_data(
        tmp_path, items=[{"item_id": "a"}, {"item_id": "b"}], events=events, requests=requests, truth=truth
    )
    with pytest.raises(ArtifactError, match="truth has no relevant item"):
        evaluate(data, [], config(), no_progress)


def test_one_user_is_measured(tmp_path: Path) -> None:
    events = [{"user_id": "u", "item_id": "a"}]
    requests = [{"request_id": "r", "user_id": "u", "history": ["a"], "candidates": ["c", "b"]}]
    truth = [{"request_id": "r", "item_id": "b"}]
    items = [{"item_id": item, "categories": ["x"]} for item in "abc"]
    data = make_data(tmp_path, items=items, events=events, requests=requests, truth=truth)
    run = make_run(data, "one", ranked({"r": (["c", "b"], [])}))
    evaluate(data, ["one"], config(*EVERY), no_progress)
    found = measured(data, run, parse_metrics(EVERY))
    assert values(found.metrics, "mrr") == {"r": 1 / 2}
    assert values(found.metrics, "diversity@2") == {"r": 0}
    assert found.figures == {"catalogue-coverage@2": pytest.approx(2 / 3), "gini@2": pytest.approx(1 / 2)}
