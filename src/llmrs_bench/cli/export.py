"""The command `export`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from llmrs_bench.cli.console import exit_codes, say
from llmrs_bench.cli.options import HERE, Dataset, Home, Log, LogOption, Names

if TYPE_CHECKING:
    from llmrs_bench.stages.export import Form, ModelForm


class ExportFormat(StrEnum):
    """For which tool `export` writes."""

    trec = "trec"
    recbole = "recbole"
    ranx = "ranx"
    csv = "csv"
    adapter = "adapter"
    weights = "weights"


def export(
    dataset: Dataset,
    to: Annotated[Path, typer.Option(help="New folder to write to.")],
    form: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="trec: run and qrels files; ranx: the same as JSON; csv: rankings with the model's scores, and "
            "the candidates; recbole: the prepared data with their split. For a tuned model, adapter: the "
            "PEFT adapter; weights: all weights in float32.",
        ),
    ],
    run: Names = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="With --format adapter or weights: tuned-NAME, or the folder of a tuned model."
        ),
    ] = None,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Export runs, prepared data or a tuned model for other tools."""
    with exit_codes():
        from llmrs_bench.core.errors import OptionError
        from llmrs_bench.stages.export import export as stage
        from llmrs_bench.stages.export import export_model
        from llmrs_bench.stages.workspace import open_data

        if form in (ExportFormat.adapter, ExportFormat.weights):
            if model is None or run:
                raise OptionError(
                    f"--format {form.value} exports one tuned model" + (", so --run has no effect" if run else ""),
                    hint="Add --model tuned-NAME, and leave out --run.",
                )
            files = export_model(open_data(home, dataset), model, cast("ModelForm", form.value), to)
        elif model is not None:
            raise OptionError(
                f"--format {form.value} exports no model, so --model {model} has no effect",
                hint="Add --format adapter or weights, or leave out --model.",
            )
        else:
            files = stage(open_data(home, dataset), run or [], cast("Form", form.value), to)
        say(f"made: {to} ({len(files)} files)")
        for file in files:
            typer.echo(file)
