"""Stage `fairness`: runs whose prompts state different things of the same users, compared by their lists."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.config import Options
from llmrs_bench.core.errors import IncomparableError, OptionError
from llmrs_bench.core.option_faults import MOST
from llmrs_bench.counterfactuals import MEASURES, by_user, similarities, spread
from llmrs_bench.stages.evaluate import measured
from llmrs_bench.stages.workspace import Data, limit_of, open_runs, pick_runs
from llmrs_bench.stats import bootstrap_interval, holm, sign_flip

QUALITY = "ndcg@10"
# What may differ between runs that are compared: what is said of users, and the part that says it.
_STATED = ("stated", "role")

Floats = NDArray[np.float64]


class FairnessConfig(Options):
    """Which runs are compared, and how.

    Args:
        neutral: The run whose lists the others are compared with.
        runs: Two or more runs that state different values of one attribute.
        control: A run that states something that should not matter; it shows what any other words change.
        k: The length of lists.
        samples: Resamples of users for intervals.
        permutations: Shuffles and signs of each test.
        seed: Of both.
    """

    neutral: str
    runs: tuple[str, ...]
    control: str | None = None
    k: int = Field(default=10, ge=1, le=MOST)
    samples: int = Field(default=2000, ge=100, le=100_000)
    permutations: int = Field(default=10_000, ge=100, le=1_000_000)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def several(self) -> Self:
        """Refuse a single stated value: nothing could be apart."""
        if len(self.runs) < 2:
            raise ValueError("one --run leaves nothing to compare: give two or more, such as --run woman --run man")
        return self


def fairness(data: Data, config: FairnessConfig) -> dict[str, Any]:
    """Compare lists of runs that state different values of an attribute with those of a neutral run, user by user.

    Args:
        data: The prepared data set, of rankings.
        config: The runs, and how they are tested.

    Returns:
        Plain values: `rows`, of each stated value and the control its mean similarities and `ndcg@10` with 95 %
        intervals over users, the difference of `ndcg@10` from the neutral run with its p (Holm over stated values),
        and by measure the p of whether its lists are further from the neutral ones than those of the control (Holm over
        stated values and measures); and `spreads`, by measure and of `ndcg@10`: SNSR, SNSV, their p and `corrected`,
        that of SNSR after Holm over all four.

    Raises:
        OptionError: If the data set has no lists, a run is unknown, ambiguous or no language model's, or two are one.
        IncomparableError: If two runs differ in more than what they state.
    """
    if data.labelled:
        raise OptionError(
            f"fairness compares lists, but {data.place.reference} has one item per request",
            hint="Prepare the data without --task.",
        )
    runs = open_runs(data)
    neutral = _run(runs, config.neutral, "--neutral")
    stated = [_run(runs, name, "--run") for name in config.runs]
    control = None if config.control is None else _run(runs, config.control, "--control")
    chosen = [neutral, *stated, *([] if control is None else [control])]
    if len({run.path.name for run in chosen}) < len(chosen):
        raise OptionError("a run is named twice", hint="Name runs that state different values.")
    for run in chosen:
        _check_alike(neutral, run)
    lists = [_lists(run, config.k) for run in chosen]
    users = _users(data, neutral)
    alike = np.stack([similarities(lists[0], each, users) for each in lists[1:]])  # (runs, measures, users)
    quality = np.stack([_quality(data, run, users) for run in chosen])  # (1 + runs, users)
    rows = [_row(run, alike[at], quality[at + 1], config) for at, run in enumerate(chosen[1:])]
    count = len(stated)
    _add_differences(rows, quality, count, config)
    if control is not None:
        _add_distances(rows, alike, count, config)
        rows[-1]["control"] = True
    spreads = _spreads(alike[:count], quality[1 : count + 1], config)
    return {
        "dataset": data.place.reference,
        "model": neutral.facts["model"]["name"],
        "template": neutral.manifest.config["template"],
        "neutral": {"run": neutral.path.name, "stated": _said(neutral), QUALITY: float(np.nanmean(quality[0]))},
        "k": config.k,
        "users": len(set(users.values())),
        "requests": len(users),
        "rows": rows,
        "spreads": spreads,
        "samples": config.samples,
        "permutations": config.permutations,
        "notes": list(_notes(data, chosen, users, lists)),
    }


def _run(runs: Sequence[Artifact], name: str, option: str) -> Artifact:
    found = pick_runs(runs, [name])
    if len(found) > 1:
        raise OptionError(
            f"{option} {name} matches {len(found)} runs: {', '.join(run.path.name for run in found)}",
            hint="Write more of the name, or name runs with infer --name.",
        )
    if found[0].facts.get("kind") != "language model" or "rankings" not in found[0].manifest.tables:
        raise OptionError(
            f"{found[0].path.name} is not a language model's ranking: its prompts state nothing",
            hint="Make runs with `llmrs-bench infer -T stated=TEXT`.",
        )
    return found[0]


def _said(run: Artifact) -> str:
    return str((run.facts.get("template_options") or {}).get("stated", ""))


def _alike(run: Artifact) -> dict[str, Any]:
    """Return what runs that are compared have in common."""
    options = {key: value for key, value in (run.facts.get("template_options") or {}).items() if key not in _STATED}
    return {
        **{name: run.facts.get(name) for name in ("model", "engine", "history", "seed")},
        **{name: run.manifest.config.get(name) for name in ("template", "normalize")},
        **{f"-T {key}": value for key, value in options.items()},
        "--limit": limit_of(run),
        "the digest of the requests": run.manifest.inputs.get("requests"),
        "the digest of weights and engine options": run.manifest.inputs.get("answers"),
    }


def _check_alike(neutral: Artifact, run: Artifact) -> None:
    ours, theirs = _alike(neutral), _alike(run)
    differing = [name for name in dict.fromkeys((*ours, *theirs)) if ours.get(name) != theirs.get(name)]
    if differing:
        words = "; ".join(f"{name} is {theirs.get(name)}, not {ours.get(name)}" for name in differing)
        raise IncomparableError(
            f"{run.path.name} and {neutral.path.name} differ in more than what they state: {words}",
            hint="Make both with the same options, but for -T stated=TEXT and -T role=PART.",
        )


def _lists(run: Artifact, k: int) -> dict[str, list[str]]:
    """Return by request the first `k` items that the run ranked, best first."""
    rows = (
        run.table("rankings").filter(pl.col("score").is_not_null() & (pl.col("rank") <= k)).sort("request_id", "rank")
    )
    return dict(rows.group_by("request_id", maintain_order=True).agg("item_id").iter_rows())


def _users(data: Data, run: Artifact) -> dict[str, str]:
    """Return the user of each request that was asked."""
    asked = run.table("rankings").select("request_id").unique()
    requests = data.artifact.table("requests").join(asked, on="request_id", how="semi", maintain_order="left")
    return dict(requests.select("request_id", "user_id").iter_rows())


def _quality(data: Data, run: Artifact, users: Mapping[str, str]) -> Floats:
    """Return (users,) the NDCG@10 of each."""
    metrics = measured(data, run, []).metrics.filter(pl.col("metric") == QUALITY)
    values = dict(metrics.select("request_id", "value").iter_rows())
    found: Floats = by_user(np.array([[values[name] for name in users]]), users)[0]
    return found


def _row(run: Artifact, alike: Floats, quality: Floats, config: FairnessConfig) -> dict[str, Any]:
    """Return the means of a run, with intervals over users."""
    values = np.concatenate([alike, quality[None]])
    ends = bootstrap_interval(values, samples=config.samples, seed=config.seed)
    cells = {
        name: {"mean": float(np.nanmean(row)), **_ends(both)}
        for name, row, both in zip((*MEASURES, QUALITY), values, ends, strict=True)
    }
    return {"run": run.path.name, "stated": _said(run), "control": False, **cells}


def _ends(both: Floats) -> dict[str, float | None]:
    """Return both ends of an interval; None where there is none, as of a single user."""
    return {name: None if np.isnan(end) else float(end) for name, end in zip(("low", "high"), both, strict=True)}


def _add_differences(rows: Sequence[dict[str, Any]], quality: Floats, count: int, config: FairnessConfig) -> None:
    """Add to each row the difference of its NDCG@10 from that of the neutral run."""
    gaps = quality[1:] - quality[0]
    ends = bootstrap_interval(gaps, samples=config.samples, seed=config.seed)
    pairs = np.array([[at + 1, 0] for at in range(len(rows))])
    p = sign_flip(quality[None], pairs, samples=config.permutations, seed=config.seed)[0]
    corrected = np.concatenate([holm(p[:count]), p[count:]])  # the control is no question of its own
    for row, gap, both, raw, each in zip(rows, gaps, ends, p, corrected, strict=True):
        row["difference"] = {
            "mean": float(np.nanmean(gap)), **_ends(both), "p": float(raw), "corrected": float(each),
        }  # fmt: skip


def _add_distances(rows: Sequence[dict[str, Any]], alike: Floats, count: int, config: FairnessConfig) -> None:
    """Add to each stated row how far its similarities are from those of the control, which stands last."""
    pairs = np.array([[at, len(rows) - 1] for at in range(count)])
    p = sign_flip(alike.transpose(1, 0, 2), pairs, samples=config.permutations, seed=config.seed)  # (measures, stated)
    corrected = holm(p)
    for at, row in enumerate(rows[:count]):
        row["against_control"] = {
            name: {
                "difference": float(np.nanmean(alike[at, place] - alike[-1, place])),
                "p": float(p[place, at]),
                "corrected": float(corrected[place, at]),
            }
            for place, name in enumerate(MEASURES)
        }


def _spreads(alike: Floats, quality: Floats, config: FairnessConfig) -> dict[str, dict[str, float]]:
    """Return SNSR and SNSV of each measure, and the same of NDCG@10."""
    values = {**{name: alike[:, place] for place, name in enumerate(MEASURES)}, QUALITY: quality}
    found = {name: spread(each, samples=config.permutations, seed=config.seed) for name, each in values.items()}
    corrected = holm(np.array([each.p_snsr for each in found.values()]))
    return {
        name: {**asdict(each), "corrected": float(p)} for (name, each), p in zip(found.items(), corrected, strict=True)
    }


def _notes(
    data: Data, runs: Sequence[Artifact], users: Mapping[str, str], lists: Sequence[Mapping[str, Sequence[str]]]
) -> list[str]:
    """Say what readers have to know before they believe a difference."""
    found = []
    if (limit := limit_of(runs[0])) is not None:
        found.append(f"only the first {limit:,} requests were asked (--limit)")
    if len(set(users.values())) == 1:
        found.append("one user: no interval, and every p is 1")
    for run, own in zip(runs, lists, strict=True):
        if unranked := len(users) - len(own):
            found.append(f"{run.path.name} ranks nothing in {unranked:,} of {len(users):,} requests")
    if not _said(runs[0]):
        found.append("the neutral prompt states nothing about the user, so the others differ from it in wording, too")
    return found
