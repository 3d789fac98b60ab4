"""The command `prepare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrs_bench.cli.console import exit_codes, finish, say, show, shows, track
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
    Draws,
    HeldOut,
    HistoryUntil,
    Home,
    Log,
    LogOption,
    MinHistory,
    SplitOption,
    Target,
    Validation,
    WindowBy,
    Windows,
    pairs,
)

if TYPE_CHECKING:
    from llmrs_bench.stages.source import Description


def prepare(
    dataset: Dataset,
    source: Annotated[
        Path | None,
        typer.Option(
            help="Read this instead of a download: a zip archive, a folder, or a table (CSV, JSON lines, Parquet).",
            rich_help_panel=DATA,
        ),
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="Table of items and titles, if the source has none.", rich_help_panel=DATA)
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(help="Read the source as this file says; --save-mapping writes one.", rich_help_panel=DATA),
    ] = None,
    save_mapping: Annotated[
        Path | None, typer.Option(help="Write to this TOML file how the source was read.", rich_help_panel=DATA)
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Layout of the source; see `list data`.",
            show_default="detected from the data set or its files",
            rich_help_panel=DATA,
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="default: 1,000 users; paper: 200 users, and candidates may be items that the user has seen. For "
            "clicks: collm, tallrec or paper-ctr.",
            rich_help_panel=DATA,
        ),
    ] = "default",
    task: Annotated[
        str | None,
        typer.Option(
            help="ranking: order candidates; click: will a user like one item? rating: how will a user rate one item?",
            show_default="ranking",
            rich_help_panel=DATA,
        ),
    ] = None,
    like_from: Annotated[
        float | None,
        typer.Option(help="The lowest rating that counts as a like.", rich_help_panel=CLICKS),
    ] = None,
    valid_requests: Annotated[
        int | None,
        typer.Option(
            help="Number of validation rows that models also answer, for calibration.",
            show_default="1000",
            rich_help_panel=CLICKS,
        ),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(
            help="With --protocol tallrec: order of the rows, by user (users) or by time (time). Each order makes "
            "another data set.",
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
            help="random, popularity, file:PATH, all (the whole catalogue), impressions (the items users were "
            "shown), or model:NAME[+NAME] (the top items of recommenders).",
            show_default="random",
            rich_help_panel=CANDIDATES,
        ),
    ] = None,
    n_candidates: Annotated[
        int | None,
        typer.Option(
            help="Number of candidates per request, target included.", show_default="20", rich_help_panel=CANDIDATES
        ),
    ] = None,
    include_seen: Annotated[
        bool | None,
        typer.Option(
            "--include-seen/--exclude-seen",
            help="Whether candidates may be items that the user has seen.",
            rich_help_panel=CANDIDATES,
        ),
    ] = None,
    force_target: Annotated[
        bool,
        typer.Option(
            "--force-target",
            help="Add the target to a list if the model of --candidates did not find it.",
            rich_help_panel=CANDIDATES,
        ),
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-O",
            help="NAME.KEY=VALUE, an option of a model in --candidates; repeatable.",
            rich_help_panel=CANDIDATES,
        ),
    ] = None,
    history: Annotated[
        int | None,
        typer.Option(
            help="Latest items of the history shown in prompts; `prompt` and `infer` can choose another number.",
            show_default="10",
            rich_help_panel=PROMPT,
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of the source by role, such as user=reviewerID,item=asin, or user=0,item=1 if there is "
            "no header. Roles: user, item, time, rating, label (0: shown, not chosen), impression (id of "
            "what was shown together), title, year, categories, text.",
            rich_help_panel=DATA,
        ),
    ] = None,
    item_columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of the table of items; roles: item, title, year, categories, text.", rich_help_panel=DATA
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            help="Encoding of text that is not UTF-8, such as latin-1; of one table alone, items=latin-1.",
            rich_help_panel=DATA,
        ),
    ] = None,
    time_unit: Annotated[
        str | None,
        typer.Option(
            help="Unit of the times: s, ms, us, ns, ticks (.NET), iso, or auto (guessed from their size).",
            show_default="auto",
            rich_help_panel=DATA,
        ),
    ] = None,
    repeats: Annotated[
        str | None,
        typer.Option(
            help="If a user has several events with one item: keep the first, the last or all, or stop with an error.",
            show_default="first",
            rich_help_panel=DATA,
        ),
    ] = None,
    implicit: Annotated[bool, typer.Option("--implicit", help="Ignore ratings.", rich_help_panel=DATA)] = False,
    titles: Annotated[
        str | None,
        typer.Option(
            help="keep leaves titles as they are; natural turns 'Matrix, The (1999)' into 'The Matrix' of the "
            "year 1999.",
            show_default="depends on the data set",
            rich_help_panel=DATA,
        ),
    ] = None,
    allow_untitled: Annotated[
        bool, typer.Option("--allow-untitled", help="Continue even if most items have no title.", rich_help_panel=DATA)
    ] = False,
    line_order: Annotated[
        bool,
        typer.Option(
            "--line-order", help="Lines of a table without times are in chronological order.", rich_help_panel=DATA
        ),
    ] = False,
    untitled: Annotated[
        str | None,
        typer.Option(
            help="Items without a title: id uses the id as title, drop removes them and their events.",
            show_default="id",
            rich_help_panel=DATA,
        ),
    ] = None,
    drop_bad: Annotated[
        bool,
        typer.Option("--drop-bad", help="Skip table rows that cannot be read.", rich_help_panel=DATA),
    ] = False,
    unrated: Annotated[
        str | None,
        typer.Option(help="Values in the rating column that mean no rating, such as NaN,0.", rich_help_panel=DATA),
    ] = None,
    max_unpacked: Annotated[
        float | None,
        typer.Option(
            help="Refuse compressed files that are larger than this when unpacked, in GB.",
            show_default="100 times their packed size, at least 64 MB",
            rich_help_panel=DATA,
        ),
    ] = None,
    accept_new: Annotated[
        bool,
        typer.Option(
            "--accept-new",
            help="Accept a download that has changed since the last time and has no published checksum.",
            rich_help_panel=DATA,
        ),
    ] = False,
    split: SplitOption = None,
    cut: Cut = None,
    target: Target = None,
    validation: Validation = None,
    history_until: HistoryUntil = None,
    min_history: MinHistory = None,
    windows: Windows = None,
    window_by: WindowBy = None,
    cold_users: ColdUsers = None,
    cold_items: ColdItems = None,
    draws: Draws = None,
    held_out: HeldOut = None,
    min_rating: Annotated[
        float | None, typer.Option(help="Drop events with a lower rating.", rich_help_panel=DATA)
    ] = None,
    relevant_rating: Annotated[
        float | None,
        typer.Option(
            help="With --candidates impressions: candidates are all items the user rated, targets those rated at "
            "least this high.",
            rich_help_panel=CANDIDATES,
        ),
    ] = None,
    k_core: Annotated[
        int | None,
        typer.Option(
            help="Drop users and items with fewer events, until none is left.", show_default="0", rich_help_panel=DATA
        ),
    ] = None,
    item_word: Annotated[
        str | None,
        typer.Option(
            help="Word for an item in prompts: singular, or singular/plural, such as story/stories.",
            rich_help_panel=PROMPT,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the user sample, the candidate lists and the tie rule.",
            show_default="0",
            rich_help_panel=DATA,
        ),
    ] = None,
    describe: Annotated[
        bool,
        typer.Option(
            "--describe",
            help="Only read the data and print a profile, to see at once whether they were read correctly.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Download or read a data set, verify and split it, and sample users and candidate lists."""
    with exit_codes():
        from llmrs_bench.core.config import CLICK, LABELLED, PROTOCOLS, PrepareConfig
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
        if task in LABELLED and protocol == "paper":
            hint = "With --task click it is --protocol paper-ctr." if task == CLICK else "Leave it out."
            raise OptionError("--protocol paper ranks candidates", hint=hint)
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
            "min_history": min_history,
            "windows": windows,
            "window_by": window_by,
            "cold_users": cold_users,
            "cold_items": cold_items,
            "draws": draws,
            "held_out": held_out,
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
