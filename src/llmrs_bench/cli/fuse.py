"""The command `fuse`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from llmrs_bench.cli.console import exit_codes, finish, say
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
            "learned on validation requests), cascade (the second run where the first one is unsure), mmr or novelty "
            "(rerank one run for diversity or novelty, -O weight=0.5), or oracle (the best run for each request, "
            "an upper bound)."
        ),
    ] = "rrf",
    learn_on: Annotated[
        str | None,
        typer.Option(
            help="Data set prepared with --held-out validation, with the same runs, on which learned fits its weights "
            "and cascade its threshold.",
            metavar="NAME@VARIANT",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="With cascade: the share of requests that the second run ranks, such as 20%."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="With cascade: how many top items of the first run the second one reranks."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-O", help="KEY=VALUE, an option of the method; repeatable.")
    ] = None,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Fuse several runs into one, or rerank a single one, request by request."""
    with exit_codes():
        given = {"learn_on": learn_on, "budget": budget, "top": None if top is None else str(top)}
        typed = {name: value for name, value in given.items() if value is not None}
        run_fusion(home, dataset, {**pairs(option or []), **typed, "runs": ",".join(run or []), "method": method})


def run_fusion(home: Path, dataset: str, options: Mapping[str, str]) -> None:
    """Make a fusion, and say what came of it."""
    from llmrs_bench.report.words import outside_lines
    from llmrs_bench.stages.fuse import fuse as stage
    from llmrs_bench.stages.workspace import open_data

    done = stage(open_data(home, dataset), options)
    for line in outside_lines(done.artifact.facts):
        say(line)
    finish(done)
