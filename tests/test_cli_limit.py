"""A look before paying: the first requests alone, and what a run would ask."""

import json
from pathlib import Path

import polars as pl
import pytest

from command_line import Bench, table, write_small
from llmrs_bench.stages import forecast

Rows = dict[str, dict[str, object]]
ASK = ("infer", "--dataset", "small", "--model", "mock")


@pytest.fixture
def small(bench: Bench) -> Bench:
    bench.prepare("--n-candidates", "5")
    return bench


def rows(bench: Bench, *more: str) -> Rows:
    found = json.loads(bench.run("compare", "--dataset", "small", "--format", "json", *more).stdout)
    return {row["setting"]: row for row in found["rows"] if row["model"] == "mock"}


def kept(bench: Bench) -> int:
    return sum(pl.read_parquet(path).height for path in bench.home.glob("small/answers/*/shards/*.parquet"))


def test_fewer_requests_are_part_of_more_and_share_their_answers(small: Bench) -> None:
    few, more, whole, same = (
        small.name(*ASK, *limit) for limit in (["--limit", "4"], ["--limit", "9"], [], ["--limit", "30"])
    )
    assert same == whole  # there are no more than 30
    assert kept(small) == 30
    tables = [table(small, f"small/*/runs/{name}/rankings.parquet") for name in (few, more, whole)]
    assert [found["request_id"].n_unique() for found in tables] == [4, 9, 30]
    for fewer, found in ((tables[0], tables[1]), (tables[1], tables[2])):
        assert fewer.equals(found.filter(pl.col("request_id").is_in(fewer["request_id"].implode())))


def test_a_board_keeps_limited_rows_apart(small: Bench) -> None:
    limited = small.name(*ASK, "--limit", "6", "-t", "likelihood")
    small.run(*ASK)
    text = small.run("compare", "--dataset", "small").stdout
    assert f"{limited} ran with --limit: only `--allow-different users` shows it" in " ".join(text.split())
    assert rows(small).keys() == {"listwise"}
    refused = small.run("compare", "--dataset", "small", "--run", "mock-likelihood", code=4).stderr
    assert "the first 6 (--limit)" in refused
    assert "--allow-different users" in refused
    both = rows(small, "--allow-different", "users")
    row = both["likelihood, first 6 requests"]
    assert row["users"] == 6
    assert row["requests_without_ranking"] == 0
    metrics = table(small, f"small/*/evals/{limited}-*/metrics.parquet")
    assert metrics["request_id"].n_unique() == 6
    # Its likelihoods are read again without the other requests.
    assert (
        f"{limited.rpartition('-')[0]}-token"
        in small.run("evaluate", "--dataset", "small", "--normalize", "token").stdout
    )
    assert (
        "ranks only 6 requests"
        in small.run("fuse", "-d", "small", "--run", "mock-listwise", "--run", limited, code=2).stderr
    )
    page = small.home / "page.html"
    small.run("compare", "-d", "small", "--allow-different", "users", "--html", str(page), "--html-requests", "30")
    assert "first 6 requests" in page.read_text("utf-8")


def test_options_that_limit_nothing_are_refused(small: Bench) -> None:
    for model, more in (("itemknn", ["--limit", "3"]), ("itemknn", ["--dry-run"]), ("mock", ["--limit", "0"])):
        small.run("infer", "--dataset", "small", "--model", model, *more, code=2)
    said = small.run(*ASK, "-t", "likelihood", "--prior", "--limit", "3", code=2).stderr
    assert "--prior asks for the titles of all requests" in said


