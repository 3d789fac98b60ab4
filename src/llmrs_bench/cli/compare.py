"""The command `compare`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrs_bench.cli.console import exit_codes, say, stdout, warn
from llmrs_bench.cli.options import GATE, HERE, METRICS, OUTPUT, Format, Home, Invalid, Log, LogOption, Names
from llmrs_bench.core.costs import COST_NAMES
from llmrs_bench.core.errors import GateError, OptionError

if TYPE_CHECKING:
    from llmrs_bench.core.config import CompareConfig
    from llmrs_bench.leaderboard.board import Board
    from llmrs_bench.leaderboard.curves import Curves
    from llmrs_bench.leaderboard.gate import Gate
    from llmrs_bench.stages.compare import Comparison

_RULES = (
    "Fail with exit code 3 if: 'ndcg@10 drops > 0.01 at p < 0.05', 'ndcg@10 drops > 2%', 'seconds rises > 20%', "
    "'ndcg@10 < 0.3', 'invalid > 5%', 'price_usd > 1'. Metrics of the board, coverage, answered, invalid, kinds of "
    f"responses, {', '.join(COST_NAMES)}; repeatable."
)
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


def compare(
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="NAME, or NAME@VARIANT; not needed with --history.")
    ] = None,
    files: Annotated[
        list[Path] | None, typer.Argument(help="With --history: saved boards.", show_default=False)
    ] = None,
    run: Names = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Metrics to show, separated by commas.",
            show_default="hit@1,ndcg@10,hit@10,mrr or mrr@10; for clicks auc,uauc and others",
            rich_help_panel=METRICS,
        ),
    ] = None,
    output: Annotated[
        Format, typer.Option("--format", help="Format of the leaderboard.", rich_help_panel=OUTPUT)
    ] = Format.table,
    by: Annotated[
        str | None,
        typer.Option(
            help="Also print a leaderboard for each group of requests, by history, activity, popularity, "
            "cold-user, cold-item, category, window, known, slot, year, warm:N or released:YYYY.",
            rich_help_panel=METRICS,
        ),
    ] = None,
    over: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="Instead of the leaderboard, print metrics as curves over a number that differs between runs, "
            "such as samples, rank, dropout, history or train-fraction.",
            rich_help_panel=METRICS,
        ),
    ] = None,
    invalid: Invalid = "expected",
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Also show published results for this data set, separately and without tests.",
            rich_help_panel=METRICS,
        ),
    ] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="A run of this data set or a saved leaderboard, with which each row is compared.", rich_help_panel=GATE
        ),
    ] = None,
    fail_if: Annotated[list[str] | None, typer.Option(help=_RULES, rich_help_panel=GATE)] = None,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing",
            help="Do not fail for rows that are damaged, or missing here or in the saved baseline.",
            rich_help_panel=GATE,
        ),
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(help="Save the leaderboard to this file, for --baseline and --history.", rich_help_panel=OUTPUT),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the verdicts as JUnit XML.", rich_help_panel=GATE)] = None,
    gate_json: Annotated[
        Path | None, typer.Option(help="Write the verdicts and changes as JSON.", rich_help_panel=GATE)
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            help="Append verdicts and leaderboard as Markdown to this file, such as $GITHUB_STEP_SUMMARY.",
            rich_help_panel=GATE,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write leaderboard, charts and sampled requests as one self-contained web page.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    html_requests: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=100_000,
            help="Number of requests to sample for --html.",
            show_default="50",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    history: Annotated[
        bool,
        typer.Option(
            "--history", help="Print how the rows of saved leaderboards changed over time.", rich_help_panel=GATE
        ),
    ] = False,
    allow_different: Annotated[
        list[str] | None,
        typer.Option(
            help="Let runs differ in data, split, users, candidates, tie-rule or metric-definition; repeatable.",
            rich_help_panel=METRICS,
        ),
    ] = None,
    correction: Annotated[
        str,
        typer.Option(
            help="Correction of the p-values of all pairs of rows: holm, bh or none.", rich_help_panel=METRICS
        ),
    ] = "holm",
    permutations: Annotated[
        int | None,
        typer.Option(
            min=100,
            help="Number of permutations of the paired tests.",
            show_default="25 per test, at least 10,000",
            rich_help_panel=METRICS,
        ),
    ] = None,
    null: Annotated[
        int,
        typer.Option(
            min=0,
            help="For clicks: also show the uauc of each row under N random permutations of the labels of each user.",
            rich_help_panel=METRICS,
        ),
    ] = 0,
    samples: Annotated[
        int, typer.Option(min=100, help="Number of bootstrap resamples.", rich_help_panel=METRICS)
    ] = 2000,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**63 - 1, help="Seed of the bootstrap and the permutations.", rich_help_panel=METRICS),
    ] = 0,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Print the leaderboard of a data set, with confidence intervals and paired tests.

    Runs that were not evaluated are evaluated first.
    """
    with exit_codes():
        from llmrs_bench.core.config import CompareConfig

        values = {
            "metrics": tuple(metrics.split(",")) if metrics is not None else None,
            "samples": samples,
            "permutations": permutations,
            "correction": correction,
            "by": by,
            "invalid": invalid,
            "published": published,
            "null": null,
            "seed": seed,
            "allow_different": tuple(allow_different or ()),
        }
        config = CompareConfig.parse_flags(values, command="compare")
        if history:
            given: dict[str, object] = {
                "--dataset": dataset,
                "--run": run,
                "--baseline": baseline,
                "--save": save,
                "--fail-if": fail_if,
                "--allow-missing": allow_missing,
            }
            given |= {
                "--by": by,
                "--over": over,
                "--published": published,
                "--null": null,
                "--junit": junit,
                "--gate-json": gate_json,
                "--summary": summary,
                "--html": html,
            }
            _show_history(files or [], output, config, [name for name, value in given.items() if value])
            return
        if dataset is None or files:
            said = f"{files[0]}: files are read with --history" if files else "compare needs a data set"
            raise OptionError(said, hint="Add --dataset NAME, or write: llmrs-bench compare --history FILE FILE...")
        if (junit or gate_json) and not fail_if:
            raise OptionError("--junit and --gate-json have no effect without --fail-if", hint="Add --fail-if RULE.")
        if allow_missing and not fail_if:
            raise OptionError("--allow-missing has no effect without --fail-if", hint="Add --fail-if RULE.")
        if html_requests is not None and html is None:
            raise OptionError("--html-requests has no effect without --html", hint="Add --html FILE.")
        _check_over(over, html, {"--by": by, "--published": published, "--null": null})
        outputs = {"--junit": junit, "--gate-json": gate_json, "--summary": summary, "--save": save, "--html": html}
        check_outputs(
            {option: path for option, path in outputs.items() if path is not None}, baseline, narrowed=bool(run)
        )
        from llmrs_bench.stages.gate import build, gated
        from llmrs_bench.stages.workspace import open_data

        data, gate = open_data(home, dataset), None
        if baseline is None and not fail_if and summary is None:
            made = build(data, run or [], config)
        else:
            rules = fail_if or []
            made, gate = gated(data, run or [], config, baseline=baseline, rules=rules, allow_missing=allow_missing)
        curves = show_made(made, over, config, output)
        if gate is not None:
            show_gate(made.board, gate, junit=junit, as_json=gate_json, summary=summary)
        if html is not None:
            from llmrs_bench.stages.pages import save_page

            count = 50 if html_requests is None else html_requests
            size = save_page(html, data, made.board, config, requests=count, curves=curves)
            say(f"wrote: {html} ({size / 1e6:.2f} MB)")
        failures = gate.failures if gate is not None else ()
        if save is not None and failures and baseline is not None and save.resolve() == Path(baseline).resolve():
            warn(f"{save} is the baseline and stays as it is, for the gate failed")
        elif save is not None:
            from llmrs_bench.stages.gate import to_save

            to_save(data, made, config).write(save)
            say(f"saved: {save}")
        if gate is not None and failures:
            raise GateError(
                f"the gate failed: {len(failures)} of {len(gate.verdicts)} verdicts",
                hint="; ".join(f"{verdict.row}: {verdict.rule}" for verdict in failures),
            )


