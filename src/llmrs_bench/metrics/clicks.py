"""Metrics of click data: one score for each pair of a user and an item, compared with whether the user liked it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.metrics.labelled import (
    Floats,
    MetricSet,
    Places,
    counted,
    divided,
    jackknifed,
    shares,
    summed,
)

Probability: TypeAlias = Literal["raw", "calibrated"]

RANKED = ("auc", "uauc", "uauc-weighted")
# Which probability, or which choice, a metric is of.
PROBABILITY_OF: Mapping[str, Probability] = {
    "log-loss": "raw",
    "log-loss-calibrated": "calibrated",
    "ece": "raw",
    "ece-calibrated": "calibrated",
    "accuracy": "raw",
}
_NAMES = (*RANKED, "accuracy", "accuracy-tuned", "log-loss", "log-loss-calibrated", "ece", "ece-calibrated")
CLICK_METRICS = MetricSet(
    of="click data",
    definitions="1",
    names=_NAMES,
    board=tuple(name for name in _NAMES if name != "uauc-weighted"),
    lower=tuple(name for name in _NAMES if name.startswith(("log-loss", "ece"))),
)
BINS = 10
LEAST = 1e-15  # of a probability in a logarithm, as `MOST_LOSS` of rankings has it


@dataclass(frozen=True, slots=True)
class ValidRows:
    """Rows of the validation part, and of no other: all that a calibration and a threshold may be chosen on.

    Args:
        scores: (rows,) finite, higher is more liked.
        labels: (rows,) whether the item was liked.
    """

    scores: Floats
    labels: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What valid rows say about scores: p(liked) = sigmoid(slope * score + offset), and from where on to say yes.

    Args:
        slope: 1 / T of `sigmoid(score / T + b)`, at least 0; 0 where scores say nothing about valid labels.
        offset: b.
        threshold: The score from which on `yes` is most often right on the valid rows.
        rows: How many valid rows it was chosen on.
    """

    slope: float
    offset: float
    threshold: float
    rows: int

    def probability(self, scores: Floats) -> Floats:
        """Return the calibrated probability of scores."""
        return sigmoid(self.slope * scores + self.offset)


