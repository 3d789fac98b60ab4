"""The Python interface: a function for each command of the main path, with the same options, artifacts and errors.

`home` is everywhere the folder of all artifacts; None means that of `LLMRS_BENCH_HOME`, or `./bench`. A data set is
named as on the command line, or given as `prepare` returned it. Nothing is printed unless `progress` is set; what a
command says beside its result goes to the logger `llmrs_bench`. All functions raise `BenchError`s.
"""

import io
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from llmrs_bench.core.config import (
    PROTOCOLS,
    CompareConfig,
    EvaluateConfig,
    Invalid,
    Normalize,
    PrepareConfig,
)
from llmrs_bench.core.errors import BenchError, OptionError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.types import Progress, no_progress
from llmrs_bench.stages.workspace import Data, Reference, is_unprepared, open_data

if TYPE_CHECKING:
    from llmrs_bench.core.artifacts import Artifact, StageResult
    from llmrs_bench.leaderboard import Board
    from llmrs_bench.leaderboard.gate import Gate
    from llmrs_bench.stages.compare import Comparison

log = logging.getLogger(__name__)
logging.getLogger("llmrs_bench").addHandler(logging.NullHandler())

Place = str | Path | None


@dataclass(frozen=True, slots=True, repr=False)
class Prepared:
    """A prepared data set.

    Args:
        data: Its tables and options.
    """

    data: Data

    def __repr__(self) -> str:
        return f"<Prepared {self.name}>"

    @property
    def name(self) -> str:
        """What to give as `dataset`."""
        return self.data.place.reference

    @property
    def facts(self) -> Mapping[str, Any]:
        """What was counted and found."""
        return self.data.artifact.facts

    def items(self) -> pl.DataFrame:
        """Return the items: item_id, title, text, year, categories."""
        return self.data.artifact.table("items")

    def interactions(self) -> pl.DataFrame:
        """Return the events that models may learn from: user_id, item_id, timestamp, rating, part."""
        return self.data.artifact.table("interactions")

    def requests(self) -> pl.DataFrame:
        """Return what is to be ranked: request_id, user_id, part, cutoff, history, candidates."""
        return self.data.artifact.table("requests")


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """What a model answered to the requests of a data set.

    Args:
        data: The data set.
        artifact: The run.
    """

    data: Data
    artifact: "Artifact"

    def __repr__(self) -> str:
        return f"<Run {self.name} of {self.data.place.reference}>"

    @property
    def name(self) -> str:
        """Its name on boards and in lists."""
        return self.artifact.path.name

    @property
    def facts(self) -> Mapping[str, Any]:
        """Costs, kinds of answers, warnings."""
        return self.artifact.facts

    def rankings(self) -> pl.DataFrame:
        """Return all candidates by rank: request_id, item_id, rank, score."""
        return self.artifact.table("rankings")

    def responses(self) -> pl.DataFrame:
        """Return what a language model wrote or scored, one row a prompt.

        Raises:
            OptionError: If no language model was asked.
        """
        if "responses" not in self.artifact.manifest.tables:
            raise OptionError(f"run {self.name} is of no language model", hint="It has rankings().")
        return self.artifact.table("responses")

    def metrics(self, *names: str, invalid: Invalid = "expected") -> pl.DataFrame:
        """Return the usual metrics and those of `names`, request by request; what is missing is measured.

        Returns:
            Rows (request_id, metric, value); of click data the evaluated rows, in the schema `clicks`.

        Raises:
            OptionError: If a metric is unknown or cannot be measured.
        """
        from llmrs_bench.metrics import parse_metrics
        from llmrs_bench.stages.evaluate import measured
        from llmrs_bench.stages.evaluate_clicks import measured_clicks

        if self.data.task == "click":
            return measured_clicks(self.data, self.artifact, invalid).table
        return measured(self.data, self.artifact, parse_metrics(names) if names else [], invalid).metrics


