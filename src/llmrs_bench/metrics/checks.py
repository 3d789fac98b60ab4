"""What rankings and truth have to be before they are measured."""

import polars as pl

from llmrs_bench.errors import ArtifactError
from llmrs_bench.metrics.found import PAIR


def check_truth(truth: pl.DataFrame) -> None:
    """Refuse truth that measures nothing.

    Raises:
        ArtifactError: If no item is relevant, or one is named twice.
    """
    if truth.filter(pl.col("label") > 0).is_empty():
        raise ArtifactError(
            f"truth has no relevant item ({truth.height} rows): there is nothing to measure",
            hint="Prepare the data again.",
        )
    _refuse(truth.filter(_doubled(truth)), "truth", "is named twice", "Prepare the data again.")


def check_rankings(truth: pl.DataFrame, rankings: pl.DataFrame, *, where: str) -> None:
    """Refuse rankings that are none, or that answer other requests.

    Args:
        truth: Frame of the schema `truth`.
        rankings: Frame of the schema `rankings`.
        where: What to call them.

    Raises:
        ArtifactError: On a score that is not finite, an item that is there twice, ranks that are not 1, 2, 3, ...,
            items the model was silent about above others, or requests that truth does not have.
    """
    hint = f"It was made elsewhere or edited: delete {where} and make it again."
    _refuse(rankings.filter(~pl.col("score").is_finite()), where, "has a score that is not a finite number", hint)
    _refuse(rankings.filter(_doubled(rankings)), where, "is ranked twice", hint)
    rank, own, size = pl.col("rank"), pl.col("score").is_not_null(), pl.len().cast(pl.Int64)
    requests = rankings.group_by("request_id").agg(
        item_id=pl.lit("*"),
        whole=(rank.min() == 1) & (rank.max() == size) & (rank.cast(pl.Int64).sum() == size * (size + 1) // 2),
        below=rank.filter(own).max().fill_null(0) == own.sum(),
    )
    _refuse(requests.filter(~pl.col("whole")), where, "has ranks that are not 1, 2, 3, ...", hint)
    _refuse(requests.filter(~pl.col("below")), where, "has items without a score above items with one", hint)
    strange = requests.join(truth.select("request_id"), on="request_id", how="anti")
    _refuse(strange, where, "is a request that the truth of this data set does not have", hint)


def _doubled(frame: pl.DataFrame) -> pl.Series:
    """Tell which rows name an item of a request that another row names; the hashes are of the rows as a whole."""
    hashes = frame.select(key=pl.struct(PAIR).hash()).to_series()
    if hashes.n_unique() == len(hashes):
        return pl.repeat(False, len(frame), dtype=pl.Boolean, eager=True)
    return frame.select(pl.struct(PAIR).is_duplicated()).to_series()


def _refuse(frame: pl.DataFrame, where: str, fault: str, hint: str) -> None:
    if frame.is_empty():
        return
    first = frame.row(0, named=True)
    item = "" if first["item_id"] == "*" else f", item {first['item_id']!r}"
    raise ArtifactError(f"{where}: request {first['request_id']!r}{item} {fault} ({frame.height} such)", hint=hint)
