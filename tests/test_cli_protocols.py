"""Protocols as typed: time windows, new users, little data, opinions of recommenders, validation, and their recipes."""

import csv
import json
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from command_line import USERS, Bench

WINDOWS = ("--split", "time", "--cut", "0.4", "--target", "first", "--windows", "3")


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory, atomic: Path) -> Bench:
    """A home with runs of requests in three windows."""
    made = Bench(tmp_path_factory.mktemp("timed"), atomic)
    made.prepare(*WINDOWS, dataset="small@time")
    for again in ("never", "each"):
        made.run("infer", "-d", "small@time", "--model", "itemknn", "--retrain", again)
    made.run("infer", "-d", "small@time", "--model", "mock", "-O", "released=1969-12-24")
    made.run("evaluate", "-d", "small@time")
    return made


COMPARE = ("compare", "-d", "small@time", "--samples", "200", "--permutations", "500")


def as_json(bench: Bench, *arguments: str) -> Any:
    return json.loads(bench.run(*arguments, "--format", "json").stdout)


def test_a_row_is_a_curve_over_windows_with_the_means_of_its_groups(timed: Bench) -> None:
    made = as_json(timed, *COMPARE, "--over-time")
    groups = as_json(timed, *COMPARE, "--by", "window")["groups"]
    assert made["over"] == "window"
    [curve] = [each for each in made["curves"] if (each["curve"], each["metric"]) == ("itemknn", "ndcg@10")]
    for point, group in zip(curve["points"], groups, strict=True):
        [row] = [row for row in group["rows"] if row["model"] == "itemknn" and not row["setting"]]
        assert point["mean"] == pytest.approx(row["metrics"]["ndcg@10"]["mean"])
        assert point["users"] == group["users"]
    assert {each["curve"] for each in made["slopes"]} == {
        *("itemknn", "itemknn (retrain=each)", "mock (listwise)", "popularity"),
    }
    assert len([each for each in made["contrasts"] if each["metric"] == "ndcg@10"]) == 6
    assert {each["other"] for each in made["crossings"]} | {each["curve"] for each in made["crossings"]} >= {
        "mock (listwise)",
        "itemknn (retrain=each)",
    }
    assert "mock (listwise) was released on 1969-12-24: windows from 1 on begin after that" in made["notes"]
    assert made["notes"][-1].startswith("\u2020: requests after the release of the model")
    [asked] = [each for each in made["curves"] if (each["curve"], each["metric"]) == ("mock (listwise)", "ndcg@10")]
    assert (asked["released"], {point["unseen"] for point in asked["points"]}) == ("1969-12-24", {True})


def test_every_format_and_the_page_have_curves_over_time(timed: Bench, tmp_path: Path) -> None:
    text = timed.run(*COMPARE, "--over-time").stdout
    for words in ("ndcg@10 over window", "window 3: 1970-01-01", "less that of", "slope"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 80
    shown = timed.run(*COMPARE, "--over-time", "--format", "markdown").stdout
    assert "| slope of | less that of | difference | 95 % interval | p | corrected p |" in shown
    rows = list(csv.DictReader(StringIO(timed.run(*COMPARE, "--over-time", "--format", "csv").stdout)))
    assert {row["x"] for row in rows} == {"1.0", "2.0", "3.0"}
    assert all(row["slope"] for row in rows if row["curve"] == "itemknn")
    assert "% slope of itemknn less that of" in timed.run(*COMPARE, "--over-time", "--format", "latex").stdout
    page = tmp_path / "page.html"
    timed.run(*COMPARE, "--over-time", "--html", str(page), "--html-requests", "0", "--format", "json")
    assert '"over":"window"' in page.read_text("utf-8")
    assert '"contrasts":[{' in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--over-time", "--over", "budget"), "Leave one of them out."),
        (("--over-time", "--by", "window"), "Leave one of them out."),
        (("--over-time", "--text"), "--over-time draws curves, --text describes the board"),
        (("--over", "cold-users"), "Prepare them: --cold-users 0,1,2,5,10."),
    ],
)
def test_what_shows_nothing_is_refused(timed: Bench, arguments: tuple[str, ...], words: str) -> None:
    assert words in " ".join(timed.run(*COMPARE, *arguments, code=2).stderr.split())