@dataclass(frozen=True, slots=True, repr=False)
class Leaderboard:
    """A leaderboard; in a notebook it is shown as in a terminal.

    Args:
        comparison: The board and the values behind it.
        data: The data set.
        config: What was asked for.
        gate: Verdicts, where there were rules or a baseline.
    """

    comparison: "Comparison"
    data: Data
    config: CompareConfig
    gate: "Gate | None" = None

    @property
    def board(self) -> "Board":
        """The board."""
        return self.comparison.board

    def rows(self) -> pl.DataFrame:
        """Return one row a run: means, bounds of intervals, p-values against the best, costs, as `--format csv`."""
        return pl.read_csv(io.StringIO(self.text("csv")), infer_schema_length=None)

    def text(self, format: Literal["table", "markdown", "csv", "json", "latex"] = "table", *, width: int = 120) -> str:
        """Return the board as `compare --format` prints it; a table is `width` characters wide."""
        from rich.console import Console

        from llmrs_bench.report.formats import FORMATS
        from llmrs_bench.report.terminal import to_table

        if format != "table":
            return FORMATS[format](self.board)
        console = Console(file=io.StringIO(), width=width, highlight=False, emoji=False)
        with console.capture() as captured:
            console.print(to_table(self.board, width))
        return captured.get()

    def save(self, path: str | Path) -> None:
        """Write a file for `baseline` and `compare --history`, or, if its name ends in .html, the page."""
        from llmrs_bench.stages.gate import to_save
        from llmrs_bench.stages.pages import save_page

        if Path(path).suffix.lower() in (".html", ".htm"):
            save_page(Path(path), self.data, self.board, self.config, requests=50)
        else:
            to_save(self.data, self.comparison, self.config).write(Path(path))

    def __repr__(self) -> str:
        return f"<Leaderboard of {self.data.place.reference}>"

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        from html import escape

        return f'<pre style="line-height: 1.2">{escape(self.text())}</pre>'


def prepare(
    dataset: str,
    *,
    source: str | Path | None = None,
    items: str | Path | None = None,
    mapping: str | Path | None = None,
    format: str | None = None,
    protocol: str = "default",
    accept_new: bool = False,
    home: Place = None,
    progress: bool = False,
    **options: Any,
) -> Prepared:
    """Prepare a data set, unless that was done before.

    Args:
        dataset: NAME, or NAME@VARIANT.
        source: What to read instead of a download.
        items: Table of items and titles, if not in the source.
        mapping: File that says how the source is read.
        format: How the source is laid out.
        protocol: default, or paper; of clicks collm, tallrec, paper-ctr.
        accept_new: Take a download that is not what it was before.
        home: Folder of all artifacts.
        progress: Show bars on stderr.
        options: Those of `PrepareConfig`, as `users=200`, `columns={"user": "client"}`.
    """
    from llmrs_bench.stages.mapping import read_mapping
    from llmrs_bench.stages.prepare import prepare as stage
    from llmrs_bench.stages.source import Origin

    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, list(PROTOCOLS))
    known = read_mapping(Path(mapping)) if mapping is not None else None
    given = {"path": source, "items": items}
    places = {
        **(known.places() if known else {}),
        **{name: Path(path) for name, path in given.items() if path is not None},
        **({} if format is None else {"format_name": format}),
    }
    values = {**(known.policies if known else {}), **PROTOCOLS[protocol], **options}
    config = PrepareConfig.parse_flags({"dataset": Reference.parse(dataset).dataset, **values}, command="prepare")
    done = stage(_home(home), dataset, config, Origin(**places, accept_new=accept_new), _bars(progress))
    _warn(done)
    return Prepared(open_data(_home(home), done.name))


def infer(
    model: str,
    dataset: str | Prepared,
    *,
    options: Mapping[str, object] | None = None,
    template_options: Mapping[str, object] | None = None,
    export: str | Path | None = None,
    from_cache: bool = False,
    prior: bool = False,
    max_age: float | None = None,
    home: Place = None,
    progress: bool = False,
    **more: Any,
) -> Run:
    """Rank every request with a model, unless that was done before.

    Args:
        model: See `llmrs-bench list models`; ORG/NAME; a local folder or GGUF file.
        dataset: A known data set that was never prepared is prepared with the defaults.
        options: Of the recommender or the engine, as -O.
        template_options: Of the template, as -T.
        export: New folder for a copy of a trained recommender.
        from_cache: Read kept answers, and load no model.
        prior: Ask for each title without a history, too.
        max_age: Seconds: ask again where kept answers are older; 0 always.
        home: Folder of all artifacts.
        progress: Show bars on stderr.
        more: Fields of `LanguageModelConfig` or `RecommenderConfig`, as `template="likelihood"`, `seed=1`, `limit=20`.
    """
    from llmrs_bench.stages.infer import check_model, infer_config
    from llmrs_bench.stages.infer import infer as stage
    from llmrs_bench.stages.prepare import open_or_prepare

    given: dict[str, Any] = {"model": model, **more}
    for name, pairs in (("options", options), ("template_options", template_options)):
        if pairs:
            given[name] = {key: str(value) for key, value in pairs.items()}
    config, bars = infer_config(given), _bars(progress)
    if isinstance(dataset, str) and is_unprepared(_home(home), dataset):
        check_model(config)  # before anything is downloaded
        data = open_or_prepare(_home(home), dataset, bars, log.info)
    else:
        data = _open(dataset, home)
    copy = None if export is None else Path(export)
    done = stage(data, config, bars, copy, from_cache=from_cache, prior=prior, max_age=max_age)
    _warn(done)
    return Run(data, done.artifact)


