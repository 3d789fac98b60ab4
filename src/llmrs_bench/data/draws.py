"""Several draws of candidates: each request is asked once for each of them."""

from collections.abc import Sequence

import polars as pl

from llmrs_bench.core.schemas import DRAWS
from llmrs_bench.data.candidates import Requests

_SUFFIX = "c"  # of the name of a request, before the number of the draw
_SUMMED = ("requests", "short_lists", "lists_without_choice_dropped")


def joined_draws(made: Sequence[Requests]) -> Requests:
    """Join requests that differ in their candidates alone, draw by draw within each request.

    A request whose list leaves no choice in one of the draws is asked in none. Names end in `-c` and the number of the
    draw, from 1.

    Args:
        made: The requests of each draw, of the same users, targets and histories.
    """
    first, count = made[0], len(made)
    common = first.requests.select("request_id")
    for each in made[1:]:
        common = common.join(each.requests, on="request_id", how="semi", maintain_order="left")
    order = common.with_row_index("place")

    def joined(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Return the rows of all draws, with the columns `asked` and `draw`, by request and then by draw."""
        rows = [frame.with_columns(draw=pl.lit(number, dtype=pl.Int32)) for number, frame in enumerate(frames, 1)]
        found = pl.concat(rows).rename({"request_id": "asked"})
        found = found.join(order.rename({"request_id": "asked"}), on="asked", maintain_order="left")
        name = pl.format("{}-" + _SUFFIX + "{}", "asked", "draw")
        return found.sort("place", "draw", maintain_order=True).with_columns(request_id=name)

    requests = joined([each.requests for each in made])
    conditions = [each.conditions for each in made if each.conditions is not None]
    facts = dict(first.facts)
    facts |= {name: sum(each.facts.get(name, 0) for each in made) for name in _SUMMED if name in first.facts}
    return Requests(
        requests.select(first.requests.columns),
        joined([each.truth for each in made]).select(first.truth.columns),
        facts | {"requests": requests.height, "draws": count},
        (*first.rules, f"each is asked {count:,} times, with candidates drawn anew"),
        tuple(dict.fromkeys(warning for each in made for warning in each.warnings)),
        joined(conditions).select(conditions[0].columns) if len(conditions) == count else None,
        requests.select(list(DRAWS)),
    )
