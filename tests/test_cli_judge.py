"""Explanations written by one model and judged by another, from the command line."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command_line import Bench, table, write_small
from fault_server import Script, serve
from llmrs_bench.core.types import Prompt, Response
from llmrs_bench.llm.backends.mock import MockEngine

JUDGE = ("judge", "-d", "small", "-m", "mock")
FAST = ("--samples", "100", "--permutations", "400")
PLAIN = MockEngine.answer


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Explanations of the first items of a recommender, from the user's history and from its last two items."""
    bench = Bench(tmp_path_factory.mktemp("home"), write_small(tmp_path_factory.mktemp("small")))
    bench.prepare("--users", "20", "--n-candidates", "15")
    bench.run("infer", "-d", "small", "-m", "itemknn", "--name", "knn")
    explained = ("infer", "-d", "small", "-m", "mock", "-t", "explanation", "-T", "explained_run=knn")
    bench.run(*explained, "--name", "plain")
    bench.run(*explained, "--history", "2", "--name", "short")
    return bench


def planted(monkeypatch: pytest.MonkeyPatch, prefers: Callable[[Prompt], str | None]) -> list[str]:
    """Let the mock prefer a letter, or write what is no letter, and return the ids of what it was asked."""
    asked: list[str] = []

    def answer(self: MockEngine, prompts: Sequence[Prompt]) -> Iterator[Response]:
        for prompt in prompts:
            asked.append(prompt.prompt_id)
            letter = prefers(prompt)
            if prompt.choices is None:
                yield Response(prompt.prompt_id, letter or "I cannot say.", None, 1, 0, 1, "stop")
            else:
                logprobs = tuple((-0.1,) if choice.strip() == letter else (-3.0,) for choice in prompt.choices)
                yield Response(prompt.prompt_id, None, logprobs, 1, 0, 1, "choices")

    monkeypatch.setattr(MockEngine, "answer", answer)
    return asked


def knows(prompt: Prompt) -> str:
    """Prefer the text that was written for this request: the mock names the request in it."""
    first = prompt.messages[0].content.partition("Explanation A: ")[2].partition("\n")[0]
    return "A" if f"of {prompt.request_id}." in first else "B"


