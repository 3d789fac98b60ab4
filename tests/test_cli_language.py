"""Language models on the command line: more users, other templates, later rounds, and logs for machines."""

import errno
import json
import os
import sys
from collections.abc import Iterator, Sequence

import polars as pl
import pytest

from command_line import Bench, table
from llmrs_bench.core.types import Prompt, Response


def kept(bench: Bench) -> int:
    return sum(pl.read_parquet(path).height for path in bench.home.glob("small/answers/*/shards/*.parquet"))


def test_more_users_ask_for_the_new_ones_alone(bench: Bench) -> None:
    bench.prepare("--users", "10", dataset="small@few")
    bench.prepare("--users", "all", dataset="small@all")
    bench.run("infer", "--model", "mock", "--dataset", "small@few")
    assert kept(bench) == 10
    bench.run("infer", "--model", "mock", "--dataset", "small@all")
    assert kept(bench) == 30


def test_a_template_with_rounds_asks_until_it_is_done(bench: Bench) -> None:
    bench.prepare("--n-candidates", "5")
    pairwise = ("-t", "pairwise", "-T", "method=heapsort")
    bench.run("infer", "--model", "mock", "--dataset", "small", *pairwise)
    responses = table(bench, "small/*/runs/mock-pairwise-*/responses.parquet")
    calls = responses.group_by("request_id").len()["len"]
    assert 2 * 4 <= calls.min() <= calls.max() < 2 * 5 * 4  # type: ignore[operator]
    first = table(bench, "small/*/prompts/pairwise-*/prompts.parquet")
    assert responses.height > first.height
    asked = kept(bench)
    bench.run(
        "infer", "--model", "mock", "--dataset", "small", "-t", "pairwise", "-T", "method=heapsort", "-T", "top=3"
    )
    assert kept(bench) == asked  # the same comparisons, fewer of them


def test_every_line_of_a_json_log_is_an_object(bench: Bench) -> None:
    bench.prepared()
    lines = bench.run("infer", "--model", "mock", "--dataset", "small", "--log", "json").stderr.splitlines()
    said = [json.loads(line) for line in lines]
    progress = [line for line in said if line["level"] == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == 30
    assert {"time", "label", "per_second", "seconds_left"} <= set(progress[-1])
    assert any("30 prompts" in line.get("message", "") for line in said)
    error = bench.run("infer", "--model", "nobody", "--dataset", "small", "--log", "json", code=2).stderr
    assert json.loads(error.splitlines()[-1])["level"] == "error"


def test_an_audit_is_reported(bench: Bench) -> None:
    bench.prepared()
    said = bench.run("infer", "--model", "mock", "--dataset", "small", "-t", "label", "--check-determinism", "4").stderr
    assert "audit of 4 requests, warm against cold: largest 0 nat" in said
    assert "first choice changed in 0.0 %" in said


def test_the_board_shows_what_answers_cost(bench: Bench) -> None:
    bench.prepared()
    bench.run("infer", "--model", "mock", "--dataset", "small", "-t", "label")
    bench.run("evaluate", "--dataset", "small")
    rows = json.loads(bench.run("compare", "--dataset", "small", "--format", "json").stdout)["rows"]
    row = next(row for row in rows if row["model"] == "mock")
    responses = table(bench, "small/*/runs/mock-label-*/responses.parquet")
    assert row["prefill_tokens"] == responses["prompt_tokens"].sum()
    assert row["requests_per_second"] > 0
    assert 0 < row["label_mass"] <= 1.0001
    assert "/s" in bench.run("compare", "--dataset", "small").stdout


def test_what_an_engine_prints_is_no_result(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from llmrs_bench.llm.backends.mock import MockEngine

    answer = MockEngine.answer

    def chatty(self: MockEngine, prompts: Sequence[Prompt]) -> Iterator[Response]:
        sys.stdout.write("printed\n")
        os.write(1, b"from C code\n")
        yield from answer(self, prompts)

    bench.prepared()
    monkeypatch.setattr(MockEngine, "answer", chatty)
    ran = bench.run("infer", "--model", "mock", "--dataset", "small", "--check-determinism", "2")
    assert ran.stdout.splitlines() == [next(bench.home.glob("small/*/runs/mock-*")).name]
    assert "printed" in ran.stderr
    written = capfd.readouterr()
    assert "from C code" not in written.out
    assert written.err.count("from C code") > 1


def test_the_protocol_says_how_likelihoods_are_normalised_where_there_are_some(bench: Bench) -> None:
    bench.prepared()
    for template, said in (("label", 0), ("likelihood", 1)):
        bench.run("infer", "--model", "mock", "--dataset", "small", "-t", template)
        board = json.loads(bench.run("compare", "--dataset", "small", "--format", "json").stdout)
        assert sum("sum of the log-probabilities" in line for line in board["protocol"]) == said


def test_labels_that_the_model_would_not_write_are_doubted(bench: Bench) -> None:
    from tiny_models import tiny_llama

    bench.prepare("--users", "3", "--history", "2")
    model = str(tiny_llama(bench.home / "llama", context=512))
    asked = ("infer", "--model", model, "--engine", "transformers", "--dataset", "small", "-t", "label")
    result = bench.run(*asked)
    assert "the labels have" in result.stderr
    assert "one by one" not in result.stderr
    assert "titles of 3 prompts were scored one by one" in bench.run(*asked, "-O", "packed=false").stderr
    mock = bench.run("infer", "--model", "mock", "--dataset", "small", "-t", "label")
    assert "the labels have" not in mock.stderr


def test_a_full_disk_is_an_error_with_a_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.prepared()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = bench.run("infer", "--model", "mock", "--dataset", "small", code=1).stderr
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert "GeneratorExit" not in said


def test_an_audit_asks_and_reparse_does_not(bench: Bench) -> None:
    bench.prepared()
    said = bench.run(
        "infer", "--model", "mock", "--dataset", "small", "--from-cache", "--check-determinism", "4", code=2
    ).stderr
    assert "--check-determinism" in said
    assert "--from-cache" in said


def test_slots_that_place_the_target_are_no_habit_of_the_model(bench: Bench) -> None:
    bench.prepared()
    for options, counted in (((), True), (("--target-positions", "0,5"), False)):
        name = bench.name("infer", "--model", "mock", "--dataset", "small", *options)
        manifest = json.loads(next(bench.home.glob(f"small/*/runs/{name}/manifest.json")).read_text("utf-8"))
        assert (manifest["facts"]["first_choices"] is not None) is counted
