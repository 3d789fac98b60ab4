"""What runs of recommenders say of what they did not learn from: leaks, items and users without a training event."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from film_data import write_films
from llmrs_bench.clicks.baselines import RATING_BASELINES
from llmrs_bench.core.config import CompareConfig, EvaluateConfig
from llmrs_bench.core.errors import TooLittleError
from llmrs_bench.core.types import no_progress
from llmrs_bench.data.training_part import TrainingPart
from llmrs_bench.report.words import run_lines
from llmrs_bench.stages.compare import compare
from llmrs_bench.stages.compare_labelled import compare_labelled
from llmrs_bench.stages.evaluate import evaluate
from llmrs_bench.stages.storage import show_run
from llmrs_bench.stages.trained_models import data_before
from llmrs_bench.stages.workspace import Data
from stage_runs import prepared, run

# ---------------------------------------------------------------- leaks of time


@pytest.mark.parametrize(
    ("task", "model"), [("rating", "item-mean"), ("rating", "biased-mean"), ("click", "logistic"), ("click", "itemknn")]
)
@pytest.mark.parametrize("by", ["time", "events"])
def test_of_labelled_events_cut_in_time_no_part_is_later_than_a_request(
    tmp_path: Path, task: str, model: str, by: str
) -> None:
    column, source = "label" if task == "click" else "rating", tmp_path / "events.csv"
    rows = [f"u{at % 9},i{at * 7 % 20},{1000 + at},{at % 3 % 2},Song" for at in range(90)]
    source.write_text(f"user_id,item_id,time,{column},title\n" + "\n".join(rows) + "\n")
    data = prepared(tmp_path / "home", source, "labelled", task=task, allow_untitled=True)
    assert data.artifact.facts["timeline"]["later"] == 0
    assert set(data.artifact.table("requests")["part"]) == {"valid", "test"}
    part = run(data, model, train_fraction=0.5, train_by=by)
    assert part.facts["timeline"] == {
        "later": 0,
        "words": "leaks: none of the training events are later than a request",
    }


# ---------------------------------------------------------------- users


FILMS: dict[str, Any] = {"split": "time", "cut": "0.4", "n_candidates": 6, "users": "all"}


@pytest.fixture
def newcomers(tmp_path: Path) -> Path:
    """Two users with events before the cut, and three others, one of whom has several events after it."""
    rows = [f"old{at % 2},i{at % 9},{1000 + at}" for at in range(20)]
    rows += [f"new{at},i{at},{1020 + at}" for at in range(3)] + [f"new0,i{at},{1030 + at}" for at in range(4, 9)]
    rows += [f"old{at % 2},i{(at + 1) % 9},{1040 + at}" for at in range(6)]
    (tmp_path / "events.csv").write_text("user_id,item_id,time\n" + "\n".join(rows) + "\n")
    return tmp_path / "events.csv"


def test_another_share_is_proposed_only_to_requests_that_it_would_help(tmp_path: Path, newcomers: Path) -> None:
    data = prepared(
        tmp_path, newcomers, "first", split="time", cut="0.5", target="first", n_candidates=3, allow_untitled=True
    )
    assert set(data.artifact.table("interactions")["user_id"]) == {"old0", "old1"}
    [said] = run(data, "itemknn", train_fraction=0.9, train_by="time").facts["warnings"]
    assert said == "itemknn has no data on 3 of 5 test users (3 without a history), and ranks for them by chance"
    [said] = run(data, "itemknn", train_fraction=0.1, train_by="users").facts["warnings"]
    assert "by chance" in said
    assert "each-user" not in said


def test_several_windows_propose_another_share_once(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    source = write_films(tmp_path / "films")
    data = prepared(tmp_path, source, "windows", target="last", windows=3, **FILMS)
    [said] = run(data, "itemknn", retrain="each", train_fraction=0.5).facts["warnings"]
    left = [int(number) for number in re.findall(r"window \d: itemknn did not learn from (\d+) of", said)]
    assert len(left) == 3
    assert said.endswith(f"; --train-by each-user would learn from the users of {sum(left)} of these requests")
    assert said.count("--train-by") == 1
    [said] = run(data, "itemknn", max_users=2).facts["warnings"]
    assert "; --train-fraction with --train-by each-user, without --max-users, would learn from" in said


@pytest.mark.parametrize(("fraction", "words"), [(0.001, "sasrec needs at least two items"), (0.05, "no user has two")])
def test_a_part_that_is_too_small_is_named_as_the_cause(data: Data, fraction: float, words: str) -> None:
    asked = f"--train-fraction {fraction} --train-by time leaves"
    with pytest.raises(TooLittleError, match=rf"^{asked} .+ events: {words}") as caught:
        run(data, "sasrec", train_fraction=fraction, train_by="time")
    assert "Take a larger part" in caught.value.hint
    assert "--train-by users" in caught.value.hint


# ---------------------------------------------------------------- items


@pytest.fixture
def later_items(tmp_path: Path) -> Path:
    """Thirteen events of each of six users; "new" is chosen at step 9 by half of them, at step 12 by the rest."""
    steps = [(user, step) for step in range(13) for user in range(6)]
    items = ["new" if step == (9 if user < 3 else 12) else f"i{(5 * user + step) % 13}" for user, step in steps]
    rows = [f"u{user},{item},{10 * step + user}" for (user, step), item in zip(steps, items, strict=True)]
    (tmp_path / "events.csv").write_text("user_id,item_id,time\n" + "\n".join(rows) + "\n")
    return tmp_path / "events.csv"


LATER: dict[str, Any] = {"split": "time", "cut": "0.49", "target": "successive", "n_candidates": 2}
LATER |= {"allow_untitled": True}


def expected(data: Data, events: pl.DataFrame) -> list[int]:
    """Return how many targets and candidates are in no event of the part train of `events`."""
    known = set(events.filter(part="train")["item_id"])
    targets, listed = data.artifact.table("truth"), data.artifact.table("requests").explode("candidates")
    return [sum(item not in known for item in items) for items in (targets["item_id"], listed["candidates"])]


@pytest.mark.parametrize("model", ["itemknn", "popularity"])
@pytest.mark.parametrize("part", [{}, {"train_fraction": 0.2, "train_by": "time"}], ids=["all", "part"])
def test_targets_and_candidates_without_a_training_event_are_counted(
    tmp_path: Path, later_items: Path, model: str, part: dict[str, Any]
) -> None:
    data = prepared(tmp_path / "home", later_items, "later", **LATER)
    made, events = run(data, model, **part), data.artifact.table("interactions")
    learned = TrainingPart(**part).take(events, 0)
    targets, candidates = expected(data, learned)
    assert targets > 0
    assert made.facts["train_part"]["unseen_candidates"] == candidates
    listed = made.facts["train_part"]["of_candidates"]
    [line] = [line for line in run_lines(made.facts) if line.startswith("without a training event")]
    assert line.endswith(f"candidate items, {candidates} of {listed} candidates")
    [done] = evaluate(data, [made.path.name], EvaluateConfig(), no_progress)[1:]
    asked = data.artifact.table("requests").height
    assert done.artifact.facts["unseen"]["targets"] == targets
    words = f"{targets} of {asked} targets and {candidates} of {listed} candidates have no training event"
    assert done.artifact.facts["unseen"]["words"] == words
    assert words in show_run(tmp_path / "home", made.path.name).warnings


def test_the_board_says_what_several_rows_did_not_learn_from_once(tmp_path: Path, later_items: Path) -> None:
    data = prepared(tmp_path, later_items, "later", **LATER)
    run(data, "itemknn")
    notes = compare(data, [], CompareConfig(samples=100, permutations=100)).board.notes
    [note] = [note for note in notes if note.endswith("have no training event")]
    assert note.startswith("itemknn (neighbours=5), popularity: ")


def test_models_of_windows_are_counted_by_window(tmp_path: Path, later_items: Path) -> None:
    data = prepared(tmp_path, later_items, "windows", windows=2, **LATER | {"target": "last"})
    both: dict[str, Any] = {
        "options": {"fit_on": "train+valid"}
    }  # else nobody learns from the last event of a user before a window
    frozen, again = run(data, "itemknn", **both), run(data, "itemknn", retrain="each", **both)
    for each in again.facts["retrained"]:
        known = data_before(data, each["window"]).corpus.interactions["item_id"]  # type: ignore[union-attr]
        asked = data.artifact.table("requests").join(
            data.artifact.table("conditions").filter(window=each["window"]), on="request_id", how="semi"
        )
        assert each["unseen_candidates"] == (~asked["candidates"].explode().is_in(known.implode())).sum()
    counted = [
        evaluate(data, [made.path.name], EvaluateConfig(), no_progress)[1].artifact.facts["unseen"]
        for made in (frozen, again)
    ]
    assert [each["targets"] for each in counted] == [6, 3]
    assert counted[1]["by_window"] == [3, 0]
    assert counted[1]["words"].startswith("3 of 12 targets (by window 3, 0)")


def test_a_whole_catalogue_and_rows_of_clicks_are_counted_too(tmp_path: Path, later_items: Path) -> None:
    data = prepared(
        tmp_path / "all",
        later_items,
        "all",
        **{key: LATER[key] for key in LATER if key != "n_candidates"},
        candidates="all",
    )
    made = run(data, "itemknn")
    assert (made.facts["train_part"]["unseen_items"], made.facts["train_part"]["of_items"]) == (1, 14)
    assert made.table("unseen_items").rows() == [(None, "new")]
    assert run_lines(made.facts)[1] == "without a training event: 1 of 14 candidate items"
    lines = later_items.read_text().splitlines()
    source = tmp_path / "clicks.csv"
    source.write_text("\n".join([lines[0] + ",label", *(f"{line},{at % 3 % 2}" for at, line in enumerate(lines[1:]))]))
    clicks = prepared(tmp_path / "clicks", source, "clicks", task="click", allow_untitled=True)
    part = run(clicks, "itemknn", train_fraction=0.1, train_by="time")
    rows = clicks.labelled_rows().filter(part="test")
    [done] = [
        each.artifact
        for each in evaluate(clicks, [part.path.name], EvaluateConfig(), no_progress)
        if each.artifact.manifest.name == part.path.name
    ]
    missed = rows.filter(pl.col("item_id").is_in(part.table("unseen_items")["item_id"].implode())).height
    assert missed > 0
    assert done.facts["unseen"]["words"] == f"{missed} of {rows.height} test rows have no training event"


def test_trivial_rows_count_the_users_and_items_they_have_no_mean_of(tmp_path: Path) -> None:
    source = tmp_path / "events.csv"
    rows = [
        f"u{at % 9 if at < 60 else 9},i{at * 7 % 20 if at < 80 else 20},{1000 + at},{at % 5},Song" for at in range(100)
    ]
    source.write_text("user_id,item_id,time,rating,title\n" + "\n".join(rows) + "\n")
    data = prepared(tmp_path / "home", source, "ratings", task="rating", allow_untitled=True)
    part = {"train_fraction": 0.5, "train_by": "time"}
    made = {name: run(data, name, **part) for name in RATING_BASELINES}  # type: ignore[arg-type]
    rows_of = {"user": "9 have a user", "item": "1 has an item"}
    said = {name: one.facts["warnings"] for name, one in made.items()}
    assert said == {
        "global-mean": [],
        "user-mean": [f"user-mean: of 9 test rows, {rows_of['user']} without a training row"],
        "item-mean": [f"item-mean: of 9 test rows, {rows_of['item']} without a training row"],
        "biased-mean": [f"biased-mean: of 9 test rows, {rows_of['user']} and {rows_of['item']} without a training row"],
    }
    notes = compare_labelled(data, [], CompareConfig(samples=100, permutations=100)).board.notes
    label = "item-mean (train_fraction=0.5, train_by=time)"
    assert f"{label}: of 9 test rows, {rows_of['item']} without a training row" in notes
