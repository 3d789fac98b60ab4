"""What is counted and measured of a run, and what of it a board shows: the one list of costs."""

from dataclasses import dataclass
from typing import Literal

TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "thinking_tokens")
# Facts of a run: counts, which a run without language model has none of, and amounts that may be unknown.
COUNTS = ("prompts", *TOKENS, "prefill_tokens", "truncated_prompts", "filtered", "unanswered")
AMOUNTS = ("seconds", "device_seconds", "joules", "price_usd")
# What a board keeps of a run.
RUN_COSTS = (
    *("requests", *COUNTS, *AMOUNTS, "scoring_seconds", "scoring_price_usd", "requests_per_second", "peak_device_gb"),
    *("kinds", "first_choices"),
)


@dataclass(frozen=True, slots=True)
class CostField:
    """A cost of a row, which the gate may judge.

    Args:
        name: Its name in rules, files and `leaderboard.Cost`.
        words: What it is.
        better: Which values are better.
        head: Of its column; empty: boards for people have none.
        form: How the column writes it; empty: in three digits.
    """

    name: str
    words: str
    better: Literal["higher", "lower"] = "lower"
    head: str = ""
    form: str = ""


COST_FIELDS = (
    CostField("seconds", "seconds, training included", head="seconds", form="{:.1f}"),
    CostField("users_per_second", "users a second while ranking", "higher", head="users/s"),
    CostField("tokens", "tokens read and written", head="tokens", form="{:,}"),
    CostField("joules", "joules of the device", head="J", form="{:,.0f}"),
    CostField("price_usd", "USD"),
    CostField("seconds_per_1000", "seconds of ranking per 1,000 users, without training"),
    CostField("price_per_1000", "USD of ranking per 1,000 users, without training", head="USD/1,000", form="{:.4f}"),
)
COST_NAMES = tuple(field.name for field in COST_FIELDS)