def test_rows_of_clicks_are_asked_for_but_stand_on_no_board(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", write_small(tmp_path))
    bench.prepare("--task", "click", "--like-from", "4")
    limited = bench.name("infer", "-d", "small", "-m", "mock", "-t", "like", "--limit", "5")
    text = " ".join(bench.run("compare", "-d", "small").stdout.split())
    assert f"asked with --limit, so on no board of clicks: {limited}" in text


def test_what_would_be_asked_is_said_and_not_asked(small: Bench) -> None:
    small.run(*ASK, "--limit", "4")
    answers = kept(small)
    said = small.run(*ASK, "--dry-run").stdout
    assert "requests        30\n" in said
    assert "kept already    4 of 30 answers" in said
    assert "to ask          26 prompts of" in said
    assert "price           not known" in said
    assert kept(small) == answers
    assert "to ask          0 prompts of 0 tokens" in small.run(*ASK, "--dry-run", "--limit", "3").stdout
    server = ("-m", "served", "--engine", "openai", "-O", "base_url=http://127.0.0.1:9", "-O", "answer_tokens=10")
    priced = small.run(
        "infer", "-d", "small", *server, "--dry-run", "-O", "price_in=1000000", "-O", "price_out=10"
    ).stdout
    tokens = int(priced.partition("30 prompts of ")[2].partition(" tokens")[0].replace(",", ""))
    assert f"price           {tokens:.4f} to {tokens + 30 * 10 * 10 / 1e6:.4f} USD" in priced
    assert "to be written   300 tokens at most" in priced


def test_a_server_is_sent_a_prompt_once_for_each_title(small: Bench) -> None:
    server = ("--engine", "openai", "-O", "base_url=http://127.0.0.1:9", "-O", "api=completions", "-O", "tokenizer=o/t")
    far, here = (
        json.loads(
            small.run("infer", "-d", "small", *model, "-t", "likelihood", "--dry-run", "--format", "json").stdout
        )
        for model in (("-m", "served", *server), ("-m", "mock"))
    )
    assert far["prompt_tokens"] == pytest.approx(5 * here["prompt_tokens"], abs=2)
    assert far["choice_tokens"] == here["choice_tokens"] > 0


def test_a_look_does_not_pass_over_damaged_answers(small: Bench) -> None:
    small.run(*ASK, "--limit", "4")
    [shard] = small.home.rglob("shards/*.parquet")
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    said = small.run(*ASK, "--dry-run", code=1).stderr
    assert f"{shard.name} is damaged" in " ".join(said.split())


def look(bench: Bench, *more: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(bench.run(*ASK, "--dry-run", "--format", "json", *more).stdout)
    return found


def test_a_look_counts_the_prompts_of_all_rounds(small: Bench) -> None:
    for template, each in (("pairwise", 20), ("yes-no", 5), ("sliding-window", 1), ("setwise", 5)):
        before = look(small, "-t", template)
        run = small.name(*ASK, "-t", template)
        asked = table(small, f"small/*/runs/{run}/responses.parquet").height
        assert before["kept"] == 0
        assert before["prompts"] == 30 * each
        assert not before["rounds"]
        assert template == "setwise" or asked == before["prompts"]
        after = look(small, "-t", template)
        assert (after["prompts"], after["kept"], after["tokens_to_ask"]) == (asked, asked, 0)


def test_many_prompts_are_estimated_from_a_sample_of_requests(small: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    small.run(*ASK, "-t", "yes-no", "--limit", "12")
    whole = look(small, "-t", "yes-no")
    assert (whole["requests"], whole["sampled"], whole["prompts"], whole["kept"]) == (30, None, 150, 60)
    for name, value in (("_WHOLE", 100), ("_SAMPLE", 50), ("_FEWEST", 1)):
        monkeypatch.setattr(forecast, name, value)
    part = look(small, "-t", "yes-no")
    assert (part["requests"], part["sampled"], part["prompts"]) == (30, 10, 150)
    assert int(str(part["kept"])) % 15 == 0  # of 10 requests whole ones are answered
    assert 0 < int(str(part["kept"])) < 150  # the sample is not the part that --limit takes
    tokens, to_ask, kept = (int(str(part[name])) for name in ("prompt_tokens", "tokens_to_ask", "kept"))
    assert tokens == pytest.approx(int(str(whole["prompt_tokens"])), rel=0.1)
    assert to_ask == pytest.approx(tokens * (150 - kept) / 150, rel=0.1)
    said = small.run(*ASK, "--dry-run", "-t", "yes-no").stdout
    assert "requests        30, of which 10 were looked at: what follows is estimated from these" in said
    recipe = small.home.parent / "study.toml"
    recipe.write_text('[data]\ndataset = "small"\n[[rows]]\nmodel = "mock"\ntemplate = ["yes-no", "listwise"]\n')
    lines = small.run("run", str(recipe), "--dry-run").stdout.splitlines()
    assert lines[1].split()[2:4] == ["30", "~150"]
    assert lines[2].split()[2:4] == ["30", "30"]
    assert "~: estimated from 10 of 30 requests" in lines