def test_a_day_of_release_may_come_later_and_changes_no_answer(timed: Bench) -> None:
    said = timed.run("infer", "-d", "small@time", "--model", "mock", "-O", "released=2024-10-31")
    assert "already there" in said.stderr
    notes = as_json(timed, *COMPARE, "--over-time")["notes"]
    assert "mock (listwise) was released on 2024-10-31: no window begins after that" in notes
    timed.run("infer", "-d", "small@time", "--model", "mock", "-O", "released=1969-12-24")
    assert "released" in timed.run("infer", "-d", "small@time", "--model", "mock", "-O", "released=soon", code=2).stderr


def test_infer_says_what_each_window_was_fitted_on(timed: Bench) -> None:
    said = timed.run("infer", "-d", "small@time", "--model", "itemknn", "--retrain", "each").stderr
    fitted = [line for line in said.splitlines() if line.startswith("window ")]
    assert len(fitted) == 3
    assert all("requests, fitted on" in line for line in fitted)


def write_drift(folder: Path, *, drifts: bool) -> Path:
    """Write 80 users with 16 events each: what they choose is popular, and with drift less so as time goes by."""
    generator, lines = np.random.default_rng(3), []
    for user in range(80):
        left = list(range(60))
        for step in range(16):
            popular = generator.random() < (0.9 - 0.8 * max(step - 7, 0) / 8 if drifts else 0.6)
            wanted = [item for item in left if (item < 20) == popular] or left
            left.remove(chosen := int(generator.choice(wanted)))
            lines.append(f"u{user}\ti{chosen}\t{1000 * step + user}")
    folder.mkdir()
    (folder / "drift.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(lines), "utf-8")
    titles = [f"i{item}\tThe Film of {item} Days" for item in range(60)]
    (folder / "drift.item").write_text("item_id:token\ttitle:token_seq\n" + "\n".join(titles), "utf-8")
    return folder


@pytest.mark.parametrize("drifts", [True, False])
def test_a_drift_planted_in_the_data_is_found_and_none_where_there_is_none(tmp_path: Path, drifts: bool) -> None:
    bench = Bench(tmp_path / "home", write_drift(tmp_path / "drift", drifts=drifts))
    bench.prepare("--split", "time", "--cut", "0.5", "--target", "first", "--windows", "4", dataset="drift")
    bench.run("infer", "-d", "drift", "--model", "mock")
    made = as_json(bench, "compare", "-d", "drift", "--over-time", "--samples", "200", "--permutations", "1000")
    found = {each["curve"]: each for each in made["slopes"] if each["metric"] == "ndcg@10"}
    assert (found["popularity"]["corrected"] < 0.01) is drifts
    assert (found["popularity"]["high"] < 0) is drifts
    assert found["mock (listwise)"]["corrected"] > 0.05
    [between] = [each for each in made["contrasts"] if each["metric"] == "ndcg@10"]
    assert (between["p"] < 0.01) is drifts


# ---------------------------------------------------------------- opinions of a recommender


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, atomic: Path) -> Bench:
    made = Bench(tmp_path_factory.mktemp("scored"), atomic)
    made.prepare("--n-candidates", "5", dataset="small@now")
    for model in ("itemknn", "mock"):
        made.run("infer", "-d", "small@now", "--model", model)
    made.run("fuse", "-d", "small@now", "--run", "itemknn", "--run", "mock", "--method", "oracle")
    return made


def prompts(bench: Bench, *arguments: str) -> list[str]:
    options = [text for option in arguments for text in ("-T", option)]
    bench.run("prompt", "-d", "small@now", *options)
    newest = max(bench.home.glob("small/now/prompts/*/prompts.parquet"), key=lambda path: path.stat().st_mtime_ns)
    frame = pl.read_parquet(newest).sort("request_id")
    return [messages[-1]["content"] for messages in frame["messages"].to_list()]


