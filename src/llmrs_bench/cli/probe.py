"""The command `probe`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrs_bench.cli.console import ask, exit_codes, say, show, track
from llmrs_bench.cli.options import (
    HERE,
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
    ResultFormat,
    ResultFormatOption,
    budget,
    pairs,
)

if TYPE_CHECKING:
    from llmrs_bench.llm.cost import Budget
    from llmrs_bench.stages.probe import ProbeConfig


def probe(
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="Name from `list models`, ORG/NAME of Hugging Face, a local folder or a GGUF file."
        ),
    ],
    dataset: Dataset,
    option: EngineOption = None,
    device: Device = "auto",
    engine: EngineName = "auto",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=1,
            help="Ask only about N items and N users of a seeded order. A larger N reuses the answers.",
            show_default="300 items, 100 users",
            rich_help_panel=PROTOCOL,
        ),
    ] = None,
    items: Annotated[
        int | None,
        typer.Option(min=0, help="Ask about N items; 0 asks about none.", rich_help_panel=PROTOCOL),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option(min=0, help="Ask about N users; 0 asks about none.", rich_help_panel=PROTOCOL),
    ] = None,
    lines: Annotated[
        str,
        typer.Option(
            help="File layout that the model may have memorised: a format of `list data`, or generic. auto: the data "
            "set's own, or else the one it was read as.",
            rich_help_panel=PROTOCOL,
        ),
    ] = "auto",
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Seed of the choice of items and users.", rich_help_panel=PROTOCOL)
    ] = 0,
    max_seconds: MaxSeconds = None,
    max_price: MaxPrice = None,
    format_: ResultFormatOption = ResultFormat.table,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Test whether a language model has memorised the data set."""
    with exit_codes():
        from llmrs_bench.stages.probe import ProbeConfig

        config = ProbeConfig.parse_flags(
            {
                **{"model": model, "device": device, "engine": engine, "options": pairs(option or [])},
                **{"limit": limit, "items": items, "users": users, "lines": lines, "seed": seed},
            },
            command="probe",
        )
        show(_shown(_probe(config, home, dataset, budget(max_seconds, max_price)), format_))


def _probe(config: "ProbeConfig", home: Path, dataset: str, spending: "Budget | None") -> Mapping[str, Any]:
    """Probe a model, and return what came of it."""
    from llmrs_bench.stages.infer import check_model
    from llmrs_bench.stages.prepare import open_or_prepare
    from llmrs_bench.stages.probe import probe as stage

    check_model(config.served)  # before anything is downloaded
    data = open_or_prepare(home, dataset, track, say)
    facts: Mapping[str, Any] = ask(stage, data, config, spending).artifact.facts
    return facts


def _shown(facts: Mapping[str, Any], form: ResultFormat) -> list[str]:
    from llmrs_bench.report.memory import probe_lines, probe_markdown

    if form is ResultFormat.json:
        return [json.dumps(dict(facts), indent=2, ensure_ascii=False)]
    return (probe_markdown if form is ResultFormat.markdown else probe_lines)(facts)
