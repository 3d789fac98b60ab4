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
        str, typer.Option(help="The run whose lists the others are compared with; its name or how it begins.")
    ],
    run: Annotated[
        list[str],
        typer.Option(help="A run that states a value of the attribute (infer -T stated=TEXT); two or more."),
    ],
    control: Annotated[
        str | None,
        typer.Option(help="A run that states what should not matter: it shows what any other words change."),
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
    """Test whether lists, and their quality, change with what prompts state of the same users."""
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
