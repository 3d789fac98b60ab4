"""The command `tune`."""

from typing import Annotated

import typer

from llmrs_bench.cli.console import exit_codes, finish, say, track
from llmrs_bench.cli.options import (
    HERE,
    MODEL,
    OUTPUT,
    PROMPT,
    Dataset,
    History,
    Home,
    Log,
    LogOption,
    pairs,
)


def tune(
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="See `list models`; ORG/NAME; a folder; an adapter; tuned-NAME."),
    ],
    dataset: Dataset,
    template: Annotated[
        str,
        typer.Option(
            "--template",
            "-t",
            help="label, likelihood, listwise, paper, yes-no; like for clicks; a TOML file.",
        ),
    ],
    samples: Annotated[
        str, typer.Option(help="Prompts to learn from, or `all`; fewer are part of more, 0 is the model as it is.")
    ] = "256",
    method: Annotated[str, typer.Option(help="lora or full (all weights).", rich_help_panel=MODEL)] = "lora",
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-O",
            help="KEY=VALUE, repeatable: rank=8, alpha (2 x rank), dropout=0.05, modules=all-linear, lr (2e-4; full: "
            "2e-5), epochs=10, batch=16, patience=3, context=1024, ...; a wrong one lists all.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=MODEL)] = "auto",
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**63 - 1, help="Seed of the samples and of training.", rich_help_panel=MODEL),
    ] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Make so many models, with SEED, SEED + 1, ...", rich_help_panel=MODEL)
    ] = 1,
    history: History = None,
    template_option: Annotated[
        list[str] | None,
        typer.Option(
            "--template-option",
            "-T",
            help="PART=NAME of `list parts`, or shots=K, relevant=N, ... of the template; repeatable. Each sample is "
            "shown once: orders, samples and slots are for `infer`.",
            rich_help_panel=PROMPT,
        ),
    ] = None,
    show: Annotated[
        int,
        typer.Option(
            min=0,
            max=1_000_000,
            help="Print the first N samples, what is learned of them marked, and tune nothing.",
            rich_help_panel=OUTPUT,
        ),
    ] = 0,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Tune a language model on prompts of the training part."""
    with exit_codes():
        from llmrs_bench.report.words import sample_lines, tuning_lines
        from llmrs_bench.stages.tune import TuneConfig, show_samples
        from llmrs_bench.stages.tune import tune as stage
        from llmrs_bench.stages.workspace import open_data

        data = open_data(home, dataset)
        for number in range(seed, seed + seeds):
            config = TuneConfig.parse_flags(
                {
                    "model": model,
                    "template": template,
                    "template_options": pairs(template_option or [], option="-T"),
                    "history": history,
                    "method": method,
                    "samples": samples,
                    "device": device,
                    "seed": number,
                    "options": pairs(option or []),
                },
                command="tune",
            )
            if show:
                for line in sample_lines(*show_samples(data, config, show)):
                    typer.echo(line)
                return
            done = stage(data, config, track)
            if done is None:  # another process of the same launcher says it
                continue
            for line in tuning_lines(done.artifact.facts):
                say(line)
            finish(done)
