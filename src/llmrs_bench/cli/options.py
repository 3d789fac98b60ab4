"""Options that several commands share, and how -O KEY=VALUE is read."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llmrs_bench.core.errors import OptionError

# Groups of options in the help of a command.
DATA, MODEL, PROMPT, CANDIDATES, CLICKS = "Data", "Model", "Prompt", "Candidates", "Clicks"
PROTOCOL = "Protocol"
ENGINE, RECOMMENDER, METRICS, GATE, OUTPUT = "Engine", "Recommender", "Metrics", "Gate", "Output"

Home = Annotated[
    Path,
    typer.Option(
        "--home", envvar="LLMRS_BENCH_HOME", help="Folder of all artifacts.", show_default=True, rich_help_panel=OUTPUT
    ),
]
Dataset = Annotated[
    str, typer.Option("--dataset", "-d", help="NAME, or NAME@VARIANT where it was prepared in several ways.")
]
# What `prepare` asks for.
SplitOption = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="Which event of a user is the target: the last (leave-one-out), a random one (random), or what is after a "
        "time from which on nobody learns (time). Of clicks: rows cut in time (time), or random.",
        show_default="leave-one-out, or time",
        rich_help_panel=PROTOCOL,
    ),
]
Cut = Annotated[
    str | None,
    typer.Option(
        help="With --split time: the share of the events, or the date (UTC), up to which models learn.",
        show_default="0.9",
        rich_help_panel=PROTOCOL,
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        help="With --split time: which event of a user after the cut is the target: last, first, random; each in a "
        "request of its own (successive); or all in one request (all).",
        show_default="last",
        rich_help_panel=PROTOCOL,
    ),
]
Validation = Annotated[
    str | None,
    typer.Option(
        help="With --split time: what is for validation: each user's last event before the cut (last-item), all behind "
        "a second cut (time), or all events of N users (users:N).",
        show_default="last-item",
        rich_help_panel=PROTOCOL,
    ),
]
HistoryUntil = Annotated[
    str | None,
    typer.Option(
        help="With --split time: histories end before the target, or at the cut.",
        show_default="target",
        rich_help_panel=PROTOCOL,
    ),
]
Windows = Annotated[
    int | None,
    typer.Option(
        help="With --split time: that many windows after the cut, each with its own targets.", rich_help_panel=PROTOCOL
    ),
]
WindowBy = Annotated[
    str | None,
    typer.Option(
        help="Windows are of equal length (time), or of as many events (events).",
        show_default="time",
        rich_help_panel=PROTOCOL,
    ),
]
ColdUsers = Annotated[
    str | None,
    typer.Option(
        help="Ask for test users of whom nobody learned, once for each number of known events, as in 0,1,2,5,10.",
        rich_help_panel=PROTOCOL,
    ),
]
ColdItems = Annotated[
    int | None,
    typer.Option(help="Test only targets with fewer than N training events.", rich_help_panel=PROTOCOL),
]
Names = Annotated[list[str] | None, typer.Option("--run", help="Name of a run, or how it begins; repeatable.")]
TemplateName = Annotated[
    str | None,
    typer.Option(
        "--template",
        "-t",
        help="See `list templates`; or the path of a TOML file.",
        show_default="listwise",
        rich_help_panel=PROMPT,
    ),
]
History = Annotated[
    int | None, typer.Option(min=0, help="Latest items shown.", show_default="as prepared, 10", rich_help_panel=PROMPT)
]
TemplateOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--template-option",
        "-T",
        help="KEY=VALUE of the template, or PART=NAME of `list parts`; repeatable.",
        rich_help_panel=PROMPT,
    ),
]
CandidateOrders = Annotated[
    int | None,
    typer.Option(
        "--candidate-orders",
        min=1,
        max=1000,
        help="Show the candidates in N orders and join the answers.",
        rich_help_panel=PROMPT,
    ),
]
TargetPositions = Annotated[
    str | None,
    typer.Option(
        "--target-positions",
        help="Put the target into each of these places, as 0,5,10: for studies of position bias.",
        rich_help_panel=PROMPT,
    ),
]
UserProfile = Annotated[
    str | None,
    typer.Option(
        "--user-profile", help="A run of free text about each user, put into the prompts.", rich_help_panel=PROMPT
    ),
]
ItemNotes = Annotated[
    str | None,
    typer.Option(
        "--item-notes", help="A run of the template notes, put beside the items of the history.", rich_help_panel=PROMPT
    ),
]
FromCache = Annotated[
    bool,
    typer.Option(
        "--from-cache", help="Read the kept answers again; load no model, ask nothing.", rich_help_panel=ENGINE
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Ask everything again, and keep the answers beside the earlier ones: for servers that may have changed.",
        rich_help_panel=ENGINE,
    ),
]
MaxAge = Annotated[
    str | None,
    typer.Option(
        "--max-age", help="As --fresh, where the kept answers are older: 30m, 12h, 7d.", rich_help_panel=ENGINE
    ),
]
Prior = Annotated[
    bool,
    typer.Option(
        "--prior",
        help="With --template likelihood: then ask for each title without a history, too, apart from the run and its "
        "cost; evaluate --normalize pmi needs it.",
        rich_help_panel=PROMPT,
    ),
]
CheckDeterminism = Annotated[
    int,
    typer.Option(
        "--check-determinism",
        min=0,
        max=1_000_000,
        help="Re-run N requests with a cold cache, a warm cache and batch size 1, and report how answers differ.",
        rich_help_panel=OUTPUT,
    ),
]
Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        help="Measure these, too, with commas between them: recall@5,map,auc,novelty@10.",
        rich_help_panel=METRICS,
    ),
]
Invalid = Annotated[
    str,
    typer.Option(
        "--invalid",
        help="How items count that a model was silent about: expected (mean over all orders of theirs), worst (never "
        "found), or drop (expected, and requests without any ranked item are left out). Of clicks, how rows without a "
        "score count: the median score, wrong for certain, or left out.",
        rich_help_panel=METRICS,
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
    typer.Option(
        "--log",
        help="Messages and progress on stderr: text, or one JSON object a line.",
        callback=_set_log,
        rich_help_panel=OUTPUT,
    ),
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


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def age(text: str, *, option: str = "--max-age") -> float:
    """Return the seconds that an age such as `12h` means, typed behind `option`.

    Raises:
        OptionError: If it is none.
    """
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)([smhd])", text.strip())
    if found is None:
        raise OptionError(f"{option} {text} is no age", hint="Write a number and a unit, such as 30m, 12h or 7d.")
    return float(found[1]) * _SECONDS[found[2]]


def as_typed(**values: object) -> list[str]:
    """Return the options that have a name of their own as if they were typed KEY=VALUE."""
    return [f"{key}={value}" for key, value in values.items() if value is not None]


def template_pairs(options: list[str] | None, **named: object) -> dict[str, str]:
    """Return the template's options, those with a name of their own on the command line among them.

    Raises:
        OptionError: If one has another form, or is given twice.
    """
    return pairs([*(options or []), *as_typed(**named)], option="-T")
