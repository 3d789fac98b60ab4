"""What the OpenAI engine asks a server, and what it reads from the answers."""

import json
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fault_server import Fault, Script, label_logprob, text_of
from llmrs_bench.core.errors import EngineError, OptionError
from llmrs_bench.core.types import Listed, Message, Prompt, Response
from llmrs_bench.llm.backends.openai import OpenAIEngine
from llmrs_bench.llm.backends.openai_options import OpenAIOptions
from llmrs_bench.llm.backends.openai_replies import label_logprobs, logprob_of
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.prompts.strategies.listwise import ranking_of
from openai_cases import KEY, answers, engine
from tiny_models import choice_prompt, text_prompt


def listed_prompt() -> Prompt:
    return replace(text_prompt(), listed=Listed(("1", "2"), ("Heat", "Alien")))


MESSAGES = (Message("user", "Which?"), Message("assistant", "Answer:"))
LABELS = Prompt("l", "l", MESSAGES, ("x", "y", "z"), (" A", " B", " C"), labels=True)


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


@pytest.mark.parametrize(
    ("content", "text"),
    [
        *((None, ""), ("", ""), ("3", "3"), (12, "12"), ("2 \ud83d", "2 \ufffd"), ("\U0001f600", "\U0001f600")),
        ([{"type": "thinking", "thinking": []}, {"type": "text", "text": "3, 1"}], "3, 1"),
    ],
)
def test_the_content_of_a_message_is_an_answer(url: str, script: Script, content: Any, text: str) -> None:
    script.content = content
    assert answers(engine(url), text_prompt())["p"].text == text


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"code": "content_filter"}),
        (400, {"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}),
        (400, {"code": "400", "message": "gateway.ContentPolicyViolationError: no"}),
        (403, {"code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "Heat"}}),
    ],
)
def test_what_the_filter_of_a_server_refuses_has_an_empty_answer(
    url: str, script: Script, status: int, error: dict[str, Any]
) -> None:
    script.error = error
    for prompt, empty in ((text_prompt(), ""), (LABELS, ((), (), ()))):
        script.faults = [status]
        found = answers(engine(url), prompt)[prompt.prompt_id]
        assert empty in (found.text, found.choice_logprobs)
        assert found.finish_reason == "filtered"


def test_what_the_filter_stops_in_the_middle_is_marked(url: str, script: Script) -> None:
    script.faults = [{"choices": [{"finish_reason": "content_filter", "message": {"content": "2, 1"}}]}]
    found = answers(engine(url), text_prompt())["p"]
    assert (found.text, found.finish_reason) == ("2, 1", "filtered")
    script.faults = [{"choices": [{"finish_reason": "content_filter", "message": {"content": ""}, "logprobs": None}]}]
    assert answers(engine(url), LABELS)["l"].finish_reason == "filtered"


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


@pytest.mark.parametrize("content", [None, ""])
def test_thoughts_that_took_all_there_was_to_write_stay_open(url: str, script: Script, content: str | None) -> None:
    message = {"content": content, "reasoning_content": "I think 3 then"}
    script.faults = [{"choices": [{"finish_reason": reason, "message": message}]} for reason in ("length", "stop")]
    cut, ended = (answers(engine(url), listed_prompt())["p"] for _ in range(2))
    assert ranking_of(listed_prompt(), cut).kind == "truncated"
    assert ranking_of(listed_prompt(), ended).kind == "empty"


@pytest.mark.parametrize("count", [10**30, 10**400, -5, float("nan"), float("inf"), None])
def test_a_count_that_cannot_be_is_unknown(url: str, script: Script, count: float | None) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 50.5}
    script.faults = [json.dumps({"choices": [{"message": {"content": "2"}}], "usage": usage}).encode()]
    found = answers(engine(url), text_prompt())["p"]
    assert (found.text, found.prompt_tokens, found.completion_tokens) == ("2", 0, 50)


@pytest.mark.parametrize("usage", [[1], "many", {"prompt_tokens": "many"}, {"prompt_tokens": {}}])
def test_usage_of_another_shape_loses_no_answer(url: str, script: Script, usage: object) -> None:
    script.faults = [{"choices": [{"message": {"content": "2"}}], "usage": usage}]
    found = answers(engine(url), text_prompt())["p"]
    assert (found.text, found.prompt_tokens) == ("2", 0)


@pytest.mark.parametrize("value", [float("nan"), 2.0, "low", None, [1]])
def test_what_is_no_log_probability_is_named(url: str, script: Script, value: object) -> None:
    tops = [{"token": "A", "logprob": value}]
    script.faults = [{"choices": [{"message": {}, "logprobs": {"content": [{"top_logprobs": tops}]}}]}]
    with pytest.raises(EngineError, match="top_logprobs holds"):
        answers(engine(url), LABELS)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({"choices": {"0": {}}}, "choices holds no object"),
        ({"choices": "2, 1"}, "choices holds no object"),
        ({"choices": [[]]}, "choices holds no object"),
        ({"choices": [{"message": ["2"]}]}, "message is not an object"),
        ({"choices": [{"message": {"content": {"text": "2"}}}]}, "message.content is not text"),
        ({"choices": [{"message": {"content": [{"type": "image_url"}]}}]}, "message.content is not text"),
        ({"choices": [{"delta": {"content": "2"}}]}, "neither message nor text"),
        ({"choices": [{"message": {"content": "2"}, "logprobs": {"content": "2"}}]}, "has another type"),
        ({"choices": [{"message": {"content": "2"}, "logprobs": {"content": [{"top_logprobs": [{}]}]}}]}, "no field"),
    ],
)
def test_a_reply_of_another_shape_is_told_in_words(url: str, script: Script, reply: dict[str, Any], said: str) -> None:
    script.faults = [reply]
    with pytest.raises(EngineError) as caught:
        answers(engine(url), text_prompt() if "message" in said else LABELS)
    assert said in caught.value.message
    assert "Error(" not in caught.value.message


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "output_text", "text": "2"}, {"text": ", "}, "1"], "2, 1"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "3"}]}, {"type": "text", "text": "2, 1"}], "2, 1"),
        ([], ""),
    ],
)
def test_content_in_parts_is_joined_without_thoughts(url: str, script: Script, content: object, text: str) -> None:
    script.faults = [{"choices": [{"message": {"content": content}}]}]
    assert answers(engine(url), text_prompt())["p"].text == text


