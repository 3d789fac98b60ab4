"""What `compare` and `run` print and write of a board."""

import os
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from llmrs_bench.cli.console import say, stdout, warn
from llmrs_bench.cli.options import Format
from llmrs_bench.core.errors import OptionError

if TYPE_CHECKING:
    from llmrs_bench.core.config import CompareConfig
    from llmrs_bench.leaderboard.board import Board
    from llmrs_bench.leaderboard.curves import Curves
    from llmrs_bench.leaderboard.gate import Gate
    from llmrs_bench.leaderboard.transfer import Transfer
    from llmrs_bench.stages.compare import Comparison
    from llmrs_bench.stages.workspace import Data


class Chart(StrEnum):
    """What a figure draws."""

    differences = "differences"
    means = "means"
    cost = "cost"
    groups = "groups"
    slots = "slots"
    answers = "answers"
    reliability = "reliability"


# What writes a file of another ending than that of a saved board.
_OTHERS = {
    ".json": "--format json > {}",
    ".csv": "--format csv > {}",
    ".md": "--format markdown > {}",
    ".markdown": "--format markdown > {}",
    ".tex": "--format latex > {}",
    ".txt": "> {}",
    ".html": "--html {}",
    ".htm": "--html {}",
    ".xml": "--junit {}",
}


def check_over(over: str | None, html: Path | None, given: Mapping[str, object]) -> None:
    """Refuse what curves do not show; a page shows the board as well."""
    curves = "--over-time" if over == "time" else "--over"
    for name, does in (("--by", "makes a board for each group of requests"), ("--text", "describes the board")):
        if over is not None and given[name]:
            raise OptionError(f"{curves} draws curves, {name} {does}", hint="Leave one of them out.")
    for name, value in given.items():
        if over is not None and value and html is None:
            raise OptionError(
                f"{curves} shows curves instead of the board, so {name} has no effect",
                hint="Leave it out, or add --html FILE: a page holds both.",
            )


def check_needs(needs: Iterable[tuple[bool, str, str, bool]]) -> None:
    """Refuse options without what they need: whether it is given, its name and verb, what it needs, whether that is."""
    for given, has, needed, there in needs:
        if given and not there:
            raise OptionError(f"{has} no effect without {needed}", hint=f"Leave it out, or ask for {needed}.")


def show_made(
    made: "Comparison",
    over: str | None,
    config: "CompareConfig",
    output: Format,
    *,
    protocol: bool = False,
    columns: str | None = None,
    rows: Sequence[str] | None = None,
) -> "Curves | None":
    """Print the board, or instead of it curves over a number, and return these."""
    if over is None:
        _show_board(made.board, output, protocol=protocol, columns=columns, rows=rows or ())
        return None
    from llmrs_bench.report.curves import CURVE_FORMATS, curves_table
    from llmrs_bench.stages.compare import draw_curves

    curves = draw_curves(made, over, config)
    if output is Format.table:
        stdout.print(curves_table(curves, stdout.width))
        return curves
    typer.echo(CURVE_FORMATS[output.value](curves))
    for note in curves.notes:
        warn(note)
    return curves


def draw_figure(
    data: "Data",
    board: "Board",
    path: Path,
    chart: Chart | None,
    rows: Sequence[str] | None,
    curves: "Curves | None",
    config: "CompareConfig",
) -> None:
    """Write a chart of a board, or of some of its rows; of curves these, unless a chart is asked for."""
    from llmrs_bench.report.figure import save_curves, save_figure
    from llmrs_bench.report.latex import chosen_runs
    from llmrs_bench.stages.pages import position_biases

    if curves is not None and chart is None:
        if rows:
            raise OptionError("--rows has no effect on curves", hint="Leave it out, or choose rows with --run.")
        save_curves(curves, path)
        say(f"wrote: {path}")
        return
    chart, runs = chart or Chart.differences, tuple(chosen_runs(board, rows)) if rows else ()
    biases = position_biases(data, board, config.invalid) if chart is Chart.slots else {}
    front = save_figure(board, path, chart.value, runs, biases)
    more = "" if rows else "; --rows chooses others"
    say(f"wrote: {path}" + (f" ({front}{more})" if front else ""))


def save_made(data: "Data", made: "Comparison", config: "CompareConfig", path: Path, failed: str | None) -> None:
    """Save a board; not in the place of the baseline `failed`, against which the gate failed."""
    if failed is not None and path.resolve() == Path(failed).resolve():
        warn(f"{path} is the baseline and stays as it is, for the gate failed")
        return
    from llmrs_bench.stages.boards import to_save

    to_save(data, made, config).write(path)
    say(f"saved: {path}")


def check_outputs(outputs: Mapping[str, Path], baseline: str | None, *, narrowed: bool) -> None:
    """Refuse files that cannot be written or would replace each other or the baseline, before anything is computed."""
    taken = {} if baseline is None or not Path(baseline).is_file() else {Path(baseline).resolve(): "--baseline"}
    for option, path in outputs.items():
        if option.endswith("save") and (instead := _OTHERS.get(path.suffix.lower())):
            raise OptionError(
                f"--save {path}: a saved board is a Parquet file, for --baseline and --history",
                hint=f"Name it {path.with_suffix('.parquet')}; for a file that ends in {path.suffix} write "
                f"`{instead.format(path)}`.",
            )
        if os.path.islink(os.path.realpath(path)):
            raise OptionError(f"{option} {path} is a link that leads in circles", hint="Name another file.")
        if path.is_dir():
            raise OptionError(f"{option} {path} is a folder", hint="Name a file in it.")
        if not path.absolute().parent.is_dir():
            raise OptionError(
                f"{option} {path}: there is no folder {path.parent}", hint="Make it, or name another file."
            )
        place = path.resolve()
        if narrowed and option == "--save" and taken.get(place) == "--baseline":
            raise OptionError(
                f"--save {path} is the baseline, and --run would leave its other rows out",
                hint="Save to another file, or leave out --run.",
            )
        plain = path.is_file() or not path.exists()  # what is no file takes several outputs
        if plain and place in taken and (option, taken[place]) != ("--save", "--baseline"):
            raise OptionError(f"{option} {path} is the file of {taken[place]}, too", hint="Name another file.")
        taken.setdefault(place, option)


