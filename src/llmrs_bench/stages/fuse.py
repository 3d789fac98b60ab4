"""A run made of other runs: rankings fused, or one ordered again, and the cost of all of them."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import fsum, inf, isfinite
from typing import Any, Literal, Self

import polars as pl
from pydantic import Field, ValidationError, field_validator, model_validator

from llmrs_bench.core.artifacts import Artifact, Draft, Recipe, StageResult, get_or_create
from llmrs_bench.core.config import Options
from llmrs_bench.core.costs import AMOUNTS, COUNTS
from llmrs_bench.core.errors import IncomparableError, OptionError
from llmrs_bench.core.option_faults import flag, takes
from llmrs_bench.core.schemas import RANKINGS
from llmrs_bench.fusion import (
    Doubt,
    best_of,
    cascade,
    doubts,
    fit_weights,
    mean_score,
    reciprocal_rank,
    standard_scores,
    threshold,
    weighted_score,
)
from llmrs_bench.metrics import measure, parse_metrics
from llmrs_bench.reranking import less_popular, marginal_relevance
from llmrs_bench.stages.ties import ranked, tie_parts, tie_rule
from llmrs_bench.stages.workspace import Data, limit_of, open_data, open_runs, pick_runs, ranks

FUSION = "fusion"
# Bumped when the same runs give another ranking: older runs are then recomputed.
FORMAT = "1"
# What ranking alone takes, without training.
_RANKING = ("scoring_seconds", "scoring_price_usd")


def joint_cost(runs: Sequence[Artifact], shares: Sequence[float] = ()) -> dict[str, Any]:
    """Return the facts of a run that needs all of `runs`: sums, and the largest peak of memory.

    A count that one of them does not know is not known. An amount is summed over the runs that know it, and
    `cost_unknown` names, for each, those that do not; where no run knows it, it is None.

    Args:
        runs: The runs.
        shares: Of how many of the requests each was asked, where that is not all of them: what it took to train a model
            counts whole, and all else by this share. A run that is asked for none costs nothing.
    """
    taken = list(shares) or [1.0] * len(runs)
    facts = [_share_of(run.facts, share) for run, share in zip(runs, taken, strict=True)]
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
    for name, ranking in zip(("seconds", "price_usd"), _RANKING, strict=True):
        ours = [fact.get(name) if fact.get(ranking) is None else fact[ranking] for fact in facts]
        known = [amount for amount in ours if amount is not None]
        found[ranking] = round(fsum(known), 6) if known else None
    rates = [
        rate / share if share else None
        for fact, share in zip(facts, taken, strict=True)
        if (rate := fact.get("requests_per_second"))
    ]
    known_of_all = len(rates) == len(facts)
    seconds = fsum(1 / rate for rate in rates if rate is not None)
    found["requests_per_second"] = round(1 / seconds, 3) if known_of_all and seconds else None
    peaks = [fact["peak_device_gb"] for fact in facts if fact.get("peak_device_gb") is not None]
    return {**found, "peak_device_gb": max(peaks, default=None), "cost_unknown": unknown}


def _share_of(facts: Mapping[str, Any], share: float) -> Mapping[str, Any]:
    """Return the counts and amounts of a run that is asked for this share of the requests."""
    if share == 1:
        return facts
    found = {name: round(share * facts[name]) for name in COUNTS if facts.get(name) is not None}
    amounts = {name: share * facts[name] for name in (*AMOUNTS, *_RANKING) if facts.get(name) is not None}
    seconds, scoring = facts.get("seconds"), facts.get("scoring_seconds")
    if share and seconds is not None and scoring is not None:
        amounts["seconds"] = seconds - scoring + share * scoring
    return {**facts, **found, **amounts}


ORACLE, CASCADE = "oracle", "cascade"
VALIDATION = "validation"
BY = ("ndcg@10", "mrr")
# What orders a single run again, and the table that it reads.
_AGAIN = {"mmr": "items", "novelty": "interactions"}


# The options that each method reads.
_READ: Mapping[str, tuple[str, ...]] = {
    "rrf": ("k",),
    "learned": ("learn_on",),
    "cascade": ("budget", "top", "doubt", "learn_on"),
    **dict.fromkeys(_AGAIN, ("weight",)),
}


_FLAGS = ("method", "learn_on", "budget", "top")  # typed as `--method`; others are `-O k=60`
_NO_VALIDATION = "the method learned needs validation requests"
_NO_BUDGET = "the method cascade needs a budget, or a number of best items"
_NEEDED = {
    _NO_VALIDATION: 'Add --learn-on NAME@VARIANT, in a recipe learn_on = "NAME".',
    _NO_BUDGET: 'Add --budget 20% or --top 5, in a recipe budget = "20%" or top = 5.',
}


@contextmanager
def _hinted(options: type[Options], written: Callable[[str], str]) -> Iterator[None]:
    """Say in the hint of an error what to type, where one option is wrong, or the method lacks or does not read one."""
    try:
        yield
    except OptionError as error:
        if isinstance(error.__cause__, ValidationError):
            faults = error.__cause__.errors()
            said = [fault["msg"].removeprefix("Value error, ") for fault in faults if not fault["loc"]]
            known = takes(faults, options.model_json_schema()["properties"], written=written)
            own = [_NEEDED.get(each, "Leave it out, or choose another method.") for each in said]
            error.hint = " ".join(filter(None, [known, *own])) or error.hint
        raise


class FusionOptions(Options):
    """Options of `fuse`.

    Args:
        runs: Names of at least two runs of the data set, or how they begin; of `cascade` the order counts. `mmr` and
            `novelty` take one.
        method: `rrf`, `zscore`, `learned`, `cascade`; `mmr` or `novelty`, which order one run again; or `oracle`, which
            is no model: of each request it takes the run that ranks the target best.
        k: The constant of `rrf`.
        learn_on: The data set with the validation requests (`prepare --held-out validation`) on which `learned` fits
            its weights and `cascade` its threshold.
        budget: Of `cascade`, the share of requests for which the second run is asked, `20%` or `0.2`.
        top: Of `cascade`, how many of the first run's best items the second one orders; None: all.
        doubt: Of `cascade`, by what the first run is unsure: the margin of its best score, or the entropy of all.
        weight: Of `mmr` and `novelty`, how much their goal counts, from 0, the order of the run, to 1.
    """

    runs: tuple[str, ...] = ()
    method: Literal["rrf", "zscore", "learned", "cascade", "mmr", "novelty", "oracle"] = "rrf"
    k: int = Field(default=60, ge=0)
    learn_on: str | None = None
    budget: float = Field(
        default=1.0, ge=0, le=1, json_schema_extra={"takes": "a share of the requests, such as 20% or 0.2"}
    )
    top: int | None = Field(default=None, ge=1)
    doubt: Doubt = "margin"
    weight: float = Field(default=0.5, ge=0, le=1)

    @field_validator("runs", mode="before")
    @classmethod
    def listed(cls, runs: Any) -> Any:
        """Read `A,B` as typed."""
        return tuple(name.strip() for name in runs.split(",") if name.strip()) if isinstance(runs, str) else runs

    @field_validator("budget", mode="before")
    @classmethod
    def share(cls, budget: Any) -> Any:
        """Read `20%` as typed."""
        percent = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", budget) if isinstance(budget, str) else None
        if percent is not None:
            return float(percent[1]) / 100
        typed = str(budget).strip()
        if re.fullmatch(r"\d+(?:\.\d+)?", typed) and float(typed) > 1:
            raise ValueError(f"{typed} is not a share of the requests: write {typed}%, or a number up to 1")
        return budget

    @model_validator(mode="after")
    def no_idle_options(self) -> Self:
        """Refuse options that the method does not read, and a method without what it needs."""
        for name in sorted(self.model_fields_set - {"runs", "method", *_READ.get(self.method, ())}):
            methods = [method for method, read in _READ.items() if name in read]
            which = f"the method{'s' if len(methods) > 1 else ''} {' and '.join(methods)}"
            raise ValueError(f"{name.replace('_', '-')} applies only to {which}, not to {self.method}")
        if self.method == "learned" and self.learn_on is None:
            raise ValueError(_NO_VALIDATION)
        if self.method == "cascade" and not self.model_fields_set & {"budget", "top"}:
            raise ValueError(_NO_BUDGET)
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, owner: str) -> Self:
        """Return the options made from `values` as `fuse` takes them; the hint of an error says how they are typed."""
        with _hinted(cls, lambda name: flag(name) if name in _FLAGS else f"-O {name}"):
            return super().parse(values, owner=owner)

    @classmethod
    def parse_table(cls, values: Mapping[str, Any]) -> Self:
        """Return the options made from a table of a recipe."""
        with _hinted(cls, str):
            return super().parse_table(values)

    @property
    def stem(self) -> str:
        """What the name of the run begins with, up to its fingerprint."""
        return ORACLE if self.method == ORACLE else f"{FUSION}-{self.method}"

    @property
    def learning_runs(self) -> tuple[str, ...]:
        """The runs that have to be there on the validation requests, too."""
        if self.learn_on is None:
            return ()
        return self.runs[:1] if self.method == CASCADE else self.runs

    @property
    def read(self) -> dict[str, Any]:
        """The options that the method reads and that may change the result, but for the data set it learns on."""
        return {name: getattr(self, name) for name in _READ.get(self.method, ()) if name != "learn_on"}


@dataclass(frozen=True, slots=True)
class Joined:
    """Rankings, facts about how they came about, and of how many requests each run was asked, if not of all."""

    rankings: pl.DataFrame
    facts: dict[str, Any]
    shares: tuple[float, ...] = ()


def fuse(data: Data, typed: Mapping[str, str]) -> StageResult:
    """Make the run that joins other runs of the same data set, with the options of `FusionOptions`.

    What is learned is learned on validation requests. `oracle` alone reads the targets of tests, which is why it is a
    bound and no model.

    Raises:
        OptionError: If an option is wrong, a run is unknown, ranks nothing, may not be joined, or was not made for the
            validation requests, or the data set has one item a request.
        IncomparableError: If a run is of other requests or another tie rule, or validation requests are of other data.
    """
    options = FusionOptions.parse(typed, owner="fuse")
    if data.labelled:
        raise OptionError(
            f"a fusion combines rankings, but {data.place.reference} has one item per request",
            hint="Compare the runs: llmrs-bench compare.",
        )
    runs, oracle = _runs(data, options), options.method == ORACLE
    learned = None if options.learn_on is None else _validation(data, options, runs)
    recipe = Recipe(
        "infer",
        options.stem,
        {
            **{"model": FUSION, "method": options.method, "seed": 0, **options.read},
            **({"order": [run.path.name for run in runs]} if options.method == CASCADE else {}),
        },
        {
            "requests": data.artifact.digest("requests"),
            **({"truth": data.artifact.digest("truth")} if oracle else {}),
            **({table: data.artifact.digest(table)} if (table := _AGAIN.get(options.method)) else {}),
            **{run.path.name: run.manifest.fingerprint for run in runs},
            **({} if learned is None else learned.inputs),
        },
        {
            **{"format": FORMAT, **tie_parts(data)},
            **({"budget_of_none": "2"} if options.method == CASCADE and not options.budget else {}),
        },
    )

    def fill(draft: Draft) -> None:
        joined = _join(data, options, runs, learned)
        draft.write("rankings", joined.rankings)
        draft.facts.update(
            kind=ORACLE if oracle else FUSION,
            requests=data.artifact.manifest.tables["requests"].rows,
            runs={run.path.name: run.manifest.fingerprint for run in runs},
            seed=0,
            reads_truth=oracle,
            typed=_typed(data, options, runs),
            **joint_cost(runs, joined.shares),
            **joined.facts,
        )

    return get_or_create(recipe.place(data.place.runs), recipe, fill)


@dataclass(frozen=True, slots=True)
class Validation:
    """Validation requests, and the runs that answer them: partners of those that are fused, in the same order."""

    data: Data
    runs: tuple[Artifact, ...]

    @property
    def inputs(self) -> dict[str, str]:
        """What of it decides the result, for a fingerprint."""
        tables = {f"validation {name}": self.data.artifact.digest(name) for name in ("requests", "truth")}
        return tables | {f"validation {run.path.name}": run.manifest.fingerprint for run in self.runs}


def _validation(data: Data, options: FusionOptions, runs: Sequence[Artifact]) -> Validation:
    """Open the validation requests and the runs on them.

    Raises:
        OptionError: If the data set has tested requests, or lacks a run.
        IncomparableError: If it is of other events, or split otherwise.
    """
    other = open_data(data.place.root.parent.parent, options.learn_on or "")
    have, want = other.artifact.manifest, data.artifact.manifest
    if have.config.get("held_out") != VALIDATION:
        raise OptionError(
            f"{other.place.reference} has test requests, but no validation requests",
            hint=f"Prepare them with the options of {data.place.reference}, and with --held-out {VALIDATION}.",
        )
    theirs = {**have.config, "source": have.inputs["source"]}
    own = {**want.config, "source": want.inputs["source"], "held_out": VALIDATION}
    for name in sorted({*theirs, *own} - {"users"}):
        if theirs.get(name) != own.get(name):
            raise IncomparableError(
                f"{other.place.reference} was prepared with {name} {theirs.get(name)}, but {data.place.reference} with "
                f"{own.get(name)}",
                hint=f"Prepare both alike, but for --held-out {VALIDATION} and --users.",
            )
    needed = runs[:1] if options.method == CASCADE else runs
    known = open_runs(other)
    return Validation(other, tuple(_partner(other, known, run) for run in needed))


def _partner(other: Data, known: Sequence[Artifact], run: Artifact) -> Artifact:
    """Return the run of validation requests that was made as `run` was; of a language model fewer requests will do."""

    def made_with(each: Artifact) -> tuple[str, dict[str, Any], str | None]:
        config = {name: value for name, value in each.manifest.config.items() if name != "limit"}
        return each.manifest.name, config, each.manifest.inputs.get("answers")

    found = [each for each in known if made_with(each) == made_with(run)]
    if not found:
        command = f"as it was: {run.manifest.command}" if run.manifest.command else "with the same options"
        raise OptionError(
            f"{other.place.reference} has no run with the options of {run.path.name}, so its results on validation "
            "are unknown",
            hint=f"Make it with --dataset {other.place.reference}, otherwise {command}",
        )
    return max(found, key=lambda each: (limit_of(each) is None, limit_of(each) or 0))


def _typed(data: Data, options: FusionOptions, runs: Sequence[Artifact]) -> dict[str, Any]:
    """Return what the board shows beside the name; runs are called as their models where that is plain."""
    models = [run.manifest.name for run in open_runs(data)]
    names = [run.path.name if models.count(run.manifest.name) > 1 else run.manifest.name for run in runs]
    if options.method == ORACLE:
        return {"best-of": "+".join(names)}
    if options.method in _AGAIN:
        return {"runs": names[0], **options.read}
    read = {key: options.read[key] for key in options.read if key in options.model_fields_set}
    return {"runs": (" then " if options.method == CASCADE else "+").join(names), **read}


def _runs(data: Data, options: FusionOptions) -> list[Artifact]:
    """Return the runs by name where their order does not matter to the result, as it does to a cascade of two."""
    known = open_runs(data)
    runs = [_run(known, name) for name in options.runs]
    check_number(options, {run.path.name for run in runs})
    runs = runs if options.method == CASCADE else sorted(runs, key=lambda run: run.path.name)
    for run in runs:
        _check(data, run, options)
    return runs


def check_number(options: FusionOptions, different: Collection[str]) -> None:
    """Refuse a number of runs that the method does not take, or a run that is named twice.

    Args:
        options: The method, and the runs as named.
        different: The runs that these names mean.

    Raises:
        OptionError: Saying how many it takes.
    """
    count = len(options.runs)
    if options.method == CASCADE and count > 2:
        raise OptionError(
            f"a cascade takes two runs, not {count}",
            hint='Write --run A --run B, in a recipe fuse = ["A", "B"]: the first ranks all requests.',
        )
    if options.method in _AGAIN:
        if count != 1:
            raise OptionError(
                f"{options.method} takes one run, not {count}", hint='Write --run NAME once, in a recipe fuse = "NAME".'
            )
    elif len(different) < max(count, 2):
        raise OptionError(
            f"{', '.join(options.runs) or 'no run'}: a fusion combines two or more different runs",
            hint='Write --run A --run B, in a recipe fuse = ["A", "B"].',
        )


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
        "tie rule": (run.manifest.parts.get("tie_rule"), tie_rule(data)),
        "tie seed": (run.manifest.parts.get("tie_seed"), str(data.tie_seed)),
    }
    for field, (have, want) in expected.items():
        if have != want:
            raise IncomparableError(
                f"run {run.path.name} cannot be combined with runs of {data.place.reference}: its {field} is "
                f"{have}, that of the data is {want}",
                hint="It was made for other data: run `llmrs-bench infer` again.",
            )
    if (limit := limit_of(run)) is not None:
        raise OptionError(f"run {run.path.name} ranks only {limit:,} requests", hint="Run it without --limit.")
    if not ranks(run):
        raise OptionError(f"run {run.path.name} holds texts and ranks nothing", hint="Name runs that rank.")
    if run.facts["kind"] == ORACLE:
        raise OptionError(
            f"run {run.path.name} reads the targets: it is an upper bound, not a model", hint="Combine runs of models."
        )
    if options.learn_on is not None and run.facts["kind"] == FUSION:
        raise OptionError(
            f"run {run.path.name} is a fusion, so its counterpart on validation requests is unknown",
            hint="Name the runs that it combines, or use another method.",
        )


def _join(data: Data, options: FusionOptions, runs: Sequence[Artifact], learned: Validation | None) -> Joined:
    rankings = [run.table("rankings") for run in runs]
    if options.method in _AGAIN:
        order = marginal_relevance if options.method == "mmr" else less_popular
        scores = order(rankings[0], data.artifact.table(_AGAIN[options.method]), options.weight)
        return Joined(ranked(data, scores), {})
    if options.method == ORACLE:
        return _best(data, runs, rankings)
    if options.method == "rrf":
        return Joined(ranked(data, reciprocal_rank(rankings, options.k)), {})
    if options.method == CASCADE:
        return _cascade(data, options, rankings, learned)
    standard = standard_scores(rankings)
    if learned is None:
        return Joined(ranked(data, mean_score(standard)), {})
    answered = [run.table("rankings") for run in learned.runs]
    truth = learned.data.artifact.table("truth")
    for ranking in answered:  # of a run with a limit
        truth = truth.join(ranking, on="request_id", how="semi", maintain_order="left")
    weights = fit_weights(standard_scores(answered), truth)
    named = {run.path.name: weight for run, weight in zip(runs, weights, strict=True)}
    about = {"weights": named, "learned_on": [learned.data.place.reference, truth["request_id"].n_unique()]}
    return Joined(ranked(data, weighted_score(standard, weights)), about)


def _cascade(
    data: Data, options: FusionOptions, rankings: Sequence[pl.DataFrame], learned: Validation | None
) -> Joined:
    """Ask the second run where the first one is unsure: beyond a threshold from validation, or from these requests."""
    found = doubts(rankings[0], options.doubt)
    seen = found if learned is None else doubts(learned.runs[0].table("rankings"), options.doubt)
    limit = threshold(seen["doubt"], options.budget)
    asked = found["request_id"] if limit == -inf else found.filter(pl.col("doubt") > limit)["request_id"]
    share = len(asked) / max(found.height, 1)
    about = {
        "asked": len(asked),
        "threshold": limit if isfinite(limit) else None,
        "doubt": options.doubt,
        **({} if learned is None else {"learned_on": [learned.data.place.reference, seen.height]}),
    }
    return Joined(ranked(data, cascade(rankings[0], rankings[1], asked, options.top)), about, (1.0, share))


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
