"""The command `compare`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrs_bench.cli.boards import (
    Chart,
    check_needs,
    check_outputs,
    check_over,
    draw_figure,
    save_made,
    show_gate,
    show_history,
    show_made,
    show_transfer,
    write_site,
)
from llmrs_bench.cli.console import exit_codes, say
from llmrs_bench.cli.options import GATE, HERE, METRICS, OUTPUT, Format, Home, Invalid, Log, LogOption, Names, Track
from llmrs_bench.core.costs import COST_NAMES
from llmrs_bench.core.errors import GateError, OptionError

if TYPE_CHECKING:
    from llmrs_bench.core.config import CompareConfig
    from llmrs_bench.leaderboard.curves import Curves
    from llmrs_bench.leaderboard.gate import Gate
    from llmrs_bench.stages.compare import Comparison
    from llmrs_bench.stages.workspace import Data

_RULES = (
    "Fail with exit code 3 if: 'ndcg@10 drops > 0.01 at p < 0.05', 'ndcg@10 drops > 2%', 'seconds rises > 20%', "
    "'ndcg@10 < 0.3', 'invalid > 5%', 'price_usd > 1'. Metrics of the board, coverage, answered, invalid, kinds of "
    f"responses, {', '.join(COST_NAMES)}; repeatable."
)


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
    protocol: Annotated[
        bool,
        typer.Option(
            "--protocol", help="Print the whole protocol below a leaderboard in the terminal.", rich_help_panel=OUTPUT
        ),
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Columns of --format latex, separated by commas, such as ndcg@10,seconds.",
            show_default="all metrics",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROW",
            help="Row of --format latex and --figure; repeatable.",
            show_default="all",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    text: Annotated[
        bool,
        typer.Option(
            "--text",
            help="Instead of the leaderboard, print a draft of the methods paragraph, with the source of each number.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    figure: Annotated[
        Path | None,
        typer.Option(help="Write a chart as wide as a column of text, as .pdf, .svg or .png.", rich_help_panel=OUTPUT),
    ] = None,
    chart: Annotated[
        Chart | None,
        typer.Option(
            help="What --figure draws: differences with intervals, means, quality against cost, means in the groups "
            "of --by, position bias by slots, kinds of answers, or the reliability of click probabilities.",
            show_default="differences; with --over and --over-time the curves",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Also print a leaderboard for each group of requests, by history, activity, popularity, "
            "cold-user, cold-item, category, window, known, slot, year, recalled, recalled:MODEL, warm:N, "
            "released:YYYY or released:MODEL.",
            rich_help_panel=METRICS,
        ),
    ] = None,
    over: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="Instead of the leaderboard, print metrics as curves over a number that differs between runs, "
            "such as samples, rank, dropout, history, train-fraction or budget; over cold-users, for how many events "
            "of new users are known.",
            rich_help_panel=METRICS,
        ),
    ] = None,
    over_time: Annotated[
        bool,
        typer.Option(
            "--over-time",
            help="Instead of the leaderboard, print the metrics of each row in each window of time, the slope of each "
            "row with a test, and where curves cross.",
            rich_help_panel=METRICS,
        ),
    ] = False,
    transfer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATASET",
            help="Instead of the leaderboard, print how models that learned from --dataset or from these data sets, by "
            "tuning or from examples in the prompt, perform on each of them; repeatable.",
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
    published_table: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            help="Also show one published table, such as table-4, or 2401.04997/table-4 where several papers have one.",
            rich_help_panel=METRICS,
        ),
    ] = None,
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
    site: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the boards of all prepared data sets to a folder, as a site with an index, trends and filters.",
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
            help="Correction of p-values, over the primary pairs and over all others: holm, bh or none.",
            rich_help_panel=METRICS,
        ),
    ] = "holm",
    primary: Annotated[
        list[str] | None,
        typer.Option(
            help="Metric of the primary comparisons; repeatable. The first one orders the rows.",
            show_default="ndcg@10",
            rich_help_panel=METRICS,
        ),
    ] = None,
    main: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROW",
            help="Row that the primary comparisons are about; repeatable.",
            show_default="each language model",
            rich_help_panel=METRICS,
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROW",
            help="Row that these are compared with, such as sasrec; repeatable. P-values of primary comparisons are "
            "corrected apart from all others.",
            show_default="each other model",
            rich_help_panel=METRICS,
        ),
    ] = None,
    permutations: Annotated[
        int | None,
        typer.Option(
            min=100,
            help="Number of permutations of the paired tests.",
            show_default="25 per test, 1,000 per primary one, at least 10,000",
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
    track_with: Track = None,
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
            "published_table": published_table,
            "null": null,
            "seed": seed,
            "allow_different": tuple(allow_different or ()),
            "primary": tuple(primary or ()),
            "main": tuple(main or ()),
            "against": tuple(against or ()),
        }
        config = CompareConfig.parse_flags(values, command="compare")
        over = _axis(over, over_time=over_time)
        given: dict[str, object] = {
            **{"--dataset": dataset, "--run": run, "--baseline": baseline, "--save": save, "--fail-if": fail_if},
            **{"--allow-missing": allow_missing, "--by": by, "--over-time" if over_time else "--over": over},
            **{"--transfer": transfer, "--published": published, "--null": null, "--junit": junit},
            "--published-table": published_table,
            **{"--gate-json": gate_json, "--summary": summary, "--html": html, "--primary": primary, "--main": main},
            **{"--against": against, "--columns": columns, "--rows": rows, "--text": text, "--figure": figure},
            **{"--chart": chart, "--protocol": protocol, "--track": track_with},
        }
        if history:
            show_history(
                files or [], output, config, [name for name, value in {**given, "--site": site}.items() if value]
            )
            return
        if site is not None:
            more = {"--metrics": metrics, "FILE": files, "--allow-different": allow_different}
            idle = [name for name, value in {**given, **more, "--format": output is not Format.table}.items() if value]
            write_site(home, site, config, 50 if html_requests is None else html_requests, idle)
            return
        if dataset is None or files:
            said = f"{files[0]}: files are read with --history" if files else "compare needs a data set"
            typed = files[0] if files and files[0].suffix != ".parquet" else "NAME"
            add = f"Add --dataset {typed}" if dataset is None else f"Choose runs with --run {typed}"
            raise OptionError(said, hint=f"{add}, or write: llmrs-bench compare --history FILE FILE...")
        if transfer:
            read = ("--dataset", "--transfer", "--junit", "--gate-json", "--allow-missing")
            idle = [name for name, value in given.items() if value and name not in read]
            show_transfer(home, [dataset, *transfer], config, output, idle)
            return
        check_needs(
            (
                (bool(junit or gate_json), "--junit and --gate-json have", "--fail-if RULE", bool(fail_if)),
                (allow_missing, "--allow-missing has", "--fail-if RULE", bool(fail_if)),
                (html_requests is not None, "--html-requests has", "--html FILE", html is not None),
                (chart is not None, "--chart has", "--figure FILE", figure is not None),
                (chart is Chart.groups, "--chart groups has", "--by GROUPS", by is not None),
                (columns is not None, "--columns has", "--format latex", output is Format.latex and not text),
                (bool(rows), "--rows has", "--format latex or --figure", output is Format.latex or figure is not None),
                (protocol, "--protocol has", "a board in the terminal", output is Format.table and not (over or text)),
                (text, "--text has", "a board in the terminal", output is Format.table),
            )
        )
        _check_tracker(track_with)
        printed = published or published_table
        check_over(over, html, {"--by": by, "--text": text, "--published": printed, "--null": null})
        written = {"--junit": junit, "--gate-json": gate_json, "--summary": summary, "--save": save, "--html": html}
        check_outputs(
            {option: path for option, path in {**written, "--figure": figure}.items() if path is not None},
            baseline,
            narrowed=bool(run),
        )
        from llmrs_bench.stages.workspace import open_data

        data = open_data(home, dataset)
        judged = baseline is not None or bool(fail_if) or summary is not None
        made, gate = _made(data, run or [], config, judged, baseline, fail_if or [], allow_missing)
        if text:
            from llmrs_bench.stages.methods import methods_text

            typer.echo(methods_text(data, made, config))
        curves = None if text else show_made(made, over, config, output, protocol=protocol, columns=columns, rows=rows)
        if figure is not None:
            draw_figure(data, made.board, figure, chart, rows, curves, config)
        if gate is not None:
            show_gate(made.board, gate, junit=junit, as_json=gate_json, summary=summary, html=html)
        if html is not None:
            _write_page(html, data, made, config, 50 if html_requests is None else html_requests, curves)
        failures = gate.failures if gate is not None else ()
        if save is not None:
            save_made(data, made, config, save, baseline if failures else None)
        _track(track_with, data, made, curves, [html, None if failures and str(save) == baseline else save])
        if gate is not None and failures:
            raise GateError(
                f"the gate failed: {len(failures)} of {len(gate.verdicts)} verdicts",
                hint="; ".join(f"{verdict.row}: {verdict.rule}" for verdict in failures),
            )


def _made(
    data: "Data",
    names: Sequence[str],
    config: "CompareConfig",
    judged: bool,
    baseline: str | None,
    rules: Sequence[str],
    allow_missing: bool,
) -> "tuple[Comparison, Gate | None]":
    """Return the board, and the gate where one judges it."""
    if not judged:
        from llmrs_bench.stages.boards import build

        return build(data, names, config), None
    from llmrs_bench.stages.gate import gated

    return gated(data, names, config, baseline=baseline, rules=rules, allow_missing=allow_missing)


def _write_page(
    path: Path, data: "Data", made: "Comparison", config: "CompareConfig", requests: int, curves: "Curves | None"
) -> None:
    from llmrs_bench.stages.pages import save_page

    size = save_page(path, data, made.board, config, requests=requests, curves=curves)
    say(f"wrote: {path} ({size / 1e6:.2f} MB)")


def _check_tracker(name: str | None) -> None:
    if name is not None:
        from llmrs_bench.exchange.trackers import check_tracker

        check_tracker(name)


def _track(
    tracker: str | None, data: "Data", made: "Comparison", curves: "Curves | None", files: Sequence[Path | None]
) -> None:
    """Log a board with a tracker, if one is named, with those of its files that were written."""
    if tracker is not None:
        from llmrs_bench.stages.tracking import track_board

        written = [path for path in files if path is not None]
        say(f"tracked: {tracker}, {track_board(tracker, data, made.board, curves=curves, files=written)}")


def _axis(over: str | None, *, over_time: bool) -> str | None:
    """Return what curves are drawn over: a number that runs differ in, `time`, or nothing."""
    if over is not None and over_time:
        raise OptionError(
            "--over draws curves over a number that runs differ in, --over-time over the windows of requests",
            hint="Leave one of them out.",
        )
    return "time" if over_time else over
