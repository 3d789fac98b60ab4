"""The trivial rows of labelled requests: means of labels, the share of likes in a history, and a regression."""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.config import CLICK, RATING
from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.registry import unknown_name

BASELINES: tuple[str, ...] = ("majority", "item-mean", "user-mean", "item-user-mean", "liked-share", "logistic")
RATING_BASELINES: tuple[str, ...] = ("global-mean", "user-mean", "item-mean", "biased-mean")
BASELINES_OF: Mapping[str, tuple[str, ...]] = {CLICK: BASELINES, RATING: RATING_BASELINES}
TRIVIAL: tuple[str, ...] = tuple(dict.fromkeys((*BASELINES, *RATING_BASELINES)))
# What the rows of a user, or of an item, are read for; of an unknown one nothing is known.
READ_IDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("item-user-mean", "logistic", "biased-mean"), ("user", "item")),
    "user-mean": ("user",),
    "item-mean": ("item",),
}

# How many rows with the overall share of likes, or the overall mean rating, every mean is smoothed by.
SMOOTHING = 5.0
# The newest events of a history whose labels `liked-share` counts.
RECENT = 10
# Probabilities lie in [FLOOR, 1 - FLOOR], so that no log-loss and no log-odds is infinite.
FLOOR = 0.001

# Ridge penalties of the biases of items and of users in `biased-mean`, and the change at which its steps end.
ITEM_RIDGE, USER_RIDGE, SETTLED = 10.0, 15.0, 1e-9

_Floats = NDArray[np.float64]


