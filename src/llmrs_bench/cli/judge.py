"""The command `judge`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrs_bench.cli.console import ask, exit_codes, say, show, show_json, track
from llmrs_bench.cli.options import (
    HERE,
    OUTPUT,
    PROTOCOL,
    Dataset,
    Device,
    EngineName,
    EngineOption,
    Home,
    Log,
    LogOption,
    MaxPrice,
    MaxSeconds,
    Permutations,
    ResultFormat,
    ResultFormatOption,
    Samples,
    budget,
    pairs,
)

if TYPE_CHECKING:
    from llmrs_bench.llm.cost import Budget
    from llmrs_bench.stages.judge import JudgeConfig


class JudgeReading(StrEnum):
    """How a verdict is read."""

    labels = "labels"
    text = "text"


def judge(
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="The judge: a name from `list models`, ORG/NAME, a local folder or a GGUF file."
        ),
    ],
    dataset: Dataset,
    run: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a run of the template explanation, or its beginning; repeatable. Default: all of them."
        ),
    ] = None,
    option: EngineOption = None,
    device: Device = "auto",
    engine: EngineName = "auto",
    reading: Annotated[
        JudgeReading,
        typer.Option(
            help="labels: the verdict is the more probable letter, A or B; text: the verdict is what the judge writes, "
            "for judges that think first and servers without log-probabilities.",
            rich_help_panel=PROTOCOL,
        ),
    ] = JudgeReading.labels,
    question: Annotated[
        str | None,
        typer.Option(
            help="The question to the judge; {item} stands for the word for an item.",
            show_default="which explanation says better why the item fits the user",
            rich_help_panel=PROTOCOL,
        ),
    ] = None,
    history: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of latest items of the history that the judge sees.",
            show_default="as prepared",
            rich_help_panel=PROTOCOL,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=1,
            help="Judge only the first N requests of a seeded order. A larger N reuses the answers.",
            rich_help_panel=PROTOCOL,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**63 - 1, help="Seed of controls, resamples and tests.", rich_help_panel=PROTOCOL),
    ] = 0,
    samples: Samples = None,
    permutations: Permutations = None,
    max_seconds: MaxSeconds = None,
    max_price: MaxPrice = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only print the number of prompts and tokens, the price, the time, and how much is cached.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    show_: Annotated[
        int,
        typer.Option(
            "--show", min=0, help="Print the first N pairs with their texts and verdicts.", rich_help_panel=OUTPUT
        ),
    ] = 0,
    format_: ResultFormatOption = ResultFormat.table,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Let a language model compare explanations in pairs, each pair in both orders."""
    with exit_codes():
        from llmrs_bench.stages.judge import JudgeConfig

        typed = {
            **{"question": question, "history": history, "limit": limit},
            **{"samples": samples, "permutations": permutations},
        }
        config = JudgeConfig.parse_flags(
            {
                **{"model": model, "device": device, "engine": engine, "options": pairs(option or [])},
                **{"runs": tuple(run or ()), "reading": reading.value, "seed": seed},
                **{name: value for name, value in typed.items() if value is not None},
            },
            command="judge",
        )
        if dry_run:
            _forecast(config, home, dataset, shown=show_, form=format_)
            return
        show(_shown(_judge(config, home, dataset, budget(max_seconds, max_price), show_), format_))


def _forecast(config: "JudgeConfig", home: Path, dataset: str, *, shown: int, form: ResultFormat) -> None:
    """Print what would be asked; as a table or as JSON.

    Raises:
        OptionError: If another format is asked for, or verdicts are.
    """
    from llmrs_bench.core.errors import OptionError
    from llmrs_bench.report.words import forecast_lines
    from llmrs_bench.stages.forecast import forecast_judge
    from llmrs_bench.stages.workspace import open_data

    if shown:
        raise OptionError("--dry-run sends no prompts, so there are no verdicts to --show", hint="Remove one of them.")
    if form is ResultFormat.markdown:
        raise OptionError("--dry-run has no --format markdown", hint="Use table or json.")
    found = forecast_judge(open_data(home, dataset), config, track)
    if form is ResultFormat.json:
        show_json(found.json())
    else:
        show(forecast_lines(found.json()))


def _judge(config: "JudgeConfig", home: Path, dataset: str, spending: "Budget | None", shown: int) -> dict[str, Any]:
    """Have a model judge, and return what its verdicts come to."""
    from llmrs_bench.report.explanations import pair_lines
    from llmrs_bench.stages.infer import check_model
    from llmrs_bench.stages.judge import judge as stage
    from llmrs_bench.stages.judge import judgement
    from llmrs_bench.stages.workspace import open_data

    data = open_data(home, dataset)
    check_model(config.served)
    done = ask(stage, data, config, spending)
    for line in pair_lines(done.artifact.table("judgements").head(2 * shown).to_dicts()):
        say(line)
    return judgement(data, done.artifact, config)


def _shown(facts: dict[str, Any], form: ResultFormat) -> list[str]:
    from llmrs_bench.report.explanations import judgement_lines, judgement_markdown

    if form is ResultFormat.json:
        return [json.dumps(facts, indent=2, ensure_ascii=False)]
    return (judgement_markdown if form is ResultFormat.markdown else judgement_lines)(facts)
