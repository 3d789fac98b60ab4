"""What a run cost: tokens, seconds, energy and price, and what was odd about its answers, summed over its responses."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Any, get_args

import polars as pl

from llmrs_bench.core.costs import TOKENS as _TOKENS
from llmrs_bench.core.errors import BudgetError, OptionError
from llmrs_bench.core.types import UNANSWERED, Kind, Scores


class CostCounter:
    """Sums over the responses of a run, added part by part.

    Every response carries its share of the seconds and joules of the calls beside it, so that the cost of a run that
    was interrupted, or that shares answers with another one, is that of answering its own prompts once.
    """

    def __init__(self) -> None:
        self.sessions: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._seconds: list[float] = []
        self._joules: list[float] | None = []
        self._kinds: Counter[str] = Counter()
        self._notes: dict[str, list[float]] = {}

    def add(self, responses: pl.DataFrame, scores: Sequence[Scores], *, requests: int) -> None:
        """Add a frame of the schema `responses` and the scores read from it."""
        self._counts.update(
            requests=requests,
            prompts=responses.height,
            clipped_prompts=responses.filter(pl.col("clipped") > 0).height,
            clipped_items=int(responses["clipped"].sum()),
            bare_prompts=int(responses["bare"].sum()),
            cut_answers=responses.filter(pl.col("finish_reason") == "length").height,
            filtered=responses.filter(pl.col("finish_reason") == "filtered").height,
            unanswered=responses.filter(pl.col("finish_reason") == UNANSWERED).height,
            uncounted=responses.filter(
                ((pl.col("prompt_tokens") == 0) | ((pl.col("completion_tokens") == 0) & (pl.col("text") != "")))
                & ~pl.col("finish_reason").is_in(["filtered", UNANSWERED])
            ).height,
            **{name: int(responses[name].sum()) for name in _TOKENS},
        )
        self.sessions |= set(responses["session"])
        self._seconds.append(float(responses["seconds"].cast(pl.Float64).sum()))
        if responses["joules"].null_count():
            self._joules = None
        elif self._joules is not None:
            self._joules.append(float(responses["joules"].cast(pl.Float64).sum()))
        self._kinds.update(kind for score in scores for kind in score.kinds)
        for score in scores:
            for name, value in score.notes.items():
                self._notes.setdefault(name, []).append(value)

    def facts(self, sessions: Mapping[str, Mapping[str, Any]], options: Mapping[str, str]) -> dict[str, Any]:
        """Return the sums.

        Args:
            sessions: What was recorded of each session that answered.
            options: Options as typed: `price_in` and `price_out` in USD per million tokens, `price_per_hour` in USD.
        """
        seconds = fsum(self._seconds)
        requests = self._counts["requests"]
        servings = [session["serving"] for session in sessions.values()]
        memory = [session["peak_device_gb"] for session in sessions.values() if session["peak_device_gb"] is not None]
        devices = max((serving.get("devices") or 1 for serving in servings), default=1)
        return {
            **self._counts,
            **self._tokens(),
            "seconds": round(seconds, 3),
            "device_seconds": round(seconds * devices, 3),
            "requests_per_second": round(requests / seconds, 3) if seconds else None,
            "joules": None if self._joules is None else round(fsum(self._joules), 1),
            "peak_device_gb": max(memory, default=None),
            "price_usd": price_usd({**self._counts, **self._tokens(), "seconds": seconds}, options),
            "sessions": len(sessions),
            "serving": _together(servings),
            "kinds": {kind: self._kinds[kind] for kind in get_args(Kind) if self._kinds[kind]},
            "notes": {name: fsum(values) / len(values) for name, values in self._notes.items()},
        }

    def of_priors(self) -> dict[str, Any]:
        """Return what it cost to ask for titles without a history: no part of a run's own cost."""
        counted = self._tokens()
        return {
            "prior_prompts": self._counts["prompts"],
            "prior_tokens": None
            if counted["prefill_tokens"] is None
            else counted["prefill_tokens"] + counted["completion_tokens"],
            "prior_seconds": round(fsum(self._seconds), 3),
        }

    def _tokens(self) -> dict[str, Any]:
        """Return the tokens by kind; None each where a server did not count those of all prompts."""
        if self._counts["uncounted"]:
            return dict.fromkeys((*_TOKENS, "prefill_tokens"))
        counted = {name: self._counts[name] for name in _TOKENS}
        return {**counted, "prefill_tokens": counted["prompt_tokens"] - counted["cached_tokens"]}