def found(bench: Bench, *arguments: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(bench.run(*JUDGE, *arguments, *FAST, "--format", "json").stdout)
    return made


def rates(facts: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {(each["writer"], each["against"]): each["win_rate"] for each in facts["contests"]}


def test_a_text_is_about_the_first_item_of_a_run(written: Bench) -> None:
    run = next(written.home.glob("small/*/runs/mock-explanation-*"))
    first = table(written, "small/*/runs/itemknn-*/rankings.parquet").filter(pl.col("rank") == 1)
    named = pl.read_parquet(run / "rankings.parquet").filter(pl.col("score").is_not_null())
    assert dict(named.select("request_id", "item_id").iter_rows()) == dict(
        first.select("request_id", "item_id").iter_rows()
    )
    assert named["rank"].unique().to_list() == [1]
    assert "mock-explanation" not in written.run("compare", "-d", "small", *FAST).stdout
    assert "texts" in written.run("list", "runs", "-d", "small").stdout


def test_a_prompt_shows_the_history_and_the_item_and_nothing_else(written: Bench) -> None:
    titles = table(written, "small/*/data/items.parquet").select("item_id", "title")
    requests = table(written, "small/*/data/requests.parquet").select("request_id", "history")
    events = table(written, "small/*/runs/itemknn-*/rankings.parquet").filter(pl.col("rank") == 1)
    explained = dict(events.select("request_id", "item_id").iter_rows())
    names, shown = dict(titles.iter_rows()), list[int]()
    for path in written.home.glob("small/*/prompts/explanation-*/prompts.parquet"):
        prompts = dict(pl.read_parquet(path).select("request_id", "messages").iter_rows())
        for request, history in requests.iter_rows():
            text = prompts[request][0]["content"]
            told = {name for name, title in names.items() if f"- {title}\n" in text}
            assert told == set(history[-len(told) :])
            assert f"This item was recommended to the user: {names[explained[request]]} (" in text
            assert not [
                name for name, title in names.items() if title in text and name not in told | {explained[request]}
            ]
            shown.append(len(told))
    assert sorted(shown) == [2] * 20 + [10] * 20


@pytest.mark.parametrize("reading", ["labels", "text"])
def test_a_look_counts_what_a_judge_will_be_asked_and_what_is_kept(written: Bench, reading: str) -> None:
    context = {"labels": "7000", "text": "7001"}[reading]
    given = ("--run", "short", "--reading", reading, "-O", f"context={context}")
    look = (*given, "--dry-run", "--format", "json")
    before = json.loads(written.run(*JUDGE, *look).stdout)
    made = found(written, *given, "-n", "5")
    after = json.loads(written.run(*JUDGE, *look).stdout)
    assert (before["requests"], before["prompts"], before["kept"]) == (20, 80, 0)
    assert (after["prompts"], after["kept"]) == (80, made["prompts"])
    assert made["prompts"] == 20
    assert after["tokens_to_ask"] < before["tokens_to_ask"] == before["prompt_tokens"]
    assert "to ask          60 prompts" in written.run(*JUDGE, *given, "--dry-run").stdout
    far = ("judge", "-d", "small", "-m", "far", "--engine", "openai", "-O", "base_url=http://localhost:9/v1")
    priced = (*far, "-O", "price_in=1", "-O", "price_out=2", "--run", "short", "--reading", reading, *look[-3:])
    least, most = json.loads(written.run(*priced).stdout)["price_usd"]
    assert (0 < least < most) if reading == "text" else (0 < least == most)


@pytest.mark.parametrize("more", [("--show", "2"), ("--format", "markdown")])
def test_a_look_has_no_verdicts(written: Bench, more: tuple[str, str]) -> None:
    assert f"{more[0]}" in written.run(*JUDGE, "--dry-run", *more, code=2).stderr


def test_a_judge_that_follows_the_position_is_reported_as_one(written: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, lambda prompt: "A")
    given = ("--run", "plain", "-O", "context=5000")
    facts = found(written, *given)
    assert set(rates(facts).values()) == {0.5}
    assert {name: each["value"] for name, each in facts["position"].items()} == {
        "follows": 1.0,
        "first": 1.0,
        "kappa": -1.0,
    }
    text = " ".join(written.run(*JUDGE, *given, *FAST).stdout.split())
    assert text.startswith(
        "mock follows the position: in 100.0 % of pairs both orders name the same position, and 100.0 % of the "
        "verdicts name the first (a coin: 50 % each)."
    )
    assert "It fails the control: no sign that plain is preferred to its own texts for other users" in text
    assert "the judge mock and the writer of plain are the same model" in text


def test_a_judge_that_knows_passes_the_control(written: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = planted(monkeypatch, knows)
    given = ("--run", "plain", "--run", "short", "-O", "context=6000")
    facts = found(written, *given)
    assert rates(facts) == {
        ("plain", "template"): 1.0,
        ("plain", "shuffled"): 1.0,
        ("plain", "short"): 0.5,  # the same texts: nobody is asked
        ("short", "template"): 1.0,
        ("short", "shuffled"): 1.0,
    }
    assert (facts["same"], facts["malformed"], facts["pairs"], facts["users"]) == (20, 0, 100, 20)
    assert facts["position"]["kappa"]["value"] == 1.0
    assert not [name for name in asked if "/plain/short/" in name]
    shown = written.run(*JUDGE, *given, *FAST, "--show", "1")
    assert "mock goes by the texts more than by their position" in shown.stdout
    assert "It passes the control: plain is preferred" in " ".join(shown.stdout.split())
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "A (template): This item is recommended because you chose The Film of" in shown.stderr
    markdown = written.run(*JUDGE, *given, *FAST, "--format", "markdown").stdout
    assert "| plain | shuffled | 20 | 0 | 0 | 0 | 0 | 1.000 [.839, 1.000] | .0" in markdown


def test_the_control_is_the_text_of_another_user_about_another_item(written: Bench) -> None:
    written.run(*JUDGE, "--run", "plain", *FAST)
    rows = pl.concat(map(pl.read_parquet, written.home.glob("small/*/judgements/*/judgements.parquet")))
    shuffled = rows.filter(pl.col("against") == "shuffled", pl.col("writer_first"))
    for request, own, other in shuffled.select("request_id", "first", "second").iter_rows():
        assert own == f"1. Nothing is known of {request}."
        assert other.startswith("1. Nothing is known of ")
        assert other != own


def test_a_run_that_is_called_as_a_trivial_row_goes_by_its_own_name(written: Bench) -> None:
    explained = ("-t", "explanation", "-T", "explained_run=knn", "--history", "3", "--name", "template")
    run = written.name("infer", "-d", "small", "-m", "mock", *explained)
    assert rates(found(written, "--run", "template")).keys() == {(run, "template"), (run, "shuffled")}


def test_what_is_no_letter_is_malformed_and_no_loss(written: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, lambda prompt: None if "template" in prompt.prompt_id else knows(prompt))
    facts = found(written, "--run", "plain", "--reading", "text", "-O", "context=7000")
    against = {each["against"]: each for each in facts["contests"]}
    assert (against["template"]["pairs"], against["template"]["malformed"]) == (0, 20)
    assert (against["template"]["win_rate"], against["template"]["corrected"]) == (None, 1.0)
    assert (against["shuffled"]["win_rate"], against["shuffled"]["malformed"]) == (1.0, 0)
    assert facts["malformed"] == 40
    text = written.run(*JUDGE, "--run", "plain", "--reading", "text", "-O", "context=7000", *FAST).stdout
    assert "40 answers name no letter; pairs with such an answer count for nobody" in " ".join(text.split())


def test_two_judges_are_compared_on_the_pairs_that_both_saw(written: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("--run", "short", "--question", "Which {item} text is it?")
    planted(monkeypatch, knows)
    assert found(written, *asked, "-O", "context=8000")["judges"] == []
    planted(monkeypatch, lambda prompt: {"A": "B", "B": "A"}[knows(prompt)])
    [other] = found(written, *asked, "-O", "context=8001", "-n", "12")["judges"]
    assert (other["judge"], other["pairs"], other["agree"], other["kappa"]["value"]) == ("mock", 24, 0.0, -1.0)
    planted(monkeypatch, knows)
    facts = found(written, *asked, "-O", "context=8002")
    assert {each["pairs"]: each["kappa"]["value"] for each in facts["judges"]} == {40: 1.0, 24: -1.0}
    assert facts["asked"] == "Which item text is it?"


def test_a_judgement_that_was_killed_goes_on(written: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = planted(monkeypatch, knows)
    calm = MockEngine.answer

    def failing(self: MockEngine, prompts: Sequence[Prompt]) -> Iterator[Response]:
        if len(asked) >= 30:
            raise KeyboardInterrupt
        yield from calm(self, prompts)

    monkeypatch.setattr(MockEngine, "answer", failing)
    given = ("--run", "plain", "-O", "context=9000")
    before = sorted(written.home.glob("small/*/judgements/*"))
    written.run(*JUDGE, *given, *FAST, code=130)
    assert sorted(written.home.glob("small/*/judgements/*")) == before
    monkeypatch.setattr(MockEngine, "answer", calm)
    assert rates(found(written, *given))["plain", "shuffled"] == 1.0
    assert len(asked) == len(set(asked)) == 80
    written.run(*JUDGE, *given, *FAST)
    assert len(asked) == 80


def test_a_server_judges_by_letters_or_by_what_it_writes(written: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-kept-nowhere-2")
    said = {"finish_reason": "stop", "message": {"content": "Explanation A is better, since it is about this user."}}
    script = Script(reply=lambda body: {"choices": [said], "usage": {"prompt_tokens": 9, "completion_tokens": 9}})
    with serve(script) as url:
        given = ("-d", "small", "--engine", "openai", "-m", "org/judge", "-O", f"base_url={url}", "--run", "plain")
        refused = written.run("judge", *given, *FAST, code=1).stderr
        assert "without log-probabilities" in refused
        assert "Add --reading text" in refused
        text = written.run("judge", *given, *FAST, "--reading", "text", "--format", "json").stdout
        facts = json.loads(text)
        assert {name: each["value"] for name, each in facts["position"].items()}["follows"] == 1.0
        assert (facts["malformed"], facts["warnings"], facts["label_mass"]) == (0, [], None)
        body = script.requests[-1]["messages"][-1]["content"]
        assert "Explanation B: " in body
        assert body.endswith("Answer with A, with B, or with tie if neither is better.")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--run", "knn"), 2, "holds no explanations"),
        (("--run", "nobody"), 2, "unknown run 'nobody'"),
        (("--run", "plain", "--run", "common"), 4, "explain different items in"),
        (("--run", "plain", "--reading", "words"), 2, "words"),
    ],
)
def test_what_cannot_be_judged_is_refused(written: Bench, arguments: tuple[str, ...], code: int, words: str) -> None:
    if "common" in arguments:
        written.run("infer", "-d", "small", "-m", "popularity", "--name", "most")
        explained = ("-t", "explanation", "-T", "explained_run=most", "--name", "common")
        written.run("infer", "-d", "small", "-m", "mock", *explained)
    refused = written.run(*JUDGE, *arguments, code=code)
    assert words in " ".join(refused.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-t", "explanation"), "Add -T explained_run=RUN"),
        (("-t", "listwise", "-T", "explained_run=knn"), "explained_run=RUN has no effect on template listwise"),
        (("-t", "explanation", "-T", "explained_run=plain"), "is a run of texts, and recommends nothing"),
        (("-t", "explanation", "-T", "explained_run=knn", "-T", "samples=2"), "it ranks nothing"),
    ],
)
def test_an_explanation_needs_a_run_that_recommends(written: Bench, arguments: tuple[str, ...], words: str) -> None:
    refused = written.run("infer", "-d", "small", "-m", "mock", *arguments, code=2)
    assert words in " ".join(refused.stderr.split())


def test_an_explained_run_is_kept_while_it_is_shown(written: Bench) -> None:
    refused = written.run("rm", "itemknn", "--yes", "-d", "small", code=1)
    assert "in use" in refused.stderr


def test_requests_of_one_item_are_not_explained(tmp_path: Path, written: Bench) -> None:
    bench = Bench(tmp_path / "home", written.source)
    bench.prepare("--task", "rating")
    refused = bench.run("infer", "-d", "small", "-m", "mock", "-t", "explanation", "-T", "explained_run=x", code=2)
    assert "--task rating" in refused.stderr


def test_the_recipe_writes_what_a_judge_compares(tmp_path: Path, written: Bench) -> None:
    bench = Bench(tmp_path / "home", written.source)
    small = ("-d", "small", "--source", str(written.source), "--set", "data.users=10")
    made = bench.run("run", "protocols/explanations", "--model", "mock", *small).stdout
    assert "itemknn" in made
    assert "fails the control: no sign that no history is preferred to its own texts" in " ".join(made.split())
    facts = json.loads(bench.run(*JUDGE, *FAST, "--format", "json").stdout)
    assert (facts["users"], len(facts["writers"]), len(facts["contests"])) == (10, 2, 5)
