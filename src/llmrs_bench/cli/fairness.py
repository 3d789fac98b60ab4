"""The command `fairness`."""

import json
from typing import Annotated

import typer

from llmrs_bench.cli.console import exit_codes, show
from llmrs_bench.cli.options import (
    HERE,
    METRICS,
    Dataset,
    Home,
    Log,
    LogOption,
    Permutations,
    ResultFormat,
    ResultFormatOption,
    Samples,
)


def fairness(
    dataset: Dataset,
    neutral: Annotated[
        str,
        typer.Option(help="Run that states nothing, with which the others are compared: its name, or its beginning."),
    ],
    run: Annotated[
        list[str],
        typer.Option(help="Run that states a value of the attribute (infer -T stated=TEXT); two or more."),
    ],
    control: Annotated[
        str | None,
        typer.Option(help="Run that states something irrelevant, to show how much any change of words matters."),
    ] = None,
    k: Annotated[
        int | None, typer.Option("--k", help="Length of the lists.", show_default="10", rich_help_panel=METRICS)
    ] = None,
    samples: Samples = None,
    permutations: Permutations = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of resamples and permutations.", show_default="0", rich_help_panel=METRICS),
    ] = None,
    format_: ResultFormatOption = ResultFormat.table,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Test whether recommendations change when prompts state another age, gender or origin."""
    with exit_codes():
        from llmrs_bench.report.fairness import fairness_lines, fairness_markdown
        from llmrs_bench.stages.fairness import FairnessConfig
        from llmrs_bench.stages.fairness import fairness as stage
        from llmrs_bench.stages.workspace import open_data

        typed = {"control": control, "k": k, "samples": samples, "permutations": permutations, "seed": seed}
        given = {key: value for key, value in typed.items() if value is not None}
        config = FairnessConfig.parse_flags({"neutral": neutral, "runs": tuple(run), **given}, command="fairness")
        found = stage(open_data(home, dataset), config)
        if format_ is ResultFormat.json:
            show([json.dumps(found, indent=2, ensure_ascii=False)])
        else:
            show((fairness_markdown if format_ is ResultFormat.markdown else fairness_lines)(found))