def test_of_several_choices_the_first_by_its_number_is_the_answer(url: str, script: Script) -> None:
    choices = [{"index": number, "message": {"content": f"{number}"}} for number in (2, 0, 1)]
    script.faults = [{"choices": choices}]
    assert answers(engine(url), text_prompt())["p"].text == "0"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        *(("length", "length"), ("LENGTH", "length"), ("max_tokens", "length"), ("model_length", "length")),
        *(("SAFETY", "filtered"), ("content_filter", "filtered"), ("guardrail_intervened", "filtered")),
        ({"type": "length", "length": 64}, "length"),
        *(("stop", "stop"), ("eos", "stop"), (None, "stop"), ([], "stop"), (5, "stop")),
    ],
)
def test_why_an_answer_ended_is_read_in_the_words_of_several_servers(
    url: str, script: Script, reason: object, finish: str
) -> None:
    script.faults = [{"choices": [{"message": {"content": "2"}, "finish_reason": reason}]}]
    assert answers(engine(url), text_prompt())["p"].finish_reason == finish


def test_counts_in_text_are_counts(url: str, script: Script) -> None:
    script.faults = [{"choices": [{"message": {"content": "2"}}], "usage": {"prompt_tokens": "100"}}]
    assert answers(engine(url), text_prompt())["p"].prompt_tokens == 100


def failing_at(texts: set[str], fault: Fault) -> Callable[[dict[str, Any]], Fault]:
    def reply(body: dict[str, Any]) -> Fault:
        return fault if text_of(body) in texts else {"choices": [{"message": {"content": "2, 1"}}]}

    return reply