def evaluate(
    dataset: str | Prepared,
    *,
    runs: Sequence[str] = (),
    metrics: Sequence[str] = (),
    invalid: Invalid = "expected",
    normalize: Normalize | None = None,
    home: Place = None,
    progress: bool = False,
) -> pl.DataFrame:
    """Measure runs; `board` and `Run.metrics` do so by themselves.

    Args:
        dataset: The data set.
        runs: Names of runs, or how they begin; all, if there are none.
        metrics: What to measure beside the usual metrics.
        invalid: How items count that a model was silent about.
        normalize: Weigh the tokens of titles so, which makes other runs.
        home: Folder of all artifacts.
        progress: Show bars on stderr.

    Returns:
        Rows (evaluation, metric, mean).
    """
    from llmrs_bench.stages.evaluate import evaluate as stage

    values = {"metrics": tuple(metrics), "invalid": invalid, "normalize": normalize}
    config = EvaluateConfig.parse_flags(values, command="evaluate")
    made = stage(_open(dataset, home), list(runs), config, _bars(progress))
    rows = [
        (done.name, metric, float(mean))
        for done in made
        for metric, mean in {**done.artifact.facts["means"], **done.artifact.facts["catalogue"]}.items()
    ]
    return pl.DataFrame(rows, {"evaluation": pl.String(), "metric": pl.String(), "mean": pl.Float64()}, orient="row")


def board(
    dataset: str | Prepared,
    *,
    runs: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    baseline: str | Path | None = None,
    fail_if: Sequence[str] = (),
    allow_missing: bool = False,
    home: Place = None,
    **options: Any,
) -> Leaderboard:
    """Build the leaderboard of a data set; runs that were not evaluated are evaluated first.

    Args:
        dataset: The data set.
        runs: Names of runs, or how they begin; all, if there are none.
        metrics: Those shown; None: the usual ones.
        baseline: A run, or a saved board, that rows are held against: the `gate` of the result has the changes.
        fail_if: Rules, as `ndcg@10 drops > 0.01`: the `gate` has the verdicts; nothing is raised.
        allow_missing: Rows may be in one of both boards alone.
        home: Folder of all artifacts.
        options: Fields of `CompareConfig`, as `by="history"`, `samples=1000`.
    """
    from llmrs_bench.stages.gate import build, gated

    given = {"metrics": None if metrics is None else tuple(metrics), **options}
    config = CompareConfig.parse_flags(given, command="compare")
    data = _open(dataset, home)
    if baseline is None and not fail_if:
        return Leaderboard(build(data, list(runs), config), data, config)
    against = None if baseline is None else str(baseline)
    made, gate = gated(data, list(runs), config, baseline=against, rules=fail_if, allow_missing=allow_missing)
    return Leaderboard(made, data, config, gate)


def runs(dataset: str | None = None, *, home: Place = None) -> pl.DataFrame:
    """Return the runs of all data sets, or of one: dataset, run, state, made, model, requests, costs, path and more."""
    from llmrs_bench.stages.storage import find_runs

    return pl.DataFrame([entry.values for entry in find_runs(_home(home), dataset)], infer_schema_length=None)


def _home(home: Place) -> Path:
    return Path(os.environ.get("LLMRS_BENCH_HOME", "bench") if home is None else home)


def _open(dataset: str | Prepared, home: Place) -> Data:
    return open_data(_home(home), dataset) if isinstance(dataset, str) else dataset.data


def _bars(wanted: bool) -> Progress:
    if not wanted:
        return no_progress
    from llmrs_bench.cli.console import track

    return track


def _warn(done: "StageResult") -> None:
    for warning in done.warnings:
        log.warning("%s", warning)


__all__ = ["BenchError", "Leaderboard", "Prepared", "Run", "board", "evaluate", "infer", "prepare", "runs"]