def baseline(name: str, samples: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """Return request_id, score (Float64) and probability (Float64 in [.001, .999]) of each row of `asked`.

    Everything is learned from the rows of the part `train`. Let g be their share of likes and k = 5:

    - `majority`: g;
    - `item-mean`, `user-mean`: (likes + k g) / (rows + k) over the rows of the item, of the user; g for an unknown one;
    - `item-user-mean`: the sum of both; as a probability less g;
    - `liked-share`: (likes + k g) / (events + k) over the last 10 events of the row's own history;
    - `logistic`: log-odds of a logistic regression on the log-odds of item mean, user mean and share of likes. In
      fitting, the label of a row is left out of its own means. A ridge penalty of 1 draws the weights to those of
      `majority`, so that few rows, or rows of one label, have a solution as well.

    Args:
        name: One of `BASELINES`.
        samples: The table `samples`.
        asked: request_id, user_id, item_id and liked, the labels of the history, oldest first.

    Raises:
        OptionError: If there is no such row.
        ModelError: If there are no training rows.
    """
    if name not in BASELINES:
        raise unknown_name("click baseline", name, list(BASELINES))
    train, labels = _taught(samples)
    overall = float(labels.mean())
    if name == "logistic":
        from scipy.special import expit, logit

        own = _features(train, train, overall, own=labels)
        weights = _fit(own, labels, np.array([logit(_clip(np.array(overall))), 0.0, 0.0, 0.0]))
        score = _features(train, asked, overall) @ weights
        return _rows(asked, score, expit(score))
    item, user, share = _means(train, asked, overall)
    score, excess = {
        "majority": (np.full(asked.height, overall), 0.0),
        "item-mean": (item, 0.0),
        "user-mean": (user, 0.0),
        "item-user-mean": (item + user, overall),
        "liked-share": (share, 0.0),
    }[name]
    return _rows(asked, score, score - excess)


def rating_baseline(name: str, samples: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """Return request_id and score, the predicted rating (Float64), of each row of `asked`.

    Everything is learned from the rows of the part `train`. Let m be their mean rating and k = 5:

    - `global-mean`: m;
    - `user-mean`, `item-mean`: (sum of ratings + k m) / (rows + k) over the rows of the user, of the item; m for an
      unknown one;
    - `biased-mean`: m + b_u + b_i (Koren, Bell and Volinsky, Computer 2009), kept within the least and the greatest
      rating. The biases are those that make the sum of (r - m - b_u - b_i)^2, 10 b_i^2 over items and 15 b_u^2 over
      users least; 0 of unknown users and items.

    Args:
        name: One of `RATING_BASELINES`.
        samples: The table `samples`.
        asked: request_id, user_id and item_id.

    Raises:
        OptionError: If there is no such row.
        ModelError: If there are no training rows.
    """
    if name not in RATING_BASELINES:
        raise unknown_name("rating baseline", name, list(RATING_BASELINES))
    train, ratings = _taught(samples)
    overall = float(ratings.mean())
    if name == "global-mean":
        score: _Floats = np.full(asked.height, overall)
    elif name == "biased-mean":
        score = np.full(asked.height, overall)
        for key, biases in _biases(train, ratings - overall).items():
            found = asked.join(biases, on=key, how="left", maintain_order="left")["bias"]
            score = score + found.fill_null(0.0).to_numpy()
        score = np.clip(score, ratings.min(), ratings.max())
    else:
        score = _mean(train, asked, name.replace("-mean", "_id"), overall, None)
    return asked.select("request_id", score=pl.Series(score))


def _biases(train: pl.DataFrame, residuals: _Floats) -> dict[str, pl.DataFrame]:
    """Return for `item_id` and `user_id` the bias of each (id, bias), by steps that solve for one of both in turn.

    The sum that they make smaller is strictly convex, so they end at its only minimum.
    """
    ridges = {"item_id": ITEM_RIDGE, "user_id": USER_RIDGE}
    ids = {key: train[key].unique().sort() for key in ridges}
    places = {key: train[key].rank("dense").to_numpy().astype(np.intp) - 1 for key in ridges}
    sizes = {key: np.bincount(places[key]) for key in ridges}
    biases = {key: np.zeros(len(sizes[key])) for key in ridges}
    change = np.inf
    while change > SETTLED:
        change = 0.0
        for key, other in (("item_id", "user_id"), ("user_id", "item_id")):
            rest = residuals - biases[other][places[other]]
            found = np.bincount(places[key], weights=rest) / (sizes[key] + ridges[key])
            change = max(change, float(np.abs(found - biases[key]).max()))
            biases[key] = found
    return {key: pl.DataFrame({key: ids[key], "bias": biases[key]}) for key in ridges}


def _taught(samples: pl.DataFrame) -> tuple[pl.DataFrame, _Floats]:
    """Return the rows of the part `train`, and their labels."""
    train = samples.filter(pl.col("part") == "train")
    if train.is_empty():
        raise ModelError(
            "no labelled training rows to take means of",
            hint="Prepare a data set with events before the first of the validation and test part.",
        )
    return train, train["label"].to_numpy().astype(np.float64)


def _rows(asked: pl.DataFrame, score: _Floats, probability: _Floats) -> pl.DataFrame:
    return asked.select("request_id", score=pl.Series(score), probability=pl.Series(_clip(probability)))


def _means(
    train: pl.DataFrame, asked: pl.DataFrame, overall: float, own: _Floats | None = None
) -> tuple[_Floats, _Floats, _Floats]:
    """Return item mean, user mean and share of likes of each row of `asked`; the labels `own` are left out of means."""
    item, user = (_mean(train, asked, key, overall, own) for key in ("item_id", "user_id"))
    liked = asked["liked"].list.tail(RECENT)
    likes, events = (
        column.fill_null(0).to_numpy().astype(np.float64) for column in (liked.list.sum(), liked.list.len())
    )
    return item, user, _smooth(likes, events, overall)


def _mean(train: pl.DataFrame, asked: pl.DataFrame, key: str, overall: float, own: _Floats | None) -> _Floats:
    counts = train.group_by(key).agg(likes=pl.col("label").cast(pl.Float64).sum(), events=pl.len().cast(pl.Float64))
    found = asked.select(key).join(counts, on=key, how="left", maintain_order="left").fill_null(0.0)
    likes, events = found["likes"].to_numpy(), found["events"].to_numpy()
    return _smooth(likes, events, overall) if own is None else _smooth(likes - own, events - 1, overall)


def _smooth(likes: _Floats, events: _Floats, overall: float) -> _Floats:
    return (likes + SMOOTHING * overall) / (events + SMOOTHING)


def _features(train: pl.DataFrame, asked: pl.DataFrame, overall: float, own: _Floats | None = None) -> _Floats:
    """Return one and the log-odds of the three means (row, 4)."""
    from scipy.special import logit

    return np.stack(
        [np.ones(asked.height), *(logit(_clip(mean)) for mean in _means(train, asked, overall, own))], axis=1
    )


def _clip(probability: _Floats) -> _Floats:
    return np.clip(probability, FLOOR, 1 - FLOOR)


def _fit(features: _Floats, labels: _Floats, prior: _Floats) -> _Floats:
    """Return the weights of the logistic regression, by Newton steps from `prior`, to which a penalty of 1 draws them.

    The loss is convex, and a step is halved until the loss falls, so this ends at its only minimum.
    """
    from scipy.special import expit

    signs = 2 * labels - 1

    def loss(weights: _Floats) -> float:
        return float(np.logaddexp(0, -signs * (features @ weights)).sum() + ((weights - prior) ** 2).sum() / 2)

    weights = prior
    for _ in range(100):
        chance = expit(features @ weights)
        gradient = features.T @ (chance - labels) + weights - prior
        curvature = (features * (chance * (1 - chance))[:, None]).T @ features + np.eye(len(prior))
        step = np.linalg.solve(curvature, gradient)
        while loss(weights - step) > loss(weights) and np.abs(step).max() > 1e-12:
            step /= 2
        weights = weights - step
        if np.abs(step).max() < 1e-10:
            break
    return weights
