"""Results that papers printed for a data set, shown beside a board."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

from llmrs_bench.core.config import CLICK, RATING, CompareConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard import Board, PublishedRow, PublishedTable
from llmrs_bench.stages.workspace import Data


def published_tables(dataset: str, clicks: str | None = None) -> list[PublishedTable]:
    """Return what was printed for a data set, in the order of files and tables.

    Rankings and clicks have tables of their own: those of clicks name the protocol, `clicks`.

    A row is [model, setting, values]; a value that is no number was not printed.
    """
    found = []
    for file in sorted((files("llmrs_bench") / "published").iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            tables = tomllib.loads(file.read_text("utf-8"))["tables"]
            found += [_table(each) for each in tables if dataset in each["data"] and each.get("clicks") == clicks]
    return found


def with_published(board: Board, data: Data, config: CompareConfig) -> Board:
    """Return the board with what was printed for the data, where it is asked for."""
    if not config.published and config.published_table is None:
        return board
    options = data.artifact.manifest.config
    dataset = str(options["dataset"])
    if data.task == RATING:
        return replace(board, notes=(*board.notes, f"no printed table is known for ratings of {dataset}"))
    protocol = options.get("protocol") or "its own split" if data.task == CLICK else None
    if tables := published_tables(dataset, protocol):
        return replace(board, published=tuple(_chosen_tables(tables, config.published_table)))
    known = dataset if protocol is None else f"clicks of {dataset} by {protocol}"
    return replace(board, notes=(*board.notes, f"no printed table is known for {known}"))


def _chosen_tables(tables: Sequence[PublishedTable], name: str | None) -> list[PublishedTable]:
    """Return the tables whose source has all parts of a name (`table-4`, `2401.04997/table-4`) as whole words.

    Raises:
        OptionError: If none has.
    """

    def words(text: str) -> str:
        """Return the words of a text, each between two blanks, papers without their version."""
        found = re.findall(r"[^\W_]+", re.sub(r"(\d)v\d+\b", r"\1", text.lower()))
        return f" {' '.join(found)} "

    chosen = [
        table for table in tables if name is None or all(words(part) in words(table.source) for part in name.split("/"))
    ]
    if not chosen:
        known = "; ".join(dict.fromkeys(table.source for table in tables))
        raise OptionError(
            f"--published-table {name}: no printed table of these data is called so", hint=f"Printed: {known}."
        )
    return chosen


def _table(table: dict[str, Any]) -> PublishedTable:
    rows = [
        PublishedRow(model, setting, tuple(None if isinstance(value, str) else float(value) for value in values))
        for model, setting, values in table["rows"]
    ]
    return PublishedTable(table["title"], table["source"], table["protocol"], tuple(table["metrics"]), tuple(rows))