def sigmoid(values: Floats) -> Floats:
    """Return 1 / (1 + exp(-values)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)))


def calibrate(valid: ValidRows) -> Calibration | None:
    """Fit slope and offset by maximum likelihood on valid rows alone, and choose the threshold there.

    Platt scaling with the smoothed targets of Platt (1999, section 2.2), (n+ + 1) / (n+ + 2) and 1 / (n- + 2), which
    keep the slope finite where scores separate the labels. The slope is kept from going below 0, so that a calibration
    never turns an order around.

    Args:
        valid: Rows of the validation part.

    Returns:
        None where there are no valid rows, or all are of one label: there is nothing to be learnt.
    """
    from scipy.optimize import minimize

    liked, total = int(valid.labels.sum()), len(valid.labels)
    if liked in (0, total):
        return None
    targets = np.where(valid.labels, (liked + 1) / (liked + 2), 1 / (total - liked + 2))
    centre, scale = float(valid.scores.mean()), float(valid.scores.std())
    if np.ptp(valid.scores) == 0:  # the mean of equal numbers may be another one, by rounding
        centre, scale = float(valid.scores[0]), 1.0
    scores = (valid.scores - centre) / scale

    def loss(weights: Floats) -> tuple[float, Floats]:
        logits = weights[0] * scores + weights[1]
        error = sigmoid(logits) - targets
        value = np.logaddexp(0.0, logits).mean() - (targets * logits).mean()
        return float(value), np.array([(error * scores).mean(), error.mean()])

    # Of constant scores any slope is as good as 0.
    start = np.array([1.0 if scores.any() else 0.0, np.log(liked / (total - liked))])
    bounds = [(0.0, None), (None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-9})
    slope = float(found.x[0]) / scale
    return Calibration(slope, float(found.x[1]) - slope * centre, best_threshold(valid), total)


def best_threshold(valid: ValidRows) -> float:
    """Return the score from which on `yes` is right most often; among equals the one in the middle of them.

    It lies half way between two scores of valid rows; saying always yes or always no are among the choices.
    """
    order = np.argsort(valid.scores, kind="stable")
    scores, labels = valid.scores[order], valid.labels[order]
    # With the first k rows called no: the disliked among them and the liked among the others are right.
    right = np.concatenate([[0], np.cumsum(~labels)]) + labels.sum() - np.concatenate([[0], np.cumsum(labels)])
    cuts = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1], [True]]))
    best = cuts[right[cuts] == right[cuts].max()]
    cut = int(best[(len(best) - 1) // 2])
    if cut in (0, len(scores)):
        return float(scores[0] if cut == 0 else np.nextafter(scores[-1], np.inf))
    return float(scores[cut - 1] + 0.5 * (scores[cut] - scores[cut - 1]))


@dataclass(frozen=True, slots=True)
class ClickRows:
    """The measured rows of one run, all of the part `test`.

    Args:
        users: (rows,) the number of each row's user, from 0; users of several runs of a board have the same numbers.
        n_users: How many numbers there are; a user need not have a row.
        labels: (rows,) whether the item was liked.
        scores: (rows,) finite, higher is more liked.
        raw: (rows,) the probability as the model gives it; None: its scores are no probabilities.
        calibrated: (rows,) the probability after `Calibration`; None: there was nothing to calibrate on.
        threshold: The score from which on the answer is yes, chosen on valid rows; None likewise.
    """

    users: Places
    n_users: int
    labels: NDArray[np.bool_]
    scores: Floats
    raw: Floats | None = None
    calibrated: Floats | None = None
    threshold: float | None = None

    def probability(self, metric: str) -> Floats | None:
        """Return the probability that a metric is of."""
        return self.raw if PROBABILITY_OF[metric] == "raw" else self.calibrated

    def has(self, metric: str) -> bool:
        """Return whether a metric can be measured."""
        if metric == "accuracy-tuned":
            return self.threshold is not None
        return metric in RANKED or self.probability(metric) is not None

    def only(self, chosen: NDArray[np.bool_]) -> "ClickRows":
        """Return some of the rows; users keep their numbers."""
        raw, calibrated = (None if each is None else each[chosen] for each in (self.raw, self.calibrated))
        rows = self.users[chosen], self.n_users, self.labels[chosen], self.scores[chosen]
        return ClickRows(*rows, raw, calibrated, self.threshold)

    def relabelled(self, labels: NDArray[np.bool_]) -> "ClickRows":
        """Return the same scores with other labels."""
        return replace(self, labels=labels)

    def per_user(self, metric: str) -> Floats:
        """Return one value for each user, so that their mean is the metric; NaN for a user that it leaves out.

        - `uauc` (CoLLM, arXiv 2310.19488): the AUC of each user's rows; users whose rows are all of one label are left
          out, those with one row among them. `uauc-weighted`: the same, weighted by rows (GAUC, Zhu et al., KDD 2017).
        - `log-loss`: sum of -ln p(label) over a user's rows, in nats, over the mean number of rows of a user;
          `accuracy` likewise. `accuracy` says yes where p >= .5, `accuracy-tuned` from the threshold on.
        - `ece` (Guo et al., ICML 2017, of p(liked)): the rows fall into ten equal bins of p, [0, .1) to [.9, 1]; the
          sum over bins of |sum of labels - sum of p| over rows. A user has the part of its rows in these sums, with the
          signs of the sums.
        - `auc` (Mann-Whitney, ties half): the jackknife values of users. Tests of the signs of plain shares of the AUC
          would not be valid, for pairs of rows belong to two users.

        Returns:
            (users,)
        """
        if metric == "auc":
            return _auc_values(self)
        return shares(*_ratio(self, metric))

    def resampler(self, metric: str) -> Callable[[Floats], Floats]:
        """Return the function that gives a metric of several resamples of users.

        It takes (users, resamples), how often each user was drawn, all rows of a user with it, and returns
        (resamples,), NaN where a resample has no value, as where all its rows are of one label.
        """
        if metric == "auc":
            return _auc_resampler(self)
        if metric.startswith("ece"):
            gaps, counts = _gaps(self, metric).T, counted(self)
            return lambda weights: divided(np.abs(gaps @ weights).sum(0), counts @ weights)
        parts, sizes = _ratio(self, metric)
        return lambda weights: divided(parts @ weights, sizes @ weights)


def _ratio(rows: ClickRows, metric: str) -> tuple[Floats, Floats]:
    """Return by user the parts of a numerator and of a denominator, whose sums make the metric."""
    if metric in RANKED:
        aucs = user_aucs(rows)
        there = ~np.isnan(aucs)
        weights = np.where(there, counted(rows) if metric == "uauc-weighted" else 1.0, 0.0)
        return np.where(there, aucs, 0.0) * weights, weights
    if metric.startswith("ece"):
        gaps = _gaps(rows, metric)
        return gaps @ np.sign(gaps.sum(0)), counted(rows)
    return summed(rows, _ROW_VALUES[metric](rows, metric)), counted(rows)


def _known(rows: ClickRows, metric: str) -> Floats:
    found = rows.probability(metric)
    if found is None:
        raise ValueError(f"{metric} needs a {PROBABILITY_OF[metric]} probability")
    return found


def _log_losses(rows: ClickRows, metric: str) -> Floats:
    found = _known(rows, metric)
    return np.asarray(-np.log(np.maximum(np.where(rows.labels, found, 1.0 - found), LEAST)))


def _hits(rows: ClickRows, metric: str) -> Floats:
    yes = _known(rows, metric) >= 0.5
    return np.asarray(yes == rows.labels, dtype=np.float64)


def _tuned_hits(rows: ClickRows, metric: str) -> Floats:
    if rows.threshold is None:
        raise ValueError(f"{metric} needs a threshold")
    yes = rows.scores >= rows.threshold
    return np.asarray(yes == rows.labels, dtype=np.float64)


_ROW_VALUES: Mapping[str, Callable[[ClickRows, str], Floats]] = {
    "log-loss": _log_losses,
    "log-loss-calibrated": _log_losses,
    "accuracy": _hits,
    "accuracy-tuned": _tuned_hits,
}


def bin_of(probability: Floats) -> Places:
    """Return the bin of each probability, from 0; 1 is in the last one."""
    return np.minimum((probability * BINS).astype(np.intp), BINS - 1)


def _gaps(rows: ClickRows, metric: str) -> Floats:
    """Return (users, bins) the sums of label - probability."""
    found = _known(rows, metric)
    cells = rows.users * BINS + bin_of(found)
    gaps = np.asarray(np.bincount(cells, rows.labels - found, rows.n_users * BINS), dtype=np.float64)
    return np.reshape(gaps, (rows.n_users, BINS))


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows whose probability is from `low` on and below `high`: their mean probability, and the share of liked ones."""

    low: float
    high: float
    rows: int
    probability: float
    liked: float


