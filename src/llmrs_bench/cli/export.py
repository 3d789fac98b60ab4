"""The command `export`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llmrs_bench.cli.console import exit_codes, say
from llmrs_bench.cli.options import HERE, Dataset, Home, Log, LogOption, Names


class ExportFormat(StrEnum):
    """For which tool `export` writes."""

    trec = "trec"
    recbole = "recbole"
    ranx = "ranx"
    csv = "csv"


def export(
    dataset: Dataset,
    to: Annotated[Path, typer.Option(help="A new folder.")],
    form: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="trec: run and qrels files; ranx: the same as JSON; csv: with the model's own scores, and the "
            "candidates; recbole: the prepared data in their split.",
        ),
    ],
    run: Names = None,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Write runs and truth, or the prepared data, for other tools."""
    with exit_codes():
        from llmrs_bench.stages.export import export as stage
        from llmrs_bench.stages.workspace import open_data

        files = stage(open_data(home, dataset), run or [], form.value, to)
        say(f"made: {to} ({len(files)} files)")
        for file in files:
            typer.echo(file)
