"""What runs were made with, read from their manifests, for the axes of curves."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.leaderboard.board import Factors
from llmrs_bench.stages.factors import factors_of
from llmrs_bench.stages.workspace import Data

DATA = cast("Data", SimpleNamespace(default_history=10))


def factors(kind: str, config: dict[str, Any] | None = None, **facts: Any) -> Factors:
    known = {"kind": kind, "seed": 0, "typed": {}, "history": 10, "normalize": "sum", "engine": None, **facts}
    run = SimpleNamespace(facts=known, manifest=SimpleNamespace(config=config or {}))
    return factors_of(DATA, cast("Artifact", run), "smol+lora-64" if kind == "language model" else "sasrec")


def language(**facts: Any) -> Factors:
    return factors("language model", {"template": "label"}, **{"engine": "transformers", **facts})


def test_a_tuned_model_knows_its_samples_and_the_defaults_of_its_tuning() -> None:
    tuned = {"name": "smol+lora", "samples": 64, "options": {"rank": 8, "dropout": 0.05, "modules": "qv", "full": True}}
    made = language(tuned=tuned, typed={"dropout": "0.05", "tune_seed": "2"}, seed=1)
    assert made.family == "smol+lora"
    assert made.numbers == {"history": 10, "samples": 64, "rank": 8, "dropout": 0.05}
    assert made.words == {"template": "label", "dropout": "dropout=0.05"}
    assert made.seed == "1, 2"
    assert made.engine == "transformers"


def test_samples_of_a_template_are_none_to_learn_from() -> None:
    made = language(template_options={"samples": 1, "orders": 3}, typed={"samples": "5", "context": "2048"})
    assert made.numbers == {"history": 10, "orders": 3, "template_samples": 5, "context": 2048}
    assert made.words["template_samples"] == "samples=5"
    assert made.family == "smol+lora-64"


@pytest.mark.parametrize(
    ("typed", "numbers", "words", "whole"),
    [
        ({}, {"train_fraction": 1.0}, {}, True),
        ({"dim": "64"}, {"train_fraction": 1.0, "dim": 64}, {"dim": "dim=64"}, True),
        (
            {"train_fraction": 0.1, "train_by": "time"},
            {"train_fraction": 0.1},
            {"train_fraction": "train_fraction=0.1", "train_by": "train_by=time"},
            False,
        ),
        ({"train_samples": 64}, {"samples": 64}, {"train_samples": "train_samples=64"}, False),
        ({"max_users": 5}, {"max_users": 5}, {"max_users": "max_users=5"}, False),
        (
            {"event_fraction": 0.2},
            {"train_fraction": 0.2},
            {"train_fraction": "train_fraction=0.2", "train_by": "train_by=each-user"},
            False,
        ),
    ],
)
def test_a_trained_model_knows_how_much_it_learned_from(
    typed: dict[str, Any], numbers: dict[str, float], words: dict[str, str], whole: bool
) -> None:
    made = factors("recommender", {"options": {"epochs": 20, "loss": "ce"}}, typed=typed, train_part={"events": 900})
    assert made.numbers == {"epochs": 20, "train_events": 900, **numbers}
    assert (made.words, made.whole) == (words, whole)


def test_rows_that_learn_nothing_are_whole_of_nothing() -> None:
    made = factors("import", typed={"file": "x.csv"})
    assert (made.numbers, made.whole) == ({}, False)


def test_a_model_tuned_on_nothing_has_no_options_of_tuning() -> None:
    tuned = {"name": "smol+lora", "samples": 0, "options": {"rank": 8, "lr": 1e-4}, "seed": 1}
    typed = {"rank": "8", "tune_seed": "1"}
    made = factors(
        "language model", {"template": "label"}, engine="mock", tuned=tuned, typed=typed, history=10, normalize="sum"
    )
    assert made.idle == {"rank", "lr"}
    assert made.words == {"template": "label"}
    assert made.numbers == {"history": 10.0, "samples": 0.0}
    assert made.seed == ""
