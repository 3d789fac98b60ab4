"""Stage `evaluate`: join truth with rankings, one value per request and metric."""

from collections.abc import Sequence
from functools import cache, partial

import polars as pl

from llmrs_bench.artifacts import Artifact, Draft
from llmrs_bench.config import EvaluateConfig, InferConfig, Invalid, Normalize
from llmrs_bench.errors import OptionError
from llmrs_bench.metrics import (
    BEYOND,
    Background,
    Metric,
    catalogue_figures,
    chance_level,
    check_rankings,
    check_truth,
    count_answers,
    measure,
)
from llmrs_bench.stages.bias import run_bias
from llmrs_bench.stages.evaluations import (
    CHANCE,
    COUNTS,
    Evaluation,
    check_measurable,
    evaluations,
)
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.infer import infer
from llmrs_bench.stages.outcome import Outcome, make_once
from llmrs_bench.stages.reading import has_likelihoods, normalized
from llmrs_bench.stages.runs import open_runs, pick_runs, ranks
from llmrs_bench.stages.unranked import list_sizes, unranked
from llmrs_bench.types import Progress

POPULARITY = "popularity"


def evaluate(data: Data, names: Sequence[str], config: EvaluateConfig, progress: Progress) -> list[Outcome]:
    """Make the artifact `metrics` of runs, and those of chance and popularity, which every board needs.

    Args:
        data: The prepared data set.
        names: Names of runs, or their first characters; none means all.
        config: What to measure, and how; with a normalisation the likelihoods of these runs are read so, which makes
            other runs to measure.
        progress: Shows the popularity run if it is made now.

    Raises:
        OptionError: If a name fits no run, a metric cannot be measured, or there are no likelihoods to normalize.
        ArtifactError: If a run is of other data, or damaged.
    """
    metrics = [Metric.parse(name) for name in config.metrics]
    check_measurable(data, metrics)
    infer(data, InferConfig(model=POPULARITY), progress)
    runs = open_runs(data)
    chosen = pick_runs(runs, names) if names else [run for run in runs if ranks(run)]
    if idle := [run.path.name for run in chosen if not ranks(run)]:
        raise OptionError(
            f"run {idle[0]} holds texts about users and ranks nothing", hint="Name runs of other templates."
        )
    if config.normalize is not None:
        chosen = _normalized(data, chosen, config.normalize, named=bool(names))
    return [done for run in (None, *chosen) for done in _evaluate(data, run, metrics, config.invalid)]


def _normalized(data: Data, runs: Sequence[Artifact], normalize: Normalize, *, named: bool) -> list[Artifact]:
    """Return the runs that read the likelihoods of `runs` in another way; without names, of those that have any."""
    asked = [run for run in runs if "responses_of" not in run.facts and (named or has_likelihoods(run))]
    if not asked:
        raise OptionError(
            f"--normalize {normalize}: {data.place.reference} has no run with likelihoods of titles",
            hint="Make one with `llmrs-bench infer --template likelihood`.",
        )
    return asked if normalize == "sum" else [normalized(data, run, normalize).artifact for run in asked]


def _evaluate(data: Data, run: Artifact | None, metrics: Sequence[Metric], invalid: Invalid) -> list[Outcome]:
    """Make the evaluations of a run, or of chance, that are not there yet; what they share is read once."""
    read = cache(lambda: _Inputs(data, run))

    def fill(draft: Draft, wanted: Evaluation) -> None:
        inputs = read()
        values = inputs.measure(wanted.metrics, invalid)
        draft.write("metrics", values)
        draft.facts.update(means=_means(values), catalogue=inputs.figures(wanted.metrics), **inputs.counts(invalid))
        if run is not None and wanted.usual:
            draft.facts["bias"] = run_bias(data, run)
            draft.facts["first_choices"] = run.facts.get("first_choices")

    name = CHANCE if run is None else run.path.name
    return [
        make_once(wanted.path, wanted.recipe, partial(fill, wanted=wanted), name=name)
        for wanted in evaluations(data, run, metrics, invalid)
    ]


class _Inputs:
    """What evaluations of one run, or of chance, read.

    Raises:
        ArtifactError: If truth or the rankings cannot be measured.
    """

    def __init__(self, data: Data, run: Artifact | None) -> None:
        self.data = data
        self.truth = data.artifact.table("truth")
        check_truth(self.truth)
        self.rankings = None if run is None else run.table("rankings")
        if run is not None and self.rankings is not None:
            check_rankings(self.truth, self.rankings, where=str(run.path))

    def measure(self, metrics: Sequence[Metric], invalid: Invalid) -> pl.DataFrame:
        """Return the values of metrics, as a frame of the schema `metrics`."""
        known = {table: self.data.artifact.table(table) for metric in metrics for table in metric.needs}
        background = Background(**known)
        if self.rankings is not None:
            return measure(self.truth, self.rankings, metrics, invalid=invalid, background=background)
        beyond = [metric for metric in metrics if metric.name in BEYOND]
        sized = [metric for metric in metrics if metric.name not in BEYOND]
        parts = unranked(self.data) if beyond else ()
        return pl.concat(
            [
                chance_level(self.truth, list_sizes(self.data, self.truth), sized, self.data.depth),
                *(measure(_of(self.truth, part), part, beyond, background=background) for part in parts),
            ]
        )

    def figures(self, metrics: Sequence[Metric]) -> dict[str, float]:
        """Return the figures of the whole run among metrics."""
        wanted = [metric for metric in metrics if metric.per_run]
        if not wanted:
            return {}
        rankings = unranked(self.data) if self.rankings is None else [self.rankings]
        return catalogue_figures(rankings, self.data.artifact.table("items"), wanted)

    def counts(self, invalid: Invalid) -> dict[str, int]:
        """Return `evaluations.COUNTS`; chance answers every request."""
        if self.rankings is not None:
            return count_answers(self.truth, self.rankings, invalid)
        requests = self.truth.filter(pl.col("label") > 0)["request_id"].n_unique()
        return {name: requests if name == "requests" else 0 for name in COUNTS}


def _of(truth: pl.DataFrame, rankings: pl.DataFrame) -> pl.DataFrame:
    return truth.join(rankings, on="request_id", how="semi", maintain_order="left")


def _means(values: pl.DataFrame) -> dict[str, float]:
    return dict(values.group_by("metric", maintain_order=True).agg(pl.col("value").mean()).iter_rows())
