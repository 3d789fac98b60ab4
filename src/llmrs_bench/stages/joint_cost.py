"""What runs cost together that were made into one."""

from collections.abc import Sequence
from math import fsum
from typing import Any

from llmrs_bench.artifacts import Artifact

# Counts that a run without language model has none of, and amounts that may be unknown.
_COUNTS = (
    *("prompts", "prompt_tokens", "prefill_tokens", "cached_tokens", "completion_tokens", "thinking_tokens"),
    *("clipped_prompts", "filtered", "unanswered"),
)
_AMOUNTS = ("seconds", "device_seconds", "joules", "price_usd")


def joint_cost(runs: Sequence[Artifact]) -> dict[str, Any]:
    """Return the facts of a run that needs all of `runs`: sums, and the largest peak of memory.

    An amount is summed over the runs that know it, and `cost_unknown` names, for each, those that do not; where no
    run knows it, it is None.
    """
    facts = [run.facts for run in runs]
    found: dict[str, Any] = {
        name: sum(fact.get(name) or 0 for fact in facts) for name in _COUNTS if any(name in fact for fact in facts)
    }
    unknown: dict[str, list[str]] = {}
    for name in _AMOUNTS:
        known = [fact[name] for fact in facts if fact.get(name) is not None]
        found[name] = round(fsum(known), 6) if known else None
        if known and len(known) < len(facts):
            unknown[name] = [run.path.name for run in runs if run.facts.get(name) is None]
    rates = [rate for fact in facts if (rate := fact.get("requests_per_second"))]
    known_of_all = len(rates) == len(facts)
    found["requests_per_second"] = round(1 / fsum(1 / rate for rate in rates), 3) if known_of_all else None
    peaks = [fact["peak_device_gb"] for fact in facts if fact.get("peak_device_gb") is not None]
    return {**found, "peak_device_gb": max(peaks, default=None), "cost_unknown": unknown}
