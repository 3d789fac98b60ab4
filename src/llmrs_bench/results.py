"""What the functions of the Python interface return: data, runs, boards, studies."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from llmrs_bench.core.config import CompareConfig, EvaluateConfig, Invalid
from llmrs_bench.core.errors import BenchError, OptionError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.stages.workspace import Data

if TYPE_CHECKING:
    from llmrs_bench.core.artifacts import Artifact
    from llmrs_bench.leaderboard import Board
    from llmrs_bench.leaderboard.curves import Curves
    from llmrs_bench.leaderboard.gate import Gate
    from llmrs_bench.stages.compare import Comparison


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
class Probe:
    """What a language model knows of a data set by heart.

    Args:
        artifact: The probe.
    """

    artifact: "Artifact"

    def __repr__(self) -> str:
        return f"<Probe {self.artifact.path.name}: {self.sentence}>"

    @property
    def facts(self) -> Mapping[str, Any]:
        """What was asked, of whose files, and what that cost."""
        return self.artifact.facts

    @property
    def significant(self) -> bool:
        """Whether the model knows something of it, by any of the tests."""
        return any(verdict["significant"] for verdict in self.facts["verdicts"])

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        from llmrs_bench.report.memory import verdict_sentence

        return verdict_sentence(self.facts)

    def verdicts(self) -> pl.DataFrame:
        """Return a row for each test: probe, reading, trials, share, interval, chance, p-values, control."""
        return pl.DataFrame(self.facts["verdicts"])

    def trials(self) -> pl.DataFrame:
        """Return rows (probe, reading, subject, control, candidates, better, tied), one for each question."""
        return self.artifact.table("probes")


@dataclass(frozen=True, slots=True, repr=False)
class Fairness:
    """How lists, and their quality, change with what prompts state of users; in a notebook it is shown as printed.

    Args:
        facts: All of it as plain values, as `fairness --format json`.
    """

    facts: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Fairness of {self.facts['dataset']}>"

    def __str__(self) -> str:
        return self.text()

    @property
    def sentences(self) -> list[str]:
        """Whether it matters what is stated: for the lists, and for their quality."""
        from llmrs_bench.report.fairness import verdicts

        return verdicts(self.facts)

    def rows(self) -> pl.DataFrame:
        """Return a row for what each run states: run, stated, control, and a struct of figures for each measure."""
        return pl.DataFrame(self.facts["rows"], infer_schema_length=None)

    def spreads(self) -> pl.DataFrame:
        """Return a row for each measure: measure, snsr, snsv, p_snsr, p_snsv, corrected."""
        return pl.DataFrame([{"measure": name, **each} for name, each in self.facts["spreads"].items()])

    def text(self, format: Literal["table", "markdown"] = "table") -> str:
        """Return it as `fairness` prints it."""
        from llmrs_bench.report.fairness import fairness_lines, fairness_markdown

        return "\n".join((fairness_markdown if format == "markdown" else fairness_lines)(self.facts))


@dataclass(frozen=True, slots=True, repr=False)
class Judgement:
    """What a language model says of explanations, and how far it is to be believed.

    Args:
        artifact: Its verdicts.
        facts: What they come to, as plain values, as `judge --format json`.
    """

    artifact: "Artifact"
    facts: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Judgement {self.artifact.path.name}>"

    def __str__(self) -> str:
        return self.text()

    @property
    def sentences(self) -> list[str]:
        """How far the judge goes by position, whether it passes its control, and what it prefers."""
        from llmrs_bench.report.explanations import verdicts

        return verdicts(self.facts)

    def contests(self) -> pl.DataFrame:
        """Return a row for each writer and what it is held against: counts, win_rate, low, high, p, corrected."""
        return pl.DataFrame(self.facts["contests"], infer_schema_length=None)

    def verdicts(self) -> pl.DataFrame:
        """Return a row for each answer of the judge: request, writer, against, both texts as shown, verdict, margin."""
        return self.artifact.table("judgements")

    def text(self, format: Literal["table", "markdown"] = "table") -> str:
        """Return it as `judge` prints it."""
        from llmrs_bench.report.explanations import judgement_lines, judgement_markdown

        return "\n".join((judgement_markdown if format == "markdown" else judgement_lines)(self.facts))


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
            raise OptionError(f"run {self.name} is not that of a language model", hint="It has rankings().")
        return self.artifact.table("responses")

    def metrics(self, *names: str | Sequence[str], invalid: Invalid = "expected") -> pl.DataFrame:
        """Return the usual metrics and those of `names`, request by request; what is missing is measured.

        Names may come in lists; `.filter(metric="recall@3")` leaves one of them.

        Returns:
            Rows (request_id, metric, value); of labelled requests the evaluated rows, `clicks` or `predictions`.

        Raises:
            OptionError: If a metric is unknown or cannot be measured.
        """
        from llmrs_bench.metrics import parse_metrics
        from llmrs_bench.stages.evaluate import measured
        from llmrs_bench.stages.evaluate_labelled import measured_labelled

        flat = tuple(name for each in names for name in (each if isinstance(each, list | tuple) else [each]))
        config = EvaluateConfig.parse_flags({"metrics": flat, "invalid": invalid}, command="evaluate")
        if self.data.labelled:
            return measured_labelled(self.data, self.artifact, config.invalid).table
        wanted = parse_metrics(config.metrics) if config.metrics else []
        if figures := [str(metric) for metric in wanted if metric.per_run]:
            raise OptionError(
                f"{', '.join(figures)}: a figure of the whole run, which no single request has",
                hint="`evaluate` and `board` measure it.",
            )
        return measured(self.data, self.artifact, wanted, config.invalid).metrics


@dataclass(frozen=True, slots=True, repr=False)
class Tuned:
    """A tuned language model.

    Args:
        artifact: Its files.
    """

    artifact: "Artifact"

    def __repr__(self) -> str:
        return f"<Tuned {self.name}>"

    @property
    def name(self) -> str:
        """What to give `infer` as `model`."""
        return self.artifact.path.name

    @property
    def facts(self) -> Mapping[str, Any]:
        """Its curve of training, samples and costs."""
        return self.artifact.facts


@dataclass(frozen=True, slots=True, repr=False)
class Leaderboard:
    """A leaderboard; in a notebook it is shown as in a terminal.

    Args:
        comparison: The board and the values behind it.
        data: The data set.
        config: What was asked for.
        gate: Verdicts, where there were rules or a baseline.
        curves: The same runs over a number, where that was asked for.
    """

    comparison: "Comparison"
    data: Data
    config: CompareConfig
    gate: "Gate | None" = None
    curves: "Curves | None" = None

    @property
    def board(self) -> "Board":
        """The board."""
        return self.comparison.board

    def rows(self) -> pl.DataFrame:
        """Return one row a run: means, bounds of intervals, p-values against the best, costs, as `--format csv`.

        Where curves were asked for, one row a point of them.
        """
        return pl.read_csv(io.StringIO(self.text("csv")), infer_schema_length=None)

    def text(self, format: Literal["table", "markdown", "csv", "json", "latex"] = "table", *, width: int = 120) -> str:
        """Return the board, or its curves, as `compare --format` prints it; a table is `width` characters wide.

        Raises:
            OptionError: If there is no such format.
        """
        from rich.console import Console

        from llmrs_bench.report.curves import CURVE_FORMATS, curves_table
        from llmrs_bench.report.formats import FORMATS
        from llmrs_bench.report.terminal import to_table

        formats = FORMATS if self.curves is None else CURVE_FORMATS
        if format != "table" and format not in formats:
            raise unknown_name("format", str(format), ["table", *formats])
        if format != "table":
            return FORMATS[format](self.board) if self.curves is None else CURVE_FORMATS[format](self.curves)
        console = Console(file=io.StringIO(), width=width, highlight=False, emoji=False)
        with console.capture() as captured:
            shown = (
                to_table(self.board, width, protocol=True) if self.curves is None else curves_table(self.curves, width)
            )
            console.print(shown)
        return captured.get()

    def save(self, path: str | Path) -> None:
        """Write a file for `baseline` and `compare --history`, or, if its name ends in .html, the page.

        Raises:
            OptionError: If the name has another ending than .parquet and .html, or its folder does not exist.
        """
        from llmrs_bench.stages.boards import to_save
        from llmrs_bench.stages.pages import save_page

        path = Path(path)
        if (ending := path.suffix.lower()) not in (".parquet", ".html", ".htm"):
            raise OptionError(
                f"a leaderboard is saved as .parquet, for baseline= and --history, or as .html, not as {path.name!r}",
                hint='Name it so; for other formats write what text("markdown") or text("csv") returns.',
            )
        if not path.absolute().parent.is_dir():
            raise OptionError(f"{path}: there is no folder {path.parent}", hint="Make it, or name another file.")
        if ending != ".parquet":
            save_page(path, self.data, self.board, self.config, requests=50, curves=self.curves)
        else:
            to_save(self.data, self.comparison, self.config).write(path)

    def track(self, tracker: Literal["mlflow", "wandb", "trackio"]) -> str:
        """Log it with an experiment tracker, and return in words where it is; without a server it keeps files."""
        from llmrs_bench.stages.tracking import track_board

        return track_board(tracker, self.data, self.board, curves=self.curves)

    def __repr__(self) -> str:
        return f"<Leaderboard of {self.data.place.reference}>"

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        from html import escape

        return f'<pre style="line-height: 1.2">{escape(self.text())}</pre>'


@dataclass(frozen=True, slots=True, repr=False)
class Study:
    """What a recipe came to.

    Args:
        runs: By the name of the row; where there are several data sets by theirs and that of the row, with a slash.
        boards: One for each data set.
        judgements: What rows that judge came to, by the same names.
        failed: What went wrong, by row.
        stopped: Why it ended before its last row, if the budget was spent.
    """

    runs: Mapping[str, Run]
    boards: Sequence[Leaderboard]
    judgements: Mapping[str, Judgement]
    failed: Mapping[str, BenchError]
    stopped: BenchError | None

    def __repr__(self) -> str:
        return f"<Study of {len(self.runs)} runs>"