def _check_over(over: str | None, html: Path | None, given: Mapping[str, object]) -> None:
    """Refuse what curves do not show; a page shows the board as well."""
    if over is not None and given["--by"]:
        raise OptionError(
            "--over draws curves over a number that runs differ in, --by makes a board for each group of requests",
            hint="Leave one of them out.",
        )
    for name, value in given.items():
        if over is not None and value and html is None:
            raise OptionError(
                f"--over shows curves instead of the board, so {name} has no effect",
                hint="Leave it out, or add --html FILE: a page holds both.",
            )


def show_made(made: "Comparison", over: str | None, config: "CompareConfig", output: Format) -> "Curves | None":
    """Print the board, or instead of it curves over a number, and return these."""
    if over is None:
        _show_board(made.board, output)
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


def check_outputs(outputs: Mapping[str, Path], baseline: str | None, *, narrowed: bool) -> None:
    """Refuse files that cannot be written or would replace each other or the baseline, before anything is computed."""
    taken = {} if baseline is None or not Path(baseline).is_file() else {Path(baseline).resolve(): "--baseline"}
    for option, path in outputs.items():
        if option == "--save" and (instead := _OTHERS.get(path.suffix.lower())):
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


def show_gate(board: "Board", gate: "Gate", *, junit: Path | None, as_json: Path | None, summary: Path | None) -> None:
    """Say what the gate says, and write it into files."""
    from llmrs_bench.report.gate import gate_json, gate_lines, to_junit, to_summary

    for line in gate_lines(gate):
        say(line)
    for note in gate.notes:
        warn(note)
    _write(junit, to_junit(board, gate))
    _write(as_json, gate_json(gate))
    _write(summary, to_summary(board, gate), append=True)


def _write(path: Path | None, text: str, *, append: bool = False) -> None:
    from llmrs_bench.core.tables import atomic_write

    if path is not None:
        before = path.read_bytes() if append and path.is_file() else b""
        atomic_write(path, before + text.encode())


def _show_board(board: "Board", output: Format) -> None:
    from llmrs_bench.report.formats import FORMATS
    from llmrs_bench.report.terminal import to_table

    if output is Format.table:
        stdout.print(to_table(board, stdout.width))
        return
    typer.echo(FORMATS[output](board))
    for note in board.notes:
        warn(note)


def _show_history(files: list[Path], output: Format, config: "CompareConfig", given: list[str]) -> None:
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
