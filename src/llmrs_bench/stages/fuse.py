"""A run made of other runs: rankings fused, and the cost of all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any, Literal, Self

import polars as pl
from pydantic import Field, field_validator, model_validator

from llmrs_bench.core.artifacts import Artifact, Draft, Recipe, StageResult, get_or_create
from llmrs_bench.core.config import CLICK, DEPTH, Options
from llmrs_bench.core.costs import AMOUNTS, COUNTS
from llmrs_bench.core.errors import IncomparableError, OptionError
from llmrs_bench.core.schemas import RANKINGS
from llmrs_bench.core.types import Progress
from llmrs_bench.fusion import (
    FittedWeights,
    best_of,
    cross_fit,
    mean_score,
    reciprocal_rank,
    standard_scores,
    weighted_score,
)
from llmrs_bench.metrics import measure, parse_metrics
from llmrs_bench.ranking import TIE_RULE, rank_best, rank_candidates
from llmrs_bench.stages.workspace import Data, limit_of, open_runs, pick_runs, ranks

FUSION = "fusion"
# Bumped when the same runs give another ranking: older runs are then recomputed.
FORMAT = "1"


def joint_cost(runs: Sequence[Artifact]) -> dict[str, Any]:
    """Return the facts of a run that needs all of `runs`: sums, and the largest peak of memory.

    A count that one of them does not know is not known. An amount is summed over the runs that know it, and
    `cost_unknown` names, for each, those that do not; where no run knows it, it is None.
    """
    facts = [run.facts for run in runs]
    found: dict[str, Any] = {
        name: None if None in (counts := [fact.get(name, 0) for fact in facts]) else sum(counts)
        for name in COUNTS
        if any(name in fact for fact in facts)
    }
    unknown: dict[str, list[str]] = {}
    for name in AMOUNTS:
        known = [fact[name] for fact in facts if fact.get(name) is not None]
        found[name] = round(fsum(known), 6) if known else None
        if known and len(known) < len(facts):
            unknown[name] = [run.path.name for run in runs if run.facts.get(name) is None]
    rates = [rate for fact in facts if (rate := fact.get("requests_per_second"))]
    known_of_all = len(rates) == len(facts)
    found["requests_per_second"] = round(1 / fsum(1 / rate for rate in rates), 3) if known_of_all else None
    peaks = [fact["peak_device_gb"] for fact in facts if fact.get("peak_device_gb") is not None]
    return {**found, "peak_device_gb": max(peaks, default=None), "cost_unknown": unknown}


ORACLE = "oracle"
BY = ("ndcg@10", "mrr")


class FusionOptions(Options):
    """Options of `fuse`.

    Args:
        runs: Names of at least two runs of the data set, or how they begin.
        method: `rrf`, `zscore`, `learned`, or `oracle`, which is no model: of each request it takes the run
            that ranks the target best.
        k: The constant of `rrf`.
        folds: Of `learned`.
    """

    runs: tuple[str, ...] = ()
    method: Literal["rrf", "zscore", "learned", "oracle"] = "rrf"
    k: int = Field(default=60, ge=0)
    folds: int = Field(default=5, ge=2)

    @field_validator("runs", mode="before")
    @classmethod
    def listed(cls, runs: Any) -> Any:
        """Read `A,B` as typed."""
        return tuple(name.strip() for name in runs.split(",") if name.strip()) if isinstance(runs, str) else runs

    @model_validator(mode="after")
    def no_idle_options(self) -> Self:
        """Refuse options that the method does not read."""
        for name, method in {"k": "rrf", "folds": "learned"}.items():
            if name in self.model_fields_set and self.method != method:
                raise ValueError(f"{name} applies only to the method {method}, not to {self.method}")
        return self

    @property
    def read(self) -> dict[str, int]:
        """The options that the method reads."""
        return {"rrf": {"k": self.k}, "learned": {"folds": self.folds}}.get(self.method, {})


@dataclass(frozen=True, slots=True)
class Joined:
    """Rankings, and facts about how they came about."""

    rankings: pl.DataFrame
    facts: dict[str, Any]


def fuse(data: Data, typed: Mapping[str, str], progress: Progress, *, seed: int = 0) -> StageResult:
    """Make the run that joins other runs of the same data set, with the options of `FusionOptions`.

    `learned` and `oracle` read `truth`: the first that of other users, to weigh the runs for a user; the second that of
    the request itself, which is why it is a bound and no model.

    Raises:
        OptionError: If an option is wrong, a run is unknown, ranks nothing, or may not be joined, or the data set is
            one of clicks.
        IncomparableError: If a run is of other requests or of another tie rule.
    """
    options = FusionOptions.parse(typed, owner="fuse")
    if data.task == CLICK:
        raise OptionError(
            f"a fusion joins orders, and {data.place.reference} has one item a request",
            hint="Compare the runs: llmrs-bench compare.",
        )
    if seed and options.method != "learned":
        raise OptionError(f"--seed applies only to the method learned, not to {options.method}", hint="Remove it.")
    runs = _runs(data, options)
    oracle = options.method == ORACLE
    reads_truth = options.method in ("learned", ORACLE)
    recipe = Recipe(
        "infer",
        ORACLE if oracle else f"{FUSION}-{options.method}",
        {"model": FUSION, "method": options.method, "seed": seed, **options.read},
        {
            "requests": data.artifact.digest("requests"),
            **({"truth": data.artifact.digest("truth")} if reads_truth else {}),
            **{run.path.name: run.manifest.fingerprint for run in runs},
        },
        {"format": FORMAT, "tie_rule": TIE_RULE, "tie_seed": str(data.tie_seed)},
    )

    def fill(draft: Draft) -> None:
        joined = _join(data, options, runs, seed=seed, progress=progress)
        draft.write("rankings", joined.rankings)
        draft.facts.update(
            kind=ORACLE if oracle else FUSION,
            requests=data.artifact.manifest.tables["requests"].rows,
            runs={run.path.name: run.manifest.fingerprint for run in runs},
            seed=seed,
            reads_truth=reads_truth,
            typed=_typed(data, options, runs),
            **joint_cost(runs),
            **joined.facts,
        )

    return get_or_create(recipe.place(data.place.runs), recipe, fill)


def _typed(data: Data, options: FusionOptions, runs: Sequence[Artifact]) -> dict[str, Any]:
    """Return what the board shows beside the name; runs are called as their models where that is plain."""
    models = [run.manifest.name for run in open_runs(data)]
    names = [run.path.name if models.count(run.manifest.name) > 1 else run.manifest.name for run in runs]
    if options.method == ORACLE:
        return {"best-of": "+".join(names)}
    return {
        "runs": "+".join(names),
        **{key: options.read[key] for key in options.read if key in options.model_fields_set},
    }


def _runs(data: Data, options: FusionOptions) -> list[Artifact]:
    """Return the runs by name, whatever the order in which they were typed: it does not matter to the result."""
    known = open_runs(data)
    runs = sorted((_run(known, name) for name in options.runs), key=lambda run: run.path.name)
    if len({run.path for run in runs}) < max(len(runs), 2):
        named = ", ".join(options.runs) or "no run"
        raise OptionError(f"{named}: a fusion joins two or more different runs", hint="Write --run A --run B.")
    for run in runs:
        _check(data, run, options)
    return runs


def _run(known: Sequence[Artifact], name: str) -> Artifact:
    exact = [run for run in known if run.path.name == name]
    found = exact or pick_runs(known, [name])
    if len(found) != 1:
        raise OptionError(
            f"--run {name!r} means {len(found)} runs: {', '.join(run.path.name for run in found[:4])}",
            hint="Write more of the name; `llmrs-bench list runs` shows them.",
        )
    return found[0]


def _check(data: Data, run: Artifact, options: FusionOptions) -> None:
    expected = {
        "requests": (run.manifest.inputs.get("requests"), data.artifact.digest("requests")),
        "tie rule": (run.manifest.parts.get("tie_rule"), TIE_RULE),
        "tie seed": (run.manifest.parts.get("tie_seed"), str(data.tie_seed)),
    }
    for field, (have, want) in expected.items():
        if have != want:
            raise IncomparableError(
                f"run {run.path.name} may not be joined with runs of {data.place.reference}: its {field} is {have}, "
                f"that of the data is {want}",
                hint="It was made for other data: run `llmrs-bench infer` again.",
            )
    if (limit := limit_of(run)) is not None:
        raise OptionError(f"run {run.path.name} ranks {limit:,} requests alone", hint="Run it without --limit.")
    if not ranks(run):
        raise OptionError(f"run {run.path.name} holds texts and ranks nothing", hint="Name runs that rank.")
    if run.facts["kind"] == ORACLE:
        raise OptionError(
            f"run {run.path.name} reads the targets: it is an upper bound, not a model", hint="Join runs of models."
        )
    if options.method == "learned" and run.facts.get("reads_truth"):
        raise OptionError(
            f"run {run.path.name} has learned weights itself: weights on it would depend on a user's own target",
            hint="Name the runs it was made of, or take another method.",
        )


def _join(data: Data, options: FusionOptions, runs: Sequence[Artifact], *, seed: int, progress: Progress) -> Joined:
    rankings = [run.table("rankings") for run in runs]
    if options.method == ORACLE:
        return _best(data, runs, rankings)
    if options.method == "rrf":
        return Joined(_ranked(data, reciprocal_rank(rankings, options.k)), {})
    standard = standard_scores(rankings)
    if options.method == "zscore":
        return Joined(_ranked(data, mean_score(standard)), {})
    requests, truth = data.artifact.table("requests"), data.artifact.table("truth")
    fitted = cross_fit(standard, requests, truth, folds=options.folds, seed=seed, progress=progress)
    scores = weighted_score(standard, fitted.by_request)
    return Joined(_ranked(data, scores), {"weights": _weights(runs, fitted)})


def _ranked(data: Data, scores: pl.DataFrame) -> pl.DataFrame:
    if data.whole_catalogue:
        return rank_best(scores, depth=DEPTH, seed=data.tie_seed)
    return rank_candidates(data.artifact.table("requests"), scores, seed=data.tie_seed)


def _weights(runs: Sequence[Artifact], fitted: FittedWeights) -> dict[str, dict[str, Any]]:
    """Return of each run its weight in every fold, and their mean."""
    columns = zip(*fitted.weights, strict=True)
    return {
        run.path.name: {"mean": round(sum(column) / len(column), 4), "folds": list(column)}
        for run, column in zip(runs, columns, strict=True)
    }


def _best(data: Data, runs: Sequence[Artifact], rankings: Sequence[pl.DataFrame]) -> Joined:
    truth = data.artifact.table("truth")
    values = [
        measure(truth, ranking, parse_metrics(BY))
        .pivot("metric", index="request_id", values="value")
        .sort("request_id")
        for ranking in rankings
    ]
    taken, counts = best_of(rankings, values)
    return Joined(
        taken.select(list(RANKINGS)).cast(RANKINGS),
        {"better": {run.path.name: count for run, count in zip(runs, counts, strict=True)}},
    )
