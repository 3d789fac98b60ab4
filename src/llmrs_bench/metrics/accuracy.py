"""Where the relevant items of each request stand: what every metric of accuracy is made from."""

from dataclasses import dataclass
from math import comb, log, log2

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.config import Invalid
from llmrs_bench.metrics.names import ACCURACY, Metric

PAIR = ["request_id", "item_id"]


@dataclass(frozen=True, slots=True)
class RelevantRanks:
    """The requests of `truth` that have a relevant item, in its order; arrays are one value per request.

    Args:
        request_ids: Their ids.
        starts: Where the relevant items of each begin in `ranks`.
        ranks: The rank of every relevant item, in ascending order within a request; infinite where the model did not
            rank it, or it is in no ranking. # (relevant items,)
        relevant: How many items are relevant, at least 1.
        found: How many of these the model itself ranked.
        n_relevant_unranked: How many of these are in the ranking, but were not ranked by the model.
        ranked: How many items the model itself ranked.
        n_unranked: How many items of the ranking it did not rank.
    """

    request_ids: pl.Series
    starts: NDArray[np.int64]
    ranks: NDArray[np.float64]
    relevant: NDArray[np.int64]
    found: NDArray[np.int64]
    n_relevant_unranked: NDArray[np.int64]
    ranked: NDArray[np.int64]
    n_unranked: NDArray[np.int64]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which requests have no ranking at all."""
        return np.asarray(self.ranked + self.n_unranked == 0)

    @property
    def is_unanswered(self) -> NDArray[np.bool_]:
        """Which requests have a ranking in which the model ranked nothing."""
        return np.asarray((self.ranked == 0) & (self.n_unranked > 0))


def find_relevant(truth: pl.DataFrame, rankings: pl.DataFrame) -> RelevantRanks:
    """Join truth with rankings.

    Args:
        truth: Frame of the schema `truth`; rows with a label above 0 are relevant.
        rankings: Frame of the schema `rankings`.
    """
    relevant = truth.filter(pl.col("label") > 0).select(PAIR)
    requests = relevant.select(pl.col("request_id").unique(maintain_order=True)).with_row_index("at")
    own = pl.col("score").is_not_null()
    seen = rankings.select(*PAIR, "rank", own=own).join(relevant, on=PAIR)
    rows = (
        relevant.join(seen, on=PAIR, how="left")
        .join(requests, on="request_id")
        .select("at", rank=pl.when("own").then(pl.col("rank").cast(pl.Float64)).otherwise(float("inf")), own="own")
        .sort("at", "rank")
    )
    sizes = rankings.group_by("request_id").agg(ranked=own.sum(), n_unranked=(~own).sum())
    sizes = requests.join(sizes, on="request_id", how="left", maintain_order="left").fill_null(0)
    at, told = rows["at"].to_numpy(), rows["own"]
    starts = np.flatnonzero(np.diff(at, prepend=-1)) if len(at) else np.empty(0, np.int64)
    return RelevantRanks(
        request_ids=requests["request_id"],
        starts=starts,
        ranks=rows["rank"].to_numpy(),
        relevant=_per_request(at, np.ones(len(at)), requests.height),
        found=_per_request(at, told.fill_null(False).to_numpy(), requests.height),
        n_relevant_unranked=_per_request(at, (~told).fill_null(False).to_numpy(), requests.height),
        ranked=sizes["ranked"].to_numpy().astype(np.int64),
        n_unranked=sizes["n_unranked"].to_numpy().astype(np.int64),
    )


def _per_request(at: NDArray[np.uint32], values: NDArray[np.float64], requests: int) -> NDArray[np.int64]:
    return np.bincount(at, weights=values, minlength=requests).astype(np.int64)


# As scikit-learn's `log_loss` did with eps=1e-15, so that one impossible answer does not decide a mean.
MOST_LOSS = -log(1e-15)


def auc(relevant: pl.DataFrame, rankings: pl.DataFrame, invalid: Invalid) -> pl.DataFrame:
    """Return the area under the ROC curve of each request: the Mann-Whitney statistic of its scores.

    That is the share of the pairs of a relevant item and another candidate in which the relevant one has the higher
    score; ties count half. Averaged over users it is the AUC of Rendle et al. (BPR, UAI 2009, section 5.2), and the
    GAUC of Zhu et al. (KDD 2017) with equal weights; it is not the AUC over all pairs of all users. Items the model did
    not rank score less than all others and tie with each other, which is the expectation over their orders; with
    `worst` an unranked relevant item wins no pair. Nor does one that is no candidate.

    Args:
        relevant: Rows (request_id, item_id).
        rankings: Frame of the schema `rankings`.
        invalid: The policy.

    Returns:
        Rows (request_id, value); requests without a ranking, or without a candidate that is not relevant, are absent.
    """
    others = rankings.join(relevant, on=PAIR, how="anti").select("request_id", other="score")
    wanted = rankings.join(relevant, on=PAIR).select("request_id", "score")
    score, other = pl.col("score"), pl.col("other")
    won = (
        pl.when(score.is_null())
        .then(0.0 if invalid == "worst" else 0.5 * other.is_null())
        .when(other.is_null() | (score > other))
        .then(1.0)
        .otherwise(0.5 * (score == other))
    )
    wins = others.join(wanted, on="request_id").group_by("request_id").agg(won=won.sum())
    return (
        others.group_by("request_id")
        .agg(others=pl.len())
        .join(relevant.group_by("request_id").agg(relevant=pl.len()), on="request_id")
        .join(wins, on="request_id", how="left")
        .select("request_id", value=pl.col("won").fill_null(0.0) / (pl.col("others") * pl.col("relevant")))
    )


def log_loss(relevant: pl.DataFrame, rankings: pl.DataFrame, invalid: Invalid) -> pl.DataFrame:
    """Return the cross-entropy of each request, in nats: -ln of the softmax of the scores at the relevant item.

    The softmax over the candidates is the top-one probability of ListNet (Cao et al., ICML 2007, theorem 8) and the
    conditional logit of McFadden (1974); with several relevant items the mean is taken over them. Where scores are
    log-probabilities (templates `likelihood` and `label`, a network with the loss `ce`) it is the surprise of a model
    that knows the target to be on the list; where they are places or counts it says little. Items the model did not
    rank share the lowest score that it gave, so that an answer that ranks nothing is uniform; with `worst` an unranked
    relevant item costs the most. A loss is at most -ln(1e-15), which is also that of an item that is no candidate.

    Args:
        relevant: Rows (request_id, item_id).
        rankings: Frame of the schema `rankings`.
        invalid: The policy.

    Returns:
        Rows (request_id, value); requests without a ranking are absent.
    """
    filled = pl.col("score").fill_null(pl.col("score").min().over("request_id")).fill_null(0.0)
    rows = rankings.select(*PAIR, is_unranked=pl.col("score").is_null(), score=filled)
    top = pl.col("score").max()
    norms = rows.group_by("request_id").agg(norm=top + (pl.col("score") - top).exp().sum().log())
    loss = pl.col("norm") - pl.col("score")
    if invalid == "worst":
        loss = pl.when("is_unranked").then(MOST_LOSS).otherwise(loss)
    return (
        relevant.join(norms, on="request_id")
        .join(rows, on=PAIR, how="left")
        .group_by("request_id")
        .agg(value=loss.fill_null(MOST_LOSS).clip(0.0, MOST_LOSS).mean())
    )


Values = NDArray[np.float64]


def accuracy(metric: Metric, found: RelevantRanks, invalid: Invalid) -> Values:
    """Return an accuracy metric of every request.

    Unranked items are placed below those that the model ranked. With `expected` and `drop` the value is the mean
    over all their orders, as if one was drawn; with `worst` those that are relevant are never found. A request
    without any ranking scores 0.
    """
    total = _ranked_share(metric, found)
    if invalid != "worst" and found.n_relevant_unranked.any():
        total += _unranked_share(metric, found)
    return total / _best(metric, found.relevant)


def answer(metric: Metric, found: RelevantRanks) -> Values:
    """Return a metric of how the model answered, for every request."""
    if metric.name == "coverage":
        return (found.found > 0).astype(np.float64)
    if metric.name == "answered":
        return (found.ranked > 0).astype(np.float64)
    if metric.cutoff is not None:
        return np.asarray(np.minimum(found.ranked, metric.cutoff) / metric.cutoff)
    return np.asarray(found.ranked / np.maximum(found.ranked + found.n_unranked, 1))


def _ranked_share(metric: Metric, found: RelevantRanks) -> Values:
    """Return what the items that the model itself ranked contribute, before it is divided by the best."""
    k = metric.cutoff or np.inf
    within = np.isfinite(found.ranks) & (found.ranks <= k)
    ranks = np.where(within, found.ranks, 1.0)
    if metric.name == "mrr":
        gains = 1.0 / ranks
    elif metric.name == "map":
        place = np.arange(len(ranks)) - np.repeat(found.starts, found.relevant) + 1
        gains = place / ranks
    else:
        gains = 1.0 / np.log2(1.0 + ranks) if metric.name == "ndcg" else np.ones(len(ranks))
    reduce = np.maximum if metric.name in ("hit", "mrr") else np.add
    return np.asarray(reduce.reduceat(np.where(within, gains, 0.0), found.starts), dtype=np.float64)


def _unranked_share(metric: Metric, found: RelevantRanks) -> Values:
    """Return the expected contribution of the unranked items, before it is divided by the best."""
    keys = ["ranked", "n_unranked", "n_relevant_unranked", "found"]
    rows = pl.DataFrame({name: getattr(found, name) for name in keys})
    cases = rows.filter(pl.col("n_relevant_unranked") > 0).unique()
    expected = [completion(metric, *case) for case in cases.iter_rows()]
    told = cases.with_columns(value=pl.Series(expected, dtype=pl.Float64))
    values = rows.join(told, on=keys, how="left", maintain_order="left")
    return values["value"].fill_null(0.0).to_numpy()


def completion(metric: Metric, ranked: int, unranked: int, relevant: int, found: int) -> float:
    """Return the exact expectation of what unranked items add to a metric when their order is drawn at random.

    They fill the ranks from `ranked` + 1 on, each of their orders as likely as any other. For `hit` and `mrr`, which
    look at the first relevant item alone, they add nothing where one was found.

    Args:
        metric: One of `ACCURACY`.
        ranked: How many items stand above them.
        unranked: How many they are.
        relevant: How many of them are relevant.
        found: How many relevant items stand above them.
    """
    within = unranked if metric.cutoff is None else min(max(metric.cutoff - ranked, 0), unranked)
    first = metric.name in ("hit", "mrr")
    if not within or not relevant or (first and found):
        return 0.0
    if metric.name == "hit":
        return 1.0 - comb(unranked - within, relevant) / comb(unranked, relevant)
    if metric.name == "mrr":  # the first relevant one of them is at place p: the others are behind it
        places = range(1, min(within, unranked - relevant + 1) + 1)
        return sum(comb(unranked - p, relevant - 1) / (ranked + p) for p in places) / comb(unranked, relevant)
    share = relevant / unranked
    if metric.name == "ndcg":
        return share * sum(1.0 / log2(1 + ranked + p) for p in range(1, within + 1))
    if metric.name == "map":  # where place p is relevant, so many relevant ones are expected up to it
        others = (relevant - 1) / max(unranked - 1, 1)
        return share * sum((found + 1 + others * (p - 1)) / (ranked + p) for p in range(1, within + 1))
    return share * within


def _best(metric: Metric, relevant: NDArray[np.int64]) -> Values:
    """Return what `_ranked_share` and `_unranked_share` are divided by."""
    if metric.name in ("hit", "mrr"):
        return np.ones(len(relevant))
    if metric.name == "precision":
        return np.full(len(relevant), float(metric.cutoff or 1))
    if metric.name != "ndcg":
        return relevant.astype(np.float64)
    most = int(relevant.max(initial=1))
    ideal = np.cumsum(1.0 / np.log2(np.arange(2, most + 2)))
    return np.asarray(ideal[np.minimum(relevant, metric.cutoff or most) - 1], dtype=np.float64)


def chance(metric: Metric, candidates: int, relevant: int = 1, found: int | None = None, depth: int = 0) -> float:
    """Return the exact expectation of a metric under a uniformly random order; NaN where it is not defined.

    Args:
        metric: The metric, none of those beyond accuracy.
        candidates: Number of candidates.
        relevant: How many items are relevant, at least 1.
        found: How many of those are among the candidates; None: all of them.
        depth: How many ranks are kept; 0: all of them.
    """
    n, m = candidates, relevant if found is None else found
    if metric.name == "answered":
        return float(n > 0)
    if metric.name == "listed":
        return min(n, metric.cutoff) / metric.cutoff if metric.cutoff else float(n > 0)
    if metric.name == "coverage":
        kept = Metric("hit", min(depth or n, n))
        return completion(kept, 0, n, m, 0)
    if metric.name == "auc":
        return m / relevant / 2 if n > m else float("nan")
    if metric.name == "log-loss":
        return (m * log(max(n, 1)) + (relevant - m) * MOST_LOSS) / relevant
    if metric.name not in ACCURACY:
        raise ValueError(f"{metric} has no chance level that sizes of lists decide")
    return completion(metric, 0, n, m, 0) / float(_best(metric, np.array([relevant]))[0])
