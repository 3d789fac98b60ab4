"""The command `import`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from llmrs_bench.cli.console import exit_codes, finish, say
from llmrs_bench.cli.options import HERE, Dataset, Home, Log, LogOption


def import_run(
    file: Annotated[Path, typer.Argument(help="Parquet, CSV, TSV or a TREC run.")],
    dataset: Dataset,
    name: Annotated[
        str | None, typer.Option(help="Name of the run.", show_default="name of the file without suffix")
    ] = None,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Import a ranking made by another tool as a run."""
    with exit_codes():
        run_import(home, dataset, file, {} if name is None else {"name": name})


def run_import(home: Path, dataset: str, file: Path, options: Mapping[str, str]) -> None:
    """Make a run of a file, and say what came of it."""
    from llmrs_bench.report.words import outside_lines
    from llmrs_bench.stages.import_run import import_run as stage
    from llmrs_bench.stages.workspace import open_data

    done = stage(open_data(home, dataset), file, options)
    for line in outside_lines(done.artifact.facts):
        say(line)
    finish(done)
