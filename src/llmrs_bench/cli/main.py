"""The command line: options to config, one stage, one result; a command is imported where it is asked for."""

import gc
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.main import get_command

from llmrs_bench import __version__
from llmrs_bench.cli.command import Command
from llmrs_bench.cli.console import Commands, fail_unforeseen
from llmrs_bench.cli.logs import logged
from llmrs_bench.core.environment import environment

SETTINGS: Mapping[str, Any] = {"help_option_names": ["-h", "--help"]}
# By name: the module of a command, with its function where that is called otherwise, and an example.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "prepare": ("prepare", "prepare --dataset ml1m --users all"),
    "prompt": ("prompt", "prompt --dataset ml1m --template likelihood --show 3"),
    "infer": ("infer", "infer --model llama-2-7b --dataset ml1m --template likelihood"),
    "tune": ("tune", "tune --model smollm2-135m-instruct --dataset ml1m --template label"),
    "fuse": ("fuse", "fuse --run sasrec --run llama-2-7b-likelihood --dataset ml1m"),
    "import": ("import_run", "import ranking.trec --dataset ml1m --name theirs"),
    "evaluate": ("evaluate", "evaluate --dataset ml1m --metrics recall@5,map"),
    "compare": ("compare", "compare --dataset ml1m --format markdown"),
    "probe": ("probe", "probe --model smollm2-135m-instruct --dataset ml1m"),
    "fairness": ("fairness", "fairness --dataset ml1m --neutral plain --run woman --run man"),
    "judge": ("judge", "judge --model llama-3.1-8b-instruct --dataset ml1m --run explained"),
    "export": ("export", "export --dataset ml1m --format trec --to runs/"),
    "run": ("run", "run study.toml --dry-run"),
    "recipe": ("run.recipe_command", "recipe board.parquet > study.toml"),
    "list": ("listing.list_", "list runs --dataset ml1m"),
    "show": ("storage.show_command", "show sasrec"),
    "rm": ("storage.rm", "rm --older-than 30d --dataset ml1m"),
    "du": ("storage.du", "du"),
}
RENAMING = ("prompt", "infer")  # commands that understand old names of their options
_YOUNG = 20_000  # new objects before the next look for garbage: Python's 700 looks 180 times while modules are imported
# How often threads of PyTorch look for work before they sleep: a millisecond of it, as more takes the time of others.
_THREADS = {"GOMP_SPINCOUNT": "20000"}


@cache
def built(name: str) -> Any:
    """Return the command called `name`; its module is imported for it.

    Raises:
        KeyError: If there is none.
    """
    place, example = COMMANDS[name]
    module, _, function = place.partition(".")
    alone = typer.Typer(add_completion=False, context_settings=dict(SETTINGS), pretty_exceptions_enable=False)
    kind = import_module("llmrs_bench.cli.renamed").RenamedCommand if name in RENAMING else Command
    run = getattr(import_module(f"llmrs_bench.cli.{module}"), function or module)
    alone.command(name, cls=kind, epilog=f"Example: llmrs-bench {example}")(run)
    return get_command(alone)


class _Built(Mapping[str, Any]):
    """The commands by name."""

    def __getitem__(self, name: str) -> Any:
        return built(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class CommandLine(Commands):
    """All commands; whoever types one waits for none of the others."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Built()  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)


app = typer.Typer(
    cls=CommandLine,
    no_args_is_help=True,
    context_settings=dict(SETTINGS),
    pretty_exceptions_enable=False,
    help="Is a language model a good recommender? How does it compare with a trained SASRec, and what does it cost?",
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


def _open_closed_streams() -> None:
    """Let streams that the caller has closed (`>&-`) lead nowhere, lest a file of ours get the number of one."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # has the lowest number that is free
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def main() -> None:
    """Run the command line; the exit code is 0, 1, 2, 3, 4, 5, 130 or 143."""
    _open_closed_streams()
    gc.set_threshold(_YOUNG)
    try:
        with environment({} if "OMP_WAIT_POLICY" in os.environ else _THREADS):  # read when PyTorch is imported
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
