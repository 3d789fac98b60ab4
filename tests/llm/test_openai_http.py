"""The OpenAI engine against a real server that fails on purpose."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from threading import Event, Lock, Semaphore
from typing import Any

import pytest

from command_line import Bench
from fault_server import Fault, Script, serve, text_of
from llmrs_bench.core.errors import EngineError, OptionError
from llmrs_bench.core.types import Prompt
from llmrs_bench.llm.backends import openai_http
from llmrs_bench.llm.backends.openai_http import Throttle, spread
from openai_cases import KEY, answers, engine
from tiny_models import text_prompt

# Threads of an iterator that is closed early are left at their requests: what they open after the client is closed is
# left to the garbage collector, which may find it in a later test.
pytestmark = pytest.mark.filterwarnings(r"ignore:[\s\S]*unclosed <socket:pytest.PytestUnraisableExceptionWarning")


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
        *((400, "--history"), (401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "/v1"), (410, "message")),
        *(("nonsense", "/v1"), ("http://other.example/v1", "base_url"), ((302, b""), "redirects")),
        ({"error": {"code": 400, "message": "context"}}, "--history"),
        ({"choices": []}, "base_url"),
        ({"choices": [{"message": {"content": {"text": "2"}}}]}, "base_url"),
        ({"choices": ["2, 1"]}, "base_url"),
        *((b" " * 17 * 2**20, "answer_tokens"), ("bomb", "answer_tokens"), (b"data: {}", "streams")),
        *((b'{"a": 1}\n{"b": 2}', "/v1"), (b'{"choices": [],}', "/v1"), (b"", "/v1")),
        *(((402, b"{}"), "no credit"), ((429, b'{"error": {"type": "insufficient_quota"}}'), "no credit")),
    ],
)
def test_everything_else_ends_the_run_at_once_and_says_what_to_do(
    url: str, script: Script, fault: Fault, hint: str
) -> None:
    script.faults = [fault] * 3
    with pytest.raises(EngineError) as caught:
        answers(engine(url), text_prompt())
    assert len(script.requests) == 1
    assert hint in caught.value.hint
    assert KEY not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    "fault",
    [
        *(408, 409, 423, 424, 425, 429, 498, 499, 502, 529, "reset", "cut", "drop", "drip", "head"),
        *((503, b"upstream"), (529, b"")),
        *("gzip", "chunk", "length", "open", "short", "twice"),
        {"error": {"code": 429, "message": "upstream"}},
        {"error": {"message": "upstream"}},
        {"object": "error", "message": "upstream", "code": 50001},
        b'[{"error": {"code": 503, "message": "upstream"}}]',
        {"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "upstream"}}]},
        {"choices": [{"finish_reason": "abort", "message": {"content": "2"}}]},
    ],
)
def test_what_passes_is_tried_again(url: str, script: Script, fault: Fault) -> None:
    script.faults, pauses = [fault] * 2, list[float]()
    made = engine(url, pauses, timeout=0.6 if fault in ("drip", "head") else 60)
    assert answers(made, text_prompt())["p"].text == "2, 1"
    assert (len(script.requests), len(pauses), made.facts()["retries"]) == (3, 2, 2)
    assert made.facts()["rate_limited"] == 2 * ("429" in str(fault))


@pytest.mark.parametrize("fault", ["nonsense", (204, b""), b"data: [DONE]", (200, b"null")])
def test_what_is_no_answer_is_tried_again_once_the_server_has_answered(url: str, script: Script, fault: Fault) -> None:
    made, pauses = engine(url, concurrency=1), list[float]()
    made.client.pause = lambda seconds, stopped: pauses.append(seconds)
    script.reply = lambda body: fault if 1 < len(script.requests) < 4 else None
    found = answers(made, *(text_prompt(f"t{number}", history=number) for number in range(3)))
    assert [answer.text for answer in found.values()] == ["2, 1"] * 3
    assert len(pauses) == 2


@pytest.mark.parametrize(
    "fault",
    [
        *(500, "reset", "drip", "gzip"),
        *(pytest.param(fault, marks=pytest.mark.slow) for fault in (408, 502, 503, 504)),
        *(pytest.param(fault, marks=pytest.mark.slow) for fault in ("cut", "drop", "chunk", "length")),
    ],
)
def test_what_fails_at_one_prompt_however_often_leaves_that_one_without_an_answer(
    url: str, script: Script, fault: Fault
) -> None:
    prompts = [text_prompt(f"t{number}", history=number) for number in range(8)]
    lost, pauses = prompts[2].messages[0].content, list[float]()
    script.reply = lambda body: fault if text_of(body) == lost else None
    made = engine(url, pauses, timeout=0.6 if fault == "drip" else 60, retries=3, concurrency=1)
    found = answers(made, *prompts)
    assert {name for name, answer in found.items() if answer.finish_reason == "unanswered"} == {"t2"}
    assert len(pauses) == 3
    with pytest.raises(EngineError) as caught:
        answers(engine(url, timeout=0.2 if fault == "drip" else 60, retries=1, unanswered="0"), *prompts)
    assert "'t2'" in caught.value.message
    assert "-O unanswered" in caught.value.hint


@pytest.mark.parametrize("fault", [500, 503, "drop", "gzip"])
@pytest.mark.parametrize("before", [0, 3])
def test_a_server_that_fails_at_everything_ends_the_run_without_trying_each_prompt_so_often(
    url: str, script: Script, fault: Fault, before: int
) -> None:
    pauses: list[float] = []
    script.reply = lambda body: None if len(script.requests) <= before else fault
    made, kept = engine(url, pauses, concurrency=1, unanswered="1"), list[str]()
    with pytest.raises(EngineError, match="times"):
        kept.extend(answer.prompt_id for answer in made.answer([text_prompt(f"t{n}") for n in range(30)]))
    made.close()
    assert len(kept) == before
    assert len(script.requests) == before + 7 + 3
    assert sum(pauses) < 70


def test_a_server_that_is_down_ends_the_run_however_many_prompts_may_stay_without_an_answer(
    url: str, script: Script
) -> None:
    script.reply = lambda body: None if len(script.requests) <= 3 else "drop"
    made = engine(url, concurrency=1, unanswered="100%")
    with pytest.raises(EngineError, match="3 times, and did not answer other prompts meanwhile"):
        list(made.answer([text_prompt(f"t{n}") for n in range(30)]))
    made.close()
    assert len(script.requests) == 3 + 7 + 3


def test_a_server_that_starts_again_is_waited_for(script: Script) -> None:
    with ExitStack() as later:
        with serve(script) as url:
            made = engine(url, concurrency=1)
            assert [answer.text for answer in made.answer([text_prompt("a")])] == ["2, 1"]

        def pause(seconds: float, stopped: Event) -> None:
            if made.facts()["retries"]:
                later.enter_context(serve(script, int(url.split(":")[2].split("/")[0])))

        made.client.pause = pause
        script.faults = ["drop"]  # the connection that was left open
        assert answers(made, text_prompt("b"))["b"].text == "2, 1"
        assert (made.facts()["retries"], len(script.requests)) == (2, 3)


@pytest.mark.parametrize("asked", ["0", "-3", "soon", "inf", "Tue, 24 Nov 2020 10:00:30 GMT"])
def test_a_pause_of_no_use_is_no_reason_to_storm_nor_to_wait_long(url: str, script: Script, asked: str) -> None:
    script.faults, script.retry_after, pauses = [429] * 8, asked, list[float]()
    answers(engine(url, pauses), text_prompt())
    assert 0.5 <= pauses[0] <= 1
    assert all(1 <= pause <= 2 for pause in pauses[1:])
    assert len(pauses) == 8


def test_a_pause_of_no_use_ends_the_run_when_others_would(url: str, script: Script) -> None:
    script.faults, script.retry_after, pauses = [429] * 99, "0", list[float]()
    with pytest.raises(EngineError, match=r"429 to prompt .* 5 times"):
        answers(engine(url, pauses, retries=3), text_prompt())  # 1 + 2 + 4 s, as 1 + 2 + 2 + 2
    assert len(pauses) == 4


def test_a_rate_limit_is_waited_for_while_the_server_answers_others(url: str, script: Script) -> None:
    prompts = [text_prompt(f"t{n}", history=n) for n in range(6)]
    answered, turn, done = list[str](), Semaphore(0), Semaphore(0)
    limited = prompts[0].messages[0].content
    script.reply = lambda body: 429 if text_of(body) == limited and not answered[4:] else None
    made = engine(url, retries=1, concurrency=2)

    def pause(seconds: float, stopped: Event) -> None:
        turn.release()  # one of the others is answered
        assert done.acquire(timeout=60)

    made.client.pause = pause
    script.hold = lambda body: text_of(body) == limited or turn.acquire(timeout=60)
    for answer in made.answer(prompts):
        answered.append(answer.prompt_id)
        done.release()
    made.close()
    assert answered[-1] == "t0"
    assert made.facts()["retries"] == 5


def test_a_time_out_is_tried_again_and_halves_the_requests_at_a_time_once_for_all_that_meet_it(
    url: str, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    together = threading.Barrier(4, timeout=60)
    script.hold = lambda body: len(script.requests) <= 4 and together.wait()  # no reply before all are there
    script.faults = ["drip"] * 4
    made = engine(url, concurrency=4, timeout=0.3)
    found = made.answer([text_prompt(f"t{n}", history=n) for n in range(9)])
    kept = list(found)
    made.close()
    assert len({response.prompt_id for response in kept}) == 9
    facts = made.facts()
    assert (facts["timeouts"], facts["concurrency"]) == (4, 2)
    (said,) = caplog.messages
    assert "at most 2 requests at a time" in said
    assert "-O concurrency" in said
    assert "-O timeout" in said


def test_a_server_too_slow_for_anything_is_named_with_what_to_change(url: str, script: Script) -> None:
    script.faults = ["drip"] * 2
    with pytest.raises(EngineError, match=r"within 0\.1 s, 2 times") as caught:
        answers(engine(url, timeout=0.1, retries=1, concurrency=1), text_prompt())
    assert "-O concurrency" in caught.value.hint
    assert "-O timeout" in caught.value.hint


def test_a_server_that_answers_nothing_in_time_is_not_asked_for_hours(url: str, script: Script) -> None:
    script.reply = lambda body: "drip"
    made = engine(url, timeout=0.1, retries=50, concurrency=4)
    with pytest.raises(EngineError, match="did not answer other prompts meanwhile"):
        list(made.answer([text_prompt(f"t{n}", history=n) for n in range(9)]))
    made.close()
    assert len(script.requests) < 30


def test_a_gate_lets_in_no_more_than_it_has_places_for() -> None:
    gate, inside, most, lock = Throttle(4), 0, list[int](), Lock()

    def work(task: int, stopped: Event) -> None:
        nonlocal inside
        with gate.inside() as places:
            with lock:
                inside += 1
                most.append(inside)
            gate.halve(places)
            with lock:
                inside -= 1

    assert len(list(spread(work, range(40), workers=8))) == 40
    assert max(most) <= 4
    assert gate.most == 1


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'.", "max_tokens_field=max_completion_tokens"),
        ("'temperature' does not support 0.0 with this model", "-O omit=temperature,"),
        ("maximum context length is 512 tokens", "--history"),
    ],
)
def test_a_refused_field_is_named_with_the_option_for_it(url: str, script: Script, message: str, hint: str) -> None:
    script.faults, script.error = [400], {"message": message}
    with pytest.raises(EngineError) as caught:
        answers(engine(url), text_prompt())
    assert hint.rstrip(",") in caught.value.hint
    assert ("seed" in caught.value.hint) == (hint == "--history")


def test_a_rate_limit_never_becomes_an_answer(url: str, script: Script) -> None:
    script.faults = [429] * 99
    with pytest.raises(EngineError, match=r"429 to prompt .* 3 times"):
        answers(engine(url, retries=2), text_prompt())
    assert len(script.requests) == 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"error": {"message": "worker lost"}}, "answered 200 and an error to prompt 'p': worker lost"),
        ({"error": {"code": "overloaded", "message": "x"}}, "answered 200 and an error overloaded to prompt 'p': x"),
        ({"error": {"code": 429, "message": "x"}}, "answered 200 and an error 429 to prompt 'p': x"),
        ({"choices": [{"finish_reason": "abort"}]}, "answered 200 and an error to prompt 'p': it broke off with"),
        ({"error": {"code": 400, "message": "too long"}}, "refuses prompt 'p' with 200 and an error 400: too long"),
        (503, "answered 503 to prompt 'p'"),
    ],
)
def test_an_error_is_told_as_it_was_sent(url: str, script: Script, fault: Fault, said: str) -> None:
    script.faults = [fault] * 2
    with pytest.raises(EngineError) as caught:
        answers(engine(url, retries=1), text_prompt())
    assert said in caught.value.message


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
    [
        *((None, None), ("soon", 0.0), ("", 0.0), ("3.5", 3.5), ("-1", 0.0), ("nan", 0.0), ("inf", 0.0)),
        ("Tue, 24 Nov 2026 10:00:30 GMT", 30.0),
    ],
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
    script.faults = [401]
    made, kept = engine(url, concurrency=4), list[str]()
    with pytest.raises(EngineError, match="401"):
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
    script.faults = [503, 401]
    with pytest.raises(EngineError, match="401"):
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


@pytest.mark.parametrize(("spared", "told"), [("", True), ("127.0.0.1", False)])
def test_a_server_that_is_not_there_is_named_and_a_proxy_before_it(
    spared: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@localhost:9")
    monkeypatch.setenv("no_proxy", spared)
    with pytest.raises(EngineError, match="does not answer") as caught:
        answers(engine("http://127.0.0.1:9/v1"), text_prompt())
    assert "base_url" in caught.value.hint
    assert ("the proxy localhost:9" in caught.value.hint) == told
    assert "secret" not in caught.value.hint


@pytest.mark.slow
def test_a_storm_is_survived_by_the_same_command(
    bench: Bench, url: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_http, "_FIRST_PAUSE", 0.0)
    bench.prepared()
    command = ("infer", "--model", "gpt-x", "--engine", "openai", "--dataset", "small", "-O", f"base_url={url}")
    script.faults = [*(["none"] * 9), *([500] * 99)]
    broken = bench.run(*command, "-O", "retries=1", "-O", "concurrency=1", code=1)
    assert "500" in broken.stderr
    assert KEY not in broken.stderr
    before = len(script.requests)
    script.faults = []
    bench.run(*command, "-O", "price_in=1000", "-O", "retries=3")
    assert len(script.requests) - before == 30 - 9
