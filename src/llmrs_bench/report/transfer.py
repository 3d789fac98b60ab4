"""A matrix of source and target as text: in a terminal, Markdown and JSON."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.text import Text

from llmrs_bench.core.formatting import without_zeros
from llmrs_bench.leaderboard.transfer import Transfer, TransferCell, TransferRow
from llmrs_bench.report.markdown import escape, markdown_table
from llmrs_bench.report.table import Mean, p_value
from llmrs_bench.report.terminal import grid


def transfer_table(found: Transfer) -> Group:
    """Return the matrix: a row for each source, a column for each target."""
    table = grid(["model", "source"], [f"on {target}" for target in found.targets])
    for row in found.rows:
        cells: list[RenderableType] = [_text(row.cells.get(target)) for target in found.targets]
        table.add_row(row.model, _source(row), *cells)
    head = [Text(f"{found.metric} by source and target", "bold"), *(Text(line, "dim") for line in found.protocol)]
    return Group(*head, Text(""), table, *(Text(f"\n{note}", "yellow") for note in found.notes))


def _source(row: TransferRow) -> str:
    return f"{row.source} ({row.method})" if row.method else row.source


def _text(made: TransferCell | None) -> Text:
    if made is None:
        return Text("")
    mean = Mean(made.cell, exact=False)
    ends = without_zeros(mean.ends("{:.3f}-{:.3f}"))
    return Text.assemble(
        mean.text, (f"\n{ends}", "dim"), f"\n{_difference(made)}" if made.difference is not None else ""
    )


def _difference(made: TransferCell) -> str:
    if made.difference is None or made.corrected is None:
        return ""
    return f"{made.difference:+z.4f}, p {p_value(made.corrected)}"


def transfer_markdown(found: Transfer) -> str:
    """Return the matrix as a table: mean, interval, difference to the model without a source and corrected p."""

    def field(row: TransferRow, target: str) -> str:
        if (made := row.cells.get(target)) is None:
            return ""
        mean = Mean(made.cell, exact=False)
        difference = f" ({_difference(made)})" if made.difference is not None else ""
        return f"{mean.text} {mean.ends('[{:.4f}, {:.4f}]')}{difference}"

    rows = [
        [escape(row.model), escape(_source(row)), *(field(row, target) for target in found.targets)]
        for row in found.rows
    ]
    lines = [f"**{escape(found.metric)} by source and target**: {escape('; '.join(found.protocol))}", ""]
    lines += markdown_table(["model", "source"], [f"on {escape(target)}" for target in found.targets], rows)
    return "\n".join([*lines, *(f"{escape(note)}\n" for note in found.notes)]).rstrip("\n")


def transfer_json(found: Transfer) -> str:
    """Return all that is known of the matrix as JSON."""
    return json.dumps(asdict(found), indent=2, ensure_ascii=False, allow_nan=False)


TRANSFER_FORMATS: Mapping[str, Callable[[Transfer], str]] = {"markdown": transfer_markdown, "json": transfer_json}
