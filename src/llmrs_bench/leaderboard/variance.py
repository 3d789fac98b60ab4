"""Where the variance of a mean is from: users, seeds, and draws of candidates, with one interval over all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

USERS, SEEDS, BOTH, DRAWS = "users", "seeds", "users by seeds", "draws"
TRAINING, SAMPLING = "training", "sampling"  # what seeds are of
_LEVEL = 0.975  # of the upper end
_NONE = 0.005  # a share below this is shown as 0 %
# Which parts of the variance become half as large with twice as many of what is named.
_HALVED = {USERS: (USERS, BOTH, DRAWS), SEEDS: (SEEDS, BOTH), DRAWS: (DRAWS,)}


@dataclass(frozen=True, slots=True)
class Spread:
    """The variance of a row's mean, or of its difference from another row, by source.

    Args:
        run: The first run of the row.
        metric: Of which it is the mean.
        against: The first run of the other row; empty: of the mean itself.
        mean: The mean, or the difference of both.
        low: The lower end of the 95 % interval over all sources.
        high: The upper end.
        users: How many there are.
        seeds: How many the row has; 1: their variance is not known.
        draws: How many lists of candidates each user has; 1: their variance is part of that of users.
        shares: Of the variance that is from `users`, `seeds`, `users by seeds` (what a seed changes for one user and
            not for all) and `draws`; they add up to 1, but for a variance of 0.
        widths: By what the interval would shrink with twice the `users`, `seeds`, `draws`, as a factor.
        seed_of: What seeds are of, `training` or `sampling`; empty: of one seed, or of both kinds.
        other_seeds: How many the other row has.
    """

    run: str
    metric: str
    against: str
    mean: float
    low: float
    high: float
    users: int
    seeds: int
    draws: int
    shares: Mapping[str, float]
    widths: Mapping[str, float]
    seed_of: str = ""
    other_seeds: int = 1

    @property
    def largest(self) -> str:
        """The source with the largest part."""
        return max(self.shares, key=lambda name: self.shares[name])

    @property
    def lever(self) -> str:
        """Of what twice as many would narrow the interval most, among what the variance is from; empty: of nothing.

        More users would narrow the parts of seeds and draws, too, but of what is not from users they are no remedy.
        """
        own = {name: self.shares[name] + (self.shares[BOTH] if name == SEEDS else 0.0) for name in self.widths}
        levers = [name for name, share in own.items() if share >= _NONE]
        return min(levers, key=lambda name: self.widths[name], default="")


@dataclass(frozen=True, slots=True)
class _Squares:
    """Mean squares of a table (users, seeds, draws) that concern seeds; 0 of one seed."""

    seeds: float
    both: float
    rest: float


def spread(
    run: str, metric: str, values: NDArray[np.float64], *, against: str = "", other: NDArray[np.float64] | None = None
) -> Spread:
    """Return the variance of a mean by its sources, with an interval that holds them all.

    Users and seeds are crossed, and both are random; draws of candidates are nested in users: value = mean + user +
    seed + user by seed + draw within user + rest. The components are those of the analysis of variance of balanced data
    (Searle, Casella and McCulloch 1992, Variance Components, chapter 4). The variance of the mean over n users, r seeds
    and k draws is (MS(seeds) + max(MS(users) - MS(users by seeds), 0)) / (n r k), as that of the mean over readers and
    cases of Obuchowski and Rockette (1995), so that seeds always count; degrees of freedom of Student's t are
    Satterthwaite's over MS(seeds) and MS(users), after Hillis (2007, 10.1002/sim.2532). With one seed it is MS(users) /
    (n k). Of a difference, seeds of both rows are drawn by themselves, and users and draws together.

    Args:
        run: The first run of the row.
        metric: The name of the metric.
        values: (users, seeds, draws), without NaN, of at least two users.
        against: The first run of the other row.
        other: Its values (users, seeds of its own, draws), of the same users and lists.
    """
    from scipy.special import stdtrit

    sides = [values] if other is None else [values, other]
    users, _, draws = values.shape
    drawn = values.mean(1) if other is None else values.mean(1) - other.mean(1)  # (users, draws)
    means = drawn.mean(1)
    scale = [users * side.shape[1] * draws for side in sides]
    squares = [_squares(side) for side in sides]
    seeds = [square.seeds / size for square, size in zip(squares, scale, strict=True)]
    both = sum(square.both / size for square, size in zip(squares, scale, strict=True))
    rest = sum(square.rest / size for square, size in zip(squares, scale, strict=True))
    of_users = float(means.var(ddof=1)) / users  # with the parts of `both` and of draws
    total = sum(seeds) + max(of_users - both, 0.0)
    freedom = _freedom(total, [(of_users, users - 1), *zip(seeds, (side.shape[1] - 1 for side in sides), strict=True)])
    reach = float(stdtrit(freedom, _LEVEL)) * total**0.5 if total else 0.0
    within = float(drawn.var(1, ddof=1).mean()) / (users * draws) if draws > 1 else 0.0
    parts = {
        SEEDS: sum(max((square.seeds - square.both) / size, 0.0) for square, size in zip(squares, scale, strict=True)),
        BOTH: both,
        DRAWS: max(within - rest, 0.0),
    }
    parts = {USERS: max(of_users - both - parts[DRAWS], 0.0), **parts}
    whole, mean = sum(parts.values()), float(means.mean())
    shares = {name: part / whole if whole else 0.0 for name, part in parts.items()}
    most = max(side.shape[1] for side in sides)
    known = {USERS: True, SEEDS: most > 1, DRAWS: draws > 1}
    widths = {
        name: (1.0 - sum(shares[part] for part in halved) / 2.0) ** 0.5
        for name, halved in _HALVED.items()
        if known[name]
    }
    counts = (users, values.shape[1], draws)
    ends = (mean - reach, mean + reach)
    others = 1 if other is None else other.shape[1]
    return Spread(run, metric, against, mean, *ends, *counts, shares, widths, other_seeds=others)


def _squares(values: NDArray[np.float64]) -> _Squares:
    """Return the mean squares of seeds, of users by seeds, and of what is left where there are several draws."""
    users, seeds, draws = values.shape
    if seeds == 1:
        return _Squares(0.0, 0.0, 0.0)
    mean, of_users, of_seeds = values.mean(), values.mean((1, 2)), values.mean((0, 2))
    cells, drawn = values.mean(2), values.mean(1)
    left = cells - of_users[:, None] - of_seeds[None, :] + mean
    rest = 0.0
    if draws > 1:
        errors = values - cells[:, :, None] - drawn[:, None, :] + of_users[:, None, None]
        rest = float((errors**2).sum()) / (users * (seeds - 1) * (draws - 1))
    return _Squares(
        users * draws * float(of_seeds.var(ddof=1)),
        draws * float((left**2).sum()) / ((users - 1) * (seeds - 1)),
        rest,
    )


def _freedom(total: float, parts: Sequence[tuple[float, int]]) -> float:
    """Return Satterthwaite's degrees of freedom of a sum of mean squares, each with its own."""
    spent = sum(part**2 / freedom for part, freedom in parts if freedom)
    return total**2 / spent if spent else 1.0
