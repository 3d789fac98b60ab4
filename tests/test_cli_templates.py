"""Templates on the command line: parts, orders, texts of another run, files of one's own."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from command_line import Bench, table
from llmrs_bench.core.config import PromptConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.llm.backends.openai_options import OpenAIOptions
from llmrs_bench.llm.engine_options import TransformersOptions
from llmrs_bench.stages.infer_language_model import check_temperature
from llmrs_bench.stages.prompt import open_plan
from test_cli_language import kept

INFER = ("infer", "--model", "mock", "--dataset", "small")


def test_several_orders_become_one_ranking(bench: Bench) -> None:
    bench.prepared()
    name = bench.run(*INFER, "--candidate-orders", "3").stdout.strip()
    runs = next(bench.home.glob("small/*/runs")) / name
    rankings, views = pl.read_parquet(runs / "rankings.parquet"), pl.read_parquet(runs / "view_rankings.parquet")
    assert rankings["request_id"].n_unique() == 30
    assert (views["request_id"].n_unique(), views["view_id"].n_unique()) == (30, 90)
    assert views.filter(pl.col("view_id").str.ends_with("~0"), pl.col("slot") == 0).height == 30
    assert kept(bench) == 90
    assert rankings.filter(pl.col("rank") == 1).height == 30
    said = bench.run("evaluate", "--dataset", "small").stderr
    assert "position bias: 90 views of 30 requests" in said
    assert "Kendall's tau" in said
    manifest = json.loads(next(bench.home.glob("small/*/evals/mock-*/manifest.json")).read_text())
    assert sum(row["chosen"] for row in manifest["facts"]["bias"]["slots"]) == pytest.approx(1.0)
    assert sum(row["targets"] for row in manifest["facts"]["bias"]["slots"]) >= 30


def test_what_a_model_writes_is_told_by_another_prompt(bench: Bench) -> None:
    """A strategy of two steps is two lines of shell."""
    bench.prepared()
    run = bench.run(*INFER, "--template", "interest").stdout.strip()
    bench.run(*INFER, "--template", "listwise", "--user-profile", run, "-T", "interest=recent-written")
    prompts = table(bench, "small/*/prompts/listwise-*/prompts.parquet")
    told = table(bench, f"small/*/runs/{run}/responses.parquet")
    said = dict(told.select("request_id", "text").iter_rows())
    assert len(set(said.values())) == 30
    for request_id, messages in prompts.select("request_id", "messages").iter_rows():
        assert " ".join(said[request_id].split()) in " ".join(messages[0]["content"].split())
    board = bench.run("evaluate", "--dataset", "small").stdout
    assert "mock-listwise" in board
    assert "mock-interest" not in board
    assert "not evaluated" not in bench.run("compare", "--dataset", "small").stderr
    assert "ranks nothing" in bench.run("evaluate", "--dataset", "small", "--run", run, code=2).stderr
    wrong = bench.run("infer", "--model", "random", "--dataset", "small").stdout.strip()
    with_wrong = ("--user-profile", wrong, "-T", "interest=written")
    assert "holds no texts" in bench.run(*INFER, *with_wrong, code=2).stderr
    assert re.search("No such option:? '?--with", bench.run(*INFER, "--with", "dream=x", code=2).stderr)


@pytest.mark.slow
def test_notes_about_items_are_told_beside_them(bench: Bench) -> None:
    bench.prepared()
    run = bench.run(*INFER, "--template", "notes").stdout.strip()
    bench.run("prompt", "--dataset", "small", "--item-notes", run, "-T", "interest=recent-noted")
    messages = table(bench, "small/*/prompts/listwise-*/prompts.parquet")["messages"]
    assert all(told[0]["content"].count(": Nothing is known of") == 1 for told in messages)
    with_notes = ("prompt", "--dataset", "small", "--item-notes", run)
    assert "no part of it shows notes" in bench.run(*with_notes, code=2).stderr
    assert "--item-notes RUN" in bench.run("prompt", "-d", "small", "-T", "interest=notes", code=2).stderr
    searched = ("-T", "relevant=3", "-T", "query=interest", "-T", "interest=relevant-noted")
    name = bench.run(*with_notes, *searched, "--user-profile", run).stdout.strip()
    found = table(bench, f"small/*/prompts/{name}/views.parquet")["relevant"]
    assert max(found.list.len()) > 0


def test_samples_are_answers_of_their_own(bench: Bench) -> None:
    bench.prepared()
    name = bench.run(*INFER, "-T", "samples=3", "-T", "aggregate=borda").stdout.strip()
    responses = table(bench, f"small/*/runs/{name}/responses.parquet")
    assert responses.height == kept(bench) == 90
    by_request = responses.with_columns(pl.col("request_id").str.split("~").list.first()).group_by("request_id")
    assert by_request.agg(pl.col("text").n_unique())["text"].min() == 3
    likelihood = bench.run(*INFER, "-T", "samples=3", "-t", "likelihood", code=2).stderr
    assert "the same every time" in likelihood
    assert "it ranks nothing" in bench.run(*INFER, "-T", "samples=3", "-t", "interest", code=2).stderr


def test_temperatures_that_nothing_reads_are_refused() -> None:
    listwise, label = (open_plan(PromptConfig(template=name)) for name in ("listwise", "label"))
    several = open_plan(PromptConfig(options={"samples": "3"}))
    warm, cold = (TransformersOptions(temperature=value) for value in (0.7, 0.0))
    for plan, options in ((listwise, warm), (listwise, cold), (several, warm), (label, cold)):
        check_temperature(plan, options)
    check_temperature(several, OpenAIOptions(omit=("temperature",)))
    with pytest.raises(OptionError, match="every answer is the same"):
        check_temperature(several, cold)
    with pytest.raises(OptionError, match="has no effect on template label"):
        check_temperature(label, warm)
    with pytest.raises(OptionError, match="has no effect"):
        OpenAIOptions.parse({"omit": "temperature", "temperature": 0.7}, owner="openai")


def test_an_option_given_twice_is_named(bench: Bench) -> None:
    bench.prepared()
    twice = ("-T", "shots=1", "-T", "shots=2")
    assert "-T shots=2 was given twice" in bench.run(*INFER, *twice, code=2).stderr


def test_a_file_of_ones_own(bench: Bench, tmp_path: Path) -> None:
    bench.prepared()
    path = tmp_path / "mine.toml"
    path.write_text('about = "Mine."\nform = "listwise"\n[parts]\ncandidates = "numbers"\ntask = "rank"\n')
    assert "Rank all 5 candidates" in bench.run("prompt", "--check", str(path)).stderr
    assert "--dataset" in bench.run("prompt", "--check", str(path), "--dataset", "small", code=2).stderr
    name = bench.run(*INFER, "--template", str(path)).stdout.strip()
    assert name.startswith("mock-mine-")
    path.write_text(path.read_text().replace('"rank"', '{ text = "{{ target }}" }'))
    assert "target" in bench.run("prompt", "--check", str(path), code=2).stderr


def test_prompts_are_shown_with_their_sizes(bench: Bench, tmp_path: Path) -> None:
    from tiny_models import tiny_llama

    bench.prepared()
    said = bench.run("prompt", "--dataset", "small", "--show", "2").stderr
    assert "characters)" in said
    model = tiny_llama(tmp_path / "llama", chat=True)
    said = bench.run("prompt", "--dataset", "small", "--show", "2", "--model", str(model)).stderr
    assert said.count("tokens)") == 2
    assert "[user]" not in said  # the words of its own chat template stand there
    assert said.count("<|assistant|>") == said.count("<|user|>") == 2
    assert "--show" in bench.run("prompt", "--dataset", "small", "--model", str(model), code=2).stderr
    assert "--dataset" in bench.run("prompt", code=2).stderr


@pytest.mark.parametrize("what", ["templates", "parts"])
def test_lists(bench: Bench, what: str) -> None:
    lines = bench.run("list", what).stdout.splitlines()
    assert any(line.startswith({"templates": "listwise\t", "parts": "strategy=recency\t"}[what]) for line in lines)


def test_kinds_of_answers_are_counted(bench: Bench) -> None:
    bench.prepared()
    bench.run(*INFER)
    facts = pl.read_json(next(bench.home.glob("small/*/runs/mock-listwise-*/manifest.json")))["facts"][0]
    assert facts["kinds"] == {"complete": 30}


def test_answers_that_repeat_the_order_shown_are_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrs_bench.llm.backends import mock

    write = mock._text
    monkeypatch.setattr(mock, "_text", lambda prompt, values: write(prompt, sorted(values)))
    bench.prepared()
    words = ("answers: 100 % repeat the order shown", "answers: 1 is put first in 100 %")
    for said in (bench.run(*INFER).stderr, bench.run("evaluate", "--dataset", "small").stderr):
        assert all(word in said for word in words)
    board = bench.run("compare", "--dataset", "small", "--format", "markdown").stdout
    assert "100 % repeat the order shown, 1 is put first in 100 %" in board


def test_a_model_that_writes_nothing_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrs_bench.llm.backends import mock

    monkeypatch.setattr(mock, "_note", lambda prompt: mock._text(prompt, []))
    bench.prepared()
    run = bench.run(*INFER, "--template", "interest").stdout.strip()
    told = ("--user-profile", run, "-T", "interest=recent-written")
    assert "30 of 30 prompts show no interest" in bench.run("prompt", "--dataset", "small", *told).stderr
