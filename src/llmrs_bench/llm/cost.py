"""What a run cost: tokens, seconds, energy and price, and what was odd about its answers, summed over its responses."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import fsum
from typing import Any, get_args

import polars as pl

from llmrs_bench.core.costs import TOKENS as _TOKENS
from llmrs_bench.core.errors import BenchError, BudgetError, OptionError
from llmrs_bench.core.formatting import seconds_words
from llmrs_bench.core.types import UNANSWERED, Kind, Scores

log = logging.getLogger(__name__)


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
            truncated_prompts=responses.filter(pl.col("n_truncated") > 0).height,
            truncated_items=int(responses["n_truncated"].sum()),
            prompts_without_attributes=int(responses["without_attributes"].sum()),
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


def with_training(
    spent: Mapping[str, Any], learned: Mapping[str, float | None] | None, options: Mapping[str, str]
) -> dict[str, Any]:
    """Return the cost of a run with that of training its model here, `seconds` and `joules`.

    Answers alone are `scoring_seconds` and `scoring_price_usd` then.
    """
    if learned is None:
        return dict(spent)
    seconds, joules = float(learned["seconds"] or 0), learned["joules"]
    total = {
        **spent,
        "training": dict(learned),
        "scoring_seconds": spent["seconds"],
        "scoring_price_usd": spent["price_usd"],
        "seconds": round(spent["seconds"] + seconds, 3),
        "device_seconds": round(spent["device_seconds"] + seconds, 3),
        "joules": None if spent["joules"] is None or joules is None else round(spent["joules"] + joules, 1),
    }
    return {**total, "price_usd": price_usd(total, options)}


# Options that say what answers cost, and of what each is the price.
PRICES = {
    "price_in": "of a million tokens read",
    "price_out": "of a million tokens written",
    "price_per_hour": "of the machine",
}


class StoppedError(BenchError):
    """What runs beside others was told to end."""


@dataclass(slots=True)
class _Shared:
    """What runs that go on side by side have spent together, and whether they have to end."""

    usd: float = 0.0
    stopped: bool = False
    largest: int = 1  # prompts of a batch, as far as was said


@dataclass(slots=True)
class Budget:
    """What a command may spend from now on, on new answers; loading a model, data and training cost nothing of it.

    Args:
        seconds: While answers are computed or waited for; None: as many as it takes.
        usd: By the prices among the options; None: whatever it costs.
    """

    seconds: float | None = None
    usd: float | None = None
    spent_seconds: float = 0.0
    _shared: _Shared = field(default_factory=_Shared)

    def divided(self, parts: int) -> list["Budget"]:
        """Return budgets of runs that go on side by side: each has all the seconds, and they share the money."""
        return [replace(self, _shared=self._shared) for _ in range(parts)]

    def begin(self, largest: int) -> None:
        """Say how far seconds may be passed: a batch that has begun is answered to its end.

        Args:
            largest: Prompts of the largest batch that follows; a larger one than before is said.
        """
        if self.seconds is not None and largest > self._shared.largest:
            self._shared.largest = largest
            log.info(
                "--max-seconds %s: a batch that has started is finished, here up to %s prompts",
                f"{self.seconds:,.10g}",
                f"{largest:,}",
            )

    def stop(self) -> None:
        """Have the next `check` of all that share it raise `StoppedError`."""
        self._shared.stopped = True

    def check_prices(self, options: Mapping[str, str], priced: Collection[str] = tuple(PRICES)) -> None:
        """Refuse to hold a price against options that give none.

        Args:
            options: As typed.
            priced: The options of the engine; those of `PRICES` among them can give one.

        Raises:
            OptionError: If that is so.
        """
        if self.usd is None or PRICES.keys() & options.keys():
            return
        known = [f"-O {name}=USD {words}" for name, words in PRICES.items() if name in priced]
        raise OptionError(
            "--max-price: the price of answers is not known",
            hint=f"Add {' or '.join(known)}." if known else "This engine has no price: leave --max-price out.",
        )

    def check(self) -> None:
        """Stop where it is spent.

        Raises:
            BudgetError: If it is.
            StoppedError: If `stop` was called.
        """
        if self._shared.stopped:
            raise StoppedError("stopped, since another row ended the study", hint="Run the same command to resume.")
        spent = self.spent_seconds
        if self.seconds is not None and spent >= self.seconds:
            raise _stopped(
                f"after {seconds_words(spent)} of answering, of which --max-seconds allows {self.seconds:,.10g}"
            )
        if self.usd is not None and self._shared.usd >= self.usd:
            raise _stopped(f"at {self._shared.usd:.4f} USD, of which --max-price allows {self.usd:,.10g}")

    def spend(self, rows: Iterable[Mapping[str, Any]], options: Mapping[str, str]) -> None:
        """Count new answers, rows of the schema `answers`, and stop where the budget is spent.

        Raises:
            BudgetError: If it is, or a server does not count the tokens that have a price.
        """
        for row in rows:
            self.spent_seconds += row["seconds"]
            if self.usd is None:
                continue
            uncounted = not row["prompt_tokens"] and row["finish_reason"] not in ("filtered", UNANSWERED)
            price = price_usd({**row, "uncounted": uncounted}, options)
            if price is None:
                raise _stopped("because the server does not count tokens, so --max-price cannot be checked")
            self._shared.usd += price
        self.check()


def _stopped(why: str) -> BudgetError:
    return BudgetError(f"stopped {why}; every answer is kept", hint="Run the same command with a new budget to resume.")


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
