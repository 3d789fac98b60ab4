"""Prompts of a real data set, rendered by the commands a user types."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

import llmrs_bench as lb
from llmrs_bench.core.types import Message, Prompt


def rendered(
    source: Path, home: str, users: int, candidates: int, template: str = "listwise", options: Sequence[str] = ()
) -> list[Prompt]:
    """Return the prompts of so many users of MovieLens-100K; the choices of `likelihood` are the titles shown."""
    data = lb.prepare("ml100k", source=source, home=home, users=users, n_candidates=candidates)
    command = [sys.executable, "-m", "llmrs_bench", "prompt", "--dataset", data.name, "--template", template]
    subprocess.run([*command, *options, "--home", home], check=True, capture_output=True)
    (table,) = Path(home).glob("ml100k/*/prompts/*/prompts.parquet")
    return [
        Prompt(
            row["prompt_id"],
            row["request_id"],
            tuple(Message(message["role"], message["content"]) for message in row["messages"]),
            tuple(row["shown"]),
            None if row["choices"] is None else tuple(row["choices"]),
        )
        for row in pl.read_parquet(table).iter_rows(named=True)
    ]