def test_candidates_are_shown_with_their_rank_or_score_by_a_recommender(scored: Bench) -> None:
    rankings = pl.read_parquet(next(scored.home.glob("small/now/runs/itemknn*/rankings.parquet")))
    titles = dict(pl.read_parquet(scored.home / "small/now/data/items.parquet").select("item_id", "title").iter_rows())
    ranks = prompts(scored, "candidates=scored", "scores_run=itemknn")
    scores = prompts(scored, "candidates=letters-scored", "scores_run=itemknn", "scores=score", "answer=none")
    assert len(ranks) == USERS
    for place, (name,) in enumerate(rankings.select("request_id").unique().sort("request_id").iter_rows()):
        own = rankings.filter(request_id=name).sort("rank")
        low, high = own["score"][-1], own["score"][0]
        for item, rank, score in own.select("item_id", "rank", "score").iter_rows():
            assert f"] {titles[item]} (rank {rank})\n" in f"{ranks[place]}\n"
            share = 100 if low == high else round(100 * (score - low) / (high - low))
            assert any(
                f". {titles[item]} (score {each})\n" in f"{scores[place]}\n" for each in (share - 1, share, share + 1)
            )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("candidates=scored",), "Add -T scores_run=RUN"),
        (("scores_run=itemknn",), "Add -T candidates=scored"),
        (("candidates=scored", "scores_run=mock"), "is the run of a language model, and may know targets"),
        (("candidates=scored", "scores_run=oracle"), "is the run of an oracle, and may know targets"),
        (("candidates=scored", "scores_run=sasrec"), "unknown run 'sasrec'"),
        (("scores=score",), "scores has no effect without scores_run=RUN"),
    ],
)
def test_opinions_that_are_not_there_or_may_know_targets_are_refused(
    scored: Bench, options: tuple[str, ...], words: str
) -> None:
    typed = [text for option in options for text in ("-T", option)]
    said = scored.run("infer", "-d", "small@now", "--model", "mock", *typed, code=2).stderr
    assert words in " ".join(said.split())


def test_a_run_whose_opinion_is_shown_is_in_use(scored: Bench) -> None:
    scored.run("infer", "-d", "small@now", "--model", "mock", "-T", "candidates=scored", "-T", "scores_run=itemknn")
    name = next(scored.home.glob("small/now/runs/itemknn*")).name
    assert f"run {name} is in use" in scored.run("rm", name, "-d", "small@now", code=1).stderr


# ---------------------------------------------------------------- validation requests


@pytest.mark.parametrize(
    "options",
    [(), ("--split", "random"), ("--split", "time", "--cut", "0.8"), ("--repeats", "all"), ("--cold-users", "0,2")],
)
def test_validation_requests_put_the_tested_events_away(bench: Bench, options: tuple[str, ...]) -> None:
    few = ("--users", "8") if "--cold-users" in options else ()
    bench.prepare(*options, *few, dataset="small@now")
    bench.prepare(*options, *few, "--held-out", "validation", dataset="small@earlier")
    read = {
        variant: {
            name: pl.read_parquet(bench.home / "small" / variant / "data" / f"{name}.parquet")
            for name in ("truth", "requests", "interactions")
        }
        for variant in ("now", "earlier")
    }
    pairs = ["user_id", "item_id"]
    tested, asked = (each["truth"].join(each["requests"], on="request_id").select(pairs) for each in read.values())
    assert asked.height
    assert asked.join(tested, on=pairs, how="semi").is_empty()
    assert read["earlier"]["interactions"].join(tested, on=pairs, how="semi").is_empty()
    assert read["earlier"]["interactions"].join(asked, on=pairs, how="semi").is_empty()
    if "--cold-users" not in options:
        assert asked.join(read["now"]["interactions"], on=pairs, how="anti").is_empty()
        assert read["earlier"]["interactions"].join(read["now"]["interactions"], on=pairs, how="anti").is_empty()
    rules = json.loads((bench.home / "small/earlier/data/manifest.json").read_text("utf-8"))["facts"]["rules"]
    assert any("tested events are put away" in rule for rule in rules)


def test_a_cut_at_a_date_has_no_second_one(bench: Bench) -> None:
    typed = ("--split", "time", "--cut", "1970-01-01T00:16:45", "--held-out", "validation")
    assert "Give a share, such as --cut 0.9" in bench.prepare(*typed, dataset="small@date", code=2).stderr


# ---------------------------------------------------------------- recipes