def price_usd(facts: Mapping[str, Any], options: Mapping[str, str]) -> float | None:
    """Return the price of a run; None where no price is given, or tokens have one and were not counted.

    Args:
        facts: `seconds` and the tokens of a run, as `CostCounter.facts` returns them.
        options: As there.
    """
    per_token = {"prompt_tokens": options.get("price_in"), "completion_tokens": options.get("price_out")}
    priced = [(facts[name], float(price)) for name, price in per_token.items() if price is not None]
    if priced and facts.get("uncounted"):
        return None
    parts = [tokens * price / 1e6 for tokens, price in priced]
    if (hourly := options.get("price_per_hour")) is not None:
        parts.append(facts["seconds"] / 3600 * float(hourly))
    return round(fsum(parts), 6) if parts else None


@dataclass(slots=True)
class Budget:
    """What a command may spend from now on, on new answers.

    Args:
        seconds: Since it was made; None: as many as it takes.
        usd: By the prices among the options; None: whatever it costs.
        clock: Seconds that never go back.
    """

    seconds: float | None = None
    usd: float | None = None
    clock: Callable[[], float] = time.perf_counter
    spent_usd: float = 0.0
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def check_prices(self, options: Mapping[str, str]) -> None:
        """Refuse to hold a price against options that give none.

        Raises:
            OptionError: If that is so.
        """
        if self.usd is not None and not {"price_in", "price_out", "price_per_hour"} & options.keys():
            raise OptionError(
                "--max-price: what answers cost is not known",
                hint="Add -O price_in=USD -O price_out=USD (of a million tokens), or -O price_per_hour=USD.",
            )

    def check(self) -> None:
        """Stop where it is spent.

        Raises:
            BudgetError: If it is.
        """
        spent = self.clock() - self.started
        if self.seconds is not None and spent >= self.seconds:
            raise _stopped(f"after {spent:,.0f} s, of which --max-seconds allows {self.seconds:,.10g}")
        if self.usd is not None and self.spent_usd >= self.usd:
            raise _stopped(f"at {self.spent_usd:.4f} USD, of which --max-price allows {self.usd:,.10g}")

    def spend(self, rows: Iterable[Mapping[str, Any]], options: Mapping[str, str]) -> None:
        """Count new answers, rows of the schema `answers`, and stop where the budget is spent.

        Raises:
            BudgetError: If it is, or a server does not count the tokens that have a price.
        """
        for row in rows if self.usd is not None else ():
            uncounted = not row["prompt_tokens"] and row["finish_reason"] not in ("filtered", UNANSWERED)
            price = price_usd({**row, "uncounted": uncounted}, options)
            if price is None:
                raise _stopped("since the server does not count its tokens, so --max-price cannot be kept")
            self.spent_usd += price
        self.check()


def _stopped(why: str) -> BudgetError:
    return BudgetError(
        f"stopped {why}; every answer is kept", hint="The same command goes on where it stopped, with a new budget."
    )


# Counted over the life of an engine, which several runs may share.
SERVING_COUNTS = (
    *("boundary_moved", "scored_plainly", "self_check_prompts", "reruns", "requests", "retries", "rate_limited"),
    "timeouts",
)


def _together(servings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the facts of the last session, with counts summed up and the largest differences of all sessions."""
    if not servings:
        return {}
    joined = dict(servings[-1])
    for name in SERVING_COUNTS:
        if name in joined:
            joined[name] = sum(serving.get(name) or 0 for serving in servings)
    for name in ("self_check_difference", "self_check_noise"):
        known = [value for serving in servings if (value := serving.get(name)) is not None]
        if known:
            joined[name] = max(known)
    return joined
