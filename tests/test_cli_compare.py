"""`compare` as a person or CI types it: gate, baseline files, history, printed tables, mistakes."""

import json
import re
import shutil
import tomllib
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest

from command_line import USERS, Bench
from llmrs_bench.stages.printed import published_tables

RULE = "ndcg@10 drops > 0.01 at p < 0.05"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, atomic: Path) -> Bench:
    """A home with a good run, a poor one, and a language model whose answers are no lists."""
    made = Bench(tmp_path_factory.mktemp("compared"), atomic)
    made.prepare(dataset="small@lists")
    for arguments in (("itemknn",), ("random",), ("mock",), ("mock", "-T", "candidates=titles", "-T", "answer=titles")):
        made.run("infer", "-d", "small@lists", "-m", *arguments)
    made.run("evaluate", "-d", "small@lists")
    return made


@pytest.fixture(scope="module")
def saved(compared: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "board.parquet"
    assert f"saved: {path}" in compared.run("compare", "-d", "small@lists", "--save", str(path)).stderr
    return path


def gate(bench: Bench, *arguments: str, code: int = 0, dataset: str = "small@lists") -> str:
    result = bench.run("compare", "-d", dataset, *arguments, code=code)
    return " ".join(result.stderr.split())


def test_rows_are_held_against_a_run_and_fail_with_three(compared: Bench, tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("junit.xml", "gate.json", "summary.md")}
    paths["summary.md"].write_text("before\n")
    outputs = [f"--{name}={path}" for name, path in zip(("junit", "gate-json", "summary"), paths.values(), strict=True)]
    said = gate(compared, "--baseline", "itemknn", "--fail-if", RULE, "--fail-if", "seconds > 1e6", *outputs, code=3)
    assert f"FAIL mock (listwise): {RULE}" in said
    assert "pass mock (listwise): seconds > 1e6" in said
    assert "error: the gate failed: 2 of 4 verdicts" in said
    found = json.loads(paths["gate.json"].read_text())
    assert found["baseline"] == "itemknn"
    assert {verdict["row"] for verdict in found["verdicts"] if verdict["failed"]} == {
        "mock (listwise)",
        "mock (listwise, candidates=titles, answer=titles)",
    }
    suite = ElementTree.parse(paths["junit.xml"]).find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "2"
    assert paths["summary.md"].read_text().startswith("before\n## llmrs-bench: gate failed")


def test_the_column_of_differences_is_from_the_baseline_unless_rows_were_declared(compared: Bench) -> None:
    for more, name in (
        ((), "itemknn"),
        (("--baseline", "popularity"), "popularity"),
        (("--baseline", "popularity", "--against", "random"), "random"),
    ):
        table = compared.run("compare", "-d", "small@lists", *more).stdout
        assert f" vs {name} " in table
        assert f"vs: difference from {name} in ndcg@10" in " ".join(table.split())


def test_named_runs_alone_are_judged(compared: Bench) -> None:
    said = gate(
        compared,
        "--run",
        "itemknn",
        "--run",
        "mock-listwise",
        "--baseline",
        "chance",
        "--fail-if",
        "ndcg@10 drops > 0.5",
    )
    assert "itemknn: ndcg@10" in said
    said = gate(compared, "--run", "itemknn", "--baseline", "popularity", "--fail-if", "ndcg@10 < 0.9", code=3)
    assert "FAIL itemknn" in said
    assert "mock" not in said


def test_invalid_answers_have_a_ceiling(compared: Bench) -> None:
    said = gate(compared, "--fail-if", "invalid > 5%", code=3)
    assert "pass mock (listwise): invalid > 5% (is 0 %)" in said
    assert "FAIL mock (listwise, candidates=titles, answer=titles): invalid > 5% (is 100 %)" in said
    assert "itemknn" not in said


def test_a_saved_board_is_a_baseline_and_the_same_runs_pass(compared: Bench, saved: Path) -> None:
    assert saved.stat().st_size < 100_000
    said = gate(
        compared, "--baseline", str(saved), "--fail-if", "ndcg@10 drops at p < 0.05", "--fail-if", "mrr drops > 0"
    )
    assert "pass itemknn: ndcg@10 drops at p < 0.05 (is" in said
    assert "FAIL" not in said
    assert "+0.0000 (uncorrected p 1.000" in said


def test_a_row_of_the_baseline_that_is_gone_fails_unless_allowed(compared: Bench, saved: Path, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", compared.source)
    shutil.copytree(compared.home, bench.home)
    shutil.rmtree(next(bench.home.glob("small/lists/runs/itemknn-*")))
    rule = ("--baseline", str(saved), "--fail-if", "mrr drops > 0")
    said = gate(bench, *rule, code=3)
    assert said.startswith(f"FAIL itemknn: has no partner (it is in {saved} alone)")
    assert f"itemknn has no partner: it is in {saved} alone" in gate(bench, *rule, "--allow-missing")
    assert "itemknn" not in gate(bench, *rule, "--run", "mock")


@pytest.mark.parametrize(
    "harm",
    ["manifest", "no manifest", "rankings", "no rankings"],
)
def test_a_run_that_the_gate_cannot_look_at_fails_unless_allowed(compared: Bench, tmp_path: Path, harm: str) -> None:
    bench = Bench(tmp_path / "home", compared.source)
    shutil.copytree(compared.home, bench.home)
    run = next(bench.home.glob("small/lists/runs/itemknn-*"))
    if harm == "manifest":
        (run / "manifest.json").write_text("{}")
    elif harm == "rankings":  # of another run
        shutil.copy(next(bench.home.glob("small/lists/runs/popularity-*/rankings.parquet")), run)
    elif harm == "no rankings":
        (run / "rankings.parquet").unlink()
    else:
        (run / "manifest.json").unlink()
    rule, verdicts = ("--fail-if", "mrr < 0.001"), tmp_path / "gate.json"
    said = gate(bench, *rule, "--gate-json", str(verdicts), code=3)
    assert f"FAIL {run.name}: is not on the board (damaged: the warnings say what to do" in said
    assert [verdict["run"] for verdict in json.loads(verdicts.read_text())["verdicts"] if verdict["failed"]] == [
        run.name
    ]
    assert f"{run.name} is not on the board: damaged" in gate(bench, *rule, "--allow-missing")
    assert "is not on the board" not in gate(bench, *rule, "--run", "mock")
    assert f"so not on the board: {run.name}" in " ".join(bench.run("compare", "-d", "small@lists").stdout.split())


@pytest.mark.parametrize("harm", ["none", "values", "of another"])
def test_a_gate_evaluates_what_it_judges(compared: Bench, saved: Path, tmp_path: Path, harm: str) -> None:
    bench = Bench(tmp_path / "home", compared.source)
    shutil.copytree(compared.home, bench.home)
    measured = next(bench.home.glob("small/lists/evals/itemknn-*"))
    if harm == "values":
        (measured / "metrics.parquet").write_bytes(b"PAR1")
    else:
        shutil.rmtree(measured)
    if harm == "of another":
        shutil.copytree(next(bench.home.glob("small/lists/evals/popularity-*")), measured)
    said = gate(bench, "--baseline", str(saved), "--fail-if", "mrr drops > 0")
    name = measured.name.rpartition("-")[0]
    why = f"not evaluated yet, so evaluated now: {name}" if harm == "none" else "recomputed because it was damaged"
    assert why in said
    assert "evaluated now" not in gate(bench, "--baseline", str(saved), "--fail-if", "mrr drops > 0")


@pytest.mark.parametrize("command", [("evaluate",), ("compare", "--fail-if", "mrr < 0.001")])
@pytest.mark.parametrize("name", ["truth", "requests"])
def test_nothing_is_measured_by_damaged_data(
    compared: Bench, tmp_path: Path, name: str, command: tuple[str, ...]
) -> None:
    bench = Bench(tmp_path / "home", compared.source)
    shutil.copytree(compared.home, bench.home)
    path = bench.home / "small/lists/data" / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    said = bench.run(*command, "-d", "small@lists", code=1).stderr
    assert str(path) in said.replace("\n", "")


@pytest.mark.parametrize("harm", ["values", "no values", "manifest", "no manifest", "another"])
def test_evaluate_makes_a_damaged_evaluation_again(compared: Bench, saved: Path, tmp_path: Path, harm: str) -> None:
    bench = Bench(tmp_path / "home", compared.source)
    shutil.copytree(compared.home, bench.home)
    values = next(bench.home.glob("small/lists/evals/itemknn-*/metrics.parquet"))
    manifest = values.with_name("manifest.json")
    if harm == "another":
        shutil.rmtree(values.parent)
        shutil.copytree(next(bench.home.glob("small/lists/evals/popularity-*")), values.parent)
    elif harm == "values":
        values.write_bytes(values.read_bytes()[:-9])
    elif harm == "manifest":
        manifest.write_text(manifest.read_text().replace('"requests"', '"Requests"'))
    else:
        (values if harm == "no values" else manifest).unlink()
    said = bench.run("evaluate", "-d", "small@lists").stderr
    assert said.count("recomputed because it was damaged") == 1
    assert f"made: {values.parent}" in said
    assert "made:" not in bench.run("evaluate", "-d", "small@lists").stderr
    gate(bench, "--baseline", str(saved), "--fail-if", "mrr drops > 0")


def test_evaluate_says_that_a_run_is_damaged_though_it_was_evaluated_before(compared: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", compared.source)
    shutil.copytree(compared.home, bench.home)
    rankings = next(bench.home.glob("small/lists/runs/itemknn-*/rankings.parquet"))
    rankings.write_bytes(rankings.read_bytes()[:-9])
    for named in ((), ("--run", "itemknn")):
        said = " ".join(bench.run("evaluate", "-d", "small@lists", *named, code=1).stderr.split())
        assert str(rankings) in said
        assert f"Delete {rankings.parent} and run `infer` again." in said
        assert f"already there: {bench.home}/small/lists/evals/itemknn" not in said
    assert str(rankings) in bench.run("infer", "-d", "small@lists", "-m", "itemknn", code=1).stderr
    shutil.rmtree(rankings.parent)
    bench.run("infer", "-d", "small@lists", "-m", "itemknn")
    bench.run("evaluate", "-d", "small@lists", "--run", "itemknn")


def test_runs_under_each_others_name_are_damage(compared: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", compared.source)
    shutil.copytree(compared.home, bench.home)
    one, other = (next(bench.home.glob(f"small/lists/runs/{name}-*")) for name in ("itemknn", "random"))
    one.rename(tmp_path / "moved")
    other.rename(one)
    (tmp_path / "moved").rename(other)
    rows = bench.run("compare", "-d", "small@lists", "--format", "json").stdout
    assert {"itemknn", "random"}.isdisjoint(row["model"] for row in json.loads(rows)["rows"])
    listed = bench.run("list", "runs", "-d", "small@lists")
    assert listed.stdout.count("damaged") == 2
    said = " ".join(listed.stderr.split())
    assert f"{one} holds {other.name}: its folder was renamed" in said
    assert f"Rename the folder to {other.name}; a folder of that name exists" in said
    done = bench.run("evaluate", "-d", "small@lists", code=1)
    assert f"not evaluated, since damaged: {one.name}, {other.name}" in " ".join(done.stderr.split())
    assert "mock-" in done.stdout
    assert f"{one} holds {other.name}" in " ".join(
        bench.run("infer", "-d", "small@lists", "-m", "itemknn", code=1).stderr.split()
    )
    other.rename(tmp_path / "moved")
    one.rename(other)
    (tmp_path / "moved").rename(one)
    bench.run("evaluate", "-d", "small@lists")


def test_a_copy_of_a_run_is_no_second_run(compared: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", compared.source)
    shutil.copytree(compared.home, bench.home)
    run = next(bench.home.glob("small/lists/runs/itemknn-*"))
    shutil.copytree(run, run.with_name("best"))
    said = " ".join(bench.run("evaluate", "-d", "small@lists", code=1).stderr.split())
    assert f"{run.with_name('best')} holds {run.name}" in said
    assert "if this one is a copy, delete" in said


def test_a_baseline_row_that_is_damaged_passes_no_judgement(compared: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", compared.source)
    shutil.copytree(compared.home, bench.home)
    for name in ("random", "itemknn"):
        next(bench.home.glob(f"small/lists/runs/{name}-*/rankings.parquet")).unlink()
        if name == "random":
            gate(bench, "--fail-if", "mrr < 0.001")
            gate(bench, "--run", "itemknn", "--run", "random", "--fail-if", "mrr < 0.001", code=1)
    said = gate(bench, "--baseline", "itemknn", "--fail-if", "mrr drops > 0.5", code=2)
    assert "--baseline itemknn is not on the board: it is damaged" in said


def test_a_worse_model_fails_against_a_saved_board(compared: Bench, saved: Path, tmp_path: Path) -> None:
    """The baseline says that the mock was as good as itemknn."""
    bench = Bench(tmp_path / "home", compared.source)
    shutil.copytree(compared.home, bench.home)
    metrics = next(bench.home.glob("small/lists/evals/itemknn-*/metrics.parquet"))
    values = pl.read_parquet(metrics)
    lowered = values.with_columns(
        value=pl.when(pl.col("metric") == "ndcg@10").then(pl.col("value") * 0.5).otherwise("value")
    )
    assert values["value"].sum() > lowered["value"].sum()
    lowered.write_parquet(metrics)
    # A value that was edited is no value: it is measured again.
    assert "pass itemknn" in gate(bench, "--baseline", str(saved), "--fail-if", RULE)
    assert pl.read_parquet(metrics).equals(values)
    run = next(bench.home.glob("small/lists/runs/itemknn-*"))
    shutil.rmtree(metrics.parent)
    rankings = pl.read_parquet(run / "rankings.parquet")
    turned = rankings.with_columns(rank=(21 - pl.col("rank")).cast(pl.Int32))
    _rewrite(run, turned)
    kept = saved.read_bytes()
    said = gate(bench, "--baseline", str(saved), "--fail-if", RULE, "--save", str(saved), code=3)
    assert f"FAIL itemknn: {RULE}" in said
    assert "pass mock (listwise)" in said
    assert "is the baseline and stays as it is" in said
    assert saved.read_bytes() == kept


def test_a_saved_baseline_keeps_its_rows(compared: Bench, saved: Path, tmp_path: Path) -> None:
    copy = tmp_path / "board.parquet"
    shutil.copy(saved, copy)
    said = gate(compared, "--run", "itemknn", "--baseline", str(copy), "--save", str(copy), code=2)
    assert "would leave its other rows out" in said
    assert copy.read_bytes() == saved.read_bytes()


def _rewrite(run: Path, rankings: pl.DataFrame) -> None:
    """Put other rankings into a run, with the digest they have."""
    from llmrs_bench.core.tables import parts_digest

    rankings.write_parquet(run / "rankings.parquet")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["tables"]["rankings"]["digest"] = parts_digest([rankings], "rankings")
    del manifest["digest"]
    (run / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("arguments", [("--protocol",), ("--format", "latex")])
def test_one_user_is_one_and_no_users(compared: Bench, arguments: tuple[str, ...]) -> None:
    compared.prepare("--users", "1", dataset="small@alone")
    compared.run("infer", "-d", "small@alone", "-m", "itemknn")
    done = compared.run("compare", "-d", "small@alone", "--by", "history", *arguments)
    said = " ".join(f"{done.stdout} {done.stderr}".split())
    assert "(1 user, " in said
    assert "; 1 test user" in said
    assert not re.search(r"(?<!of )\b1 ((test )?users|requests|items|rows)\b", said)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("gini@10 < 0.5", "gini@10 is not on this leaderboard hint: Add it: --metrics {shown},gini@10."),
        ("ndcg@5 drops > 1%", "ndcg@5 is not on this leaderboard hint: Add it: --metrics {shown},ndcg@5."),
        ("gini > 1", "unknown metric 'gini' hint: Did you mean 'gini@10'?"),
        (
            "coverage drops at p < .05",
            "only metrics of the leaderboard have a p, and coverage is none of these hint: Add it, --metrics "
            "{shown},coverage, or leave out",
        ),
    ],
)
def test_a_rule_on_a_metric_that_is_not_shown_says_how_to_show_it(compared: Bench, rule: str, words: str) -> None:
    wanted = words.format(shown="hit@1,ndcg@10,hit@10,mrr")
    assert wanted in gate(compared, "--baseline", "itemknn", "--fail-if", rule, code=2)


def test_a_saved_board_without_a_figure_of_runs_says_how_it_gets_it(compared: Bench, saved: Path) -> None:
    said = gate(
        *(compared, "--baseline", str(saved), "--metrics", "ndcg@10,gini@10", "--fail-if", "gini@10 rises > 1%"), code=2
    )
    assert "board.parquet does not hold gini@10 hint: Save it again with --metrics ndcg@10,gini@10." in said


def test_boards_of_other_data_are_refused_by_the_name_of_the_field(compared: Bench, saved: Path) -> None:
    for variant, options, field in (
        ("fewer", ("--users", "20"), "users"),
        ("seeded", ("--seed", "3"), "candidates"),
        ("filtered", ("--min-rating", "4"), "data"),
    ):
        compared.prepare(*options, dataset=f"small@{variant}")
        compared.run("infer", "-d", f"small@{variant}", "-m", "itemknn")
        compared.run("evaluate", "-d", f"small@{variant}")
        said = gate(compared, "--baseline", str(saved), dataset=f"small@{variant}", code=4)
        assert f"They differ in {field}: " in said
    result = compared.run(
        *("compare", "-d", "small@fewer", "--baseline", str(saved), "--allow-different", "users", "--fail-if", RULE),
        "--allow-missing",
    )
    assert "small@fewer differs in users, as allowed" in " ".join(result.stdout.split())
    assert "20 users)" in result.stderr


def test_a_run_of_other_users_stands_on_the_board_where_it_is_allowed(compared: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", compared.source)
    for variant, users in (("all", "30"), ("some", "20")):
        bench.prepare("--users", users, dataset=f"small@{variant}")
        bench.run("infer", "-d", f"small@{variant}", "-m", "itemknn")
        bench.run("infer", "-d", f"small@{variant}", "-m", "random")
    stranger = next((bench.home / "small" / "some" / "runs").glob("itemknn-*"))
    shutil.rmtree(next((bench.home / "small" / "all" / "runs").glob("itemknn-*")))
    shutil.copytree(stranger, bench.home / "small" / "all" / "runs" / stranger.name)
    bench.run("evaluate", "-d", "small@all")
    assert "They differ in users: 30 users for small@all, 20 users (20 in common)" in gate(
        bench, dataset="small@all", code=4
    )
    text = bench.run("compare", "-d", "small@all", "--allow-different", "users", "--format", "json").stdout
    found = json.loads(text)
    rows = {row["model"]: row for row in found["rows"]}
    assert rows["itemknn"]["users"] == 20
    assert rows["random"]["users"] == 30
    assert {row["metrics"]["mrr"]["versus"]["users"] for row in found["rows"] if row["metrics"]["mrr"]["versus"]} == {
        20
    }
    assert any("itemknn" in note and "differs in users, as allowed" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--fail-if", "ndcg@10 falls"), 2, "is no rule hint: Write 'NAME drops > AMOUNT"),
        (("--fail-if", RULE), 2, "needs a baseline"),
        (("--fail-if", "ndgc@10 < 0.3"), 2, "unknown quantity in --fail-if 'ndgc@10'"),
        (("--run", "itemknn", "--fail-if", "joules > 1"), 2, "no judged row knows its joules"),
        (("--allow-missing", "--baseline", "itemknn"), 2, "--allow-missing has no effect without --fail-if"),
        (("--baseline", "nothing.parquet"), 1, "nothing.parquet does not exist"),
        (("--baseline", "itemkn-nope"), 2, "unknown run in --baseline 'itemkn-nope'"),
        (("--baseline", "ease"), 2, "Infer it first: llmrs-bench infer --model ease --dataset small@"),
        (("--run", "bprfm"), 2, "bprmf is a model that was not run on these data. Infer it first"),
        (("--baseline", "mock"), 2, "--baseline mock means 2 rows"),
        (("--junit", "x.xml"), 2, "no effect without --fail-if"),
        (("--correction", "tukey"), 2, "correction"),
        (
            ("--fail-if", "ndcg@10 < 0.1", "--junit", "nowhere/a.xml"),
            2,
            "--junit nowhere/a.xml: there is no folder nowhere",
        ),
        (("--fail-if", "ndcg@10 < 0.1", "--junit", "a.x", "--gate-json", "a.x"), 2, "a.x is the file of --junit, too"),
        (("--save", "/"), 2, "--save / is a folder"),
        (("--save", "base.json"), 2, "Name it base.parquet; for a file that ends in .json write `--format json > base"),
        (("--save", "base.MD"), 2, "write `--format markdown > base.MD`"),
        (("--save", "base.html"), 2, "write `--html base.html`"),
        (("--allow-different", "everything"), 2, "--allow-different"),
        (("board.parquet",), 2, "files are read with --history"),
        (("itemknn",), 2, "Choose runs with --run itemknn, or"),
        (("--history", "board.parquet"), 2, "--dataset has no effect"),
    ],
)
def test_mistakes_have_one_message_and_a_code(
    compared: Bench, arguments: tuple[str, ...], code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = gate(compared, *arguments, code=code)
    assert said.count("error:") == 1
    assert words in said
    assert not list(tmp_path.iterdir())


def shown(bench: Bench, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bench.run("compare", "-d", "small@lists", "--format", "json", *arguments).stdout)
    return found


def test_groups_have_boards_below_the_whole_one(compared: Bench) -> None:
    found = shown(compared, "--by", "slot")
    groups = {group["group"]: group for group in found["groups"]}
    assert list(groups) == sorted(groups, key=int)
    assert sum(group["users"] for group in groups.values()) == USERS
    assert found["tests"] == 15 * 4 * (1 + len(groups))
    weighted = sum(
        group["users"] * row["metrics"]["mrr"]["mean"]
        for group in groups.values()
        for row in group["rows"]
        if row["model"] == "itemknn"
    )
    whole = next(row for row in found["rows"] if row["model"] == "itemknn")
    assert weighted / USERS == pytest.approx(whole["metrics"]["mrr"]["mean"])
    for form, words in (("table", "\n3 ("), ("markdown", "**3 ("), ("latex", "3 (")):
        text = compared.run("compare", "-d", "small@lists", "--by", "slot", "--format", form).stdout
        assert words in text
        assert "users), by slot" in text
    assert "activity, category" in gate(compared, "--by", "shoe-size", code=2)


def test_policies_for_silent_items_have_boards_of_their_own(compared: Bench, saved: Path) -> None:
    rows = {row["setting"]: row for row in shown(compared, "--invalid", "worst")["rows"] if row["model"] == "mock"}
    silent = rows["listwise, candidates=titles, answer=titles"]
    assert silent["metrics"]["ndcg@10"]["mean"] == 0.0
    assert silent["requests_unanswered"] == USERS
    usual = {row["setting"]: row for row in shown(compared)["rows"] if row["model"] == "mock"}
    assert usual["listwise, candidates=titles, answer=titles"]["metrics"]["ndcg@10"]["mean"] > 0.2
    said = gate(compared, "--invalid", "worst", "--baseline", str(saved), code=4)
    assert "They differ in metric-definition" in said


def test_requests_that_are_left_out_are_said_and_tested_on_common_ones(compared: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", compared.source)
    shutil.copytree(compared.home, bench.home)
    run = next(bench.home.glob("small/lists/runs/itemknn-*"))
    rankings = pl.read_parquet(run / "rankings.parquet")
    mute = pl.col("request_id").is_in(rankings["request_id"].unique().sort().head(12).implode())
    _rewrite(run, rankings.with_columns(score=pl.when(~mute).then("score")))
    bench.run("evaluate", "-d", "small@lists", "--invalid", "drop", "--run", "itemknn", "--run", "popularity")
    found = shown(bench, "--invalid", "drop", "--run", "itemknn")
    row = next(row for row in found["rows"] if row["model"] == "itemknn")
    assert (row["users"], row["requests_dropped"]) == (USERS - 12, 12)
    assert row["answered"] == pytest.approx(1 - 12 / USERS)
    versus = [cell["versus"] for other in found["rows"] for cell in other["metrics"].values() if cell["versus"]]
    assert {one["users"] for one in versus if "itemknn" in one["against"]} <= {USERS - 12}
    assert any("itemknn: ndcg@10 over 18 of 30 requests" in note for note in found["notes"])


def test_figures_of_whole_runs_and_metrics_without_a_best_stand_on_the_board(compared: Bench) -> None:
    names = "ndcg@10,gini@10,popularity@10"
    rows = shown(compared, "--metrics", names)["rows"]
    best = min(rows, key=lambda row: row["metrics"]["gini@10"]["mean"])
    assert best["metrics"]["gini@10"]["rank"] == 1
    assert best["metrics"]["gini@10"]["low"] is None
    assert {row["metrics"]["popularity@10"]["rank"] for row in rows} == {0}
    text = compared.run("compare", "-d", "small@lists", "--metrics", names, "--format", "markdown").stdout
    assert "(no interval)" in text


def test_an_unreadable_baseline_is_one_message(compared: Bench, saved: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(saved.read_bytes()[:2000])
    assert "cut.parquet cannot be read as a saved board" in gate(compared, "--baseline", str(cut), code=1)
    table = next(compared.home.glob("small/lists/data/items.parquet"))
    assert "is a Parquet file, but not a saved board" in gate(compared, "--baseline", str(table), code=1)
    assert "cannot be read as a saved board" in " ".join(
        compared.run("compare", "--history", str(saved), str(cut), code=1).stderr.split()
    )


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "json"])
def test_history_shows_saved_boards_in_every_format(compared: Bench, saved: Path, form: str) -> None:
    text = compared.run("compare", "--history", str(saved), str(saved), "--format", form).stdout
    for word in ("itemknn", "chance", "ndcg@10", "llmrs-bench"):
        assert word in text
    if form == "table":
        assert max(map(len, text.splitlines())) <= 80
    if form == "json":
        found = json.loads(text)
        assert all(len(trend["points"]) == 2 and trend["points"][1]["p"] == 1.0 for trend in found["trends"])


def test_history_has_mistakes_of_its_own(compared: Bench, saved: Path) -> None:
    for arguments, words in (
        ((), "needs saved boards"),
        ((str(saved), "--format", "latex"), "no format latex"),
        ((str(saved), "--metrics", "ndcg@3"), "does not hold ndcg@3"),
    ):
        assert words in compared.run("compare", "--history", *arguments, code=2).stderr


def test_printed_tables_stand_apart_and_are_part_of_no_test(compared: Bench, tmp_path: Path, atomic: Path) -> None:
    archive = tmp_path / "ml-1m.zip"
    ratings = "".join(f"{user}::{(user + step) % 40}::4::{step}\n" for user in range(8) for step in range(6))
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("ml-1m/ratings.dat", ratings)
        made.writestr("ml-1m/movies.dat", "".join(f"{n}::Film {n}, The (1990)::Drama\n" for n in range(40)))
    bench = Bench(tmp_path / "home", atomic)
    bench.run("prepare", "-d", "ml1m", "--source", str(archive), "--n-candidates", "5")
    bench.run("evaluate", "-d", "ml1m")
    without, shown = (
        json.loads(bench.run("compare", "-d", "ml1m", "--format", "json", *more).stdout)
        for more in ((), ("--published",))
    )
    assert without["published"] == []
    assert shown["rows"] == without["rows"]
    assert shown["tests"] == without["tests"]
    table = next(
        table for table in shown["published"] if "Table 4" in table["source"] and "2401.04997" in table["source"]
    )
    values = {(row["model"], row["setting"]): row["values"] for row in table["rows"]}
    assert table["metrics"] == ["coverage", "ndcg@1", "ndcg@10", "seconds/user"]
    assert values["SASRec", "<1M parameters"] == [1.0, 0.64, 0.7916, 1.07]
    assert values["GPT-4", "context 8K"] == [0.99, 0.31, 0.5828, None]
    text = bench.run("compare", "-d", "ml1m", "--published").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "printed elsewhere, not tested against: zero-shot ranking, MovieLens-1M" in text
    (match,) = table["matches"]
    assert (match["run"].partition("-")[0], match["printed"]["model"]) == ("popularity", "Pop")
    assert [tuple(each) for each in match["differences"]] == [
        ("users", "8", "200"),
        ("list length", "5", "20"),
    ]
    assert "Differences: users 8, printed 200; list length 5, printed 20" in " ".join(text.split())
    chosen = json.loads(
        bench.run("compare", "-d", "ml1m", "--published-table", "2401.04997/table-4", "--format", "json").stdout
    )
    assert chosen["published"] == [table]
    both = json.loads(bench.run("compare", "-d", "ml1m", "--published-table", "Table 4", "--format", "json").stdout)
    assert {each["source"].partition(" (")[0] for each in both["published"]} == {
        "arXiv 2401.04997v2",
        "arXiv 2305.08845",
    }
    said = " ".join(bench.run("compare", "-d", "ml1m", "--published-table", "table-44", code=2).stderr.split())
    assert "--published-table table-44: no printed table of this data set has this name" in said
    assert "arXiv 2305.08845 (LLMRank, ECIR 2024), Table 4" in said
    assert "no printed table is known for small" in compared.run("compare", "-d", "small@lists", "--published").stdout


def test_printed_tables_are_whole_and_say_where_they_are_from() -> None:
    for dataset, least in (("ml1m", 15), ("books", 6)):
        tables = published_tables(dataset)
        assert len(tables) >= least
        for table in tables:
            assert table.source
            assert "leave-one-out" in table.protocol
            for row in table.rows:
                assert len(row.values) == len(table.metrics)
                shares = [
                    v for v, name in zip(row.values, table.metrics, strict=True) if v is not None and "sec" not in name
                ]
                assert all(0 <= value <= 1 for value in shares)
    for file in (files("llmrs_bench") / "published").iterdir():
        assert tomllib.loads(file.read_text("utf-8"))["tables"]


def test_a_board_without_its_baseline_is_none(bench: Bench) -> None:
    bench.prepared()
    bench.run("compare", "--dataset", "small")
    rankings = next(bench.home.glob("small/*/runs/popularity-*/rankings.parquet"))
    rankings.write_bytes(b"PAR1")
    assert f"Delete {rankings.parent}" in " ".join(bench.run("compare", "--dataset", "small", code=1).stderr.split())


def test_data_that_were_deleted_are_to_be_prepared_from_their_source(tmp_path: Path, atomic: Path) -> None:
    bench = Bench(tmp_path / "home", atomic)
    (bench.home / "small/lists/runs").mkdir(parents=True)
    assert gate(bench, code=1).endswith("hint: Run: llmrs-bench prepare --dataset small@lists --source PATH")
    bench.prepare("--users", "5", dataset="small@few")
    assert gate(bench, code=1).endswith("To prepare it: llmrs-bench prepare --dataset small@lists --source PATH")
    (bench.home / "ml100k").mkdir()
    assert gate(bench, dataset="ml100k", code=1).endswith("hint: Run: llmrs-bench prepare --dataset ml100k")