def quick(name: str, folder: Path) -> str:
    """Return a file with the recipe, without its networks, which take long to train."""
    text = (files("llmrs_bench") / "recipes" / "protocols" / f"{name}.toml").read_text("utf-8")
    path = folder / f"{name}.toml"
    path.write_text(text.replace('"sasrec", ', "").replace(', "sasrec"', ""), "utf-8")
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "over", "points"),
    [
        ("time", "window", {1, 2, 3, 4}),
        ("cold-users", "known_events", {0, 1, 2, 5}),
        ("little-data", "train_fraction", {0.02, 0.05, 0.1, 0.2, 0.5, 1}),
    ],
)
def test_the_recipe_of_a_protocol_runs_to_its_curves(
    bench: Bench, tmp_path: Path, name: str, over: str, points: set[float]
) -> None:
    small = ["--set", "data.users=8", "--set", "data.cold_users=0,1,2,5"] if name == "cold-users" else []
    if name != "time":
        from tiny_embeddings import tiny_encoder  # takes seconds

        small += ["--set", f"rows.MiniLM.options.model={tiny_encoder(tmp_path)}"]
    found = bench.run(
        *("run", quick(name, tmp_path), "-d", "small", "--source", str(bench.source), "--model", "mock"),
        *("--format", "json", *small),
    )
    made = json.loads(found.stdout[found.stdout.index("{") :])
    assert made["over"] == over
    [curve] = [each for each in made["curves"] if each["curve"].startswith("itemknn")][:1]
    assert {point["x"] for point in curve["points"]} == points
    assert any("mock" in each["curve"] + each["other"] for each in made["crossings"])
    rows = {each["curve"] for each in made["curves"]} | {each["row"] for each in made["levels"]}
    assert any(row.startswith("embedding") for row in rows) is (name != "time")


# ---------------------------------------------------------------- another domain


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory, atomic: Path) -> Bench:
    """Two data sets with the same ids, and on one of them a run that says its model was tuned on the other."""
    made = Bench(tmp_path_factory.mktemp("domains"), atomic)
    for name in ("small", "shop"):
        made.prepare(dataset=name)
        for model in ("mock", "bm25"):
            made.run("infer", "-d", name, "--model", model)
    said = made.run("infer", "-d", "shop", "--model", "mock", "-T", "shots=2", "-T", "shots_from=small").stderr
    assert "warning: examples are of small" in " ".join(said.split())
    tuned = made.name("infer", "-d", "shop", "--model", "mock", "--seed", "1")
    [path] = made.home.glob(f"shop/*/runs/{tuned}/manifest.json")
    manifest = json.loads(path.read_text("utf-8"))
    manifest["facts"] |= {
        "tuned": {"name": "mock+lora", "samples": 16, "options": {}},
        "typed": {"tuned_on": "small"},
        "model": {**manifest["facts"]["model"], "name": "mock+lora-16"},
    }
    del manifest["digest"]
    path.write_text(json.dumps(manifest), "utf-8")
    return made


def test_a_matrix_has_sources_targets_and_shared_users(domains: Bench) -> None:
    typed = ("compare", "-d", "small", "--transfer", "shop", "--samples", "200", "--permutations", "500")
    made = as_json(domains, *typed)
    assert made["targets"] == ["small", "shop"]
    rows = {(row["source"], row["method"]) if row["source"] else row["model"]: row["cells"] for row in made["rows"]}
    prompted = ("small", "2 examples in the prompt")
    assert list(rows) == [("none", ""), prompted, ("small", "lora-16"), "bm25", "popularity"]
    assert rows[prompted].keys() == rows["small", "lora-16"].keys() == {"shop"}
    tuned, untuned = (rows[key]["shop"] for key in (("small", "lora-16"), ("none", "")))
    assert tuned["difference"] == pytest.approx(tuned["cell"]["mean"] - untuned["cell"]["mean"])
    assert tuned["p"] <= tuned["corrected"] <= 1
    assert any(
        f"{USERS} of {USERS} test users of shop have the id of a user of small" in note for note in made["notes"]
    )
    text = domains.run(*typed).stdout
    assert "on shop" in text
    assert "small (2 examples in the prompt)" in " ".join(text.split())
    assert "| model | source | on small | on shop |" in domains.run(*typed, "--format", "markdown").stdout


def test_the_domain_of_examples_is_on_the_board(domains: Bench) -> None:
    text = " ".join(domains.run("compare", "-d", "shop", "--protocol").stdout.split())
    assert "(listwise, shots=2, shots_from=small)" in text
    assert "(item): choices in its training part; 60 of its 60 titles are in both data sets" in text
    assert "mock (listwise, shots=2, shots_from=small): examples are of small" in text
    assert "100 % of the 60 titles of small" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--transfer", "small"), "takes data sets of different names"),
        (("--transfer", "shop", "--by", "history"), "so --by has no effect"),
        (("--transfer", "shop", "--format", "csv"), "It has markdown, json, table."),
    ],
)
def test_what_makes_no_matrix_is_refused(domains: Bench, arguments: tuple[str, ...], words: str) -> None:
    assert words in " ".join(domains.run("compare", "-d", "small", *arguments, code=2).stderr.split())
