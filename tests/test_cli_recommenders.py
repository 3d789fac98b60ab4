"""Recommenders as a person types them: losses, seeds, whole catalogues, retrieval, exported and interrupted models."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command_line import ITEMS, USERS, Bench, table
from llmrs_bench.core.config import DEPTH

QUICK = ("-O", "epochs=2", "-O", "dim=8", "-O", "batch=8")


@pytest.fixture
def small(tmp_path: Path, atomic: Path) -> Bench:
    """A home with the small data set."""
    made = Bench(tmp_path / "home", atomic)
    made.prepare(dataset="small@lists")
    return made


def board(bench: Bench, dataset: str = "small@lists", *arguments: str) -> dict[str, dict[str, Any]]:
    bench.run("evaluate", "--dataset", dataset)
    text = bench.run("compare", "--dataset", dataset, "--format", "json", *arguments).stdout
    return {" ".join(filter(None, (row["model"], row["setting"]))): row for row in json.loads(text)["rows"]}


def intervals(row: dict[str, Any]) -> dict[str, list[float]]:
    return {metric: [cell[end] for end in ("mean", "low", "high")] for metric, cell in row["metrics"].items()}


def manifest(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "manifest.json").read_text("utf-8"))
    return found


def test_old_names_of_options_of_the_model_are_understood(small: Bench) -> None:
    typed = ("infer", "-d", "small@lists", "-m", "sasrec", *QUICK)
    plain = small.name(*typed, "-O", "loss=bce", "-O", "fit_on=train+valid", "-O", "max_history=5")
    named = small.run(*typed, "--loss", "bce", "--fit-on", "train+valid", "--max-history", "5")
    assert named.stdout.strip() == plain
    assert "already there" in named.stderr
    assert "warning: --fit-on is now -O fit_on=..." in named.stderr
    assert "fitted on train+valid" in named.stderr
    row = board(small)["sasrec epochs=2, dim=8, batch=8, loss=bce, fit_on=train+valid, max_history=5"]
    assert row["history"] == 5
    assert row["fit_on"] == "train+valid"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--loss", "hinge"), "loss"),
        (("--loss", "ce", "-O", "negatives=3"), "negatives"),
        (("--loss", "ce", "-O", "loss=ce"), "twice"),
        (("--train-fraction", "0"), "--train-fraction 0.0 is not above 0.0"),
        (("--max-users", str(2**64)), f"--max-users {2**64} is above"),
        (("--seeds", "2", "--export", "there"), "--export copies one model"),
    ],
)
def test_wrong_options_of_recommenders_are_named(small: Bench, arguments: tuple[str, ...], words: str) -> None:
    assert words in small.run("infer", "-d", "small@lists", "-m", "sasrec", *arguments, code=2).stderr


@pytest.mark.parametrize("arguments", [("--train-fraction", "0.5"), ("--max-users", "3"), ("--export", "there")])
def test_language_models_refuse_what_is_for_training(small: Bench, arguments: tuple[str, ...]) -> None:
    assert "language model" in small.run("infer", "-d", "small@lists", "-m", "mock", *arguments, code=2).stderr


def test_seeds_make_runs_that_share_a_row_with_their_spread(small: Bench) -> None:
    names = small.name("infer", "-d", "small@lists", "-m", "random", "--seeds", "3").split()
    assert len(set(names)) == 3
    row = board(small)["random 3 seeds"]
    means = [
        board(small, "small@lists", "--run", name)[f"random{' seed ' * bool(seed)}{seed or ''}"]["metrics"]["ndcg@10"][
            "mean"
        ]
        for seed, name in enumerate(names)
    ]
    cell = row["metrics"]["ndcg@10"]
    assert cell["mean"] == pytest.approx(sum(means) / 3)
    assert cell["spread"] == pytest.approx(pl.Series(means).std())
    assert cell["low"] < cell["mean"] < cell["high"]
    assert row["seed"] == [0, 1, 2]
    spread = f"{cell['spread']:.4f}"
    assert f"±{spread}" in small.run("compare", "-d", "small@lists", "--format", "markdown").stdout
    assert f"±{spread[1:]}" in small.run("compare", "-d", "small@lists").stdout
    assert "3 seeds" in small.run("compare", "-d", "small@lists", "--format", "csv").stdout


def test_a_whole_catalogue_is_ranked_without_seen_items(tmp_path: Path, atomic: Path) -> None:
    bench = Bench(tmp_path, atomic)
    bench.prepare("--candidates", "all", dataset="small@all")
    bench.run("infer", "-d", "small@all", "-m", "sasrec", *QUICK)
    bench.run("infer", "-d", "small@all", "-m", "recent-popularity")
    requests = table(bench, "small/all/data/requests.parquet")
    assert requests["candidates"].null_count() == len(requests) == USERS
    seen = requests.select("request_id", item_id="history").explode("item_id")
    for path in bench.home.glob("small/all/runs/*/rankings.parquet"):
        ranked = pl.read_parquet(path)
        assert ranked.join(seen, on=["request_id", "item_id"], how="semi").is_empty()
        sizes = ranked.group_by("request_id").agg(
            pl.len(), pl.col("item_id").n_unique().alias("items"), pl.col("rank").max()
        )
        left = seen.unique().group_by("request_id").agg(seen=pl.len())
        whole = sizes.join(left, on="request_id")
        assert (whole["len"] == whole["items"]).all()
        assert (whole["rank"] == whole["len"]).all()
        assert (whole["len"] == (ITEMS - whole["seen"]).clip(upper_bound=DEPTH)).all()
    rows = board(bench, "small@all")
    # Every user has seen 11 distinct items of the 60, and the target is one of the other 49.
    distinct = seen.unique().group_by("request_id").len()["len"].unique().to_list()
    assert distinct == [11]
    assert rows["chance"]["metrics"]["hit@10"]["mean"] == pytest.approx(10 / 49)
    assert "mrr@10" in rows["chance"]["metrics"]
    assert "whole catalogue" in bench.run("infer", "-d", "small@all", "-m", "mock", code=2).stderr
    assert "mrr@10" in bench.run("compare", "-d", "small@all", "--metrics", "mrr", code=2).stderr


def test_lists_of_the_whole_catalogue_and_ranking_it_agree(tmp_path: Path, atomic: Path) -> None:
    bench = Bench(tmp_path, atomic)
    bench.prepare("--candidates", "all", dataset="small@all")
    bench.prepare("--candidates", "random", "--n-candidates", "1000", dataset="small@lists")
    for variant in ("small@all", "small@lists"):
        bench.run("infer", "-d", variant, "-m", "itemknn")
    whole, lists = (board(bench, variant, "--metrics", "ndcg@10,hit@10") for variant in ("small@all", "small@lists"))
    for model in ("itemknn", "popularity", "chance"):
        assert intervals(whole[model]) == intervals(lists[model])


def test_candidates_of_a_model_are_its_best_items_with_or_without_the_target(tmp_path: Path, atomic: Path) -> None:
    bench = Bench(tmp_path, atomic)
    asked = ("--candidates", "model:itemknn", "--n-candidates", "5", "-O", "itemknn.neighbours=10")
    bench.prepare("--candidates", "all", dataset="small@all")
    bench.run("infer", "-d", "small@all", "-m", "itemknn", "-O", "neighbours=10")
    found = bench.prepare(*asked, dataset="small@found")
    bench.prepare(*asked, "--force-target", dataset="small@forced")
    best = table(bench, "small/all/runs/itemknn*/rankings.parquet").filter(pl.col("rank") <= 5)
    best = best.group_by("request_id").agg(pl.col("item_id").sort())
    target = table(bench, "small/found/data/truth.parquet").select("request_id", target="item_id")
    lists = table(bench, "small/found/data/requests.parquet").select("request_id", pl.col("candidates").list.sort())
    pair = best.join(lists, on="request_id")
    assert (pair["item_id"] == pair["candidates"]).all()
    forced = table(bench, "small/forced/data/requests.parquet").join(target, on="request_id")
    assert forced.select(pl.col("candidates").list.contains(pl.col("target")).all()).item()
    assert forced["candidates"].list.len().unique().to_list() == [5]
    hits = lists.join(target, on="request_id").select(pl.col("candidates").list.contains(pl.col("target")).sum()).item()
    assert 0 < hits < USERS
    assert f"targets in lists {hits}" in found.stderr
    chance = board(bench, "small@found")["chance"]
    assert chance["coverage"] == pytest.approx(hits / USERS)
    assert chance["metrics"]["hit@1"]["mean"] == pytest.approx(hits / USERS / 5)
    assert len(list(bench.home.glob("small/models/itemknn*"))) == 1


def test_several_models_find_candidates_in_turn(tmp_path: Path, atomic: Path) -> None:
    bench = Bench(tmp_path, atomic)
    for name in ("itemknn", "popularity", "itemknn+popularity"):
        bench.prepare("--candidates", f"model:{name}", "--n-candidates", "6", dataset=f"small@{name.replace('+', '-')}")
    knn, popular, mixed = (
        dict(table(bench, f"small/{name}/data/requests.parquet").select("request_id", "candidates").iter_rows())
        for name in ("itemknn", "popularity", "itemknn-popularity")
    )
    for request, items in mixed.items():
        assert len(set(items)) == 6
        assert set(items) <= {*knn[request], *popular[request]}
        assert len({*items} & {*knn[request]}) >= 3
        assert len({*items} & {*popular[request]}) >= 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--candidates", "model:sasrecs"), "unknown recommender 'sasrecs'"),
        (("--candidates", "model:itemknn+itemknn"), "distinct"),
        (("--candidates", "model:itemknn", "-O", "neighbours=3"), "-O itemknn.KEY=VALUE"),
        (("--candidates", "model:itemknn", "-O", "itemknn.nearest=3"), "nearest"),
        (("--candidates", "random", "--force-target"), "--force-target"),
        (("--candidates", "all", "--n-candidates", "20"), "--n-candidates"),
        (("--candidates", "models:itemknn"), "unknown candidate sampler"),
    ],
)
def test_wrong_candidates_are_named(tmp_path: Path, atomic: Path, arguments: tuple[str, ...], words: str) -> None:
    assert words in Bench(tmp_path, atomic).prepare(*arguments, code=2).stderr


def test_an_exported_model_ranks_as_it_did_and_only_its_own_data(small: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    typed = ("infer", "-d", "small@lists", "-m", "sasrec", *QUICK)
    small.run(*typed, "--export", str(folder))
    small.run("infer", "-d", "small@lists", "-m", str(folder))
    rows = board(small)
    assert intervals(rows["exported"]) == intervals(rows["sasrec epochs=2, dim=8, batch=8"])
    small.prepare("--candidates", f"model:{folder}", dataset="small@found")
    assert "exists already" in small.run(*typed, "--export", str(folder), code=2).stderr
    assert "trained already" in small.run("infer", "-d", "small@lists", "-m", str(folder), "-O", "dim=8", code=2).stderr
    small.prepare("--min-rating", "4", dataset="small@liked")
    assert "other data" in small.run("infer", "-d", "small@liked", "-m", str(folder), code=1).stderr
    (folder / "weights.safetensors").write_bytes(b"")
    small.prepare("--seed", "1", dataset="small@again")
    assert "damaged" in small.run("infer", "-d", "small@again", "-m", str(folder), code=1).stderr


def test_an_interrupted_training_goes_on_to_the_same_result(
    small: Bench, tmp_path: Path, atomic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrs_bench.recommenders import training

    whole = Bench(tmp_path / "whole", atomic)
    whole.prepare(dataset="small@lists")
    typed = ("infer", "-d", "small@lists", "-m", "sasrec", "-O", "epochs=4", "-O", "dim=8", "-O", "batch=8")
    name = whole.name(*typed)
    epoch, done = training._run_epoch, 0

    def killed(*arguments: object) -> float:
        nonlocal done
        done += 1
        if done == 3:
            raise KeyboardInterrupt
        return epoch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_run_epoch", killed)
    assert "Run the same command to resume" in small.run(*typed, code=130).stderr
    assert [path.name for path in small.home.glob("small/models/*.training.*")]
    monkeypatch.setattr(training, "_run_epoch", epoch)
    assert small.name(*typed) == name
    assert table(small, "small/*/runs/sasrec*/rankings.parquet").equals(
        table(whole, "small/*/runs/sasrec*/rankings.parquet")
    )
    assert manifest(next(small.home.glob("small/models/sasrec*")))["facts"]["resumed_after"] == 2
    assert not list(small.home.glob("small/models/*.training.*"))


def test_a_foreign_checkpoint_is_refused(small: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrs_bench.recommenders import training

    typed = ("infer", "-d", "small@lists", "-m", "sasrec", "-O", "epochs=4", "-O", "dim=8", "-O", "batch=8")
    epoch = training._run_epoch
    calls = iter((epoch, None))

    def killed(*arguments: object) -> float:
        run = next(calls)
        if run is None:
            raise KeyboardInterrupt
        return run(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_run_epoch", killed)
    small.run(*typed, code=130)
    monkeypatch.setattr(training, "_run_epoch", epoch)
    (left,) = small.home.glob("small/models/*.training.tuning")
    small.run(*typed, "--seed", "1")
    (trained,) = small.home.glob("small/models/sasrec-*/model/model.json")
    del trained
    data = left.read_bytes()
    left.write_bytes(data.replace(b'"identity":"', b'"identity":"x', 1))
    assert left.name in small.run(*typed, code=1).stderr
    left.write_bytes(data[: len(data) // 2])
    assert "is damaged" in small.run(*typed, code=1).stderr
    left.write_bytes(data)
    small.run(*typed)


def test_less_to_learn_from_is_said_on_the_board(small: Bench) -> None:
    said = {}
    for arguments in (
        "--train-fraction 0.2",
        "--max-users 4",
        "--train-fraction 0.2 --train-by time",
        "--train-samples 5",
        "",
    ):
        found = small.run("infer", "-d", "small@lists", "-m", "itemknn", *arguments.split())
        said[arguments] = " ".join(found.stderr.split())
    rows = board(small)
    assert {
        "itemknn",
        "itemknn train_fraction=0.2",
        "itemknn max_users=4",
        "itemknn train_fraction=0.2, train_by=time",
        "itemknn train_samples=5",
    } < set(rows)
    [early, few, whole] = list(said.values())[2:]
    assert (
        "learned from 60 of 300 training events, and 30 of 30 users: the earliest, up to 1970-01-01 00:16:41" in early
    )
    assert "UTC without a training event: 12 of 60 candidate items" in early
    assert "and 5 of 30 users: those of 5 samples" in few
    assert "learned from" not in whole
    notes = " ".join(small.run("compare", "-d", "small@lists").stdout.split())
    assert "itemknn (train_fraction=0.2): did not learn from " in notes
    assert "of the training events are later" not in notes  # every request of these data is at the end of time


def test_what_is_later_than_requests_is_that_of_the_part(bench: Bench) -> None:
    events = [(f"u{user}", f"i{(user + step) % 9}", 100 * user + step) for user in range(9) for step in range(5)]
    bench.home.with_name("turns.csv").write_text("user,item,time\n" + "".join(f"{u},{i},{t}\n" for u, i, t in events))
    source = str(bench.home.with_name("turns.csv"))
    bench.run("prepare", "-d", "turns", "--source", source, "--allow-untitled", "--n-candidates", "3")
    parts = ("", "--train-fraction 0.3 --train-by time")
    said = {part: bench.run("infer", "-d", "turns", "-m", "itemknn", *part.split()).stderr for part in parts}
    # User n asks at 100 n + 4, after the first 4 (n + 1) of all 36 events.
    whole, early = (float(said[part].split(" % ")[0].split()[-1]) for part in parts)
    assert whole == pytest.approx(100 * (1 - sum(4 * (n + 1) for n in range(9)) / 9 / 36), abs=0.05)
    assert early < whole
    notes = " ".join(bench.run("compare", "-d", "turns").stdout.split())
    assert f"(train_fraction=0.3, train_by=time): {early:.1f} % of the training events are later" in notes


def test_a_share_of_each_user_has_an_older_name(small: Bench) -> None:
    typed = ("infer", "-d", "small@lists", "-m", "itemknn")
    name = small.name(*typed, "--train-fraction", "0.4", "--train-by", "each-user")
    older = small.run(*typed, "--event-fraction", "0.4")
    assert older.stdout.strip() == name
    assert "--event-fraction ... is now --train-fraction ... --train-by each-user" in older.stderr
    twice = small.run(*typed, "--event-fraction=0.4", "--train-fraction", "0.5", code=2).stderr
    assert "give one share" in " ".join(twice.replace("│", " ").split())


def test_events_of_one_time_are_said_aloud(tmp_path: Path) -> None:
    source = tmp_path / "still"
    source.mkdir()
    lines = [f"u{user}\ti{(user + step) % 9}\t5" for user in range(5) for step in range(4)]
    (source / "still.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\n" + "\n".join([*lines, "lone\ti1\t5"])
    )
    bench = Bench(tmp_path / "home", source)
    said = bench.prepare("--allow-untitled", dataset="still").stderr
    assert "all 21 events are of one time, or have none" in said
    assert "equal timestamps keep the order of the source's lines" in said
    assert "users with fewer than 3 events are trained on and never tested" in said
    for model in ("recent-popularity", "bprmf"):
        bench.run("infer", "-d", "still", "-m", model, *(QUICK if model == "bprmf" else ()))
