"""The trivial rows of the task `click`: smoothed means, the share of likes in a history, and a regression on these."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.registry import unknown_name

BASELINES: tuple[str, ...] = ("majority", "item-mean", "user-mean", "item-user-mean", "liked-share", "logistic")

# How many rows with the overall share of likes every mean is smoothed by.
SMOOTHING = 5.0
# The newest events of a history whose labels `liked-share` counts.
RECENT = 10
# Probabilities lie in [FLOOR, 1 - FLOOR], so that no log-loss and no log-odds is infinite.
FLOOR = 0.001

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
    train = samples.filter(pl.col("part") == "train")
    if train.is_empty():
        raise ModelError(
            "no labelled training rows to take means of",
            hint="Prepare a data set with events before the first of the validation and test part.",
        )
    labels = train["label"].to_numpy().astype(np.float64)
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
