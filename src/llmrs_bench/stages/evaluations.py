"""Where evaluations live, what makes them, and how to find the values of a metric among them.

The usual metrics of a run are one artifact; each other metric is one of its own, so that none is measured twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llmrs_bench.artifacts import Artifact, Recipe, is_complete, open_artifact
from llmrs_bench.config import DEPTH, Invalid
from llmrs_bench.errors import ArtifactError, OptionError
from llmrs_bench.metrics import DEFINITIONS, SCORED, Metric, default_metrics, is_measurable
from llmrs_bench.stages.bias import VIEW_TABLE, has_views
from llmrs_bench.stages.home import Data

CHANCE = "chance"
# Facts of every evaluation: all requests, those without any ranking, those whose ranking the model left empty, and how
# many of the latter the policy left out.
COUNTS = ("requests", "requests_without_ranking", "requests_unanswered", "requests_dropped")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One artifact of values: where it is or will be, what makes it, and whether its metrics are the usual ones."""

    path: Path
    recipe: Recipe
    metrics: tuple[Metric, ...]
    usual: bool

    @property
    def done(self) -> bool:
        """Whether it was made."""
        return is_complete(self.path)


@dataclass(frozen=True, slots=True)
class Measured:
    """Values of a run: frame of the schema `metrics`, figures of the whole run by name, and `COUNTS`."""

    metrics: pl.DataFrame
    figures: Mapping[str, float]
    counts: Mapping[str, int]


def evaluations(
    data: Data, run: Artifact | None, metrics: Sequence[Metric], invalid: Invalid = "expected"
) -> list[Evaluation]:
    """Return the evaluations that hold the usual metrics and `metrics`: the usual one first.

    Args:
        data: The prepared data set.
        run: A run; None: chance.
        metrics: Metrics beside the usual ones; those that are usual are in the first evaluation.
        invalid: How items count that a model was silent about.

    Raises:
        OptionError: If a metric looks deeper than the ranks that are kept.
    """
    check_measurable(data, metrics)
    usual = default_metrics(data.depth)
    others = [metric for metric in dict.fromkeys(metrics) if metric not in usual]
    return [_evaluation(data, run, usual, invalid), *(_evaluation(data, run, [metric], invalid) for metric in others)]


def _evaluation(data: Data, run: Artifact | None, metrics: Sequence[Metric], invalid: Invalid) -> Evaluation:
    name = CHANCE if run is None else run.path.name
    usual = list(metrics) == default_metrics(data.depth)
    ranked = {"requests": data.artifact.digest("requests")} if run is None else {"rankings": run.digest("rankings")}
    # Position bias is measured beside the usual metrics.
    views = {"views": run.digest(VIEW_TABLE)} if usual and run is not None and has_views(run) else {}
    tables = ["truth", *(table for metric in metrics for table in metric.needs)]
    if run is None and data.whole_catalogue:
        tables.append("items")
    recipe = Recipe(
        "evaluate",
        name if usual else f"{name}-{metrics[0]}",
        {"metrics": list(map(str, metrics)), "invalid": invalid},
        {**ranked, **views, **{table: data.artifact.digest(table) for table in tables}},
        {"definitions": DEFINITIONS},
    )
    return Evaluation(recipe.place(data.place.evals), recipe, tuple(metrics), usual)


def check_measurable(data: Data, metrics: Sequence[Metric]) -> None:
    """Refuse metrics that the rankings of a data set do not decide.

    Raises:
        OptionError: If one looks deeper than the ranks that are kept.
    """
    for metric in metrics:
        if not is_measurable(metric, data.depth):
            raise OptionError(
                f"{metric} cannot be measured on {data.place.reference}: of a whole catalogue {DEPTH} ranks are kept",
                hint="Prepare the data with lists of candidates."
                if metric.name in SCORED
                else f"Choose a cutoff of at most {DEPTH}, as in {metric.name}@10.",
            )


def measured(data: Data, run: Artifact | None, metrics: Sequence[Metric], invalid: Invalid = "expected") -> Measured:
    """Return the values of the usual metrics and of `metrics`.

    Args:
        data: The prepared data set.
        run: A run; None: chance.
        metrics: What is wanted beside the usual metrics.
        invalid: How items count that a model was silent about.

    Raises:
        ArtifactError: If something was not measured; the hint is the command that does it.
        OptionError: If a metric looks deeper than the ranks that are kept.
    """
    wanted = evaluations(data, run, metrics, invalid)
    hint = evaluate_command(data, metrics, invalid)
    if missing := [each for each in wanted if not each.done]:
        others = ", ".join(str(each.metrics[0]) for each in missing if each is not wanted[0])
        raise ArtifactError(
            ("chance" if run is None else f"run {run.path.name}")
            + " was not measured"
            + (f" by {others}" if others else "")
            + ("" if invalid == "expected" else f" with --invalid {invalid}"),
            hint=hint,
        )
    made = [open_artifact(each.path, hint=hint) for each in wanted]
    return Measured(
        metrics=pl.concat([each.table("metrics") for each in made]),
        figures={name: value for each in made for name, value in each.facts["catalogue"].items()},
        counts={name: made[0].facts[name] for name in COUNTS},
    )


def evaluate_command(data: Data, metrics: Sequence[Metric], invalid: Invalid) -> str:
    """Return the hint that says how to measure the usual metrics and `metrics`."""
    usual = default_metrics(data.depth)
    named = ",".join(str(metric) for metric in metrics if metric not in usual)
    others = f" --metrics {named}" if named else ""
    policy = "" if invalid == "expected" else f" --invalid {invalid}"
    return f"Run: llmrs-bench evaluate --dataset {data.place.reference}{policy}{others}"
