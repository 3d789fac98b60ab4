"""Parts of the training data: which events they hold, that less is part of more, and that nothing else is read."""

from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from click_cases import SMALL as SMALL_CLICKS
from click_cases import items_of, samples_of
from llmrs_bench.clicks.base import ClickCorpus
from llmrs_bench.core.config import PromptConfig, RecommenderConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.registry import CLICK_MODELS, RECOMMENDERS
from llmrs_bench.core.types import no_progress
from llmrs_bench.data.training_part import TrainingPart, labelled_samples, sampled_events
from llmrs_bench.recommenders.base import Corpus
from llmrs_bench.stages.infer_recommender import train_part
from llmrs_bench.stages.prompt import open_plan
from llmrs_bench.stages.trained_models import RecommenderSpec, TrainingData, fitted, lesson, settings
from llmrs_bench.stages.tune_samples import SampleMaker
from llmrs_bench.stages.workspace import Data
from recommender_cases import RING, SMALL, corpus_of, interactions_of, ring_requests, scores_of
from stage_runs import prepared, run

LEARNING = [name for name in RECOMMENDERS.names() if RECOMMENDERS.load(name).learns]


def walks(users: int = 8) -> pl.DataFrame:
    """Return eleven events of each user, all at times of their own; the last one is in the part valid."""
    return interactions_of(
        [
            (f"u{user}", RING[(3 * user + 2 * step) % 24], 100 * step + 7 * user, "train" if step < 10 else "valid")
            for user in range(users)
            for step in range(11)
        ]
    )


# ---------------------------------------------------------------- which events


@pytest.mark.parametrize("by", ["time", "events"])
@pytest.mark.parametrize("fraction", [0.001, 0.25, 0.6])
def test_a_share_of_all_events_is_rounded_up_in_each_part_and_in_the_order_of_the_table(
    by: Any, fraction: float
) -> None:
    whole = walks()
    part = TrainingPart(fraction, by).take(whole, 0)
    for name in ("train", "valid"):
        assert part.filter(part=name).height == ceil(fraction * whole.filter(part=name).height)
    assert part.equals(whole.join(part, on=["user_id", "item_id"], how="semi", maintain_order="left"))


def test_in_time_nothing_is_later_than_what_is_left_out() -> None:
    whole = walks()
    part = TrainingPart(0.3, "time").take(whole, 0)
    for name in ("train", "valid"):
        taken = part.filter(part=name)
        rest = whole.filter(part=name).join(taken, on=["user_id", "item_id"], how="anti")
        assert taken["timestamp"].max() < rest["timestamp"].min()  # type: ignore[operator]


