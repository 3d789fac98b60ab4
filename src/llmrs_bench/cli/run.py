"""The commands `run` and `recipe`."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrs_bench.cli.boards import check_outputs, print_transfer, show_gate, show_made
from llmrs_bench.cli.console import exit_codes, say, show, show_json, track, track_lines, warn
from llmrs_bench.cli.options import (
    DATA,
    HERE,
    MODEL,
    OUTPUT,
    Format,
    Home,
    Log,
    LogOption,
    MaxPrice,
    MaxSeconds,
    Track,
    budget,
    pairs,
)

if TYPE_CHECKING:
    from llmrs_bench.leaderboard.curves import Curves
    from llmrs_bench.stages.run import Made, StudyBoard
    from llmrs_bench.stages.study import RowPlan, Study

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A file NAME.toml, or one of `list recipes`.")]


def run(
    recipe: Recipe,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Model of the rows that name none; repeatable.", rich_help_panel=MODEL),
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Engine of these rows.", rich_help_panel=MODEL)] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-O", help="KEY=VALUE, an option of that engine; repeatable.", rich_help_panel=MODEL),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Language models only answer the first N requests.", rich_help_panel=MODEL)
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="Data set to use instead of the recipe's.", rich_help_panel=DATA),
    ] = None,
    source: Annotated[Path | None, typer.Option(help="Read this instead of a download.", rich_help_panel=DATA)] = None,
    items: Annotated[
        Path | None, typer.Option(help="Table of items and titles, if the source has none.", rich_help_panel=DATA)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override the recipe with TABLE.KEY=VALUE, such as data.users=50; repeatable."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Only run rows whose names contain this or match it with * and ?, and what they need; repeatable."
        ),
    ] = None,
    continue_on_error: Annotated[
        bool, typer.Option("--continue-on-error", help="Run the other rows if one fails; the exit code is then 1.")
    ] = False,
    max_seconds: MaxSeconds = None,
    max_price: MaxPrice = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only print the rows, and the prompts and tokens of each.", rich_help_panel=OUTPUT
        ),
    ] = False,
    output: Annotated[
        Format,
        typer.Option("--format", help="Format of leaderboards; table or json for --dry-run.", rich_help_panel=OUTPUT),
    ] = Format.table,
    save: Annotated[
        Path | None, typer.Option(help="Save the leaderboard and the recipe to this file.", rich_help_panel=OUTPUT)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the leaderboard as a web page.", rich_help_panel=OUTPUT)
    ] = None,
    track_with: Track = None,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Run a whole study from a recipe: data, rows and leaderboard. Nothing that exists is made again."""
    with exit_codes():
        from llmrs_bench.exchange.trackers import check_tracker
        from llmrs_bench.stages.recipe import open_recipe
        from llmrs_bench.stages.study import chosen_rows

        changes = _changes(
            {
                "defaults": {
                    "model": model or None,
                    "engine": engine,
                    "options": pairs(option or []) or None,
                    "limit": limit,
                },
                "data": {"dataset": dataset, "source": _text(source), "items": _text(items)},
                "board": {"save": _text(save), "html": _text(html)},
            }
        )
        study = open_recipe(recipe, changes, set_ or [])
        rows = chosen_rows(study, only or [])
        _show_study(study, rows)
        outputs = {
            "[board] save" if save is None else "--save": save if only else study.board.save,
            "[board] html" if html is None else "--html": html if only else study.board.html,
        }
        written = {name: path for name, path in outputs.items() if path is not None}
        check_outputs(written, study.board.baseline, narrowed=bool(only))
        if dry_run:
            _forecast(home, study, rows, output)
            return
        if only:
            study = _without_files(study, save=save, html=html)
        if track_with is not None:
            check_tracker(track_with)
        from llmrs_bench.stages.run import run_study, same_runs

        made = run_study(
            home,
            study,
            rows,
            track_lines if len({server for row in rows for server in row.servers}) > 1 else track,
            say,
            continue_on_error=continue_on_error,
            budget=budget(max_seconds, max_price),
        )
        for name, other in same_runs(rows, made):
            warn(f"{name} sends the same prompts as {other}: the options in which they differ have no effect")
        failures = _show_boards(study, made, output, track_with)
        _show_judgements(study, made, output)
        for data in _limited(made):
            say(f"rows with --limit are left out; to see them: llmrs-bench compare -d {data} --allow-different users")
        _end(made, rows, failures)


