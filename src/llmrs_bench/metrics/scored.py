"""Metrics of scores: AUC and log-loss over the candidates of a request."""

from math import log

import polars as pl

from llmrs_bench.config import Invalid
from llmrs_bench.metrics.found import PAIR

# As scikit-learn's `log_loss` did with eps=1e-15, so that one impossible answer does not decide a mean.
MOST_LOSS = -log(1e-15)


def auc(relevant: pl.DataFrame, rankings: pl.DataFrame, invalid: Invalid) -> pl.DataFrame:
    """Return the area under the ROC curve of each request: the Mann-Whitney statistic of its scores.

    That is the share of the pairs of a relevant item and another candidate in which the relevant one has the higher
    score; ties count half. Averaged over users it is the AUC of Rendle et al. (BPR, UAI 2009, section 5.2), and the
    GAUC of Zhu et al. (KDD 2017) with equal weights; it is not the AUC over all pairs of all users. Items the model was
    silent about score less than all others and tie with each other, which is the expectation over their orders; with
    `worst` a silent relevant item wins no pair. Nor does one that is no candidate.

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
    that knows the target to be on the list; where they are places or counts it says little. Items the model was silent
    about share the lowest score that it gave, so that an answer that ranks nothing is uniform; with `worst` a silent
    relevant item costs the most. A loss is at most -ln(1e-15), which is also that of an item that is no candidate.

    Args:
        relevant: Rows (request_id, item_id).
        rankings: Frame of the schema `rankings`.
        invalid: The policy.

    Returns:
        Rows (request_id, value); requests without a ranking are absent.
    """
    filled = pl.col("score").fill_null(pl.col("score").min().over("request_id")).fill_null(0.0)
    rows = rankings.select(*PAIR, silent=pl.col("score").is_null(), score=filled)
    top = pl.col("score").max()
    norms = rows.group_by("request_id").agg(norm=top + (pl.col("score") - top).exp().sum().log())
    loss = pl.col("norm") - pl.col("score")
    if invalid == "worst":
        loss = pl.when("silent").then(MOST_LOSS).otherwise(loss)
    return (
        relevant.join(norms, on="request_id")
        .join(rows, on=PAIR, how="left")
        .group_by("request_id")
        .agg(value=loss.fill_null(MOST_LOSS).clip(0.0, MOST_LOSS).mean())
    )
