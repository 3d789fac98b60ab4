"""Options that several commands share, and how -O KEY=VALUE is read."""

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrs_bench.core.errors import OptionError

if TYPE_CHECKING:
    from llmrs_bench.llm.cost import Budget

# Groups of options in the help of a command.
DATA, MODEL, PROMPT, CANDIDATES, CLICKS = "Data", "Model", "Prompt", "Candidates", "Clicks"
PROTOCOL = "Protocol"
ENGINE, RECOMMENDER, METRICS, GATE, OUTPUT = "Engine", "Recommender", "Metrics", "Gate", "Output"

Home = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="LLMRS_BENCH_HOME",
        help="Folder where everything is stored.",
        show_default=True,
        rich_help_panel=OUTPUT,
    ),
]
Dataset = Annotated[
    str, typer.Option("--dataset", "-d", help="NAME, or NAME@VARIANT if it was prepared in several ways.")
]
# What commands that ask a model share.
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.", rich_help_panel=MODEL)]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="auto, transformers, vllm, openai, ray, mock, or the engine of a plug-in.",
        rich_help_panel=ENGINE,
    ),
]
EngineOption = Annotated[
    list[str] | None,
    typer.Option("--option", "-O", help="KEY=VALUE, an option of the engine; repeatable.", rich_help_panel=MODEL),
]
# What commands that test something share.
Samples = Annotated[
    int | None, typer.Option(help="Bootstrap samples of users.", show_default="2000", rich_help_panel=METRICS)
]
Permutations = Annotated[
    int | None, typer.Option(help="Permutations of each test.", show_default="10000", rich_help_panel=METRICS)
]


class ResultFormat(StrEnum):
    """How a result that is no board is printed."""

    table = "table"
    markdown = "markdown"
    json = "json"


