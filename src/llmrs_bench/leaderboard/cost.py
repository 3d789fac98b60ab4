"""What rows cost, and which of them nothing beats at their price."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmrs_bench.leaderboard.values import BOUND, Cost, Row

PRICE, SECONDS = "price_per_1000", "seconds_per_1000"
COST_WORDS = {PRICE: "USD per 1,000 users", SECONDS: "seconds per 1,000 users, training included"}


def cost_of(about: Mapping[str, Any]) -> Cost:
    """Return the cost of a row from what is known of it."""
    requests, seconds, price = (about.get(name) for name in ("requests", "seconds", "price_usd"))
    rate, scoring = about.get("requests_per_second"), about.get("scoring_seconds")
    if rate is None and requests and scoring:
        rate = round(requests / scoring, 3)
    return Cost(
        seconds=seconds,
        users_per_second=rate,
        tokens_read=about.get("prefill_tokens"),
        tokens_written=about.get("completion_tokens"),
        joules=about.get("joules"),
        price_usd=price,
        seconds_per_1000=None if seconds is None or not requests else 1000 * seconds / requests,
        price_per_1000=None if price is None or not requests else 1000 * price / requests,
    )


def with_front(rows: Sequence[Row], metric: str, sign: float) -> tuple[list[Row], str]:
    """Say of each row whether it is on the Pareto front of a metric against cost, and which cost that is.

    The cost is the price where all rows with any cost know theirs, else the seconds: a front by price would hide rows
    whose price nobody set. A row is on the front if none is at least as good for at most as much, and
    better or cheaper; `sign` is -1 where less of the metric is better.
    """
    costed = [row for row in rows if row.cost.seconds is not None and row.kind != BOUND]
    by = PRICE if costed and all(row.cost.price_per_1000 is not None for row in costed) else SECONDS
    points = {
        row.run: (sign * row.cells[metric].mean, cost)
        for row in costed
        if (cost := getattr(row.cost, by)) is not None and metric in row.cells
    }

    def beaten(run: str) -> bool:
        quality, cost = points[run]
        return any(q >= quality and c <= cost and (q, c) != (quality, cost) for q, c in points.values())

    return [replace(row, pareto=None if row.run not in points else not beaten(row.run)) for row in rows], by