def page_link(html: Path | None) -> str:
    """Return where a page will be: in a workflow of GitHub the address of the run, else the file's name."""
    if html is None:
        return ""
    server, repository, run = (os.environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    return f"{server}/{repository}/actions/runs/{run}#artifacts" if server and repository and run else html.name


def show_gate(
    board: "Board",
    gate: "Gate",
    *,
    junit: Path | None,
    as_json: Path | None,
    summary: Path | None,
    html: Path | None = None,
) -> None:
    """Say what the gate says, and write it into files; `html` is where the page will be."""
    from llmrs_bench.report.gate import gate_json, gate_lines, to_junit, to_summary

    for line in gate_lines(gate):
        say(line)
    for note in gate.notes:
        warn(note)
    _write(junit, to_junit(board, gate))
    _write(as_json, gate_json(gate))
    _write(summary, to_summary(board, gate, page_link(html)), append=True)


def _write(path: Path | None, text: str, *, append: bool = False) -> None:
    from llmrs_bench.core.tables import atomic_write

    if path is not None:
        before = path.read_bytes() if append and path.is_file() else b""
        atomic_write(path, before + text.encode())


def _show_board(board: "Board", output: Format, *, protocol: bool, columns: str | None, rows: Sequence[str]) -> None:
    from llmrs_bench.report.formats import FORMATS
    from llmrs_bench.report.latex import to_latex
    from llmrs_bench.report.terminal import to_table

    if output is Format.table:
        stdout.print(to_table(board, stdout.width, protocol=protocol))
        return
    if output is Format.latex:
        chosen = () if columns is None else tuple(name.strip() for name in columns.split(","))
        typer.echo(to_latex(board, columns=chosen, rows=rows))
    else:
        typer.echo(FORMATS[output](board))
    for note in board.notes:
        warn(note)


def show_history(files: list[Path], output: Format, config: "CompareConfig", given: list[str]) -> None:
    """Print how the rows of saved boards changed; `given` are options that have no effect on it."""
    from llmrs_bench.leaderboard.saved import read_board
    from llmrs_bench.leaderboard.trends import build_history
    from llmrs_bench.report.gate import HISTORY_FORMATS, history_table

    if given:
        raise OptionError(f"--history reads saved boards, so {given[0]} has no effect", hint="Leave it out.")
    if not files:
        raise OptionError("--history needs saved boards", hint="Write: llmrs-bench compare --history FILE FILE...")
    if output is not Format.table and output.value not in HISTORY_FORMATS:
        raise OptionError(
            f"--history has no format {output.value}", hint=f"It has {', '.join(HISTORY_FORMATS)}, table."
        )
    boards = [(str(path), read_board(path)) for path in files]
    found = build_history(boards, config.metrics, allowed=config.allow_different, seed=config.seed)
    if output is Format.table:
        stdout.print(history_table(found))
        return
    typer.echo(HISTORY_FORMATS[output.value](found))
    for note in found.notes:
        warn(note)


def write_site(home: Path, folder: Path, config: "CompareConfig", requests: int, given: list[str]) -> None:
    """Write the boards of all data sets as a site; `given` are options that have no effect on it."""
    from llmrs_bench.stages.site import save_site

    if given:
        alone = "the site has a page for each data set. For one page alone: compare --dataset NAME --html FILE."
        raise OptionError(
            f"--site shows the boards of all data sets as they are, so {' and '.join(given)} would have no effect",
            hint=f"Leave it out: {alone}" if {"--dataset", "--html"} & {*given} else "Leave it out.",
        )
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"--site {folder} is a file", hint="Name a folder.")
    done = save_site(home, folder, config, requests=requests)
    say(f"wrote: {done.index} ({done.boards} {'board' if done.boards == 1 else 'boards'})")


def show_transfer(home: Path, datasets: list[str], config: "CompareConfig", output: Format, given: list[str]) -> None:
    """Print the matrix of what models were tuned on and tested on; refuse what it does not read."""
    from llmrs_bench.report.transfer import TRANSFER_FORMATS
    from llmrs_bench.stages.transfer import transfer
    from llmrs_bench.stages.workspace import open_data

    if given:
        raise OptionError(f"--transfer shows several data sets, so {given[0]} has no effect", hint="Leave it out.")
    if output is not Format.table and output.value not in TRANSFER_FORMATS:
        raise OptionError(
            f"--transfer has no format {output.value}", hint=f"It has {', '.join(TRANSFER_FORMATS)}, table."
        )
    print_transfer(transfer([open_data(home, name) for name in datasets], config), output)


def print_transfer(found: "Transfer", output: Format) -> None:
    """Print a matrix of what models were tuned on and tested on, in a format that it has."""
    from llmrs_bench.report.transfer import TRANSFER_FORMATS, transfer_table

    if output is Format.table:
        stdout.print(transfer_table(found))
        return
    typer.echo(TRANSFER_FORMATS[output.value](found))
    for note in found.notes:
        warn(note)
