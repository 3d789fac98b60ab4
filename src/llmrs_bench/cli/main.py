"""The command line: options to config, one stage, one result; imports of weight happen inside the commands."""

import os
import signal
import sys
from typing import Annotated

import typer

from llmrs_bench import __version__
from llmrs_bench.cli.compare import compare
from llmrs_bench.cli.console import Commands, fail_unforeseen
from llmrs_bench.cli.evaluate import evaluate
from llmrs_bench.cli.export import export
from llmrs_bench.cli.fairness import fairness
from llmrs_bench.cli.fuse import fuse
from llmrs_bench.cli.import_run import import_run
from llmrs_bench.cli.infer import infer
from llmrs_bench.cli.listing import list_
from llmrs_bench.cli.logs import logged
from llmrs_bench.cli.prepare import prepare
from llmrs_bench.cli.probe import probe
from llmrs_bench.cli.prompt import prompt
from llmrs_bench.cli.renamed import Command
from llmrs_bench.cli.run import recipe_command, run
from llmrs_bench.cli.storage import du, rm, show_command
from llmrs_bench.cli.tune import tune

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="How good is a language model as a recommender, next to a properly trained SASRec, and what does it cost?",
    epilog="Start with llmrs-bench prepare --dataset demo, then infer and compare.",
)


@app.callback(invoke_without_command=True)
def llmrs_bench(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Answer to options that belong to no command."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


app.command(epilog="Example: llmrs-bench prepare --dataset ml1m --users all")(prepare)
app.command(cls=Command, epilog="Example: llmrs-bench prompt --dataset ml1m --template likelihood --show 3")(prompt)
app.command(cls=Command, epilog="Example: llmrs-bench infer --model llama-2-7b --dataset ml1m --template likelihood")(
    infer
)
app.command(epilog="Example: llmrs-bench tune --model smollm2-135m-instruct --dataset ml1m --template label")(tune)
app.command(epilog="Example: llmrs-bench fuse --run sasrec --run llama-2-7b-likelihood --dataset ml1m")(fuse)
app.command("import", epilog="Example: llmrs-bench import ranking.trec --dataset ml1m --name theirs")(import_run)


app.command(epilog="Example: llmrs-bench evaluate --dataset ml1m --metrics recall@5,map")(evaluate)
app.command(epilog="Example: llmrs-bench compare --dataset ml1m --format markdown")(compare)
app.command(epilog="Example: llmrs-bench probe --model smollm2-135m-instruct --dataset ml1m")(probe)
app.command(epilog="Example: llmrs-bench fairness --dataset ml1m --neutral plain --run woman --run man")(fairness)
app.command(epilog="Example: llmrs-bench export --dataset ml1m --format trec --to runs/")(export)


app.command(epilog="Example: llmrs-bench run study.toml --dry-run")(run)
app.command("recipe", epilog="Example: llmrs-bench recipe board.parquet > study.toml")(recipe_command)


app.command("list", epilog="Example: llmrs-bench list runs --dataset ml1m")(list_)
app.command("show", epilog="Example: llmrs-bench show sasrec")(show_command)
app.command(epilog="Example: llmrs-bench rm --older-than 30d --dataset ml1m")(rm)
app.command(epilog="Example: llmrs-bench du")(du)


def main() -> None:
    """Run the command line; the exit code is 0, 1, 2, 3, 4, 5, 130 or 143."""
    try:
        app(prog_name="llmrs-bench", args=sys.argv[1:])
    except SystemExit:
        # Everything is said; what libraries write while they are taken down is for nobody, and Ctrl-C comes too late.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        raise
    except Exception as error:  # noqa: BLE001 - the last resort
        with logged(as_json=False):
            fail_unforeseen(error)
        sys.exit(1)
