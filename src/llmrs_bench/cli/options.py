"""Options that several commands share, and how -O KEY=VALUE is read."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llmrs_bench.core.errors import OptionError

Home = Annotated[
    Path, typer.Option("--home", envvar="LLMRS_BENCH_HOME", help="Folder of all artifacts.", show_default=True)
]
Dataset = Annotated[
    str, typer.Option("--dataset", "-d", help="NAME, or NAME@VARIANT where it was prepared in several ways.")
]
Names = Annotated[list[str] | None, typer.Option("--run", help="Name of a run, or how it begins; repeatable.")]
TemplateName = Annotated[
    str, typer.Option("--template", "-t", help="See `list templates`; or the path of a TOML file.")
]
History = Annotated[int | None, typer.Option(min=0, help="Latest items shown.", show_default="as prepared, 10")]
TemplateOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--template-option", "-T", help="KEY=VALUE of the template, or PART=NAME of `list parts`; repeatable."
    ),
]
Orders = Annotated[
    int | None, typer.Option(min=1, help="Show the candidates in N orders and join the answers; -T orders.")
]
Slots = Annotated[
    str | None, typer.Option(help="Put the target into each of these places, as 0,5,10: bias studies; -T slots.")
]
With = Annotated[
    list[str] | None, typer.Option("--with", help="interest=RUN or notes=RUN: tell what a model wrote in that run.")
]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="Slower engine ways without batch effects; -O deterministic=true.")
]
Reparse = Annotated[bool, typer.Option("--reparse", help="Read the kept answers again; load no model, ask nothing.")]
Prior = Annotated[
    bool,
    typer.Option(
        "--prior",
        help="With --template likelihood: then ask for each title without a history, too, apart from the run and its "
        "cost; evaluate --normalize pmi needs it.",
    ),
]
Audit = Annotated[
    int, typer.Option(min=0, help="Then ask about N requests again: cold, warm, one by one; report the noise.")
]
Metrics = Annotated[
    str | None,
    typer.Option("--metrics", help="Measure these, too, with commas between them: recall@5,map,auc,novelty@10."),
]
Invalid = Annotated[
    str,
    typer.Option(
        "--invalid",
        help="How items count that a model was silent about: expected (mean over all orders of theirs), worst (never "
        "found), or drop (expected, and requests without any ranked item are left out).",
    ),
]
HERE = Path("bench")


class Log(StrEnum):
    """How messages and progress are written to stderr."""

    text = "text"
    json = "json"


def _set_log(log: Log) -> Log:
    from llmrs_bench.cli.console import log_as_json

    log_as_json(log is Log.json)
    return log


LogOption = Annotated[
    Log,
    typer.Option("--log", help="Messages and progress on stderr: text, or one JSON object a line.", callback=_set_log),
]


class Listing(StrEnum):
    """What `list` can list."""

    data = "data"
    models = "models"
    templates = "templates"
    parts = "parts"
    runs = "runs"


class Format(StrEnum):
    """How `compare` prints the board."""

    table = "table"
    markdown = "markdown"
    csv = "csv"
    json = "json"
    latex = "latex"


def pairs(options: list[str], *, option: str = "-O") -> dict[str, str]:
    """Return options typed as KEY=VALUE behind `option`.

    Raises:
        OptionError: If one has another form, or a key is there twice.
    """
    found: dict[str, str] = {}
    for text in options:
        key, equals, value = text.partition("=")
        if not equals or not key or key in found:
            fault = "was given twice" if key in found else "is not KEY=VALUE"
            raise OptionError(f"{option} {text} {fault}", hint=f"Write KEY=VALUE, each key once: {option} KEY=VALUE.")
        found[key] = value
    return found


def as_typed(**values: object) -> list[str]:
    """Return the options that have a name of their own as if they were typed KEY=VALUE."""
    return [f"{key}={value}" for key, value in values.items() if value is not None]


def template_pairs(
    options: list[str] | None, orders: int | None, slots: str | None, texts: list[str] | None
) -> dict[str, str]:
    """Return the template's options, those with a name of their own on the command line among them.

    Raises:
        OptionError: If one has another form, is given twice, or `--with` brings something unknown.
    """
    brought = pairs(texts or [], option="--with")
    if unknown := sorted(brought.keys() - {"interest", "notes"}):
        raise OptionError(f"--with {unknown[0]}=... is unknown", hint="Write --with interest=RUN, or --with notes=RUN.")
    runs = {f"{what}_run": run for what, run in brought.items()}
    return pairs([*(options or []), *as_typed(orders=orders, slots=slots, **runs)], option="-T")