def reliability(labels: NDArray[np.bool_], probability: Floats) -> list[ReliabilityBin]:
    """Return the bins of the ECE that hold rows, from the lowest on."""
    bins = bin_of(probability)
    counts = np.bincount(bins, minlength=BINS)
    means = np.bincount(bins, weights=probability, minlength=BINS) / np.maximum(counts, 1)
    liked = np.bincount(bins, weights=labels, minlength=BINS) / np.maximum(counts, 1)
    return [
        ReliabilityBin(at / BINS, (at + 1) / BINS, int(counts[at]), float(means[at]), float(liked[at]))
        for at in range(BINS)
        if counts[at]
    ]


def _midranks(scores: Floats, groups: Places) -> Floats:
    """Return the rank of each score among those of its group, from 1; equal scores share the mean of their ranks."""
    order = np.lexsort((scores, groups))
    ordered, grouped = scores[order], groups[order]
    new_group = np.concatenate([[True], grouped[1:] != grouped[:-1]])
    new_tie = new_group | np.concatenate([[True], ordered[1:] != ordered[:-1]])
    starts = np.flatnonzero(new_tie)
    ends = np.append(starts[1:], len(order))
    first = np.flatnonzero(new_group)[np.cumsum(new_group) - 1]
    ranks = np.empty(len(order))
    ranks[order] = np.repeat((starts + 1 + ends) / 2.0, ends - starts) - first
    return ranks


def _wins(rows: ClickRows, groups: Places) -> Floats:
    """Return for each row how many rows of the other label, in its group, it is on the right side of; ties half."""
    if not len(rows.labels):
        return np.empty(0)
    below = _midranks(rows.scores, groups) - _midranks(rows.scores, groups * 2 + rows.labels)
    liked = np.bincount(groups, weights=rows.labels)[groups]
    return np.where(rows.labels, below, liked - below)


def user_aucs(rows: ClickRows) -> Floats:
    """Return (users,) the AUC of each user's rows; NaN for users whose rows are not of both labels."""
    liked = summed(rows, rows.labels.astype(np.float64))
    pairs = liked * (counted(rows) - liked)
    won = summed(rows, np.where(rows.labels, _wins(rows, rows.users), 0.0))
    return divided(won, pairs)


def _auc_values(rows: ClickRows) -> Floats:
    liked = summed(rows, rows.labels.astype(np.float64))
    sizes = counted(rows)
    disliked = sizes - liked
    there = sizes > 0
    pairs = liked.sum() * disliked.sum()
    if not pairs:
        return np.full(rows.n_users, np.nan)
    wins = _wins(rows, np.zeros(len(rows.users), dtype=np.intp))
    won = summed(rows, np.where(rows.labels, wins, 0.0))  # by the user's liked rows, against those of all users
    with_user = won + summed(rows, np.where(rows.labels, 0.0, wins))
    own = np.nan_to_num(user_aucs(rows)) * liked * disliked
    auc = won.sum() / pairs
    left = (liked.sum() - liked) * (disliked.sum() - disliked)
    without = np.divide(won.sum() - with_user + own, left, out=np.full(rows.n_users, 0.5), where=left > 0)
    return jackknifed(auc, without, there)


def _auc_resampler(rows: ClickRows) -> Callable[[Floats], Floats]:
    liked = np.flatnonzero(rows.labels)
    disliked = np.flatnonzero(~rows.labels)
    disliked = disliked[np.argsort(rows.scores[disliked], kind="stable")]
    below = np.searchsorted(rows.scores[disliked], rows.scores[liked], "left")
    upto = np.searchsorted(rows.scores[disliked], rows.scores[liked], "right")
    positives = np.bincount(rows.users[liked], minlength=rows.n_users)

    def aucs(weights: Floats) -> Floats:
        drawn = np.zeros((len(disliked) + 1, weights.shape[1]))
        np.cumsum(weights[rows.users[disliked]], axis=0, out=drawn[1:])
        won: Floats = np.einsum("rb,rb->b", weights[rows.users[liked]], drawn[below] + drawn[upto]) / 2.0
        return divided(won, (positives @ weights) * drawn[-1])

    return aucs
