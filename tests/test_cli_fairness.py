"""Runs that state different things of the same users, compared from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from command_line import Bench, table, write_small
from tiny_models import tiny_llama

STATED = {"plain": None, "woman": "a woman", "man": "a man", "anybody": "somebody"}
NAMED = ("--neutral", "plain", "--run", "woman", "--run", "man")
FAST = ("--samples", "100", "--permutations", "400")


def asked(bench: Bench, model: str, template: str, *more: str) -> None:
    """Make a run for each of `STATED`."""
    for name, text in STATED.items():
        stated = () if text is None else ("-T", f"stated={text}")
        bench.run("infer", "-d", "small", "-m", model, "-t", template, *stated, "--name", name, *more)


@pytest.fixture(scope="module")
def mocked(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Runs of a model that does not read: its lists are the same, whatever is stated."""
    bench = Bench(tmp_path_factory.mktemp("home"), write_small(tmp_path_factory.mktemp("small")))
    bench.prepare("--users", "20", "--n-candidates", "15")
    asked(bench, "mock", "listwise")
    return bench


def found(bench: Bench, *arguments: str) -> dict[str, Any]:
    said = bench.run("fairness", "-d", "small", *arguments, *FAST, "--format", "json").stdout
    made: dict[str, Any] = json.loads(said)
    return made


def test_what_a_model_does_not_read_changes_nothing(mocked: Bench) -> None:
    facts = found(mocked, *NAMED, "--control", "anybody")
    assert [(row["stated"], row["control"]) for row in facts["rows"]] == [
        ("a woman", False),
        ("a man", False),
        ("somebody", True),
    ]
    for row in facts["rows"]:
        assert all(row[name]["mean"] == row[name]["low"] == 1.0 for name in ("jaccard", "serp", "prag"))
        assert (row["difference"]["mean"], row["difference"]["corrected"]) == (0.0, 1.0)
    for spread in facts["spreads"].values():
        assert (spread["snsr"], spread["snsv"], spread["p_snsr"], spread["corrected"]) == (0.0, 0.0, 1.0, 1.0)
    assert all(each["p"] == 1.0 for each in facts["rows"][0]["against_control"].values())
    assert (facts["users"], facts["k"], facts["neutral"]["stated"]) == (20, 10, "")


