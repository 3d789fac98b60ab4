"""Position bias as lines of text."""

from collections.abc import Mapping
from typing import Any


def bias_lines(facts: Mapping[str, Any]) -> list[str]:
    """Say what the place of a candidate did: NDCG@10 by the target's place, and how often each place was chosen."""
    tau = "" if facts["kendall_tau"] is None else f"; Kendall's tau between two views {facts['kendall_tau']:.3f}"
    lines = [
        f"position bias: {facts['views']:,} views of {facts['requests']:,} requests; NDCG@10 of one view "
        f"{facts['single']:.4f}, of all together {facts['joined']:.4f}{tau}",
        "slot  targets  NDCG@10            chosen first",
    ]
    for row in facts["slots"]:
        found = "-" if row["ndcg"] is None else f"{row['ndcg']:.4f} {_interval(row, 'ndcg')}"
        lines.append(
            f"{row['slot']:>4}  {row['targets']:>7,}  {found:<17}  {row['chosen']:.4f} {_interval(row, 'chosen')}"
        )
    return lines


def _interval(row: Mapping[str, Any], name: str) -> str:
    ends = (f"{row[f'{name}_{end}']:.3f}".removeprefix("0") for end in ("low", "high"))
    return "-".join(ends)
