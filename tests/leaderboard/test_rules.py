"""Rules of the gate: what is one, and what it says."""

import pytest

from board_cases import board, entry
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard.gate import Rule, parse_rule, quantities, quantity


@pytest.mark.parametrize(
    ("text", "name", "verb", "amount", "relative", "p"),
    [
        ("ndcg@10 drops > 0.01 at p < 0.05", "ndcg@10", "drops", 0.01, False, 0.05),
        ("ndcg@10 drops>2% at p<.01", "ndcg@10", "drops", 0.02, True, 0.01),
        ("  NDCG@10  Drops  at  p < 0.05 ", "ndcg@10", "drops", 0.0, False, 0.05),
        ("seconds rises > 20 %", "seconds", "rises", 0.2, True, None),
        ("ndcg@10 < 0.3", "ndcg@10", "<", 0.3, False, None),
        ("invalid>5%", "invalid", ">", 0.05, False, None),
        ("price_usd > 1e-3", "price_usd", ">", 0.001, False, None),
        ("off-list > 1%", "off-list", ">", 0.01, False, None),
    ],
)
def test_rules_are_read(text: str, name: str, verb: str, amount: float, relative: bool, p: float | None) -> None:
    rule = parse_rule(text)
    assert (rule.name, rule.verb, rule.relative, rule.p) == (name, verb, relative, p)
    assert rule.amount == pytest.approx(amount)
    assert rule.text == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "ndcg@10", "ndcg@10 drops", "ndcg@10 drops 0.01", "drops > 0.01", "ndcg@10 = 0.3", "ndcg@10 < high"),
        *("ndcg@10 < -0.1", "ndcg@10 drops > 0.01 at p > 0.05", "ndcg@10 < 0.3 at p < 0.05"),
        "ndcg@10 drops > 0.01; rm -rf /",
    ],
)
def test_malformed_rules_show_the_grammar(text: str) -> None:
    with pytest.raises(OptionError, match="is no rule") as caught:
        parse_rule(text)
    assert "NAME drops > AMOUNT" in caught.value.hint
    assert caught.value.exit_code == 2


def test_a_p_above_one_is_refused() -> None:
    with pytest.raises(OptionError, match="between 0 and 1"):
        parse_rule("mrr drops at p < 5")


def test_a_limit_that_no_value_can_reach_is_refused() -> None:
    with pytest.raises(OptionError, match="not finite"):
        parse_rule("ndcg@10 > 1" + "0" * 400)


def test_quantities_are_those_of_the_row() -> None:
    about = {
        "requests": 4,
        "seconds": 2.0,
        "price_usd": 0.5,
        "prefill_tokens": 7,
        "completion_tokens": 3,
        "kinds": {"complete": 3, "off-list": 1},
    }
    row = board([entry("run", [0.5, 0.7], about=about), entry("other", [0.0, 0.0], about={})])[0].rows[0]
    found = {name: quantity(row, name) for name in quantities(("ndcg@10",))}
    assert found == {
        "ndcg@10": pytest.approx(0.6),
        "coverage": 1.0,
        "answered": 1.0,
        "invalid": 0.25,
        **dict.fromkeys(("partial", "duplicates", "history", "format", "empty", "truncated", "refused"), 0.0),
        "complete": 0.75,
        "off-list": 0.25,
        "seconds": 2.0,
        "users_per_second": None,
        "tokens": 10,
        "joules": None,
        "price_usd": 0.5,
        "seconds_per_1000": 500.0,
        "price_per_1000": 125.0,
    }
    assert Rule("x", "ndcg@10", "drops", 0.0).needs_baseline
