"""The command `tune`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer

from llmrs_bench.cli.console import exit_codes, finish, say, track
from llmrs_bench.cli.console import show as show_lines
from llmrs_bench.cli.options import (
    HERE,
    MODEL,
    OUTPUT,
    PROMPT,
    Dataset,
    Device,
    History,
    Home,
    Log,
    LogOption,
    pairs,
)


def tune(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Name from `list models`, ORG/NAME of Hugging Face, a folder, an adapter, or tuned-NAME.",
        ),
    ],
    dataset: Dataset,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            "-t",
            help="label, likelihood, listwise, paper or yes-no; like for clicks; or the path of a TOML file.",
            show_default="none: name one",
        ),
    ] = None,
    samples: Annotated[
        str,
        typer.Option(
            help="Number of training samples, or `all`. A smaller sample is part of a larger one; 0 leaves the model "
            "as it is."
        ),
    ] = "256",
    method: Annotated[str, typer.Option(help="lora or full (all weights).", rich_help_panel=MODEL)] = "lora",
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-O",
            help="KEY=VALUE, repeatable: rank=8, alpha (2 x rank), dropout=0.05, modules=all-linear, lr (2e-4; "
            "full: 2e-5), epochs=10, batch=16, patience=3, context=1024, ...; an unknown key prints all of "
            "them.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    device: Device = "auto",
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**63 - 1, help="Seed of the samples and of training.", rich_help_panel=MODEL),
    ] = 0,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="Train this many models, with the seeds SEED, SEED + 1, ...", rich_help_panel=MODEL
        ),
    ] = 1,
    history: History = None,
    template_option: Annotated[
        list[str] | None,
        typer.Option(
            "--template-option",
            "-T",
            help="PART=NAME, see `list parts`; or an option of the template, such as shots=K or relevant=N; "
            "repeatable. orders, samples and slots apply only to `infer`.",
            rich_help_panel=PROMPT,
        ),
    ] = None,
    show: Annotated[
        int,
        typer.Option(
            min=0,
            max=1_000_000,
            help="Only print the first N samples, with the part to learn marked.",
            rich_help_panel=OUTPUT,
        ),
    ] = 0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only print the number of samples, tokens and steps, time, memory, and what is stored already.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name the model tuned-NAME.", rich_help_panel=OUTPUT)] = None,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Fine-tune a language model on prompts made from the training data."""
    with exit_codes(), _one_voice():
        from llmrs_bench.core.errors import OptionError
        from llmrs_bench.llm.identity import find_files
        from llmrs_bench.stages.serving import TUNED
        from llmrs_bench.stages.tuned_models import check_tunable_model
        from llmrs_bench.stages.workspace import call, open_data

        # All that needs no PyTorch is checked before it is imported.
        find_files(model)
        if template is None:
            check_tunable_model(model)  # what cannot be tuned needs no template
            raise OptionError("tune needs a template", hint="Add --template label, likelihood, listwise or yes-no.")
        if dry_run and show:
            raise OptionError("--dry-run and --show exclude each other", hint="Remove one of them.")
        if (dry_run or show) and os.environ.get("RANK", "0") != "0":  # another process of the launch prints
            return
        if name is not None and (seeds > 1 or not name.startswith(TUNED)):
            raise OptionError(
                f"--name {name} has to begin with {TUNED}, and can name only one model",
                hint=f"Write --name {TUNED}{name.removeprefix(TUNED)}, and leave --seeds out.",
            )
        data = open_data(home, dataset)
        from llmrs_bench.report.words import sample_lines, tuning_forecast_lines, tuning_lines
        from llmrs_bench.stages.tune import TuneConfig
        from llmrs_bench.stages.tune import tune as stage
        from llmrs_bench.stages.tune_preview import forecast_tuning, show_samples

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
            if dry_run:
                show_lines(list(tuning_forecast_lines(asdict(forecast_tuning(data, config)))))
                continue
            done = stage(data, config, track)
            if done is None:  # another process of the same launcher says it
                continue
            done = call(done, name)
            for line in tuning_lines(done.artifact.facts):
                say(line)
            finish(done)


@contextmanager
def _one_voice() -> Iterator[None]:
    """Let the process of a launch that fails first say why; the others end without a word."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("WORLD_SIZE", "1") != "1":
            from llmrs_bench.llm.processes import fails_first

            if not fails_first():
                raise SystemExit(getattr(error, "exit_code", 1)) from error
        raise
