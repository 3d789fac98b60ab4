"""Rankings and truth as other tools read them: TREC run and qrels, ranx's JSON, CSV."""

import json
from pathlib import Path

import polars as pl

from llmrs_bench.errors import DataError


def write_trec_run(rankings: pl.DataFrame, path: Path, *, tag: str) -> None:
    """Write `qid Q0 docid rank score tag`, the score being how many items come at this rank or below.

    So scores fall strictly with the rank, and tools that sort by score alone, as trec_eval does, keep the order, ties
    and silent items included. What the model scored is in the CSV alone.

    Args:
        rankings: Frame of the schema `rankings`.
        path: The file.
        tag: Name of the run.

    Raises:
        DataError: If an id holds a blank, which the format cannot say.
    """
    _refuse_blanks(rankings, ("request_id", "item_id"))
    rows = rankings.select(
        "request_id", pl.lit("Q0").alias("q0"), "item_id", "rank", falling_score(), pl.lit(tag).alias("tag")
    )
    rows.write_csv(path, separator=" ", include_header=False, quote_style="never")


def write_trec_qrels(truth: pl.DataFrame, path: Path) -> None:
    """Write `qid 0 docid relevance` of all rows of `truth`.

    Raises:
        DataError: If an id holds a blank, or a label is no whole number.
    """
    _refuse_blanks(truth, ("request_id", "item_id"))
    rows = truth.select("request_id", pl.lit("0").alias("iteration"), "item_id", _whole_labels(truth))
    rows.write_csv(path, separator=" ", include_header=False, quote_style="never")


def write_ranx_run(rankings: pl.DataFrame, path: Path) -> None:
    """Write the JSON that `ranx.Run.from_file` reads, request id to item id to score; scores as in a TREC run."""
    _write_nested(rankings.select("request_id", "item_id", falling_score()), path)


def write_ranx_qrels(truth: pl.DataFrame, path: Path) -> None:
    """Write the JSON that `ranx.Qrels.from_file` reads, request id to item id to relevance.

    Raises:
        DataError: If a label is no whole number.
    """
    _write_nested(truth.select("request_id", "item_id", _whole_labels(truth).alias("score")), path)


def falling_score() -> pl.Expr:
    """Return the column `score`: the number of ranks of the request from this one on, so that the last one has 1."""
    rank = pl.col("rank").cast(pl.Int64)
    return (rank.max().over("request_id") - rank + 1).alias("score")


def _write_nested(rows: pl.DataFrame, path: Path) -> None:
    groups = rows.group_by("request_id", maintain_order=True).agg("item_id", "score")
    nested = {name: dict(zip(items, scores, strict=True)) for name, items, scores in groups.iter_rows()}
    path.write_text(json.dumps(nested, ensure_ascii=False) + "\n", "utf-8")


def _whole_labels(truth: pl.DataFrame) -> pl.Series:
    odd = truth.filter(pl.col("label") != pl.col("label").round())
    if odd.height:
        raise DataError(
            f"{odd.height:,} labels are no whole numbers, the first is {odd['label'][0]:g}",
            hint="Relevance is whole in this format: export as CSV.",
        )
    return truth["label"].cast(pl.Int64)


def _refuse_blanks(rows: pl.DataFrame, columns: tuple[str, ...]) -> None:
    for column in columns:
        wrong = rows.filter(pl.col(column).str.contains(r"\s") | (pl.col(column) == ""))[column]
        if len(wrong):
            raise DataError(
                f"{wrong.n_unique():,} values of {column} hold blanks, the first is {wrong[0]!r}",
                hint="Blanks separate the fields of a TREC file: export as ranx or csv.",
            )