@pytest.mark.parametrize("by", ["time", "events", "users", "each-user"])
def test_less_is_part_of_more_of_the_same_seed(by: Any) -> None:
    whole = walks().with_columns(pl.col("timestamp") // 300)  # several events of each time
    parts = [set(TrainingPart(share, by).take(whole, 5).rows()) for share in (0.01, 0.2, 0.4, 0.7, 1.0)]
    for less, more in pairwise(parts):
        assert less < more
    assert parts[-1] == set(whole.rows())


def test_the_seed_decides_what_is_drawn_and_among_events_of_one_time() -> None:
    whole = walks()
    drawn = [set(TrainingPart(0.4, "events").take(whole, seed).rows()) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    distinct = [TrainingPart(0.4, "time").take(whole, seed).rows() for seed in (0, 1)]
    assert distinct[0] == distinct[1]
    coarse = whole.with_columns(pl.col("timestamp") // 300)
    tied = [set(TrainingPart(0.4, "time").take(coarse, seed).rows()) for seed in (0, 1)]
    assert tied[0] != tied[1]


def test_a_share_of_some_users_is_taken_of_these_alone() -> None:
    whole = walks()
    some = TrainingPart(max_users=3).take(whole, 0)
    both = TrainingPart(0.5, "events", max_users=3).take(whole, 0)
    assert set(both.rows()) < set(some.rows())
    assert both.filter(part="train").height == some.filter(part="train").height / 2


def test_events_without_times_have_no_earliest_share() -> None:
    still = walks().with_columns(timestamp=pl.lit(0, pl.Int64))
    with pytest.raises(DataError, match="all 80 training events are of one time") as caught:
        TrainingPart(0.5, "time").take(still, 0)
    assert "--train-by events" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train_by": "time"}, "--train-by would have no effect without --train-fraction"),
        ({"train_samples": 3, "train_fraction": 0.5}, "so --train-fraction would have no effect"),
        ({"train_samples": 3, "max_users": 2}, "so --max-users would have no effect"),
        ({"train_by": "day", "train_fraction": 0.5}, "day"),
        ({"train_samples": 0}, "train-samples 0"),
    ],
)
def test_options_that_say_nothing_beside_others_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        RecommenderConfig.parse_flags({"model": "itemknn", **options}, command="infer")


def test_a_fingerprint_of_what_could_be_asked_before_is_in_the_words_of_then() -> None:
    def said(**options: Any) -> dict[str, Any]:
        part = TrainingPart.of(RecommenderConfig(model="popularity", **options))
        return settings(RecommenderSpec("popularity", {}, part=part), 10)

    plain = said()
    assert {key: plain[key] for key in plain if key not in ("model", "seed", "device", "options")} == {
        "train_fraction": 1.0,
        "max_users": None,
    }
    assert said(train_fraction=1, train_by="time") == plain
    assert said(train_fraction=0.4) == said(train_fraction=0.4, train_by="users") == {**plain, "train_fraction": 0.4}
    assert said(train_fraction=0.4, train_by="each-user") == {**plain, "event_fraction": 0.4}
    others = [said(train_fraction=0.4, train_by=by) for by in ("users", "time", "events", "each-user")]
    others += [plain, said(train_samples=4), said(train_samples=5), said(max_users=4)]
    assert len({str(each) for each in others}) == len(others)


# ---------------------------------------------------------------- the samples of tuning


def maker(data: Data, template: str, seed: int) -> SampleMaker:
    """Return what makes samples, with no model: none is rendered."""
    plan = open_plan(PromptConfig(template=template))
    nothing = cast(Any, None)
    return SampleMaker(data, plan, history=4, reader=nothing, end=nothing, context=99, seed=seed)


@pytest.mark.parametrize("split", ["leave-one-out", "random"])
def test_the_events_of_samples_are_those_that_tuning_shows(tmp_path: Path, raw: Path, split: str) -> None:
    data = prepared(tmp_path, raw, "lists", split=split, n_candidates=5)
    events = data.artifact.table("interactions")
    for count, seed in ((1, 0), (7, 0), (7, 3)):
        samples = maker(data, "label", seed)._ranked_rows("train", count, 0)[0]
        shown = {
            (user, item)
            for user, target, history in samples.select("user_id", "item_id", "history").iter_rows()
            for item in (target, *history[-4:])
        }
        assert samples.height == count
        assert not any(item in history for item, history in samples.select("item_id", "history").iter_rows())
        part = sampled_events(events, count, seed, history=4)
        assert set(part.filter(part="train").select("user_id", "item_id").iter_rows()) == shown
        assert set(part["user_id"]) == set(samples["user_id"])
        assert part.equals(events.join(part, on=["user_id", "item_id"], how="semi", maintain_order="left"))


def test_users_who_are_held_out_for_validation_stay_whole() -> None:
    held = pl.col("user_id").is_in(["u6", "u7"])
    events = walks().with_columns(part=pl.when(held).then(pl.lit("valid")).otherwise(pl.lit("train")))
    part = sampled_events(events, 7, 0, history=4)
    assert part.filter(part="valid").equals(events.filter(held))
    assert 7 < part.filter(part="train").height < events.filter(~held).height


def test_labelled_samples_are_the_rows_that_tuning_takes(tmp_path: Path) -> None:
    source = tmp_path / "log"
    source.mkdir()
    rows = [(user, (user * 7 + step * 3) % 20, 100 * step + user) for user in range(9) for step in range(8)]
    lines = [f"u{user},i{item},{time},{item % 2},Song {item}" for user, item, time in rows]
    (source / "events.csv").write_text("user_id,item_id,time,label,title\n" + "\n".join(lines) + "\n")
    data = prepared(tmp_path / "home", source, "liked", task="click", allow_untitled=True)
    samples = data.artifact.table("samples")
    for count, seed in ((1, 0), (20, 0), (20, 2)):
        tuned = maker(data, "like", seed)._click_rows("train")[0].head(count)
        assert set(labelled_samples(samples, count, seed)["request_id"]) == set(tuned["request_id"])
    few = run(data, "itemknn", train_samples=20)
    liked = labelled_samples(samples, 20, 0).filter(pl.col("label") > 0)
    assert few.facts["training"]["events"] == few.facts["train_part"]["events"] == liked.height
    assert few.facts["train_part"]["samples"] == 20
    with pytest.raises(DataError, match="999 samples were asked for, but the training part has 57") as caught:
        run(data, "logistic", train_samples=999)
    assert "--train-samples 57" in caught.value.hint


def test_samples_are_of_the_part_train_alone(data: Data) -> None:
    with pytest.raises(OptionError, match="adds others"):
        run(data, "itemknn", train_samples=3, options={"fit_on": "train+valid"})


# ---------------------------------------------------------------- nothing else is read


def taught(corpus: Corpus | ClickCorpus, folder: Path) -> TrainingData:
    return TrainingData(corpus, {"corpus": folder.name}, folder, history=3)


def scored(spec: RecommenderSpec, corpus: Corpus, folder: Path) -> dict[str, dict[str, float]]:
    return scores_of(fitted(spec, taught(corpus, folder), no_progress).model, ring_requests())


BY_TIME = TrainingPart(0.5, "time")
PARTS = [TrainingPart(0.6, "events"), TrainingPart(0.5, "users"), TrainingPart(train_samples=20)]
CASES = [*((name, BY_TIME) for name in LEARNING), *((name, part) for name in ("itemknn", "sasrec") for part in PARTS)]


@pytest.mark.parametrize(("name", "part"), CASES, ids=str)
def test_a_recommender_of_a_part_is_that_of_its_events_alone(name: str, part: TrainingPart, tmp_path: Path) -> None:
    options = {**SMALL[name], "epochs": "2"} if name in SMALL else {}
    whole = corpus_of(walks())
    of_part = RecommenderSpec(name, options, seed=1, part=part)
    alone = lesson(of_part, taught(whole, tmp_path / "whole"))
    assert isinstance(alone, Corpus)
    assert 0 < alone.interactions.height < whole.interactions.height
    found = scored(of_part, whole, tmp_path / "whole")
    assert found == scored(RecommenderSpec(name, options, seed=1), alone, tmp_path / "alone")
    assert train_part(of_part, taught(whole, tmp_path))["events"] == alone.interactions.filter(part="train").height


@pytest.mark.parametrize("name", ["popularity", "sasrec"])
def test_what_happens_after_the_earliest_events_changes_no_score(name: str, tmp_path: Path) -> None:
    events = walks()
    cut = BY_TIME.take(events, 0).group_by("part").agg(until=pl.col("timestamp").max())
    is_later = pl.col("timestamp") > pl.col("until")
    marked = events.join(cut, on="part", maintain_order="left")
    later = marked.with_columns(item_id=pl.when(is_later).then(pl.lit(RING[0])).otherwise("item_id")).drop("until")
    items = corpus_of(events).items
    assert not later.equals(events)
    spec = RecommenderSpec(name, SMALL.get(name, {}), part=BY_TIME)
    one, other = (scored(spec, Corpus(table, items), tmp_path / str(at)) for at, table in enumerate((events, later)))
    assert one == other


@pytest.mark.parametrize("part", [TrainingPart(0.5, "time"), TrainingPart(train_samples=150)], ids=["time", "samples"])
@pytest.mark.parametrize("name", CLICK_MODELS.names())
def test_a_click_model_of_a_part_does_not_read_the_other_labels(name: str, part: TrainingPart, tmp_path: Path) -> None:
    samples, items = samples_of(), items_of()
    spec = RecommenderSpec(name, {**SMALL_CLICKS[name], "epochs": "1"}, part=part)
    learned = lesson(spec, taught(ClickCorpus(samples, items), tmp_path))
    assert isinstance(learned, ClickCorpus)
    kept = pl.col("request_id").is_in(learned.samples["request_id"].implode())
    turned = samples.with_columns(label=pl.when(kept).then("label").otherwise(1 - pl.col("label")))
    assert not turned.equals(samples)
    asked = samples_of(users=4, first=28, part="valid")
    one, other = (
        fitted(spec, taught(ClickCorpus(table, items), tmp_path / str(at)), no_progress).model.score(asked, items)
        for at, table in enumerate((samples, turned))
    )
    assert np.array_equal(one, other)
    assert learned.samples.filter(part="valid").equals(samples.filter(part="valid"))
