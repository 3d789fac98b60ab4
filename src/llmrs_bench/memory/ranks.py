"""How sure ranks of true continuations make it that a model knows them: shares, exact tests, and their correction.

A trial has a rank between 1 and the number of its continuations. Where a model cannot know the true one, each of them
is it with the same probability, so the null distribution of every statistic of ranks is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.stats import holm, mean_interval, sign_flip

ALPHA = 0.05
_UNITS = 240  # of a reciprocal rank of 1: the lattice of the test
_LEAST_P = 1e-12  # what a sum of some hundred thousand products of floating-point numbers can tell from 0
_FLIPS = 20_000
# Probes that show more than an id: the item before says something of the next one, behind any user.
_TELLING = ("event",)


@dataclass(frozen=True, slots=True)
class RankedTrial:
    """The true continuation among all of a trial.

    Args:
        scores: (continuations,) of the model.
        true: The place of the true one.
    """

    scores: NDArray[np.float64]
    true: int

    @property
    def candidates(self) -> int:
        """How many continuations there are."""
        return len(self.scores)

    @property
    def better(self) -> int:
        """How many have a higher score than the true one."""
        return int((self.scores > self.scores[self.true]).sum())

    @property
    def tied(self) -> int:
        """How many others have the same score."""
        return int((self.scores == self.scores[self.true]).sum()) - 1

    @property
    def first(self) -> float:
        """Whether the true one is at rank 1; the expectation over all orders of ties."""
        return 0.0 if self.better else 1 / (self.tied + 1)

    @property
    def weights(self) -> NDArray[np.int64]:
        """Return the reciprocal rank of each continuation, were it the true one, in units of the test.

        Returns:
            (continuations,) whole numbers; of ties the mean.
        """
        reciprocal = 1 / np.arange(1, self.candidates + 1)
        _, group, counts = np.unique(-self.scores, return_inverse=True, return_counts=True)
        ends = np.cumsum(counts)
        sums = np.add.reduceat(reciprocal, ends - counts)
        found: NDArray[np.int64] = np.rint(_UNITS * sums / counts)[group].astype(np.int64)
        return found


def exact_p(trials: Sequence[RankedTrial]) -> float:
    """Return the probability of a sum of reciprocal ranks at least as large as the observed one, by chance.

    Given the scores of each trial, each continuation is the true one with the same probability: a randomisation test
    (Fisher 1935, section 21) whose distribution is that of a sum of independent whole numbers. It is computed whole, as
    the inverse of the product of their characteristic functions. Values below 1e-12 are returned as that.
    """
    if not trials:
        return 1.0
    weights = [trial.weights for trial in trials]
    observed = sum(int(each[trial.true]) for each, trial in zip(weights, trials, strict=True))
    size = 1 << int(sum(int(each.max()) for each in weights)).bit_length()
    product = np.ones(size // 2 + 1, dtype=np.complex128)
    kinds: dict[bytes, tuple[NDArray[np.int64], int]] = {}
    for each in map(np.sort, weights):
        kinds[each.tobytes()] = (each, kinds.get(each.tobytes(), (each, 0))[1] + 1)
    for each, count in kinds.values():
        product *= np.fft.rfft(np.bincount(each, minlength=size) / len(each)) ** count
    tail = float(np.fft.irfft(product, size)[observed:].sum())
    return min(1.0, max(_LEAST_P, tail))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the trials of one probe come to.

    Args:
        probe: Which.
        reading: How log-probabilities became scores.
        trials: How many.
        candidates: Continuations of a trial, on average.
        chance: Share at rank 1 by chance.
        share: Share of true continuations at rank 1; ties by expectation.
        low: Lower end of its 95 % interval; None where there is one trial.
        high: Upper end, likewise.
        mean_reciprocal_rank: Of the true ones.
        p: Of the exact test against chance.
        control_share: Share at rank 1 behind beginnings with another id.
        control_p: Of the exact test of these.
        against: `chance`; or `control`, always of events, else where that is above chance, too: `tested` is then the
            larger p of that against chance and that of the paired test against the control.
        tested: The p that counts.
        corrected: The same, corrected for all probes of the model (Holm).
    """

    probe: str
    reading: str
    trials: int
    candidates: float
    chance: float
    share: float
    low: float | None
    high: float | None
    mean_reciprocal_rank: float
    p: float
    control_share: float
    control_p: float
    against: str
    tested: float
    corrected: float = 1.0

    @property
    def significant(self) -> bool:
        """Whether the model knows what it was asked."""
        return self.corrected < ALPHA


def judge(
    answers: Mapping[tuple[str, str], tuple[Sequence[RankedTrial], Sequence[RankedTrial]]], *, seed: int = 0
) -> list[Verdict]:
    """Return what the trials of each probe come to, their p-values corrected for all of them.

    A control above chance by itself says that something else than the id makes true continuations likely: the probe is
    then held against its control, too, trial by trial, by a sign-flip test that counts only where the probe is higher.
    Next events are always held against it: the item before is shown, and the next one often has its genre and an id
    near it. To look at the control first would let a small effect of that kind pass where the control just misses .05.

    Args:
        answers: By probe and reading the trials, and in the same order their controls; those without any are left out.
        seed: Of the resamples and signs.
    """
    found = [
        _judged(probe, reading, asked, control, seed) for (probe, reading), (asked, control) in answers.items() if asked
    ]
    corrected = holm(np.array([verdict.tested for verdict in found]))
    return [replace(verdict, corrected=float(p)) for verdict, p in zip(found, corrected, strict=True)]


def _judged(
    probe: str, reading: str, asked: Sequence[RankedTrial], control: Sequence[RankedTrial], seed: int
) -> Verdict:
    first = np.array([trial.first for trial in asked])
    low, high = (
        None if np.isnan(end) else float(end) for end in mean_interval(first[None], samples=2000, seed=seed)[0]
    )
    ours, theirs = (np.array([each.weights[each.true] for each in some]) / _UNITS for some in (asked, control))
    p, control_p = exact_p(asked), exact_p(control)
    beside = probe in _TELLING or control_p < ALPHA
    paired = 1.0
    if beside and ours.mean() > theirs.mean():
        pair = np.array([[0, 1]])
        paired = float(sign_flip(np.stack([ours, theirs])[None], pair, samples=_FLIPS, seed=seed)[0, 0])
    return Verdict(
        probe,
        reading,
        trials=len(asked),
        candidates=float(np.mean([trial.candidates for trial in asked])),
        chance=float(np.mean([1 / trial.candidates for trial in asked])),
        share=float(first.mean()),
        low=low,
        high=high,
        mean_reciprocal_rank=float(ours.mean()),
        p=p,
        control_share=float(np.mean([trial.first for trial in control])),
        control_p=control_p,
        against="control" if beside else "chance",
        tested=max(p, paired) if beside else p,
    )
