"""Recommenders that are fitted before each window of time: nothing later is read, and no model is fitted twice."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from film_data import write_films
from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import RECOMMENDERS
from llmrs_bench.core.types import no_progress
from llmrs_bench.recommenders.base import Corpus
from llmrs_bench.stages.infer import infer_config
from llmrs_bench.stages.prepare import prepare
from llmrs_bench.stages.source import Origin
from llmrs_bench.stages.storage import unused
from llmrs_bench.stages.trained_models import data_before
from llmrs_bench.stages.workspace import Data, open_data
from stage_runs import OPTIONS, kept_models, run

LEARNING = [name for name in RECOMMENDERS.names() if RECOMMENDERS.load(name).learns]
SPLIT = {"split": "time", "cut": "0.4", "target": "first", "windows": 3, "n_candidates": 6, "users": "all"}


def films(home: Path, folder: Path, **options: Any) -> Data:
    given = {name: value for name, value in {**SPLIT, **options}.items() if value is not None}
    config = PrepareConfig.model_validate({"dataset": "small", **given})
    return open_data(home, prepare(home, "small", config, Origin(folder), no_progress).name)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("films"))


@pytest.fixture
def windows(tmp_path: Path, source: Path) -> Data:
    """Films in three windows after the first four events of each user."""
    return films(tmp_path, source)


def starts(data: Data) -> list[int]:
    """Return the earliest time in each window, of all events: later ones of the last window are those of requests."""
    later = data.artifact.table("later_events").group_by("window").agg(pl.col("timestamp").min()).sort("window")
    last = data.artifact.table("requests").join(data.artifact.table("conditions"), on="request_id")
    return [*later["timestamp"], int(last.filter(window=3)["cutoff"].to_numpy().min())]


@pytest.mark.parametrize("validation", ["last-item", "time", "users:3"])
@pytest.mark.parametrize("window", [1, 2, 3])
def test_what_is_learned_before_a_window_is_all_that_is_earlier_and_nothing_else(
    tmp_path: Path, source: Path, window: int, validation: str
) -> None:
    data = films(tmp_path, source, validation=validation)
    learned = data_before(data, window).corpus
    assert isinstance(learned, Corpus)
    events = learned.interactions
    assert events["timestamp"].to_numpy().max() < starts(data)[window - 1]
    # Each film user has events at 1000 to 1008, so that every earlier second is there twelve times.
    counts = dict(events.group_by("timestamp").len().iter_rows())
    assert counts == dict.fromkeys(range(1000, starts(data)[window - 1]), 12)
    assert [sorted(part) for part in events.group_by("user_id").agg("timestamp")["timestamp"]] == [
        list(part) for part in events.group_by("user_id").agg("timestamp")["timestamp"]
    ]
    valid = events.filter(part="valid")
    if validation == "last-item":
        assert valid["user_id"].is_unique().all()
        assert set(valid["timestamp"]) == {events["timestamp"].max()}
    elif validation == "users:3":
        assert (
            valid["user_id"]
            .unique()
            .sort()
            .equals(data.artifact.table("interactions").filter(part="valid")["user_id"].unique().sort())
        )
        assert valid["user_id"].n_unique() == 3
    else:
        assert valid["timestamp"].to_numpy().min() > events.filter(part="train")["timestamp"].to_numpy().max()
    if window == 1:
        assert events.equals(data.artifact.table("interactions"))


def of_window(data: Data, rankings: pl.DataFrame, window: int) -> pl.DataFrame:
    chosen = data.artifact.table("conditions").filter(window=window)
    return rankings.join(chosen, on="request_id", how="semi", maintain_order="left")


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in {"bert4rec", "gru4rec", "fpmc", "ease", "rp3beta"}))
        for name in LEARNING
    ],
)
def test_what_comes_later_changes_no_ranking(tmp_path: Path, source: Path, model: str) -> None:
    """The events of two users from the second window on are moved: the requests of others in it stay as they were."""
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "films.item").write_bytes((source / "films.item").read_bytes())
    lines = (source / "films.inter").read_text("utf-8").splitlines()
    places = starts(films(tmp_path / "at", source))
    (moved / "films.inter").write_text("\n".join(_moved(line, places[1]) for line in lines), "utf-8")
    made = []
    for name, folder in (("as it was", source), ("moved", moved)):
        data = films(tmp_path / name, folder)
        rankings = run(data, model, retrain="each", options=_quick(model)).table("rankings")
        others = data.artifact.table("requests").filter(~pl.col("user_id").is_in(["u0", "u1"]))
        made.append(of_window(data, rankings.join(others, on="request_id", how="semi"), 2))
    assert made[0].height
    assert made[0].equals(made[1])


def _quick(model: str) -> dict[str, str]:
    return OPTIONS.get(model, {} if "epochs" not in RECOMMENDERS.load(model).Options.model_fields else {"epochs": "2"})


def _moved(line: str, start: int) -> str:
    user, item, rating, time = line.split("\t")
    if user not in ("u0", "u1") or int(time) < start:
        return line
    return "\t".join([user, f"f{(int(item[1:]) + 7) % 40}", rating, time])


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Corpus]:
    """What ItemKNN was fitted on, each time."""
    kind, given = RECOMMENDERS.load("itemknn"), list[Corpus]()
    fit = kind.fit

    def noted(model: Any, corpus: Corpus, work: Any) -> Any:
        given.append(corpus)
        return fit(model, corpus, work)

    monkeypatch.setattr(kind, "fit", noted)
    return given


def test_each_window_has_a_model_of_its_own_and_the_first_that_of_the_cut(windows: Data, fits: list[Corpus]) -> None:
    frozen, again = run(windows, "itemknn"), run(windows, "itemknn", retrain="each")
    assert [corpus.interactions["timestamp"].max() for corpus in fits] == [
        start - 1 for start in starts(windows)
    ]  # the model of the first window was there
    assert len(kept_models(windows)) == 3
    run(windows, "itemknn", retrain="each", seed=0)
    assert len(fits) == 3
    for number, same in ((1, True), (3, False)):
        tables = [of_window(windows, each.table("rankings"), number) for each in (frozen, again)]
        assert tables[0].equals(tables[1]) is same
    ranked = [each.table("rankings").select("request_id", "item_id").sort(pl.all()) for each in (again, frozen)]
    assert ranked[0].equals(ranked[1])
    assert [each["window"] for each in again.facts["retrained"]] == [1, 2, 3]
    assert again.facts["typed"]["retrain"] == "each"
    assert again.facts["timeline"]["later"] == 0
    assert run(windows, "itemknn", retrain="never").path == frozen.path


def test_models_of_windows_are_kept_as_long_as_their_run(windows: Data) -> None:
    home = windows.place.root.parent.parent
    run(windows, "itemknn", retrain="each")
    assert not [each for each in unused(home, windows.place.reference) if "recommender" in each.why]


def test_users_who_are_new_are_learned_from_in_no_window(tmp_path: Path, source: Path) -> None:
    data = films(tmp_path, source, cold_users=(0, 2), users=3)
    tested = set(data.artifact.table("requests")["user_id"])
    corpus = data_before(data, 3).corpus
    assert isinstance(corpus, Corpus)
    assert corpus.interactions.height
    assert not tested & set(corpus.interactions["user_id"])


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("bm25", {}, "--retrain each has no effect on bm25"),
        ("itemknn", {"train_samples": 3}, "so --retrain each has no effect"),
        ("mock", {}, "--retrain applies only to recommenders"),
    ],
)
def test_where_nothing_would_be_fitted_again_it_is_refused(
    windows: Data, model: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        run(windows, model, retrain="each", **options)


def test_without_windows_and_for_an_export_it_is_refused(tmp_path: Path, windows: Data, source: Path) -> None:
    with pytest.raises(OptionError, match=r"before each window, but small@\w+ has no windows"):
        run(films(tmp_path / "plain", source, windows=None, window_by=None), "itemknn", retrain="each")
    with pytest.raises(OptionError, match="trains one per window"):
        run(windows, "itemknn", retrain="each", export_to=tmp_path / "model")
    assert infer_config({"model": "itemknn"}).model_dump()["retrain"] == "never"
