"""The index of many boards as one web page: what each comes to, what changed, and all of their rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, StrictUndefined

from llmrs_bench.leaderboard.board import ALPHA, Board, Row, told_apart
from llmrs_bench.leaderboard.saved import Saved
from llmrs_bench.leaderboard.trends import History
from llmrs_bench.report.headline import cautions
from llmrs_bench.report.html.page import as_json, digest, own_script, read_asset
from llmrs_bench.report.html.values import rounded
from llmrs_bench.report.labels import brief_labels
from llmrs_bench.report.table import is_least

_SCRIPTS = ("dom", "table", "theme", "site")


@dataclass(frozen=True, slots=True)
class SiteBoard:
    """A board of a site.

    Args:
        board: The board.
        link: Where its page is, from the index.
        task: `rankings`, `clicks` or `ratings`.
        size: How many users and candidates, in words.
        made: When its latest run was made, ISO 8601.
        times: Its board at each time that results were others, the oldest first.
        history: How its rows changed over these; None of one time.
    """

    board: Board
    link: str
    task: str
    size: str
    made: str
    times: Sequence[Saved] = ()
    history: History | None = None


def site_html(boards: Sequence[SiteBoard], *, made: str, notes: Sequence[str] = ()) -> str:
    """Return the index of boards as a web page that loads nothing.

    Args:
        boards: In any order.
        made: When and by which version, in words.
        notes: What is to be said of boards that are not shown.
    """
    script = own_script(_SCRIPTS)
    policy = "; ".join(
        [
            *("default-src 'none'", f"script-src {digest(script)}", "style-src 'unsafe-inline'", "img-src data:"),
            *("base-uri 'none'", "form-action 'none'"),
        ]
    )
    page = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True).from_string(
        read_asset("site.html")
    )
    payload = {"alpha": ALPHA, "made": made, "notes": list(notes), "boards": [_board(each) for each in boards]}
    return page.render(policy=policy, style=read_asset("style.css"), script=script, boards=as_json(payload))


def _board(each: SiteBoard) -> dict[str, Any]:
    board = told_apart(each.board)
    rows = {row.run: row for row in board.rows if board.key in row.cells}
    found, brief = board.headline, brief_labels(board.rows)
    ours, other = (None, None) if found is None else (rows.get(found.language_model or ""), rows.get(found.other or ""))
    gap = None
    if found is not None and ours is not None and other is not None:
        pairs = (pair for pair in found.pairs if (pair.run, pair.contrast.against) == (ours.run, other.run))
        contrast = next((pair.contrast for pair in pairs), None)
        gap = contrast and {
            "difference": contrast.difference,
            "low": contrast.low,
            "high": contrast.high,
            "corrected": contrast.corrected,
            "least": is_least(contrast, board.permutations),
        }
    value: dict[str, Any] = rounded(
        {
            "name": board.title,
            "link": each.link,
            "task": each.task,
            "size": each.size,
            "made": each.made,
            "key": board.key,
            "unit": board.unit,
            "sign": board.sign(board.key) or 1.0,
            "ours": ours and {**_row(ours, board), "label": brief[ours.run]},
            "other": other and {**_row(other, board), "label": brief[other.run]},
            "gap": gap,
            "cautions": cautions(board),
            "stand_in": found is not None and found.stand_in is not None,
            "rows": [_row(row, board) for row in rows.values()],
            "trend": [_time(saved) for saved in each.times],
            "jumps": [] if each.history is None else _jumps(each.history),
        }
    )
    return value


def _row(row: Row, board: Board) -> dict[str, Any]:
    cell = row.cells[board.key]
    return {
        "label": row.label,
        "kind": row.kind,
        "mean": cell.mean,
        "low": cell.low,
        "high": cell.high,
        "exact": row.exact,
        "rank": cell.rank,
        "seconds": row.cost.seconds_per_1000,
        "price": row.cost.price_per_1000,
    }


def _time(saved: Saved) -> list[Any]:
    """Return when a board was saved, and the means of its best language model and best other row."""
    board = saved.board
    means = {row.run: row.cells[board.key].mean for row in board.rows if board.key in row.cells}
    found = board.headline
    best = (None, None) if found is None else (found.language_model, found.other)
    return [saved.made, *(means.get(run or "") for run in best)]


def _jumps(history: History) -> list[dict[str, Any]]:
    return [
        {"row": trend.row, "from": before.made, "to": point.made, "difference": _change(before, point), "p": point.p}
        for trend in history.trends
        for before, point in zip(trend.points, trend.points[1:], strict=False)
        if point.jump
    ]


def _change(before: Any, point: Any) -> float:
    change: float = point.cell.mean - before.cell.mean if point.difference is None else point.difference
    return change
