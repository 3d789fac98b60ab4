"""`infer --engine openai` from the command line: what is asked again, what is not, and what never reaches the disk."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from command_line import USERS, Bench
from fault_server import Script, serve, text_of
from llmrs_bench.core.artifacts import open_artifact

KEY = "sk-kept-nowhere-1"
ANSWER = {"choices": [{"finish_reason": "stop", "message": {"content": "3, 1, 2"}}]}
COUNTED = {**ANSWER, "usage": {"prompt_tokens": 1000, "completion_tokens": 10}}

Ask = Callable[..., str]


@pytest.fixture
def script() -> Script:
    return Script(reply=lambda body: COUNTED)


@pytest.fixture
def url(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(script) as found:
        yield found


@pytest.fixture
def ask(bench: Bench, url: str) -> Ask:
    """Return what infers with the server and gives the name of the run."""
    bench.prepared()

    def run(*more: str) -> str:
        address = () if any(text.startswith("base_url=") for text in more) else ("-O", f"base_url={url}")
        return bench.name("infer", "-d", "small", "--engine", "openai", "-m", "org/m:free", *address, *more)

    return run


def facts(bench: Bench, run: str) -> dict[str, Any]:
    (path,) = bench.home.glob(f"small/*/runs/{run}")
    return open_artifact(path, hint="").facts


@pytest.mark.slow
def test_answers_that_grew_old_are_asked_for_again_and_kept_beside_the_others(
    bench: Bench, ask: Ask, script: Script
) -> None:
    first = ask()
    assert ask("--max-age", "12h") == ask() == first
    assert len(script.requests) == USERS
    script.reply = lambda body: {"choices": [{"finish_reason": "stop", "message": {"content": "nonsense"}}]}
    second = ask("--fresh")
    assert second != first
    assert (facts(bench, first)["kinds"], facts(bench, second)["kinds"]) == ({"partial": USERS}, {"format": USERS})
    assert ask() == ask("--max-age", "7d") == ask("--from-cache") == second  # the latest answers are those of the model
    assert len(script.requests) == 2 * USERS
    third = ask("--max-age", "0.000001s")
    assert third not in (first, second)
    bench.run("evaluate", "-d", "small")
    board = bench.run("compare", "-d", "small", "--format", "csv")
    assert third in board.stdout
    assert not [old for old in (first, second) if old in board.stdout or old not in board.stderr]
    assert first in bench.run("compare", "-d", "small", "--format", "csv", "--run", first).stdout


@pytest.mark.parametrize("wrong", [["--max-age", "12"], ["--max-age", "nan"], ["--fresh", "--max-age", "1h"]])
def test_ages_have_units_and_exclude_fresh(bench: Bench, wrong: list[str]) -> None:
    bench.prepared()
    refused = bench.run("infer", "-d", "small", "--engine", "openai", "-m", "m", *wrong, code=2)
    assert "--max-age" in refused.stderr
    assert "only" in bench.run("infer", "-d", "small", "-m", "popularity", "--fresh", code=2).stderr


@pytest.mark.slow
def test_options_that_change_no_answer_name_no_row_and_a_server_may_move(
    bench: Bench, ask: Ask, script: Script, url: str
) -> None:
    run = ask("-O", "concurrency=2", "-O", "price_in=2", "-O", "answer_tokens=99")
    assert facts(bench, run)["typed"] == {"base_url": url, "answer_tokens": "99"}
    with serve(script) as moved:
        again = ask("-O", f"base_url={moved}", "-O", f"known_as={url}", "-O", "answer_tokens=99", "-O", "timeout=9")
        assert again == run
        assert len(script.requests) == USERS
        named = ask("-O", f"base_url={moved}", "-O", "known_as=lab")
        assert facts(bench, named)["typed"] == {"known_as": "lab"}
    assert ask("-O", "known_as=lab") == named
    assert len(script.requests) == 2 * USERS
    other = ask()
    assert ask("--from-cache", "-O", "known_as=lab") == named != other == ask("--from-cache")


@pytest.mark.parametrize("option", ["model=larger", "base_url=http://elsewhere.example/v1", "known_as=lab"])
def test_kept_answers_of_another_server_or_of_another_of_its_models_are_not_read(
    bench: Bench, ask: Ask, url: str, option: str
) -> None:
    run = ask()
    asked = ("infer", "-d", "small", "--engine", "openai", "-m", "org/m:free", "--from-cache", "-O")
    assert bench.name(*asked, f"base_url={url}") == run
    refused = bench.run(*asked, option, *(() if "base_url" in option else ("-O", f"base_url={url}")), code=1)
    assert "0 sets of answers" in refused.stderr


@pytest.mark.slow
def test_an_item_whose_no_a_server_does_not_show_is_first_and_counted(bench: Bench, ask: Ask, script: Script) -> None:
    asked: list[str] = []

    def reply(body: dict[str, Any]) -> dict[str, Any]:
        asked.append(text_of(body))
        tops = [("Yes", -0.01), ("Maybe", -5.0)] if len(asked) == 1 else [("Yes", -0.5), ("No", -1.0)]
        shown = [{"token": token, "logprob": value} for token, value in tops]
        choice = {"message": {"content": "Yes"}, "logprobs": {"content": [{"top_logprobs": shown}]}}
        return {"choices": [{"finish_reason": "stop", **choice}]}

    script.reply = reply
    run = ask("-t", "yes-no", "--limit", "1", "-O", "concurrency=1")
    (path,) = bench.home.glob(f"small/*/runs/{run}")
    ranked = open_artifact(path, hint="").table("rankings").sort("rank")
    said = facts(bench, run)
    assert said["kinds"]["partial"] == 1
    assert said["notes"]["bounded_labels"] == pytest.approx(1 / ranked.height)
    assert ranked["score"][0] == pytest.approx(-0.01 + 5.0)
    assert "counts with the probability of the least likely token shown" in " ".join(said["warnings"])


def test_a_price_may_be_given_later(bench: Bench, ask: Ask) -> None:
    run = ask()
    assert facts(bench, run)["price_usd"] is None
    assert ask("-O", "price_in=5", "-O", "price_out=100") == run
    assert facts(bench, run)["price_usd"] == pytest.approx(USERS * (1000 * 5 + 10 * 100) / 1e6)
    assert ask() == run
    assert facts(bench, run)["price_usd"] is not None


def test_tokens_that_the_server_does_not_count_are_unknown(bench: Bench, url: str, script: Script) -> None:
    bench.prepared()
    script.reply = lambda body: ANSWER
    done = bench.run("infer", "-d", "small", "--engine", "openai", "-m", "m", "-O", f"base_url={url}")
    assert "tokens unknown" in done.stderr
    assert "0 prompt tokens" not in done.stderr


def test_a_prompt_without_an_answer_is_asked_again_by_the_same_command_and_is_no_answer_of_the_model(
    bench: Bench, ask: Ask, script: Script
) -> None:
    ask("-O", "answer_tokens=9")
    lost = text_of(script.requests[3])
    script.reply = lambda body: {"choices": None} if text_of(body) == lost else COUNTED
    script.requests.clear()
    run = ask("-O", "tolerate=1")
    assert (facts(bench, run)["unanswered"], facts(bench, run)["kinds"]) == (1, {"partial": USERS - 1})
    assert ask() == ask("--from-cache") == run
    assert len(script.requests) == USERS + 1  # asked again, in vain
    assert facts(bench, run)["unanswered"] == 1
    script.reply = lambda body: COUNTED
    assert ask() == ask() == run
    assert len(script.requests) == USERS + 2
    assert (facts(bench, run)["unanswered"], facts(bench, run)["kinds"]) == (0, {"partial": USERS})


def test_a_key_that_the_server_writes_back_is_masked(bench: Bench, ask: Ask, script: Script) -> None:
    script.reply = lambda body: {**COUNTED, "model": KEY, "system_fingerprint": f"of {KEY}"}
    run = ask()
    assert facts(bench, run)["serving"]["served_as"] == "*** of ***"
    assert not [path for path in bench.home.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_server_of_others_is_named_and_needs_a_key_before_the_first_prompt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    bench.prepared()
    refused = bench.run(
        "infer", "-d", "small", "--engine", "openai", "-m", "m", "-O", "base_url=https://llm.example.org/v1", code=2
    )
    named, fault = (refused.stderr.index(words) for words in ("are sent to https://llm.example.org/v1", "holds no key"))
    assert named < fault


def test_arguments_that_are_not_utf_8_are_one_line(bench: Bench) -> None:
    bench.prepared()
    for text in ("m\udcff", "base_url=\udc80"):
        refused = bench.run("infer", "-d", "small", "--engine", "openai", "-m", "m", "-O", text, code=2)
        assert "is not in UTF-8" in refused.stderr


def test_a_typed_key_is_refused_unseen(bench: Bench, tmp_path: Path) -> None:
    bench.prepared()
    for text in ('fields={"user": "sk-live-77"}', "key_env=hf_AbCd1234", "base_url=http://h/v1?api_key=sk-live-77"):
        refused = bench.run("infer", "-d", "small", "--engine", "openai", "-m", "m", "-O", text, code=2)
        assert not [key for key in ("sk-live-77", "hf_AbCd1234") if key in refused.stderr]
