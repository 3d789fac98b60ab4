"""How numbers of a board are written."""

from llmrs_bench.leaderboard import Cell, Contrast, Row
from llmrs_bench.report.words import choice_words


def short(value: float, digits: int = 3) -> str:
    """Return a number below 1 without its leading zero."""
    return f"{value:.{digits}f}".removeprefix("0").replace("-0.", "-.")


def interval(cell: Cell, exact: bool) -> str:
    """Return a 95 % interval as `.681-.721`, `exact`, or `-` where there is none."""
    if exact:
        return "exact"
    if cell.low is None or cell.high is None:
        return "-"
    return f"{short(cell.low)}-{short(cell.high)}"


def p_value(p: float) -> str:
    """Return a p-value in three digits."""
    return "<.001" if p < 0.001 else short(p)


VERSUS_HEADS = ("difference", "p", "corrected", "d", "won/tied/lost", "users to see it")


def versus_fields(versus: Contrast) -> list[str]:
    """Say how a row differs from the best one: the fields of `VERSUS_HEADS`."""
    return [
        f"{versus.difference:+.4f}",
        p_value(versus.p),
        p_value(versus.corrected),
        "" if versus.effect is None else f"{versus.effect:+.2f}",
        f"{versus.wins}/{versus.ties}/{versus.losses}",
        "" if versus.needed is None else f"{versus.needed:,}",
    ]


def answer_words(row: Row) -> str:
    """Say what is odd about the answers of a row: their kinds where not all are complete, and what they repeat."""
    odd = row.kinds.keys() - {"complete"}
    kinds = [f"{kind} {100 * share:.3g} %" for kind, share in row.kinds.items()] if odd else []
    return ", ".join([*kinds, *choice_words(row.about.get("first_choices"))])
