"""Metrics of ratings: one predicted rating for each pair of a user and an item, compared with the user's own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.metrics.labelled import Floats, MetricSet, Places, counted, divided, jackknifed, shares, summed

Scale: TypeAlias = tuple[float, float]

CALIBRATED = "-calibrated"
_ROUNDING = 1e-9  # predictions that differ by less than this share of the scale are the same
_NAMES = ("rmse", "mae", "mae-user", f"rmse{CALIBRATED}", f"mae{CALIBRATED}")
RATING_METRICS = MetricSet(of="ratings", definitions="2", names=_NAMES, board=_NAMES, lower=_NAMES)


@dataclass(frozen=True, slots=True)
class LinearMap:
    """What valid rows say about predicted ratings: rating = offset + slope * prediction, kept within the scale.

    Args:
        slope: At least 0; 0 where predictions say nothing about valid ratings.
        offset: What is added.
        scale: The least and the greatest rating.
        rows: How many valid rows it was fitted on.
    """

    slope: float
    offset: float
    scale: Scale
    rows: int

    def ratings(self, predictions: Floats) -> Floats:
        """Return the calibrated ratings of predictions."""
        return np.clip(self.offset + self.slope * predictions, *self.scale)


def fit_line(predictions: Floats, ratings: Floats, scale: Scale) -> LinearMap | None:
    """Fit a line by least squares, on rows of the part `valid` and of no other.

    The slope is kept from going below 0, so that a calibration never turns an order around.

    Args:
        predictions: (rows,) finite.
        ratings: (rows,)
        scale: The least and the greatest rating of training rows.

    Returns:
        None where there are no rows.
    """
    if not len(ratings):
        return None
    if np.ptp(predictions) <= _ROUNDING * (scale[1] - scale[0]):  # a constant, whose mean rounds to another number
        return LinearMap(0.0, float(ratings.mean()), scale, len(ratings))
    centred = predictions - predictions.mean()
    slope = max(0.0, float((centred * ratings).sum()) / float((centred**2).sum()))
    return LinearMap(slope, float(ratings.mean() - slope * predictions.mean()), scale, len(ratings))


@dataclass(frozen=True, slots=True)
class RatingRows:
    """The measured rows of one run, as `LabelledRows` has them.

    Args:
        users: (rows,) the number of each row's user, from 0.
        n_users: How many numbers there are.
        labels: (rows,) the ratings of the users.
        predicted: (rows,) those of the model, finite; nothing keeps them within the scale.
        calibrated: (rows,) those after a `LinearMap`; None: there was nothing to fit it on.
    """

    users: Places
    n_users: int
    labels: Floats
    predicted: Floats
    calibrated: Floats | None = None

    def has(self, metric: str) -> bool:
        """Return whether a metric can be measured."""
        return self.calibrated is not None or not metric.endswith(CALIBRATED)

    def only(self, chosen: NDArray[np.bool_]) -> "RatingRows":
        """Return some of the rows; users keep their numbers."""
        calibrated = None if self.calibrated is None else self.calibrated[chosen]
        return RatingRows(self.users[chosen], self.n_users, self.labels[chosen], self.predicted[chosen], calibrated)

    def per_user(self, metric: str) -> Floats:
        """Return (users,) one value for each, so that their mean is the metric; NaN for users without rows.

        - `mae`: the sum of absolute errors of a user's rows, over the mean number of rows of a user. `mae-user`: their
          mean, so that every user counts the same.
        - `rmse`, the root of the mean squared error of all rows: the jackknife values of users.
        - `rmse-calibrated`, `mae-calibrated`: the same of calibrated ratings.
        """
        parts, sizes = self._ratio(metric)
        if not metric.startswith("rmse"):
            return shares(parts, sizes)
        if not sizes.any():
            return np.full(self.n_users, np.nan)
        whole = float(np.sqrt(parts.sum() / sizes.sum()))
        # What is left of a sum of squares may be a little less than nothing.
        left = divided(np.maximum(parts.sum() - parts, 0.0), sizes.sum() - sizes)
        return jackknifed(whole, np.where(np.isnan(left), whole, np.sqrt(left)), sizes > 0)

    def resampler(self, metric: str) -> Callable[[Floats], Floats]:
        """Return the function that gives a metric of several resamples of users, as `LabelledRows` has it."""
        parts, sizes = self._ratio(metric)
        if metric.startswith("rmse"):
            return lambda weights: np.sqrt(divided(parts @ weights, sizes @ weights))
        return lambda weights: divided(parts @ weights, sizes @ weights)

    def _ratio(self, metric: str) -> tuple[Floats, Floats]:
        """Return by user the parts of a numerator and of a denominator, whose sums make the metric, or its square."""
        found = self.calibrated if metric.endswith(CALIBRATED) else self.predicted
        if found is None:
            raise ValueError(f"{metric} needs calibrated ratings")
        errors, sizes = found - self.labels, counted(self)
        if metric.startswith("rmse"):
            return summed(self, errors**2), sizes
        parts = summed(self, np.abs(errors))
        if metric == "mae-user":
            there = sizes > 0
            return np.where(there, parts / np.maximum(sizes, 1.0), 0.0), there.astype(np.float64)
        return parts, sizes
