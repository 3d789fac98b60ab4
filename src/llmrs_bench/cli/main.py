"""The command line: options to config, one stage, one result; imports of weight happen inside the commands."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrs_bench import __version__
from llmrs_bench.cli.compare import compare
from llmrs_bench.cli.console import Commands, exit_codes, fail_unforeseen, finish, say, show, shows, track
from llmrs_bench.cli.evaluate import evaluate
from llmrs_bench.cli.export import export
from llmrs_bench.cli.fuse import fuse
from llmrs_bench.cli.import_run import import_run
from llmrs_bench.cli.infer import infer
from llmrs_bench.cli.listing import list_
from llmrs_bench.cli.logs import logged
from llmrs_bench.cli.options import (
    CANDIDATES,
    CLICKS,
    DATA,
    HERE,
    OUTPUT,
    PROMPT,
    ColdItems,
    ColdUsers,
    Cut,
    Dataset,
    HistoryUntil,
    Home,
    Log,
    LogOption,
    SplitOption,
    Target,
    Validation,
    WindowBy,
    Windows,
    pairs,
)
from llmrs_bench.cli.prompt import prompt
from llmrs_bench.cli.renamed import Command
from llmrs_bench.cli.storage import du, rm, show_command
from llmrs_bench.cli.tune import tune

if TYPE_CHECKING:
    from llmrs_bench.stages.source import Description

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="How good is a language model as a recommender, next to a properly trained SASRec, and what does it cost?",
    epilog="Start: llmrs-bench prepare --dataset demo, then infer and compare.",
)


@app.callback(invoke_without_command=True)
def llmrs_bench(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Answer to options that belong to no command."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command(epilog="Example: llmrs-bench prepare --dataset ml1m --users all")
def prepare(
    dataset: Dataset,
    source: Annotated[
        Path | None,
        typer.Option(
            help="What to read instead of a download: a zip archive, a folder, or a table (CSV, JSON lines, Parquet).",
            rich_help_panel=DATA,
        ),
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="Table of items and titles, if not in the source.", rich_help_panel=DATA)
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="File that --save-mapping wrote: how a source is read.", rich_help_panel=DATA)
    ] = None,
    save_mapping: Annotated[
        Path | None, typer.Option(help="Write how the source was read into this TOML file.", rich_help_panel=DATA)
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="How the source is laid out; see `list data`.",
            show_default="that of the data set, or what the files are",
            rich_help_panel=DATA,
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="default (1,000 users), or paper: 200 users, seen items may be candidates; of clicks: collm, tallrec, "
            "paper-ctr.",
            rich_help_panel=DATA,
        ),
    ] = "default",
    task: Annotated[
        str | None,
        typer.Option(
            help="ranking: order candidates; click: will a user like one item?",
            show_default="ranking",
            rich_help_panel=DATA,
        ),
    ] = None,
    like_from: Annotated[
        float | None,
        typer.Option(help="Of clicks: the lowest rating that means liked.", rich_help_panel=CLICKS),
    ] = None,
    valid_requests: Annotated[
        int | None,
        typer.Option(
            help="Of clicks: rows of validation to ask, too, for calibration.",
            show_default="1000",
            rich_help_panel=CLICKS,
        ),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(
            help="Of the protocol tallrec: rows user by user (users), or by time, which is another data set.",
            show_default="users",
            rich_help_panel=CLICKS,
        ),
    ] = None,
    users: Annotated[
        str | None, typer.Option(help="Number of test users, or 'all'.", show_default="1000", rich_help_panel=DATA)
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(
            help="random, popularity, file:PATH, all (the whole catalogue), impressions (what users were shown), or "
            "model:NAME[+NAME] (its best items).",
            show_default="random",
            rich_help_panel=CANDIDATES,
        ),
    ] = None,
    n_candidates: Annotated[
        int | None,
        typer.Option(
            help="Candidates of a request, the target included.", show_default="20", rich_help_panel=CANDIDATES
        ),
    ] = None,
    include_seen: Annotated[
        bool | None,
        typer.Option(
            "--include-seen/--exclude-seen", help="May a user's past items be candidates?", rich_help_panel=CANDIDATES
        ),
    ] = None,
    force_target: Annotated[
        bool,
        typer.Option(
            "--force-target",
            help="Put the target into lists of a model that did not find it.",
            rich_help_panel=CANDIDATES,
        ),
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-O",
            help="NAME.KEY=VALUE of a model that finds candidates; repeatable.",
            rich_help_panel=CANDIDATES,
        ),
    ] = None,
    history: Annotated[
        int | None,
        typer.Option(
            help="Items of history in prompts, unless prompt says more.", show_default="10", rich_help_panel=PROMPT
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of the source by role, as user=reviewerID,item=asin; roles: user, item, time, rating, label "
            "(0: shown, not chosen), impression (what was shown together), title, year, categories, text. Without a "
            "header user=0,item=1.",
            rich_help_panel=DATA,
        ),
    ] = None,
    item_columns: Annotated[
        list[str] | None,
        typer.Option(
            help="The same for the table of items; roles: item, title, year, categories, text.", rich_help_panel=DATA
        ),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of text that is not UTF-8, as latin-1.", rich_help_panel=DATA)
    ] = None,
    time_unit: Annotated[
        str | None,
        typer.Option(help="s, ms, us, ns, iso, or auto: told by size.", show_default="auto", rich_help_panel=DATA),
    ] = None,
    repeats: Annotated[
        str | None,
        typer.Option(
            help="Which of a user's events with one item count: first, last, all; or error: refuse them.",
            show_default="first",
            rich_help_panel=DATA,
        ),
    ] = None,
    implicit: Annotated[bool, typer.Option("--implicit", help="Read no ratings.", rich_help_panel=DATA)] = False,
    titles: Annotated[
        str | None,
        typer.Option(
            help="keep, or natural: Matrix, The (1999) is The Matrix of 1999.",
            show_default="what fits the data set",
            rich_help_panel=DATA,
        ),
    ] = None,
    allow_untitled: Annotated[
        bool, typer.Option("--allow-untitled", help="Go on where most items have no title.", rich_help_panel=DATA)
    ] = False,
    line_order: Annotated[
        bool,
        typer.Option(
            "--line-order", help="The lines of a table without times are in the order of time.", rich_help_panel=DATA
        ),
    ] = False,
    untitled: Annotated[
        str | None,
        typer.Option(
            help="Items without a title: id calls them by it, drop leaves them and their events out.",
            show_default="id",
            rich_help_panel=DATA,
        ),
    ] = None,
    drop_bad: Annotated[
        bool,
        typer.Option("--drop-bad", help="Leave out rows of tables that cannot be read.", rich_help_panel=DATA),
    ] = False,
    unrated: Annotated[
        str | None,
        typer.Option(help="Texts in the column of ratings that mean none, as NaN,0.", rich_help_panel=DATA),
    ] = None,
    max_unpacked: Annotated[
        float | None,
        typer.Option(
            help="Largest packed file that is read, in GB unpacked.",
            show_default="100 times its packed size",
            rich_help_panel=DATA,
        ),
    ] = None,
    accept_new: Annotated[
        bool,
        typer.Option(
            "--accept-new",
            help="Take a download without a published checksum that is not what it was before.",
            rich_help_panel=DATA,
        ),
    ] = False,
    split: SplitOption = None,
    cut: Cut = None,
    target: Target = None,
    validation: Validation = None,
    history_until: HistoryUntil = None,
    windows: Windows = None,
    window_by: WindowBy = None,
    cold_users: ColdUsers = None,
    cold_items: ColdItems = None,
    min_rating: Annotated[float | None, typer.Option(help="Drop events rated lower.", rich_help_panel=DATA)] = None,
    relevant_rating: Annotated[
        float | None,
        typer.Option(
            help="With --candidates impressions: lists are what users rated, targets what they rated so high.",
            rich_help_panel=CANDIDATES,
        ),
    ] = None,
    k_core: Annotated[
        int | None,
        typer.Option(
            help="Drop users and items with fewer events, again and again.", show_default="0", rich_help_panel=DATA
        ),
    ] = None,
    item_word: Annotated[
        str | None,
        typer.Option(help="What prompts call an item, or one and several: story/stories.", rich_help_panel=PROMPT),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the user sample, the lists and the tie rule.", show_default="0", rich_help_panel=DATA
        ),
    ] = None,
    describe: Annotated[
        bool,
        typer.Option(
            "--describe",
            help="Read the data, print a profile of it, and prepare nothing: a wrong import is seen at once.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Get, verify and normalise a data set; split it; sample users and candidate lists."""
    with exit_codes():
        from llmrs_bench.core.config import CLICK, PROTOCOLS, PrepareConfig
        from llmrs_bench.core.errors import OptionError
        from llmrs_bench.core.registry import unknown_name
        from llmrs_bench.report.words import data_lines
        from llmrs_bench.stages.mapping import read_mapping, write_mapping
        from llmrs_bench.stages.prepare import prepare as stage
        from llmrs_bench.stages.source import Origin
        from llmrs_bench.stages.source import describe as describe_source
        from llmrs_bench.stages.workspace import Reference

        if protocol not in PROTOCOLS:
            raise unknown_name("protocol", protocol, list(PROTOCOLS))
        if task == CLICK and protocol == "paper":
            raise OptionError("--protocol paper ranks candidates", hint="With --task click it is --protocol paper-ctr.")
        known = read_mapping(mapping) if mapping else None
        if save_mapping and not save_mapping.absolute().parent.is_dir():
            raise OptionError(f"--save-mapping: there is no folder {save_mapping.parent}", hint="Make it first.")
        typed = {
            "users": users,
            "candidates": candidates,
            "n_candidates": n_candidates,
            "include_seen": include_seen,
            "force_target": force_target or None,
            "retriever_options": pairs(option or []) or None,
            "history": history,
            "columns": pairs(_split(columns), option="--columns") or None,
            "unrated": unrated,
            "item_columns": pairs(_split(item_columns), option="--item-columns") or None,
            "encoding": encoding,
            "time_unit": time_unit,
            "repeats": repeats,
            "implicit": implicit or None,
            "titles": titles,
            "allow_untitled": allow_untitled or None,
            "untitled": untitled,
            "line_order": line_order or None,
            "drop_bad": drop_bad or None,
            "max_unpacked": max_unpacked,
            "min_rating": min_rating,
            "relevant_rating": relevant_rating,
            "k_core": k_core,
            "split": split,
            "cut": cut,
            "target": target,
            "validation": validation,
            "history_until": history_until,
            "windows": windows,
            "window_by": window_by,
            "cold_users": cold_users,
            "cold_items": cold_items,
            "task": task,
            "like_from": like_from,
            "valid_requests": valid_requests,
            "order": order,
            "item_word": item_word,
            "seed": seed,
        }
        options = {
            **(known.policies if known else {}),
            **PROTOCOLS[protocol],
            **{key: value for key, value in typed.items() if value is not None},
        }
        config = PrepareConfig.parse_flags({"dataset": Reference.parse(dataset).dataset, **options}, command="prepare")
        typed_places: dict[str, Any] = {"path": source, "items": items, "format_name": format_}
        if known and known.licence:
            say(f"licence: {known.licence}")
        places = {
            **(known.places() if known else {}),
            **{key: at for key, at in typed_places.items() if at is not None},
        }
        origin = Origin(**places, accept_new=accept_new, saves=save_mapping is not None)
        if describe:
            described = describe_source(home, dataset, config, origin, track)
            show(_described(described))
            if save_mapping:
                write_mapping(save_mapping, described.mapping, config, source, items, known)
                say(f"mapping: {save_mapping}")
            return
        done = stage(home, dataset, config, origin, track)
        for line in data_lines(done.artifact.facts):
            say(line)
        if save_mapping:
            write_mapping(save_mapping, done.artifact.facts.get("mapping", {}), config, source, items, known)
            say(f"mapping: {save_mapping}")
        finish(done)