def recipe_command(
    recipe: Annotated[str, typer.Argument(metavar="BOARD|RECIPE", help="A saved leaderboard, or a recipe.")],
    log: LogOption = Log.text,
) -> None:
    """Print the recipe of a saved leaderboard, or a built-in one."""
    with exit_codes():
        from llmrs_bench.stages.recipe_files import recipe_text

        show(recipe_text(recipe).rstrip("\n").split("\n"))


def _without_files(study: "Study", *, save: Path | None, html: Path | None) -> "Study":
    """Return a study that leaves the files of its whole board as they are; those that were typed are written."""
    kept = [path for path, typed in ((study.board.save, save), (study.board.html, html)) if path and typed is None]
    if kept:
        files = " and ".join(map(str, kept))
        warn(
            f"{files} of the whole study: not written, since --only leaves rows out; name others with --save and --html"
        )
    return replace(study, board=study.board.model_copy(update={"save": save, "html": html}))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _changes(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the tables without what was not typed."""
    found = {name: {key: value for key, value in table.items() if value is not None} for name, table in tables.items()}
    return {name: table for name, table in found.items() if table}


def _show_study(study: "Study", rows: Sequence["RowPlan"]) -> None:
    """Say what the recipe comes to."""
    say(f"recipe {study.name} ({study.digest}){': ' if study.about else ''}{study.about}")
    for plan in study.data:
        options = {} if plan.config is None else plan.config.model_dump(mode="json", exclude_unset=True)
        words = ", ".join(f"{key}={value}" for key, value in options.items() if key != "dataset")
        say(f"data {plan.reference}{': ' if words else ''}{words}")
    for row in rows:
        said = [f"{key}={_short(value)}" for key, value in row.values.items() if key != "model"]
        where = "" if row.tuned_on is None else f" of {row.tuned_on}"
        tuned = [] if row.tune is None else [f"tuned on {row.tune.samples} samples{where} by {row.tune.method}"]
        if row.tune is not None and (row.tune.options or row.tune.seed):
            tuned.append(_short({**row.tune.options, "seed": row.tune.seed}))
        on = [f"on {row.data}"] if len(study.data) > 1 else []
        made = str(row.values.get("model")) if row.fused is None else f"fusion of {' and '.join(row.fused.runs)}"
        made = made if row.judging is None else f"{made} judges {' and '.join(row.judging.runs)}"
        say(f"row {row.name}: {', '.join([made, *tuned, *said, *on])}")
    for name, other in study.repeated:
        warn(f"row {name} has the same options as {other}: it is left out")
    if study.limited:
        warn(f"a fusion needs runs without a limit on requests; left out: {', '.join(study.limited)}")


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + " ".join(f"{key}={each}" for key, each in value.items()) + "}"
    return str(value)


def _forecast(home: Path, study: "Study", rows: Sequence["RowPlan"], output: Format) -> None:
    """Print what each row would ask, and the sums; as a table or as JSON.

    Raises:
        OptionError: If another format is asked for.
    """
    from llmrs_bench.core.errors import OptionError
    from llmrs_bench.report.words import study_lines
    from llmrs_bench.stages.recipe_forecast import forecast_study

    if output not in (Format.table, Format.json):
        raise OptionError(f"--dry-run has no --format {output.value}", hint="Use table or json.")
    found = list(forecast_study(home, study, rows, track))
    where = "" if home == HERE else f" --home {shlex.quote(str(home))}"
    commands = list(dict.fromkeys(f"{each.command}{where}" for each in found if each.command))
    if output is Format.json:
        rows_asked = [
            {
                "row": each.row.name,
                "data": each.row.data,
                "asked": None if each.asked is None else each.asked.json(),
                "why": each.why or None,
            }
            for each in found
        ]
        show_json({"recipe": study.name, "digest": study.digest, "rows": rows_asked, "prepare_first": commands})
        return
    show(study_lines([(each.row.name, each.asked, each.why) for each in found]))
    if later := sum(each.later for each in found):
        say(f"the prompts of {later} of {len(found)} rows cannot be counted yet: these sums leave them out")
    if commands:
        left = sum(bool(each.command) for each in found)
        say(f"{left} of {len(found)} rows are not counted, since their data set is not prepared. To prepare it:")
        for command in commands:
            say(f"  {command}")


def _show_boards(study: "Study", made: "Made", output: Format, tracker: str | None) -> list[str]:
    """Print the boards, write and track what is to be, and return the verdicts that failed."""
    from llmrs_bench.stages.pages import save_page
    from llmrs_bench.stages.run import boards, save_study_board
    from llmrs_bench.stages.tracking import track_board

    failures: list[str] = []
    for board in boards(study, made):
        config, found = study.board.config, board.comparison.board
        curves = _show_board(study, made, board, output)
        if board.gate is not None:
            show_gate(found, board.gate, junit=None, as_json=None, summary=None)
            failures += [f"{verdict.row}: {verdict.rule}" for verdict in board.gate.failures]
        several = len([plan for plan in study.judged if plan.name in made.data]) > 1
        variant = board.data.place.root.name if several else None
        if (html := _named(study.board.html, variant)) is not None:
            size = save_page(html, board.data, found, config, requests=50, curves=curves, recipe=study.name)
            say(f"wrote: {html} ({size / 1e6:.2f} MB)")
        save = _named(study.board.save, variant)
        if save is not None and failures and study.board.baseline == str(save):
            warn(f"{save} is the baseline and stays as it is, for the gate failed")
            save = None  # what lies there is another board
        elif save is not None:
            save_study_board(study, board, save)
            say(f"saved: {save}")
        if tracker is not None:
            files = [path for path in (html, save) if path is not None and path.is_file()]
            place = track_board(tracker, board.data, found, curves=curves, study=study.text, files=files)
            say(f"tracked: {tracker}, {place}")
    if study.board.transfer:
        _show_transfer(study, made, output)
    return failures


def _show_judgements(study: "Study", made: "Made", output: Format) -> None:
    """Print what the rows that judged came to, where the format has it."""
    from llmrs_bench.report.explanations import judgement_lines, judgement_markdown
    from llmrs_bench.stages.run import judgements

    for (data, name), _, facts in judgements(study, made):
        label = name if len(study.data) == 1 else f"{name}, {data}"
        if output is Format.json:
            show_json({"row": label, **facts})
        elif output in (Format.table, Format.markdown):
            lines = judgement_markdown(facts) if output is Format.markdown else judgement_lines(facts)
            show(["", f"{label}:", "", *lines])
        else:
            warn(
                f"the verdicts of {label} have no format {output.value}, so they are left out; "
                "llmrs-bench judge prints them"
            )


def _show_transfer(study: "Study", made: "Made", output: Format) -> None:
    """Print what models were tuned on and asked on, where the rows that were run and the format have it."""
    from llmrs_bench.core.errors import OptionError
    from llmrs_bench.report.transfer import TRANSFER_FORMATS
    from llmrs_bench.stages.run import transferred

    if output is not Format.table and output.value not in TRANSFER_FORMATS:
        warn(f"the matrix of sources and targets has no format {output.value}, so it is left out")
        return
    try:
        print_transfer(transferred(study, made), output)
    except OptionError as error:
        if made.done == len(study.rows):
            raise
        warn(f"{error.message}; not all rows were run, so there is no matrix")


def _show_board(study: "Study", made: "Made", board: "StudyBoard", output: Format) -> "Curves | None":
    """Print curves, where the recipe asks for some and the rows that were run make them, else the board."""
    from llmrs_bench.core.errors import OptionError

    try:
        return show_made(board.comparison, study.board.over, study.board.config, output)
    except OptionError as error:
        whole = not study.limited and made.done == len(study.rows)
        if study.board.over is None or whole:
            raise
        warn(f"{error.message}; not all rows were run, so this is their board")
        return show_made(board.comparison, None, study.board.config, output)


def _limited(made: "Made") -> list[str]:
    """Return the data sets of which rows were asked a part alone."""
    from llmrs_bench.stages.workspace import limit_of

    limited = {at for (at, _), run in made.runs.items() if limit_of(run) is not None}
    return [data.place.reference for name, data in made.data.items() if name in limited and not data.labelled]


def _named(path: Path | None, variant: str | None) -> Path | None:
    """Return the file of a board; where there are several each has the name of its data in its own."""
    return path if path is None or variant is None else path.with_stem(f"{path.stem}-{variant}")


def _end(made: "Made", rows: Sequence["RowPlan"], failures: Sequence[str]) -> None:
    """Fail where rows did, the budget was spent, or the gate failed.

    Raises:
        BenchError: If that is so.
    """
    from llmrs_bench.core.errors import BenchError, GateError, listed

    if made.failed:
        faults = [BenchError(f"{name}: {error.message}", hint=error.hint) for (_, name), error in made.failed.items()]
        said, hint = listed(faults)
        raise BenchError(f"{len(made.failed)} of {len(rows)} rows failed: {said}", hint=hint)
    if made.stopped is not None:
        left = len(rows) - made.done
        raise type(made.stopped)(f"{made.stopped.message}; {left} of {len(rows)} rows are left", hint=made.stopped.hint)
    if failures:
        verdicts = f"{len(failures)} verdict{'s' if len(failures) > 1 else ''}"
        raise GateError(f"the gate failed: {verdicts}", hint="; ".join(failures))
