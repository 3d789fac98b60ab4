"""The OpenAI engine against a real server that fails on purpose."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event
from typing import Any

import pytest

from command_line import Bench
from fault_server import Script, label_logprob, serve, text_of
from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines import openai_http
from llmrs_bench.engines.openai import OpenAIEngine
from llmrs_bench.engines.openai_options import OpenAIOptions
from llmrs_bench.engines.openai_replies import logprob_of
from llmrs_bench.engines.openai_threads import spread
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
    waited = [] if pauses is None else pauses

    def pause(seconds: float, stopped: Event) -> None:
        waited.append(seconds)

    made.client.pause = pause
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
    together = threading.Barrier(4, timeout=60)  # no request is answered before four are there
    script.hold = lambda body: together.wait()
    found = answers(made, *prompts)
    assert {(r.text, r.finish_reason, r.cached_tokens, r.completion_tokens) for r in found.values()} == {
        ("2, 1", "stop", 1, 3)
    }
    assert len(script.requests) == 40
    assert script.most == 4
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
    [
        *((400, "--history"), (401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "/v1"), (408, "message")),
        *(("nonsense", "/v1"), ("drop", "kept"), ({"error": {"message": "upstream"}}, "kept")),
        ({"choices": []}, "base_url"),
        ({"choices": [{"finish_reason": "abort", "message": {"content": "2"}}]}, "log"),
        ({"choices": ["2, 1"]}, "base_url"),
        ({"choices": [{"message": {"content": "2"}}], "usage": {"prompt_tokens": "many"}}, "base_url"),
    ],
)
def test_everything_else_ends_the_run_at_once_and_says_what_to_do(
    url: str, script: Script, fault: int | str | dict[str, Any], hint: str
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


@pytest.mark.parametrize("key", ["sk-\u00e9t\u00e9", "sk-one sk-two", "sk-one\nsk-two"])
def test_what_cannot_be_a_key_is_refused_without_showing_it(
    url: str, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(OptionError, match="OPENAI_API_KEY") as caught:
        engine(url)
    assert "sk-" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(("key", "sent"), [(" sk-1\n", "Bearer sk-1"), ("", None)])
def test_a_key_is_sent_alone_or_not_at_all(
    url: str, script: Script, monkeypatch: pytest.MonkeyPatch, key: str, sent: str | None
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    answers(engine(url), text_prompt())
    assert script.keys == {sent}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("soon", None), ("3.5", 3.5), ("-1", 0.0), ("Tue, 24 Nov 2026 10:00:30 GMT", 30.0)],
)
def test_servers_ask_for_a_pause_in_seconds_or_by_a_date(value: str | None, seconds: float | None) -> None:
    assert openai_http.retry_after(value, now=datetime(2026, 11, 24, 10, tzinfo=UTC)) == seconds


def test_a_pause_of_hours_ends_the_run(url: str, script: Script) -> None:
    script.faults, script.retry_after, pauses = [429], "7200", list[float]()
    with pytest.raises(EngineError, match="7200 s"):
        answers(engine(url, pauses), text_prompt())
    assert not pauses


def test_answers_come_as_they_are_done(url: str, script: Script) -> None:
    slow, release = text_prompt("slow", history=9), Event()
    script.hold = lambda body: text_of(body) != slow.messages[0].content or release.wait(60)
    made = engine(url, concurrency=2)
    found = made.answer([slow, *(text_prompt(f"t{number}", history=number) for number in range(5))])
    assert {next(found).prompt_id for _ in range(5)} == {f"t{number}" for number in range(5)}
    release.set()
    assert [response.prompt_id for response in found] == ["slow"]
    made.close()


def test_prompts_are_taken_as_they_are_needed(url: str) -> None:
    taken: list[str] = []

    class Counted(list[Prompt]):
        def __iter__(self) -> Iterator[Prompt]:
            for prompt in super().__iter__():
                taken.append(prompt.prompt_id)
                yield prompt

    made = engine(url, concurrency=3)
    found = made.answer(Counted(text_prompt(f"t{number}") for number in range(50)))
    next(found)
    assert len(taken) <= 4
    found.close()  # type: ignore[attr-defined]
    made.close()


def test_what_is_under_way_is_kept_when_another_request_fails(url: str, script: Script) -> None:
    together = threading.Barrier(4, timeout=60)
    script.hold = lambda body: together.wait()  # four are under way when one of them fails
    script.faults = [400]
    made, kept = engine(url, concurrency=4), list[str]()
    with pytest.raises(EngineError, match="400"):
        kept.extend(response.prompt_id for response in made.answer([text_prompt(f"t{n}") for n in range(4)]))
    made.close()
    assert len(kept) == 3


def test_a_failure_ends_the_pauses_of_others(url: str, script: Script) -> None:
    made, paused = engine(url, concurrency=2), Event()

    def pause(seconds: float, stopped: Event) -> None:
        paused.set()
        assert stopped.wait(60)

    made.client.pause = pause

    def hold(body: dict[str, Any]) -> None:
        if len(script.requests) > 1:
            paused.wait(60)

    script.hold = hold
    script.faults = [503, 400]
    with pytest.raises(EngineError, match="400"):
        list(made.answer([text_prompt("a"), text_prompt("b")]))
    made.close()
    assert len(script.requests) == 2


def test_an_own_mistake_is_raised_as_it_is() -> None:
    def work(task: int, stopped: Event) -> int:
        return 1 // task

    with pytest.raises(ZeroDivisionError):
        list(spread(work, [1, 0, 2], workers=2))
    assert sorted(spread(work, [1, 1], workers=5)) == [1, 1]
    assert list(spread(work, [], workers=5)) == []


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(EngineError, match="does not answer") as caught:
        answers(engine("http://127.0.0.1:9/v1"), text_prompt())
    assert "base_url" in caught.value.hint


@pytest.mark.parametrize(("content", "text"), [(None, ""), ("", ""), ("3", "3")])
def test_an_empty_message_is_an_empty_answer(url: str, script: Script, content: str | None, text: str) -> None:
    script.content = content
    assert answers(engine(url), text_prompt())["p"].text == text


def test_what_the_filter_of_a_server_refuses_has_an_empty_answer(url: str, script: Script) -> None:
    script.error = {"code": "content_filter"}
    for prompt, empty in ((text_prompt(), ""), (LABELS, ((), (), ()))):
        script.faults = [400]
        made = engine(url)
        found = answers(made, prompt)[prompt.prompt_id]
        assert empty in (found.text, found.choice_logprobs)
        assert made.facts()["filtered"] == 1


def test_a_refusal_is_an_answer(url: str, script: Script) -> None:
    script.faults = [{"choices": [{"finish_reason": "stop", "message": {"content": None, "refusal": "No."}}]}]
    assert answers(engine(url), text_prompt())["p"].text == "No."


def test_fields_are_left_out_and_added(url: str, script: Script) -> None:
    options = OpenAIOptions.parse(
        {"base_url": url, "omit": "temperature, seed", "fields": '{"top_k": 1}', "reasoning_effort": "low"}, owner="o"
    )
    answers(OpenAIEngine(ModelSpec("g", "g"), options, device="auto", seed=0), text_prompt())
    (body,) = script.requests
    assert set(body) == {"model", "messages", "max_tokens", "top_k", "reasoning_effort"}
    for wrong in ({"fields": '{"model": "y"}'}, {"fields": "{"}, {"omit": "model"}, {"fields": "[1]"}):
        with pytest.raises(OptionError):
            OpenAIOptions.parse(wrong, owner="o")


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
    (found,) = logprob_of([("A", -1.0), (" A", -1.0), ("a", -0.1), ("AA", -0.1)], " A")
    assert found == pytest.approx(-1.0 + 0.693147)
    assert logprob_of([("B", -1.0)], " A") == ()


@pytest.mark.parametrize("text", [None, "A"])
def test_a_model_that_ends_at_once_shows_no_label(url: str, script: Script, text: str | None) -> None:
    choice = {"finish_reason": "stop", "message": {"content": text}, "logprobs": {"content": []}}
    script.faults = [{"choices": [choice]}]
    if text is None:
        assert answers(engine(url), LABELS)["l"].choice_logprobs == ((), (), ())
    else:  # it wrote something, and the server does not say how likely that was
        with pytest.raises(EngineError, match="without log-probabilities"):
            answers(engine(url), LABELS)


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
    script.faults = [*(["none"] * 9), *([500] * 99)]
    broken = bench.run(*command, "-O", "retries=1", "-O", "concurrency=1", code=1)
    assert "500" in broken.stderr
    assert KEY not in broken.stderr
    before = len(script.requests)
    script.faults = []
    bench.run(*command, "-O", "price_in=1000", "-O", "retries=3")
    assert len(script.requests) - before == 30 - 9
