"""Stage `evaluate`: join truth with rankings, one value per request and metric."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from llmrs_bench.artifacts import Artifact, Draft, Recipe
from llmrs_bench.config import METRIC_NAMES, EvaluateConfig, InferConfig, Normalize
from llmrs_bench.errors import OptionError
from llmrs_bench.metrics import DEFINITIONS, chance_level, measurable, measure, parse_metrics
from llmrs_bench.stages.bias import VIEW_TABLE, has_views, run_bias
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.infer import infer
from llmrs_bench.stages.outcome import Outcome, make_once
from llmrs_bench.stages.reading import has_likelihoods, normalized
from llmrs_bench.stages.runs import open_runs, pick_runs, ranks
from llmrs_bench.types import Progress

CHANCE = "chance"
POPULARITY = "popularity"


def evaluate(data: Data, names: Sequence[str], config: EvaluateConfig, progress: Progress) -> list[Outcome]:
    """Make the artifact `metrics` of runs, and those of chance and popularity, which every board needs.

    Args:
        data: The prepared data set.
        names: Names of runs, or their first characters; none means all.
        config: With a normalisation the likelihoods of these runs are read so, which makes other runs to measure.
        progress: Shows the popularity run if it is made now.

    Raises:
        OptionError: If a name fits no run, or there are no likelihoods to normalize.
        ArtifactError: If a run is of other data, or damaged.
    """
    infer(data, InferConfig(model=POPULARITY), progress)
    runs = open_runs(data)
    chosen = pick_runs(runs, names) if names else [run for run in runs if ranks(run)]
    if idle := [run.path.name for run in chosen if not ranks(run)]:
        raise OptionError(
            f"run {idle[0]} holds texts about users and ranks nothing", hint="Name runs of other templates."
        )
    if config.normalize is not None:
        chosen = _normalized(data, chosen, config.normalize, named=bool(names))
    return [_evaluate_chance(data), *(_evaluate_run(data, run) for run in chosen)]


def _normalized(data: Data, runs: Sequence[Artifact], normalize: Normalize, *, named: bool) -> list[Artifact]:
    """Return the runs that read the likelihoods of `runs` in another way; without names, of those that have any."""
    asked = [run for run in runs if "responses_of" not in run.facts and (named or has_likelihoods(run))]
    if not asked:
        raise OptionError(
            f"--normalize {normalize}: {data.place.reference} has no run with likelihoods of titles",
            hint="Make one with `llmrs-bench infer --template likelihood`.",
        )
    return asked if normalize == "sum" else [normalized(data, run, normalize).artifact for run in asked]


def evaluation(data: Data, run: Artifact) -> tuple[Path, Recipe]:
    """Return where the evaluation of a run lives, and what makes it."""
    recipe = Recipe(
        "evaluate",
        run.path.name,
        {"metrics": measurable(METRIC_NAMES, data.depth)},
        {
            "rankings": run.digest("rankings"),
            **({"views": run.digest(VIEW_TABLE)} if has_views(run) else {}),
            **{table: data.artifact.digest(table) for table in ("requests", "truth")},
        },
        {"definitions": DEFINITIONS},
    )
    return recipe.place(data.place.evals), recipe


def chance_evaluation(data: Data) -> tuple[Path, Recipe]:
    """Return where the expectation of a random order lives, and what makes it."""
    recipe = Recipe(
        "evaluate",
        CHANCE,
        {"metrics": measurable(METRIC_NAMES, data.depth)},
        {table: data.artifact.digest(table) for table in ("requests", "truth")},
        {"definitions": DEFINITIONS},
    )
    return recipe.place(data.place.evals), recipe


def _evaluate_run(data: Data, run: Artifact) -> Outcome:
    path, recipe = evaluation(data, run)

    def fill(draft: Draft) -> None:
        truth, rankings = data.artifact.table("truth"), run.table("rankings")
        values = measure(truth, rankings, parse_metrics(measurable(METRIC_NAMES, data.depth)))
        draft.write("metrics", values)
        draft.facts.update(means=_means(values), **_missing(truth, rankings), bias=run_bias(data, run))

    return make_once(path, recipe, fill, name=run.path.name)


def _evaluate_chance(data: Data) -> Outcome:
    path, recipe = chance_evaluation(data)

    def fill(draft: Draft) -> None:
        truth = data.artifact.table("truth")
        names = measurable(METRIC_NAMES, data.depth)
        values = chance_level(truth, _sizes(data, truth), parse_metrics(names), data.depth)
        draft.write("metrics", values)
        draft.facts.update(means=_means(values))

    return make_once(path, recipe, fill, name=CHANCE)


def _sizes(data: Data, truth: pl.DataFrame) -> pl.DataFrame:
    """Return for each request how many items are ranked, and how many of them are relevant."""
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


def _means(values: pl.DataFrame) -> dict[str, float]:
    return dict(values.group_by("metric", maintain_order=True).agg(pl.col("value").mean()).iter_rows())


def _missing(truth: pl.DataFrame, rankings: pl.DataFrame) -> dict[str, int]:
    wanted = truth.select("request_id").unique()
    return {
        "requests": wanted.height,
        "requests_without_ranking": wanted.join(rankings, on="request_id", how="anti").height,
    }
