"""The cost of a run is the sum over its own responses, whoever asked for them and when."""

import polars as pl
import pytest

from llmrs_bench.core.schemas import RESPONSES
from llmrs_bench.core.types import Scores
from llmrs_bench.llm.cost import CostCounter


def responses(count: int, **changed: object) -> pl.DataFrame:
    row = {
        "prompt_id": "p",
        "request_id": "r",
        "text": "1",
        "choice_logprobs": None,
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "completion_tokens": 5,
        "thinking_tokens": 2,
        "finish_reason": "stop",
        "n_truncated": 0,
        "without_attributes": False,
        "seconds": 0.25,
        "joules": 2.0,
        "session": "a",
        **changed,
    }
    return pl.DataFrame([row] * count, schema=RESPONSES)


def session(**changed: object) -> dict[str, object]:
    return {"peak_device_gb": None, "serving": {"engine": "x", **changed}}


def test_tokens_seconds_energy_and_price_are_summed() -> None:
    cost = CostCounter()
    cost.add(responses(4), [], requests=4)
    cost.add(responses(4, session="b", n_truncated=3, finish_reason="length"), [], requests=4)
    facts = cost.facts(
        {"a": session(devices=2), "b": session(devices=2)},
        {"price_in": "1", "price_out": "10", "price_per_hour": "3600"},
    )
    assert (facts["requests"], facts["prompts"], facts["sessions"]) == (8, 8, 2)
    assert (facts["prompt_tokens"], facts["cached_tokens"], facts["prefill_tokens"]) == (800, 320, 480)
    assert (facts["completion_tokens"], facts["thinking_tokens"]) == (40, 16)
    assert (facts["seconds"], facts["device_seconds"], facts["requests_per_second"]) == (2.0, 4.0, 4.0)
    assert facts["joules"] == 16.0
    assert facts["price_usd"] == pytest.approx((800 * 1 + 40 * 10) / 1e6 + 2.0)
    assert (facts["truncated_prompts"], facts["truncated_items"], facts["cut_answers"]) == (4, 12, 4)


def test_unknown_energy_and_price_stay_unknown() -> None:
    cost = CostCounter()
    cost.add(responses(1), [], requests=1)
    cost.add(responses(1, joules=None), [], requests=1)
    facts = cost.facts({"a": session()}, {})
    assert facts["joules"] is None
    assert facts["price_usd"] is None
    assert facts["peak_device_gb"] is None


def test_checks_of_all_sessions_count() -> None:
    cost = CostCounter()
    cost.add(responses(1), [Scores("r", {}, {"label_mass": 0.25}), Scores("s", {}, {"label_mass": 0.75})], requests=2)
    sessions = {
        "a": session(self_check_difference=1e-3, self_check_noise=None, self_check_prompts=2, boundary_moved=2),
        "b": session(self_check_difference=1e-6, self_check_noise=1e-5, self_check_prompts=1, boundary_moved=3),
    }
    facts = cost.facts(sessions, {})
    assert facts["serving"]["self_check_difference"] == 1e-3
    assert facts["serving"]["self_check_noise"] == 1e-5
    assert facts["serving"]["self_check_prompts"] == 3
    assert facts["serving"]["boundary_moved"] == 5
    assert facts["notes"] == {"label_mass": 0.5}


def test_a_price_by_tokens_is_unknown_where_the_server_counts_none() -> None:
    cost = CostCounter()
    cost.add(responses(2), [], requests=2)
    cost.add(responses(1, prompt_tokens=0, cached_tokens=0), [], requests=1)
    cost.add(responses(3, prompt_tokens=0, cached_tokens=0, finish_reason="unanswered"), [], requests=3)
    facts = cost.facts({"a": session()}, {"price_in": "1"})
    assert (facts["uncounted"], facts["unanswered"], facts["filtered"]) == (1, 3, 0)
    tokens = ("prompt_tokens", "prefill_tokens", "completion_tokens", "cached_tokens", "thinking_tokens")
    assert {facts[name] for name in (*tokens, "price_usd")} == {None}
    assert cost.of_priors()["prior_tokens"] is None
    assert cost.facts({"a": session()}, {"price_per_hour": "3600"})["price_usd"] == 1.5