@pytest.mark.parametrize(
    "fault",
    [
        {"choices": None},
        {"choices": {"0": {}}},
        {"choices": [None]},
        {"choices": [{"message": "2, 1"}]},
        {"choices": [{"message": {"content": {"text": "2, 1"}}}]},
        {"error": {"code": 400, "message": "maximum context length is 512 tokens"}},
        {"object": "error", "code": 40303, "message": "maximum context length is 512 tokens"},
        (403, b"<html>blocked</html>"),
        {"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "upstream"}}]},
    ],
)
def test_a_prompt_that_never_gets_an_answer_is_left_out_if_that_is_allowed(
    url: str, script: Script, fault: Fault
) -> None:
    prompts = [text_prompt(f"t{number}", history=number) for number in range(20)]
    script.reply = failing_at({prompts[3].messages[0].content}, fault)
    found = answers(engine(url), *prompts)
    assert {name for name, answer in found.items() if answer.finish_reason == "unanswered"} == {"t3"}
    assert found["t3"].text == ""
    script.reply = failing_at({prompt.messages[0].content for prompt in prompts[3:5]}, fault)
    made, kept = engine(url), list[Response]()
    with pytest.raises(EngineError) as caught:
        kept.extend(made.answer(prompts))
    made.close()
    assert "-O unanswered" in caught.value.hint
    assert not [answer for answer in kept if answer.finish_reason == "unanswered"]
    assert len(answers(engine(url, unanswered="2"), *prompts)) == 20


def test_a_server_that_answers_nothing_leaves_nothing_out(url: str, script: Script) -> None:
    script.faults = [{"choices": None}]
    with pytest.raises(EngineError, match="without a choice"):
        answers(engine(url, unanswered="100%"), text_prompt())
    with pytest.raises(OptionError, match="unanswered"):
        OpenAIOptions.parse({"unanswered": "few"}, owner="o")


def test_completions_without_a_tokenizer_say_that_no_chat_template_is_applied(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    answers(engine(url, api="completions"), text_prompt())
    assert "no chat template" in caplog.text
    caplog.clear()
    answers(engine(url), text_prompt())
    assert not caplog.text


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


def labelled(*tops: tuple[str, float]) -> dict[str, Any]:
    found = [{"token": token, "logprob": value} for token, value in tops]
    return {"choices": [{"message": {"content": "A"}, "logprobs": {"content": [{"top_logprobs": found}]}}]}


def test_a_log_probability_that_stands_for_none_is_none(url: str, script: Script) -> None:
    script.faults = [labelled(("A", -0.5), ("A", -0.5), ("B", -1e308), ("C", -math.inf))]
    assert answers(engine(url), LABELS)["l"].choice_logprobs == ((-0.5,), (), ())


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_the_least_of_the_tokens_shown_bounds_the_others(url: str, script: Script, api: str) -> None:
    [found] = answers(engine(url, api=api), LABELS).values()
    asked = text_of(script.requests[0])
    best = sorted((label_logprob(asked, letter) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), reverse=True)
    assert found.least_shown == pytest.approx(best[19])


def test_a_token_that_was_drawn_bounds_nothing(url: str, script: Script) -> None:
    script.faults = [labelled(("A", -0.5), ("B", -2.0), ("Z", -9.0)), labelled(("A", -0.5), ("B", -1e308))]
    made = engine(url, concurrency=1, top_logprobs=2)
    found = answers(made, LABELS, replace(LABELS, prompt_id="m"))
    assert [answer.least_shown for answer in found.values()] == [-2.0, -0.5]


def test_tokens_more_probable_together_than_anything_can_be_are_refused(url: str, script: Script) -> None:
    script.faults = [labelled(("A", -0.1), ("B", -0.1), ("C", -0.1))]
    with pytest.raises(EngineError, match="271 % probable together"):
        answers(engine(url), LABELS)


def test_one_prompt_without_log_probabilities_may_stay_unanswered(url: str, script: Script) -> None:
    asked = [replace(LABELS, prompt_id=f"l{number}") for number in range(2)]
    script.faults = [labelled(("A", -0.5)), {"choices": [{"message": {"content": "A"}, "logprobs": None}]}]
    found = answers(engine(url, concurrency=1, unanswered="1"), *asked)
    assert [answer.finish_reason for answer in found.values()] == ["choices", "unanswered"]


def test_variants_of_a_label_add_up() -> None:
    (found,) = logprob_of([("A", -1.0), (" A", -1.0), ("a", -0.1), ("AA", -0.1)], " A")
    assert found == pytest.approx(-1.0 + 0.693147)
    assert logprob_of([("B", -1.0)], " A") == ()


def test_a_label_that_is_another_one_up_to_spaces_counts_once() -> None:
    assert label_logprobs([("A", -1.0), ("a", -2.0)], (" A", "A", "a", "B")) == ((-1.0,), (), (-2.0,), ())


@pytest.mark.parametrize("text", [None, "A"])
def test_a_model_that_ends_at_once_shows_no_label(url: str, script: Script, text: str | None) -> None:
    choice = {"finish_reason": "stop", "message": {"content": text}, "logprobs": {"content": []}}
    script.faults = [{"choices": [choice]}]
    if text is None:
        [found] = answers(engine(url), LABELS).values()
        assert (found.choice_logprobs, found.least_shown) == (((), (), ()), None)
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
    assert identity(base_url="http://b/v1", known_as="http://a/v1/") == first
    assert OpenAIOptions(concurrency=1, price_in=3.0).result_options == OpenAIOptions(concurrency=9).result_options


def test_samples_are_asked_with_a_temperature_and_seeds_of_their_own(url: str, script: Script) -> None:
    prompts = [replace(text_prompt(f"t{number}"), sample=number) for number in range(3)]
    answers(engine(url, temperature=0.7), *prompts, LABELS)
    asked = script.requests
    assert [body["temperature"] for body in asked].count(0.7) == 3
    assert len({body["seed"] for body in asked}) == 3
    assert {body["seed"] for body in asked if body["temperature"] == 0} == {3}
