"""What recommenders learn from, and that they are trained once for all lists of the same data."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.types import no_progress
from llmrs_bench.data.training_part import TrainingPart
from llmrs_bench.recommenders.base import Corpus, TrainContext
from llmrs_bench.recommenders.itemknn import ItemKNN, ItemKNNOptions
from llmrs_bench.recommenders.popularity import Popularity
from llmrs_bench.stages.trained_models import RecommenderSpec, TrainingData, fitted, training_data
from llmrs_bench.stages.workspace import Data
from recommender_cases import corpus_of, interactions_of
from stage_runs import SMALL, kept_models, prepared, retriever_options, run

# ---------------------------------------------------------------- a part of the interactions


@pytest.fixture
def taught(data: Data, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Corpus]:
    """A function that returns what a recommender is given to learn from."""
    given: list[Corpus] = []

    def fit(model: Popularity, corpus: Corpus, work: TrainContext) -> dict[str, Any]:
        given.append(corpus)
        return {}

    monkeypatch.setattr(Popularity, "fit", fit)

    def teach(of: TrainingData | None = None, **options: Any) -> Corpus:
        spec = RecommenderSpec("popularity", {}, seed=options.pop("seed", 0), part=TrainingPart(**options))
        fitted(spec, of or training_data(data), no_progress)
        return given.pop()

    return teach


def users_of(corpus: Corpus) -> set[str]:
    return set(corpus.interactions["user_id"])


def test_the_whole_corpus_is_the_tables_of_the_data(data: Data, taught: Callable[..., Corpus]) -> None:
    corpus = taught()
    assert corpus.interactions.equals(data.artifact.table("interactions"))
    assert corpus.items.equals(data.artifact.table("items"))


@pytest.mark.parametrize(
    "options", [{"train_fraction": 0.3}, {"max_users": 4}, {"train_fraction": 0.7, "max_users": 5}]
)
def test_users_are_taken_whole_and_in_the_order_of_the_table(
    data: Data, taught: Callable[..., Corpus], options: dict[str, Any]
) -> None:
    corpus, whole = taught(**options), data.artifact.table("interactions")
    assert 0 < len(users_of(corpus)) < 12
    assert corpus.interactions.equals(whole.filter(pl.col("user_id").is_in(list(users_of(corpus)))))
    assert corpus.items.equals(data.artifact.table("items"))


@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, 0.75, 0.9])
def test_a_fraction_of_events_is_reached_with_its_last_user_and_not_before(
    taught: Callable[..., Corpus], tmp_path: Path, fraction: float
) -> None:
    sizes = [1, 1, 2, 3, 30, 1, 1, 2, 3, 40, 1, 15]
    events = [(f"u{user}", f"i{time}", time, "train") for user, size in enumerate(sizes) for time in range(size)]
    uneven = TrainingData(corpus_of(interactions_of(events)), {}, tmp_path)
    part = taught(uneven, train_fraction=fraction)
    count = len(users_of(part))
    assert part.interactions.equals(taught(uneven, max_users=count).interactions)
    without_last = taught(uneven, max_users=count - 1).interactions.height if count > 1 else 0
    assert without_last < fraction * len(events) <= part.interactions.height


def test_less_is_part_of_more(taught: Callable[..., Corpus]) -> None:
    for name, values in {"train_fraction": (0.01, 0.2, 0.5, 0.8, 1.0), "max_users": (1, 3, 7, 12, 99)}.items():
        parts = [users_of(taught(**{name: value})) for value in values]
        for less, more in pairwise(parts):
            assert less <= more
        assert len(parts[0]) == 1
        assert len(parts[-1]) == 12
    both = users_of(taught(train_fraction=0.5, max_users=3))
    assert both == users_of(taught(max_users=3)) < users_of(taught(train_fraction=0.5))


def test_which_users_are_taken_is_a_matter_of_the_seed(taught: Callable[..., Corpus]) -> None:
    assert users_of(taught(max_users=5)) == users_of(taught(max_users=5))
    assert len({frozenset(users_of(taught(max_users=5, seed=seed))) for seed in range(5)}) > 1


def test_the_popularity_of_a_fraction_counts_its_users_alone(
    data: Data, taught: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson = taught(train_fraction=0.4).interactions.filter(part="train")
    monkeypatch.undo()
    made = run(data, "popularity", train_fraction=0.4)
    counts = Counter(lesson["item_id"])
    for item, score in made.table("rankings").select("item_id", "score").iter_rows():
        assert score == counts[item]
    assert made.facts["training"] == {"events": lesson.height, "items": len(counts)}
    assert made.facts["typed"] == {"train_fraction": 0.4}
    assert made.path != run(data, "popularity").path


def test_a_fraction_of_events_leaves_no_user_out(data: Data, taught: Callable[..., Corpus]) -> None:
    whole = taught().interactions
    for fraction in (0.01, 0.4, 0.99):
        part = taught(train_fraction=fraction, train_by="each-user").interactions
        assert part.equals(whole.join(part.select("user_id", "item_id"), on=["user_id", "item_id"], how="semi"))
        for frame, kept in zip(
            whole.partition_by("user_id", "part"), part.partition_by("user_id", "part"), strict=True
        ):
            assert kept.height == ceil(fraction * frame.height)
    small, large = (
        set(taught(train_fraction=share, train_by="each-user").interactions.select("user_id", "item_id").rows())
        for share in (0.2, 0.6)
    )
    assert small < large
    assert small != set(
        taught(train_fraction=0.2, train_by="each-user", seed=1).interactions.select("user_id", "item_id").rows()
    )


def test_users_that_a_model_did_not_learn_from_are_counted_aloud(data: Data) -> None:
    asked = data.artifact.table("requests").height
    few = run(data, "itemknn", max_users=2)
    [words] = few.facts["warnings"]
    assert f"of {asked} test users" in words
    assert "--train-by each-user" in words
    assert run(data, "itemknn").facts["warnings"] == run(data, "popularity", max_users=2).facts["warnings"] == []
    assert run(data, "itemknn", train_fraction=0.5, train_by="each-user").facts["warnings"] == []


def test_what_a_model_knows_nothing_of_is_said_with_what_it_does_then() -> None:
    model = ItemKNN(ItemKNNOptions(), seed=0, device="cpu")
    model.fit(corpus_of(interactions_of([(user, item, 0, "train") for user in "uv" for item in "ab"])), TrainContext())
    asked = pl.DataFrame({"user_id": ["u", "w", "x"], "history": [["a"], ["c"], []]})
    assert (model.unknown(asked), model.fallback) == (2, "by chance")


@pytest.mark.parametrize("name", ["bm25", "random"])
@pytest.mark.parametrize("option", [{"train_fraction": 0.5}, {"max_users": 3}])
def test_less_means_nothing_to_models_that_do_not_learn(data: Data, name: str, option: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"has no effect on {name}"):
        run(data, name, **option)


# ---------------------------------------------------------------- trained once


def test_a_trained_model_serves_all_lists_of_the_same_interactions(tmp_path: Path, raw: Path) -> None:
    first = prepared(tmp_path, raw, "first", n_candidates=10)
    run(first, "sasrec")
    (kept,) = kept_models(first)
    before = (first.place.models / kept / "manifest.json").stat().st_mtime_ns
    others = [
        prepared(tmp_path, raw, "shorter", n_candidates=5, seed=1),
        prepared(tmp_path, raw, "whole", candidates="all"),
        prepared(
            tmp_path,
            raw,
            "found",
            candidates="model:sasrec",
            n_candidates=5,
            retriever_options=retriever_options("sasrec"),
        ),
    ]
    for other in others:
        assert run(other, "sasrec").facts["training"]["epochs"] == 2
    assert kept_models(first) == [kept]
    assert (first.place.models / kept / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"options": {**SMALL, "dim": "4"}}, {"train_fraction": 0.5}, {"max_users": 5}], ids=str
)
def test_what_changes_the_model_trains_another(data: Data, change: dict[str, Any]) -> None:
    run(data, "sasrec")
    run(data, "sasrec", **change)
    assert len(kept_models(data)) == 2


def test_other_interactions_train_another(tmp_path: Path, raw: Path) -> None:
    for k_core in (0, 2):
        data = prepared(tmp_path, raw, f"core{k_core}", k_core=k_core)
        run(data, "itemknn")
    assert len(kept_models(data)) == 2


def test_a_run_says_what_it_was_fitted_on(data: Data) -> None:
    made = run(data, "sasrec", options={**SMALL, "fit_on": "train+valid"})
    assert made.facts["fit_on"] == "train+valid"
    assert made.facts["training"]["epochs"] == made.facts["training"]["best_epoch"]
    assert run(data, "sasrec").facts["fit_on"] == "train"