def _described(found: "Description") -> list[str]:
    """Return the lines of a profile, in the characters that the terminal can show."""
    from llmrs_bench.report.profile import profile_lines

    blocks = shows("\u2588\u2581\u258f")
    return profile_lines(found.title, found.profile, rules=found.rules, warnings=found.warnings, blocks=blocks)


def _split(options: list[str] | None) -> list[str]:
    return [part for text in options or [] for part in text.split(",")]


app.command(cls=Command, epilog="Example: llmrs-bench prompt --dataset ml1m --template likelihood --show 3")(prompt)
app.command(cls=Command, epilog="Example: llmrs-bench infer --model llama-2-7b --dataset ml1m --template likelihood")(
    infer
)
app.command(epilog="Example: llmrs-bench tune --model smollm2-135m-instruct --dataset ml1m --template label")(tune)
app.command(epilog="Example: llmrs-bench fuse --run sasrec --run llama-2-7b-likelihood --dataset ml1m")(fuse)
app.command("import", epilog="Example: llmrs-bench import ranking.trec --dataset ml1m --name theirs")(import_run)


app.command(epilog="Example: llmrs-bench evaluate --dataset ml1m --metrics recall@5,map")(evaluate)
app.command(epilog="Example: llmrs-bench compare --dataset ml1m --format markdown")(compare)
app.command(epilog="Example: llmrs-bench export --dataset ml1m --format trec --to runs/")(export)


app.command("list", epilog="Example: llmrs-bench list runs --dataset ml1m")(list_)
app.command("show", epilog="Example: llmrs-bench show sasrec")(show_command)
app.command(epilog="Example: llmrs-bench rm --older-than 30d --dataset ml1m")(rm)
app.command(epilog="Example: llmrs-bench du")(du)


def main() -> None:
    """Run the command line; the exit code is 0, 1, 2, 3, 4 or 130."""
    try:
        app(prog_name="llmrs-bench", args=sys.argv[1:])
    except SystemExit:
        # Everything is said; what libraries write while they are taken down is for nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        raise
    except Exception as error:  # noqa: BLE001 - the last resort
        with logged(as_json=False):
            fail_unforeseen(error)
        sys.exit(1)
