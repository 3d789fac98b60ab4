"""What `infer` says about rankings that were not computed here: brought in a file, or joined from runs."""

from collections.abc import Mapping
from typing import Any


def outside_lines(facts: Mapping[str, Any]) -> list[str]:
    """Say what a ranking was made of."""
    if facts["kind"] == "import":
        return [f"{facts['rows']:,} ranked items of {facts['requests']:,} requests from {facts['file']}"]
    lines = [f"{facts['requests']:,} requests, {len(facts['runs'])} runs"]
    if facts["kind"] == "oracle":
        lines.append("no model: the better run of each request, chosen by its target; an upper bound")
        better = facts["better"]
        lines.extend(f"{run} is better than all others in {count:,} requests" for run, count in better.items())
        lines.append(f"the best are equal in {facts['requests'] - sum(better.values()):,} requests")
    for run, weight in facts.get("weights", {}).items():
        lines.append(f"weight of {run}: {weight['mean']:.3f} (folds {', '.join(f'{w:g}' for w in weight['folds'])})")
    for name, runs in facts["cost_unknown"].items():
        lines.append(f"{name.replace('_', ' ')} without {', '.join(runs)}: not known there")
    return lines
