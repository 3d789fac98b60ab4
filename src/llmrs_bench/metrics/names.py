"""Metrics as values whose printed name is their identity, and what each name means."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from llmrs_bench.core.config import METRIC_NAMES
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import unknown_name

Direction: TypeAlias = Literal["higher", "lower", "neither"]
# Bumped whenever a definition changes; part of every evaluation's fingerprint.
DEFINITIONS = "3"
# Bumped where that of one metric alone changes, so that others are not measured again.
CHANGED = {"gini": "2"}
ACCURACY = ("hit", "map", "mrr", "ndcg", "precision", "recall")
ANSWER_METRICS = ("answered", "coverage", "listed")
SCORED = ("auc", "log-loss")
BEYOND = ("diversity", "history-copy", "novelty", "popularity", "popularity-lift")
PER_RUN = ("catalogue-coverage", "gini")
_WHOLE = ("answered", "auc", "coverage", "listed", "log-loss", "map", "mrr", "ndcg")
_WITH_CUTOFF = (*ACCURACY, "listed", *BEYOND, *PER_RUN)
_LOWER, _NEITHER = ("gini", "log-loss"), ("history-copy", "novelty", "popularity", "popularity-lift")
METRIC_FORMS = tuple(sorted([*_WHOLE, *(f"{name}@K" for name in _WITH_CUTOFF)]))


_DIGITS = 9  # of a cutoff


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric and its cutoff, printed as `ndcg@10` or `mrr`.

    Accuracy of a request, with the ranks r of its relevant items, from 1, and n relevant items. A relevant item that is
    in no ranking counts as never found; those the model did not rank count as `EvaluateConfig.invalid` says:

    - `hit@k`: 1 if some r <= k.
    - `recall@k`: share of the relevant items with r <= k; with one of them the same as `hit@k`.
    - `precision@k`: number of relevant items with r <= k, over k, also where the list is shorter (trec_eval `P`).
    - `ndcg@k`: sum over r <= k of 1/log2(1+r), over that sum for the best order, 1..min(n, k)
      (Järvelin and Kekäläinen 2002, binary gain); a single target at rank 1 gives 1. `ndcg`: without a cutoff.
    - `mrr`: 1/min(r) (Voorhees 1999); with a cutoff 0 below rank k.
    - `map@k`: mean over the n relevant items of the precision at their ranks, 0 for those below rank k (trec_eval
      `map_cut`, which divides by n and not by min(n, k)); `map`: without a cutoff. With one relevant item it is `mrr`.

    Of the answer:

    - `coverage`: 1 if the model itself ranked a relevant item, for a whole catalogue among the ranks kept;
      arXiv 2401.04997 calls this Coverage, or Recall@20 in version 1.
    - `answered`: 1 if the model ranked any candidate at all.
    - `listed`: share of the candidate list that the model itself ranked; `listed@k`: share of the first k places.

    Of scores, over the candidates of a request (`accuracy.py` says more):

    - `auc`: chance that a relevant item scores above another candidate, ties counted half (Rendle et al. 2009).
    - `log-loss`: -ln of the softmax of the scores at the relevant item.

    Beyond accuracy, over the first k items of a request (`beyond.py` says more): `popularity@k`, `popularity-lift@k`,
    `novelty@k`, `diversity@k` and `history-copy@k`. Over the first k items of all requests of a run (`beyond.py`
    says more): `catalogue-coverage@k` and `gini@k`.
    """

    name: str
    cutoff: int | None = None

    def __str__(self) -> str:
        return self.name if self.cutoff is None else f"{self.name}@{self.cutoff}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a printed name back.

        Raises:
            OptionError: If it names no metric.
        """
        name, at, cutoff = text.strip().lower().partition("@")
        if len(cutoff) > _DIGITS:
            cutoff, text = "", f"{text[:40]}..."
        if not at and name in _WHOLE:
            return cls(name)
        if name in _WITH_CUTOFF and cutoff.isdecimal() and int(cutoff) > (name == "diversity"):
            return cls(name, int(cutoff))
        k = cutoff if cutoff.isdecimal() and int(cutoff) > 1 else "10"
        known = [form.replace("@K", f"@{k}") for form in METRIC_FORMS]
        raise unknown_name(
            "metric",
            text,
            known,
            hint=f"Any cutoff from 1 and of at most {_DIGITS} digits will do; for diversity from 2.",
        )

    @property
    def per_run(self) -> bool:
        """Whether it is a figure of a whole run, and no mean over requests."""
        return self.name in PER_RUN

    @property
    def of_answer(self) -> bool:
        """Whether it says how a model answered, so that no policy leaves requests out of it."""
        return self.name in ANSWER_METRICS

    @property
    def needs(self) -> tuple[str, ...]:
        """The tables it reads beside truth and rankings."""
        return {
            "popularity": ("interactions",),
            "popularity-lift": ("interactions", "requests"),
            "novelty": ("interactions",),
            "history-copy": ("requests",),
            "diversity": ("items",),
            "catalogue-coverage": ("items",),
            "gini": ("items",),
        }.get(self.name, ())

    @property
    def direction(self) -> Direction:
        """Whether more of it is better, less of it, or neither."""
        return "lower" if self.name in _LOWER else "neither" if self.name in _NEITHER else "higher"


def parse_metrics(names: Sequence[str]) -> list[Metric]:
    """Read several printed names; one that is there twice is read once.

    Raises:
        OptionError: If one names no metric, or there are none.
    """
    if not names:
        raise OptionError("no metrics were named", hint=f"Known: {', '.join(METRIC_FORMS)}.")
    return list(dict.fromkeys(Metric.parse(name) for name in names))


def is_measurable(metric: Metric, depth: int | None) -> bool:
    """Return whether rankings of at most `depth` ranks decide a metric; None: rankings are whole."""
    if depth is None or metric.name in ("answered", "coverage"):
        return True
    return metric.cutoff is not None and metric.cutoff <= depth


def measurable(names: Sequence[str], depth: int | None) -> list[str]:
    """Return the names of metrics that rankings of at most `depth` ranks decide; None: rankings are whole."""
    return [name for name in names if is_measurable(Metric.parse(name), depth)]


def default_metrics(depth: int | None) -> list[Metric]:
    """Return what is measured of every run whose rankings have at most `depth` ranks; None: they are whole."""
    return parse_metrics(measurable(METRIC_NAMES, depth))
