"""The command `import`."""

from pathlib import Path
from typing import Annotated

import typer

from llmrs_bench.cli.console import exit_codes, finish, say
from llmrs_bench.cli.options import HERE, Dataset, Home, Log, LogOption


def import_run(
    file: Annotated[Path, typer.Argument(help="Parquet, CSV, TSV or a TREC run.")],
    dataset: Dataset,
    name: Annotated[
        str | None, typer.Option(help="What the run is called.", show_default="as the file, without its suffix")
    ] = None,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Take a ranking that another tool made as a run, to compare it with the others."""
    with exit_codes():
        from llmrs_bench.core.config import InferConfig
        from llmrs_bench.report.words import outside_lines
        from llmrs_bench.stages.import_run import FILE, infer_file
        from llmrs_bench.stages.workspace import open_data

        values = {"model": f"{FILE}{file}", "options": {} if name is None else {"name": name}}
        done = infer_file(open_data(home, dataset), InferConfig.parse(values, owner="import"))
        for line in outside_lines(done.artifact.facts):
            say(line)
        finish(done)
