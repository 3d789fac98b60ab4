"""The OpenAI engine against a real server that fails on purpose."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from command_line import Bench
from fault_server import Script, label_logprob, serve, text_of
from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines import openai_http
from llmrs_bench.engines.openai import OpenAIEngine
from llmrs_bench.engines.openai_options import OpenAIOptions
from llmrs_bench.errors import EngineError, OptionError
from llmrs_bench.types import Message, Prompt, Response
from tiny_models import choice_prompt, text_prompt

KEY = "sk-very-secret"
MESSAGES = (Message("user", "Which?"), Message("assistant", "Answer:"))
LABELS = Prompt("l", "l", MESSAGES, ("x", "y", "z"), (" A", " B", " C"), labels=True)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def url(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(script) as found:
        yield found


def engine(url: str, pauses: list[float] | None = None, **options: Any) -> OpenAIEngine:
    made = OpenAIEngine(ModelSpec("gpt", "gpt-x"), OpenAIOptions(base_url=url, **options), device="auto", seed=3)
    made.client._sleep = (pauses if pauses is not None else []).append
    return made


def answers(made: OpenAIEngine, *prompts: Prompt) -> dict[str, Response]:
    try:
        found = list(made.answer(prompts))
    finally:
        made.close()
    assert len(found) == len(prompts)
    return {response.prompt_id: response for response in found}


def test_texts_come_with_their_usage_and_every_prompt_once(url: str, script: Script) -> None:
    prompts = [text_prompt(f"t{number}", history=number) for number in range(40)]
    made = engine(url, concurrency=4)
    script.hold = 0.005
    found = answers(made, *prompts)
    assert {(r.text, r.finish_reason, r.cached_tokens, r.completion_tokens) for r in found.values()} == {
        ("2, 1", "stop", 1, 3)
    }
    assert len(script.requests) == 40
    assert 1 < script.most <= 4
    first = next(body for body in script.requests if text_of(body) == prompts[0].messages[0].content)
    assert (first["model"], first["temperature"], first["seed"], first["max_tokens"]) == ("gpt-x", 0, 3, 512)
    assert script.keys == {f"Bearer {KEY}"}
    assert made.facts()["served_as"] == "served-7b fp_1"


def test_only_a_busy_or_broken_server_is_asked_again(url: str, script: Script) -> None:
    pauses: list[float] = []
    script.faults = [429, 500, 503]
    made = engine(url, pauses)
    assert answers(made, text_prompt())["p"].text == "2, 1"
    assert len(script.requests) == 4
    assert pauses[0] == 7.0  # what the server asked for
    assert 1.0 <= pauses[1] <= 2.0 <= pauses[2] <= 4.0
    assert (made.facts()["retries"], made.facts()["rate_limited"]) == (3, 1)


@pytest.mark.parametrize(
    ("fault", "hint"),
    [(400, "--history"), (401, "OPENAI_API_KEY"), (404, "/v1"), ("nonsense", "/v1"), ("drop", "kept")],
)
def test_everything_else_ends_the_run_at_once_and_says_what_to_do(
    url: str, script: Script, fault: int | str, hint: str
) -> None:
    script.faults = [fault] * 3
    with pytest.raises(EngineError) as caught:
        answers(engine(url), text_prompt())
    assert len(script.requests) == 1
    assert hint in caught.value.hint
    assert KEY not in f"{caught.value.message} {caught.value.hint}"


def test_a_rate_limit_never_becomes_an_answer(url: str, script: Script) -> None:
    script.faults = [429] * 99
    with pytest.raises(EngineError, match="429 3 times"):
        answers(engine(url, retries=2), text_prompt())
    assert len(script.requests) == 3


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(EngineError, match="does not answer") as caught:
        answers(engine("http://127.0.0.1:9/v1"), text_prompt())
    assert "base_url" in caught.value.hint


@pytest.mark.parametrize(("content", "text"), [(None, ""), ("", ""), ("3", "3")])
def test_an_empty_message_is_an_empty_answer(url: str, script: Script, content: str | None, text: str) -> None:
    script.content = content
    assert answers(engine(url), text_prompt())["p"].text == text


def test_thoughts_stand_apart(url: str, script: Script) -> None:
    script.reasoning = "hm"
    found = answers(engine(url), text_prompt())["p"]
    assert (found.text, found.thinking_tokens) == ("<think>hm</think>2, 1", 2)


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_labels_are_looked_up_and_never_made_up(url: str, script: Script, api: str) -> None:
    found = answers(engine(url, api=api), LABELS)["l"].choice_logprobs
    asked = text_of(script.requests[0])
    assert asked == "Which?\nAnswer:"
    assert found is not None
    wanted = [label_logprob(asked, label) for label in "ABC"]
    best = sorted((label_logprob(asked, letter) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), reverse=True)[:20]
    assert found == tuple((pytest.approx(value),) if value in best else () for value in wanted)
    script.shown = 1
    few = answers(engine(url, api=api), replace(LABELS, choices=tuple(f" {x}" for x in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")))
    assert sum(map(len, few["l"].choice_logprobs or ())) == 1


def test_variants_of_a_label_add_up() -> None:
    from llmrs_bench.engines.openai import _label

    (found,) = _label([("A", -1.0), (" A", -1.0), ("a", -0.1), ("AA", -0.1)], " A")
    assert found == pytest.approx(-1.0 + 0.693147)
    assert _label([("B", -1.0)], " A") == ()


def test_a_server_without_log_probabilities_is_named(url: str, script: Script) -> None:
    script.logprobs = False
    with pytest.raises(EngineError, match="without log-probabilities") as caught:
        answers(engine(url), LABELS)
    assert "listwise" in caught.value.hint


@pytest.mark.parametrize("prompt", [choice_prompt(), replace(text_prompt(), grammar="permutation")])
def test_what_such_servers_cannot_do_is_refused(url: str, script: Script, prompt: Prompt) -> None:
    with pytest.raises(EngineError) as caught:
        answers(engine(url), prompt)
    assert "--engine vllm" in caught.value.hint or "api=completions" in caught.value.hint
    assert not script.requests


def test_a_prefix_of_the_answer_is_continued_where_the_server_can(url: str, script: Script) -> None:
    answers(engine(url, continue_assistant=True), LABELS)
    body = script.requests[0]
    assert body["messages"][-1] == {"role": "assistant", "content": "Answer:"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


def test_answers_are_those_of_one_address_and_name() -> None:
    def identity(**options: Any) -> dict[str, str]:
        return OpenAIEngine.identity(ModelSpec("gpt", "gpt-x"), OpenAIOptions(**options))

    first = identity(base_url="http://a/v1/")
    assert first == identity(base_url="http://a/v1")
    for other in ({"base_url": "http://b/v1"}, {"base_url": "http://a/v1", "model": "y"}):
        assert identity(**other) != first
    with pytest.raises(OptionError, match="host and path"):
        identity(base_url="http://me:secret@a/v1")
    assert OpenAIOptions(concurrency=1, price_in=3.0).deciding == OpenAIOptions(concurrency=9).deciding


def test_a_storm_is_survived_by_the_same_command(
    bench: Bench, url: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_http, "_FIRST_PAUSE", 0.0)
    bench.prepare()
    command = ("infer", "--model", "gpt-x", "--engine", "openai", "--dataset", "small", "-O", f"base_url={url}")
    script.faults = ["none"] * 9 + [500] * 99
    broken = bench.run(*command, "-O", "retries=1", "-O", "concurrency=1", code=1)
    assert "500" in broken.stderr
    assert KEY not in broken.stderr
    before = len(script.requests)
    script.faults = []
    bench.run(*command, "-O", "price_in=1000", "-O", "retries=3")
    assert len(script.requests) - before == 30 - 9
