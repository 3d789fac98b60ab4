"""The command `fuse`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from llmrs_bench.cli.console import exit_codes, finish, say, track
from llmrs_bench.cli.options import HERE, Dataset, Home, Log, LogOption, pairs


def fuse(
    dataset: Dataset,
    run: Annotated[
        list[str] | None, typer.Option("--run", help="Name of a run, or its beginning; repeat it for two or more runs.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="rrf (reciprocal rank fusion, -O k=60), zscore (mean of standardised scores), learned (weights "
            "learned from other users' targets, -O folds=5), or oracle (an upper bound: the best run of each "
            "request)."
        ),
    ] = "rrf",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-O", help="KEY=VALUE, an option of the method; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the folds of --method learned.")] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Make this many runs, with the seeds SEED, SEED + 1, ...")
    ] = 1,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Fuse several runs into one, request by request."""
    with exit_codes():
        run_fusion(home, dataset, {**pairs(option or []), "runs": ",".join(run or []), "method": method}, seed, seeds)


def run_fusion(home: Path, dataset: str, options: Mapping[str, str], seed: int, seeds: int) -> None:
    """Make a fusion for each seed, and say what came of it."""
    from llmrs_bench.core.errors import OptionError
    from llmrs_bench.report.words import outside_lines
    from llmrs_bench.stages.fuse import fuse as stage
    from llmrs_bench.stages.workspace import open_data

    if seeds > 1 and options.get("method") != "learned":
        raise OptionError("--seeds applies only to the method learned", hint="Remove it.")
    data = open_data(home, dataset)
    for number in range(seed, seed + seeds):
        done = stage(data, options, track, seed=number)
        for line in outside_lines(done.artifact.facts):
            say(line)
        finish(done)
