"""A board as a Markdown table."""

from llmrs_bench.leaderboard import Board, Cell


def to_markdown(board: Board) -> str:
    """Return the protocol, a table of means with their intervals, and the notes."""
    heads = ["model", "setting", *board.metrics, "coverage", "answered", "history", "seconds", "tokens", "USD"]
    lines = [
        f"**{board.title}**: {'; '.join(board.protocol)}",
        "",
        f"| {' | '.join(heads)} |",
        f"| --- | --- |{' ---: |' * (len(heads) - 2)}",
    ]
    for row in board.rows:
        history, seconds, price = (row.about.get(name) for name in ("history", "seconds", "price_usd"))
        read, written = row.about.get("prefill_tokens"), row.about.get("completion_tokens")
        fields = [
            _escape(row.model),
            _escape(row.setting),
            *(_cell(row.cells[metric], row.exact) for metric in board.metrics),
            *(f"{share:.3f}" for share in row.shares.values()),
            "" if history is None else str(history),
            "" if seconds is None else f"{seconds:.1f}",
            "" if read is None or written is None else f"{read + written:,}",
            "" if price is None else f"{price:.4f}",
        ]
        lines.append(f"| {' | '.join(fields)} |")
    return "\n".join([*lines, *(f"\n{note}" for note in board.notes)])


def _cell(cell: Cell, exact: bool) -> str:
    if exact:
        return f"{cell.mean:.4f}"
    spread = "" if cell.spread is None else f" ±{cell.spread:.4f}"
    return f"{cell.mean:.4f} [{cell.low:.4f}, {cell.high:.4f}]{spread}"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
