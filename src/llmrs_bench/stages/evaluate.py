"""Stage `evaluate`: the metrics of a run for each request, and its position bias."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.core.artifacts import Artifact, Draft, Recipe, StageResult, get_or_create, is_complete, open_artifact
from llmrs_bench.core.config import DEPTH, EvaluateConfig, Invalid, Normalize, PromptConfig, RecommenderConfig
from llmrs_bench.core.errors import ArtifactError, OptionError
from llmrs_bench.core.schemas import RANKINGS, VIEW_RANKINGS
from llmrs_bench.core.types import Progress, Response
from llmrs_bench.metrics import (
    BEYOND,
    CHANGED,
    DEFINITIONS,
    SCORED,
    Background,
    Metric,
    catalogue_figures,
    chance_level,
    check_rankings,
    check_truth,
    count_answers,
    default_metrics,
    is_measurable,
    measure,
)
from llmrs_bench.position_bias import position_bias
from llmrs_bench.stages.unseen_items import UNSEEN, unseen_facts
from llmrs_bench.stages.workspace import (
    Data,
    LeftOutError,
    leaving_out,
    limit_of,
    open_runs,
    pick_runs,
    ranks,
    unopened,
)

VIEW_TABLE = "view_rankings"


def run_bias(data: Data, run: Artifact) -> dict[str, Any] | None:
    """Return the position bias of a run of a language model over candidate lists; None of any other run."""
    if run.facts.get("kind") != "language model" or data.whole_catalogue:
        return None
    relevant = data.artifact.table("truth").filter(pl.col("label") > 0).select("request_id", "item_id")
    rankings = run.table("rankings")
    shown = run.table(VIEW_TABLE) if has_views(run) else _as_shown(data, rankings)
    return position_bias(shown, relevant, rankings) if shown.height else None


def has_views(run: Artifact) -> bool:
    """Return whether a run showed its requests in several ways."""
    return VIEW_TABLE in run.manifest.tables


def _as_shown(data: Data, rankings: pl.DataFrame) -> pl.DataFrame:
    """Return rankings of requests that were shown once, in the order of the data set."""
    lists = data.artifact.table("requests").select("request_id", item_id="candidates").explode("item_id")
    slots = lists.with_columns(slot=pl.int_range(pl.len(), dtype=pl.Int32).over("request_id"))
    placed = rankings.join(slots, on=["request_id", "item_id"], how="inner", maintain_order="left")
    return placed.with_columns(view_id="request_id").select(list(VIEW_RANKINGS))


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
        invalid: How unranked items count.

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
    limited = {} if run is None or (limit := limit_of(run)) is None else {"limit": limit}
    # Position bias is measured beside the usual metrics, and targets without a training event are counted.
    views = {"views": run.digest(VIEW_TABLE)} if usual and run is not None and has_views(run) else {}
    views |= {UNSEEN: run.digest(UNSEEN)} if usual and run is not None and UNSEEN in run.manifest.tables else {}
    tables = ["truth", *(table for metric in metrics for table in metric.needs)]
    if run is None and data.whole_catalogue:
        tables.append("items")
    recipe = Recipe(
        "evaluate",
        name if usual else f"{name}-{metrics[0]}",
        {"metrics": list(map(str, metrics)), "invalid": invalid, **limited},
        {**ranked, **views, **{table: data.artifact.digest(table) for table in tables}},
        {
            "definitions": DEFINITIONS,
            **{metric.name: CHANGED[metric.name] for metric in metrics if metric.name in CHANGED},
        },
    )
    return Evaluation(recipe.place(data.place.evals), recipe, tuple(metrics), usual)


def counted_unseen(data: Data, run: Artifact, invalid: Invalid) -> str:
    """Return the words of the evaluation of a run for targets and candidates without a training event."""
    path = evaluations(data, run, (), invalid)[0].path
    return str(open_artifact(path, hint="Evaluate again.").facts.get("unseen", {}).get("words", ""))


def is_evaluated(data: Data, run: Artifact, metrics: Sequence[Metric], invalid: Invalid) -> bool:
    """Return whether the usual metrics and `metrics` of a run were measured."""
    return all(is_complete(each.path) for each in evaluations(data, run, metrics, invalid))


def check_measurable(data: Data, metrics: Sequence[Metric]) -> None:
    """Refuse metrics that the rankings of a data set do not decide.

    Raises:
        OptionError: If one looks deeper than the ranks that are kept.
    """
    for metric in metrics:
        if not is_measurable(metric, data.depth):
            raise OptionError(
                f"{metric} cannot be measured on {data.place.reference}: rankings of the whole catalogue keep "
                f"{DEPTH} items",
                hint="Prepare the data with lists of candidates."
                if metric.name in SCORED
                else f"Choose a cutoff of at most {DEPTH}, as in {metric.name}@10.",
            )


def measured(data: Data, run: Artifact | None, metrics: Sequence[Metric], invalid: Invalid = "expected") -> Measured:
    """Return the values of the usual metrics and of `metrics`; what was not measured before is measured now.

    Args:
        data: The prepared data set.
        run: A run; None: chance.
        metrics: What is wanted beside the usual metrics.
        invalid: How unranked items count.

    Raises:
        ArtifactError: If the run is of other data.
        DamagedError: If the run, or what it was made from, is not what was written.
        OptionError: If a metric looks deeper than the ranks that are kept.
    """
    made = [each.artifact for each in _evaluate(data, run, metrics, invalid)]
    return Measured(
        metrics=pl.concat([each.table("metrics") for each in made]),
        figures={name: value for each in made for name, value in each.facts["catalogue"].items()},
        counts={name: made[0].facts[name] for name in COUNTS},
    )


_ROWS = 2_000_000


def list_sizes(data: Data, truth: pl.DataFrame) -> pl.DataFrame:
    """Return for each request how many items are ranked, and how many of them are relevant.

    Args:
        data: The prepared data set.
        truth: Its truth.

    Returns:
        Rows (request_id, n, found).
    """
    requests, pair = data.artifact.table("requests"), ["request_id", "item_id"]
    relevant = truth.filter(pl.col("label") > 0).select(pair)
    if data.whole_catalogue:
        catalogue = data.artifact.table("items").select("item_id")
        history = "history" if not data.include_seen else pl.lit([], dtype=pl.List(pl.String))
        seen = (
            requests.select("request_id", item_id=history).explode("item_id").join(catalogue, on="item_id", how="semi")
        )
        left_out = seen.unique().group_by("request_id").len("left_out")
        counts = requests.select("request_id").join(left_out, on="request_id", how="left")
        sizes = counts.select("request_id", n=len(catalogue) - pl.col("left_out").fill_null(0))
        ranked = relevant.join(catalogue, on="item_id", how="semi").join(seen, on=pair, how="anti")
    else:
        sizes = requests.select("request_id", n=pl.col("candidates").list.len())
        lists = requests.select("request_id", item_id="candidates").explode("item_id")
        ranked = relevant.join(lists, on=pair, how="semi")
    found = ranked.group_by("request_id").len("found")
    return sizes.join(found, on="request_id", how="left").with_columns(pl.col("found").fill_null(0))


def unranked(data: Data) -> Iterator[pl.DataFrame]:
    """Yield frames of the schema `rankings` in which no item has a score, each of other requests."""
    requests = data.artifact.table("requests")
    catalogue = data.artifact.table("items").select("item_id")
    lists = requests["candidates"].list.len().max()
    longest = len(catalogue) if data.whole_catalogue or not isinstance(lists, int) else lists
    for part in requests.iter_slices(max(_ROWS // max(longest, 1), 1)):
        if not data.whole_catalogue:
            rows = _exploded(part, "candidates")
        else:
            rows = part.select("request_id").join(catalogue, how="cross")
            if not data.include_seen:
                rows = rows.join(_exploded(part, "history"), on=["request_id", "item_id"], how="anti")
        yield (
            rows.with_columns(rank=pl.int_range(1, pl.len() + 1).over("request_id"), score=None)
            .select(list(RANKINGS))
            .cast(RANKINGS)
        )


def _exploded(requests: pl.DataFrame, column: str) -> pl.DataFrame:
    return requests.select("request_id", item_id=column).explode("item_id", empty_as_null=True).drop_nulls()


def has_likelihoods(run: Artifact) -> bool:
    """Return whether a run holds log-likelihoods of titles that were not normalised yet."""
    return run.facts.get("mode") == "likelihood" and run.facts["normalize"] == "sum"


def normalized(data: Data, run: Artifact, normalize: Normalize) -> StageResult:
    """Make the run that reads the responses of `run` with another normalisation.

    Raises:
        OptionError: If it holds no likelihoods of titles.
        ArtifactError: If its prompts or responses are damaged, or pmi lacks its priors.
    """
    from llmrs_bench.prompts.strategies.base import Normalization
    from llmrs_bench.stages.conversation import request_blocks
    from llmrs_bench.stages.infer_language_model import find_priors, read, read_priors, write_rankings
    from llmrs_bench.stages.prompt import open_plan, prompt

    if not has_likelihoods(run):
        raise OptionError(
            f"--normalize {normalize} applies only to likelihoods; run {run.path.name} has none",
            hint="Choose a run of --template likelihood, or leave out --normalize.",
        )
    old = run.manifest
    priors = find_priors(data, run) if normalize == "pmi" else None
    recipe = Recipe(
        "infer",
        f"{old.name}-{normalize}",
        {**old.config, "normalize": normalize},
        {**old.inputs, "run": old.fingerprint, **({"priors": priors.digest("responses")} if priors else {})},
        old.parts,
    )

    def fill(draft: Draft) -> None:
        config = PromptConfig(
            template=old.config["template"], options=old.config["options"], history=old.facts["history"]
        )
        plan, prompts = open_plan(config), prompt(data, config).artifact
        template = plan.template
        if prompts.digest("prompts") != old.inputs["prompts"]:
            raise ArtifactError(
                f"run {run.path.name} answers other prompts than those that the template {config.template!r} writes "
                "now",
                hint="Run `llmrs-bench infer` again: cached answers are reused.",
            )
        responses = _responses(run)
        prior = read_priors(data, prompts, template, priors) if priors else {}
        draft.write("rankings", pl.DataFrame(schema=RANKINGS))
        for block in request_blocks(data, prompts, limit_of(run)):
            exchanges = [[(asked, next(responses)) for asked in group] for group in block.prompts.values()]
            scores = [read(template, group, Normalization(normalize, prior)) for group in exchanges]
            write_rankings(data, draft, block, scores, plan.views.aggregate)
        spent = priors.facts if priors else {}
        draft.facts.update({**old.facts, **spent, "normalize": normalize, "responses_of": run.path.name})

    return get_or_create(recipe.place(data.place.runs), recipe, fill)


def _responses(run: Artifact) -> Iterator[Response]:
    """Yield the responses of a run in the order in which its prompts were asked."""
    from llmrs_bench.prompts.frames import read_answer
    from llmrs_bench.stages.prompt import BLOCK

    rows = chain.from_iterable(part.iter_rows(named=True) for part in run.parts("responses", BLOCK))
    return (read_answer(row["prompt_id"], row) for row in rows)


POPULARITY = "popularity"


def evaluate(data: Data, names: Sequence[str], config: EvaluateConfig, progress: Progress) -> list[StageResult]:
    """Make the artifact `metrics` of runs, and those of chance and popularity, which every board needs.

    Without `names` damaged runs are left out with a warning each, and the stage fails once the others are done.
    On labelled requests it is `clicks` or `predictions`, and trivial rows take the places of chance and popularity.

    Args:
        data: The prepared data set.
        names: Names of runs, or their first characters; none means all.
        config: What to measure, and how; with a normalisation the likelihoods of these runs are read so, which makes
            other runs to measure.
        progress: Shows the popularity run if it is made now.

    Raises:
        OptionError: If a name fits no run, a metric cannot be measured, or there are no likelihoods to normalize.
        ArtifactError: If a run is of other data, or damaged; or if the data are.
        LeftOutError: If runs were left out; it holds what was made of the others.
    """
    if data.labelled:
        from llmrs_bench.stages.evaluate_labelled import evaluate_labelled

        return evaluate_labelled(data, names, config)
    metrics = [Metric.parse(name) for name in config.metrics]
    check_measurable(data, metrics)
    data.artifact.check("requests", "truth")
    runs = ranked_runs(data, progress)
    chosen = pick_runs(runs, names) if names else [run for run in runs if ranks(run)]
    if idle := [run.path.name for run in chosen if not ranks(run)]:
        raise OptionError(
            f"run {idle[0]} holds texts about users and ranks nothing", hint="Name runs of other templates."
        )
    lost = [] if names else unopened(data, runs)
    if config.normalize is not None:
        chosen = _normalized(data, chosen, config.normalize, lost, named=bool(names))
    made = _evaluate(data, None, metrics, config.invalid)
    for run in chosen:
        with leaving_out(ArtifactError, named=bool(names)) as failed:
            made += _evaluate(data, run, metrics, config.invalid)
        lost += [run.path.name for _ in failed]
    if lost:
        raise LeftOutError(lost, made)
    return made


def ranked_runs(data: Data, progress: Progress) -> list[Artifact]:
    """Return all runs of a data set; that of popularity, which is on every board, is made unless it is there.

    Raises:
        DamagedError: If that of popularity is damaged.
    """
    from llmrs_bench.stages.infer_recommender import infer_recommender

    infer_recommender(data, RecommenderConfig(model=POPULARITY), progress)
    return open_runs(data)


def _check_run(run: Artifact) -> None:
    """Check what a run is measured by.

    Raises:
        DamagedError: If it is not what was written.
    """
    run.check("rankings", *(table for table in (VIEW_TABLE, UNSEEN) if table in run.manifest.tables))


def _normalized(
    data: Data, runs: Sequence[Artifact], normalize: Normalize, lost: list[str], *, named: bool
) -> list[Artifact]:
    """Return the runs that read the likelihoods of `runs` in another way; without names, of those that have any.

    Those that fail are added to `lost`.
    """
    asked = [run for run in runs if "responses_of" not in run.facts and (named or has_likelihoods(run))]
    if not asked:
        raise OptionError(
            f"--normalize {normalize}: {data.place.reference} has no run with likelihoods of titles",
            hint="Make one with `llmrs-bench infer --template likelihood`.",
        )
    if normalize == "sum":
        return asked
    made = []
    for run in asked:
        with leaving_out(named=named) as failed:
            made.append(normalized(data, run, normalize).artifact)
        lost += [run.path.name for _ in failed]
    return made


def _evaluate(data: Data, run: Artifact | None, metrics: Sequence[Metric], invalid: Invalid) -> list[StageResult]:
    """Make the evaluations of a run, or of chance, that are not there or damaged; what they share is read once.

    Raises:
        DamagedError: If what they were made from is damaged.
    """
    if run is not None:
        _check_run(run)
    read = cache(lambda: _Inputs(data, run))

    def fill(draft: Draft, wanted: Evaluation) -> None:
        inputs = read()
        values = inputs.measure(wanted.metrics, invalid)
        draft.write("metrics", values)
        draft.facts.update(means=_means(values), catalogue=inputs.figures(wanted.metrics), **inputs.counts(invalid))
        if run is not None and wanted.usual:
            relevant = inputs.truth.filter(pl.col("label") > 0).select("request_id", "item_id")
            draft.facts.update(bias=run_bias(data, run), **unseen_facts(data, run, relevant))
            draft.facts["first_choices"] = run.facts.get("first_choices")

    name = CHANCE if run is None else run.path.name
    return [
        get_or_create(wanted.path, wanted.recipe, partial(fill, wanted=wanted), name=name, remake=True)
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
        if run is not None and (limit := limit_of(run)) is not None:
            self.truth = self.truth.filter(pl.col("request_id").is_in(data.first_requests(limit).implode()))
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
    # Metric by metric: threads that share a sum add it up in another order each time, to another last digit.
    parts = values.partition_by("metric", maintain_order=True, as_dict=True)
    return {metric: part["value"].mean() for (metric,), part in parts.items()}  # type: ignore[misc]