@pytest.mark.slow
def test_a_model_that_reads_is_measured_against_the_neutral_prompt(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    bench = Bench(tmp_path / "home", write_small(tmp_path / "small"))
    bench.prepare("--users", "8", "--n-candidates", "6")
    model = tiny_llama(tmp_path / "model", chat=True, context=1024)
    asked(bench, str(model), "label", "-O", "self_check=0")
    facts = found(bench, *NAMED, "--control", "anybody", "--k", "3")
    plain, woman = (
        table(bench, f"small/*/runs/{run}/rankings.parquet")
        for run in (facts["neutral"]["run"], facts["rows"][0]["run"])
    )
    lists = [
        dict(rows.filter(rows["rank"] <= 3).group_by("request_id").agg("item_id").iter_rows())
        for rows in (plain, woman)
    ]
    shared = [len({*lists[0][name]} & {*lists[1][name]}) for name in lists[0]]
    assert facts["rows"][0]["jaccard"]["mean"] == pytest.approx(sum(n / (6 - n) for n in shared) / 8)
    assert any(row["prag"]["mean"] < 1 for row in facts["rows"])
    means = [row["jaccard"]["mean"] for row in facts["rows"][:2]]
    assert facts["spreads"]["jaccard"]["snsr"] == pytest.approx(max(means) - min(means))
    woman_gap = facts["rows"][0]["difference"]["mean"]
    assert facts["rows"][0]["ndcg@10"]["mean"] - facts["neutral"]["ndcg@10"] == pytest.approx(woman_gap)


def test_the_report_says_what_was_stated_and_how_it_was_tested(mocked: Bench) -> None:
    shown = mocked.run("fairness", "-d", "small", *NAMED, *FAST).stdout
    text = " ".join(shown.split())
    assert text.startswith("No sign that the lists depend on what is stated: SNSR of jaccard")
    assert "No sign that their quality depends on what is stated" in text
    assert "shuffled within users 400 times" in text
    assert "no control: --control RUN" in text
    assert "states nothing" in text
    assert "ndcg@10 vs neutral p a woman 1.0000 1.0000 1.0000" in text
    assert max(map(len, shown.splitlines())) <= 80
    markdown = mocked.run("fairness", "-d", "small", *NAMED, *FAST, "--format", "markdown").stdout
    assert "| a woman | 1.0000 | 1.0000 to 1.0000 |" in markdown


def test_prompts_state_it_and_nothing_else_differs(mocked: Bench) -> None:
    shown = mocked.run("prompt", "-d", "small", "-t", "likelihood", "--show", "1").stderr
    stated = mocked.run("prompt", "-d", "small", "-t", "likelihood", "-T", "stated=a man", "--show", "1").stderr
    lines = [line for line in stated.splitlines() if line not in shown.splitlines()]
    assert lines[1] == "[user] The user is a man."
    assert "A user chose these items, one after the other:" in lines[2:3]
    assert not [line for line in lines[3:] if not line.startswith("made: ")]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--neutral", "plain", "--run", "woman"), 2, "one --run leaves nothing to compare"),
        (("--neutral", "plain", "--run", "woman", "--run", "woman"), 2, "a run is named twice"),
        (("--neutral", "plain", "--run", "woman", "--run", "mock"), 2, "--run mock matches"),
        (("--neutral", "plain", "--run", "woman", "--run", "child"), 2, "child"),
        (("--neutral", "plain", "--run", "woman", "--run", "popularity"), 2, "not a language model's ranking"),
        (("--neutral", "plain", "--run", "woman", "--run", "other"), 4, "differ in more than what they state: history"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(
    mocked: Bench, arguments: tuple[str, ...], code: int, words: str
) -> None:
    if "popularity" in arguments:
        mocked.run("infer", "-d", "small", "-m", "popularity")
    if "other" in arguments:
        stated = ("-T", "stated=a child", "--history", "3", "--name", "other")
        mocked.run("infer", "-d", "small", "-m", "mock", "-t", "listwise", *stated)
    refused = mocked.run("fairness", "-d", "small", *arguments, code=code)
    assert words in " ".join(refused.stderr.split())
    assert "hint: " in refused.stderr


def test_requests_of_one_item_have_no_lists(tmp_path: Path, mocked: Bench) -> None:
    bench = Bench(tmp_path / "home", mocked.source)
    bench.prepare("--task", "rating")
    assert "has one item per request" in bench.run("fairness", "-d", "small", *NAMED, code=2).stderr


def test_what_is_stated_needs_a_part_that_states_it(mocked: Bench) -> None:
    said = mocked.run("prompt", "-d", "small", "-t", "listwise", "-T", "role=stated", code=2).stderr
    assert "Add -T stated=TEXT" in said
    given = ("-T", "stated=a man", "-T", "role=recommender")
    said = mocked.run("prompt", "-d", "small", "-t", "listwise", *given, code=2).stderr
    assert "stated=TEXT has no effect on template listwise" in said


@pytest.mark.slow
def test_the_recipe_makes_the_runs_that_are_compared(bench: Bench) -> None:
    typed = ("run", "protocols/fairness", "-d", "small", "--source", str(bench.source), "--model", "mock")
    board = json.loads(bench.run(*typed, "--set", "data.n_candidates=5", "--format", "json").stdout)
    runs = {row["setting"]: row["run"] for row in board["rows"] if row["model"] == "mock"}
    states = ("a woman", "a man", "somebody who watches movies")
    assert runs.keys() == {"listwise", *(f"listwise, stated={text}" for text in states)}
    named = [part for text in states[:2] for part in ("--run", runs[f"listwise, stated={text}"])]
    control = runs[f"listwise, stated={states[2]}"]
    facts = found(bench, "--neutral", runs["listwise"], *named, "--control", control)
    assert [row["stated"] for row in facts["rows"]] == list(states)
