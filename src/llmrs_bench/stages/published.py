"""The tables that ship with the tool: what papers printed for a data set."""

import tomllib
from importlib.resources import files
from typing import Any

from llmrs_bench.leaderboard import PublishedRow, PublishedTable


def published_tables(dataset: str) -> list[PublishedTable]:
    """Return what was printed for a data set, in the order of files and tables.

    A row is [model, setting, values]; a value that is no number was not printed.
    """
    found = []
    for file in sorted((files("llmrs_bench") / "published").iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            tables = tomllib.loads(file.read_text("utf-8"))["tables"]
            found += [_table(table) for table in tables if dataset in table["data"]]
    return found


def _table(table: dict[str, Any]) -> PublishedTable:
    rows = [
        PublishedRow(model, setting, tuple(None if isinstance(value, str) else float(value) for value in values))
        for model, setting, values in table["rows"]
    ]
    return PublishedTable(table["title"], table["source"], table["protocol"], tuple(table["metrics"]), tuple(rows))