ResultFormatOption = Annotated[
    ResultFormat, typer.Option("--format", help="Format of the result.", rich_help_panel=OUTPUT)
]
# What `prepare` asks for.
SplitOption = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="Choice of targets. leave-one-out: each user's last event; random: a random one; time: events "
        "after a point in time, and models learn from those before it. For clicks and ratings: time or random.",
        show_default="leave-one-out, or time",
        rich_help_panel=PROTOCOL,
    ),
]
Cut = Annotated[
    str | None,
    typer.Option(
        help="With --split time: where training ends, as a share of the events or a date (UTC).",
        show_default="0.9",
        rich_help_panel=PROTOCOL,
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        help="With --split time: which of a user's events after the cut is the target: the last, the first or a "
        "random one; successive makes a request for each, all puts all into one request.",
        show_default="last",
        rich_help_panel=PROTOCOL,
    ),
]
Validation = Annotated[
    str | None,
    typer.Option(
        help="With --split time: the validation events. last-item: each user's last one before the cut; time: all "
        "after a second, earlier cut; users:N: all events of N users.",
        show_default="last-item",
        rich_help_panel=PROTOCOL,
    ),
]
HistoryUntil = Annotated[
    str | None,
    typer.Option(
        help="With --split time: histories end just before the target (target) or at the cut (cut).",
        show_default="target",
        rich_help_panel=PROTOCOL,
    ),
]
MinHistory = Annotated[
    int | None,
    typer.Option(
        help="With --split time: target only events before which the history has this many.",
        show_default="0",
        rich_help_panel=PROTOCOL,
    ),
]
Windows = Annotated[
    int | None,
    typer.Option(
        help="With --split time: divide the time after the cut into this many windows, each with its own targets.",
        rich_help_panel=PROTOCOL,
    ),
]
WindowBy = Annotated[
    str | None,
    typer.Option(
        help="Windows of equal length (time) or with equal numbers of events (events).",
        show_default="time",
        rich_help_panel=PROTOCOL,
    ),
]
ColdUsers = Annotated[
    str | None,
    typer.Option(
        help="Test users whom no model has learned from, with this many events in their history, such as 0,1,2,5,10.",
        rich_help_panel=PROTOCOL,
    ),
]
ColdItems = Annotated[
    int | None,
    typer.Option(help="Only test targets that have fewer than N training events.", rich_help_panel=PROTOCOL),
]
Draws = Annotated[
    int | None,
    typer.Option(
        help="Repeat each request N times with newly drawn candidates, to measure the variance due to the draw.",
        rich_help_panel=CANDIDATES,
    ),
]
HeldOut = Annotated[
    str | None,
    typer.Option(
        help="Make requests for the test events, or set these aside and make requests for validation events, "
        "which `fuse --learn-on` needs.",
        metavar="test|validation",
        show_default="test",
        rich_help_panel=PROTOCOL,
    ),
]
Names = Annotated[list[str] | None, typer.Option("--run", help="Name of a run, or its beginning; repeatable.")]
TemplateName = Annotated[
    str | None,
    typer.Option(
        "--template",
        "-t",
        help="Name of a template (see `list templates`), or path of a TOML file.",
        show_default="listwise",
        rich_help_panel=PROMPT,
    ),
]
History = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Number of latest items of the history shown.",
        show_default="that of prepare, 10",
        rich_help_panel=PROMPT,
    ),
]
TemplateOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--template-option",
        "-T",
        help="KEY=VALUE, an option of the template; or PART=NAME, see `list parts`; repeatable.",
        rich_help_panel=PROMPT,
    ),
]
CandidateOrders = Annotated[
    int | None,
    typer.Option(
        "--candidate-orders",
        min=1,
        max=1000,
        help="Show the candidates in N orders and aggregate the answers.",
        rich_help_panel=PROMPT,
    ),
]
TargetPositions = Annotated[
    str | None,
    typer.Option(
        "--target-positions",
        help="Put the target at each of these positions, such as 0,5,10, to study position bias.",
        rich_help_panel=PROMPT,
    ),
]
UserProfile = Annotated[
    str | None,
    typer.Option(
        "--user-profile",
        help="Run whose texts about each user are inserted into the prompts.",
        rich_help_panel=PROMPT,
    ),
]
ItemNotes = Annotated[
    str | None,
    typer.Option(
        "--item-notes",
        help="Run of the template notes, whose texts are shown next to the items of the history.",
        rich_help_panel=PROMPT,
    ),
]
FromCache = Annotated[
    bool,
    typer.Option(
        "--from-cache", help="Use cached answers only: load no model and send no request.", rich_help_panel=ENGINE
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Ignore cached answers and ask again, for servers that may have changed. Earlier answers are kept.",
        rich_help_panel=ENGINE,
    ),
]
MaxAge = Annotated[
    str | None,
    typer.Option(
        "--max-age",
        help="Like --fresh for cached answers that are older than this: 30m, 12h, 7d.",
        rich_help_panel=ENGINE,
    ),
]
Track = Annotated[
    str | None,
    typer.Option(
        "--track",
        metavar="mlflow|wandb|trackio",
        help="Also log configurations, metrics, curves and the page to this tracker, or to files if it has no server.",
        rich_help_panel=OUTPUT,
    ),
]
MaxSeconds = Annotated[
    float | None,
    typer.Option(
        "--max-seconds",
        min=0,
        help="Stop after this many seconds of answering, not counting the time to load the model. A batch under "
        "way is finished, and answers are kept.",
        rich_help_panel=ENGINE,
    ),
]
MaxPrice = Annotated[
    float | None,
    typer.Option(
        "--max-price",
        min=0,
        help="Stop once new answers have cost this many USD, by -O price_in, price_out or price_per_hour.",
        rich_help_panel=ENGINE,
    ),
]
Prior = Annotated[
    bool,
    typer.Option(
        "--prior",
        help="With --template likelihood: also score each title without a history, as evaluate --normalize pmi "
        "needs. The cost is not part of the run's.",
        rich_help_panel=PROMPT,
    ),
]
CheckDeterminism = Annotated[
    int,
    typer.Option(
        "--check-determinism",
        min=0,
        max=1_000_000,
        help="Re-run N requests with a cold cache, a warm cache and batch size 1, and report differences.",
        rich_help_panel=OUTPUT,
    ),
]
Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        help="Additional metrics, separated by commas, such as recall@5,map,auc,novelty@10.",
        rich_help_panel=METRICS,
    ),
]
Invalid = Annotated[
    str,
    typer.Option(
        "--invalid",
        help="How unranked items count. expected: the mean over all their orders; worst: as never found; drop: "
        "like expected, but without requests that have no ranked item. For clicks and ratings, how rows without a "
        "score count: with the median score (expected), as entirely wrong (worst), or not at all (drop).",
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
        help="Messages and progress on stderr, as text or as one JSON object per line.",
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
    recipes = "recipes"


class Format(StrEnum):
    """How `compare` prints the board."""

    table = "table"
    markdown = "markdown"
    csv = "csv"
    json = "json"
    latex = "latex"


class Look(StrEnum):
    """How `infer --dry-run` prints what would be asked."""

    table = "table"
    json = "json"


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
        raise OptionError(f"{option} {text} is not an age", hint="Write a number and a unit, such as 30m, 12h or 7d.")
    return float(found[1]) * _SECONDS[found[2]]


def budget(seconds: float | None, usd: float | None) -> "Budget | None":
    """Return what a command may spend from now on, where there is a limit."""
    from llmrs_bench.llm.cost import Budget

    return None if seconds is None and usd is None else Budget(seconds, usd)


def as_typed(**values: object) -> list[str]:
    """Return the options that have a name of their own as if they were typed KEY=VALUE."""
    return [f"{key}={value}" for key, value in values.items() if value is not None]


def template_pairs(options: list[str] | None, **named: object) -> dict[str, str]:
    """Return the template's options, those with a name of their own on the command line among them.

    Raises:
        OptionError: If one has another form, or is given twice.
    """
    return pairs([*(options or []), *as_typed(**named)], option="-T")
