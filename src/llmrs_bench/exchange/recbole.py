"""A prepared data set as RecBole reads one that is split already: `benchmark_filename: [train, valid, test]`.

RecBole loads NAME.train.inter, NAME.valid.inter and NAME.test.inter as they are
(https://recbole.io/docs/user_guide/config/data_settings.html). Its sequential models make no histories from such files,
and need one in every row, as `item_id_list:token_seq`; its other models do not. So there are two data sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llmrs_bench.errors import DataError

PARTS = ("train", "valid", "test")
HISTORY = 50
_COMMON = """\
# Run RecBole in this folder, for instance:
#   recbole.quick_start.run_recbole(model="{model}", dataset="{name}", config_file_list=["{name}.yaml"])
# It ranks the whole catalogue: lists of candidates have no place in its files.
data_path: ./
USER_ID_FIELD: user_id
ITEM_ID_FIELD: item_id
TIME_FIELD: timestamp
benchmark_filename: [train, valid, test]
eval_args:
  group_by: user
  order: TO
  mode: full
metrics: [NDCG, Hit, MRR]
topk: [1, 10]
valid_metric: NDCG@10
"""
_GENERAL = """\
load_col:
  inter: [user_id, item_id, timestamp]
  item: [item_id, title, release_year, class]
"""
_SEQUENTIAL = """\
load_col:
  inter: [user_id, item_id_list, item_id]
  item: [item_id, title, release_year, class]
alias_of_item_id: [item_id_list]
MAX_ITEM_LIST_LENGTH: {history}
train_neg_sample_args: ~
"""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The tables `items`, `interactions`, `requests` and `truth` of a prepared data set."""

    items: pl.DataFrame
    interactions: pl.DataFrame
    requests: pl.DataFrame
    truth: pl.DataFrame


def write_recbole(prepared: Prepared, folder: Path, *, name: str) -> None:
    """Write the data sets `NAME`, and `NAME-sequential` with histories of up to 50 items, and a settings file of each.

    Events of the parts train and valid are those of `interactions`; those of test are the targets of the requests, so
    users who are not tested have none. Ratings are left out, because those of targets are not kept. Words of a category
    are joined by `_`, and quotation marks become apostrophes, because blanks and quotes mean something there.

    Raises:
        DataError: If an id cannot be written in the format.
    """
    events = _events(prepared)
    _refuse_odd(events)
    items = _items(prepared.items)
    for each, rows, model, settings in (
        (name, events.drop("history"), "BPR", _GENERAL),
        (f"{name}-sequential", events.filter(pl.col("history") != ""), "SASRec", _SEQUENTIAL),
    ):
        place = folder / each
        place.mkdir()
        items.write_csv(place / f"{each}.item", separator="\t", quote_style="never")
        for part in PARTS:
            _inter(rows.filter(pl.col("part") == part)).write_csv(
                place / f"{each}.{part}.inter", separator="\t", quote_style="never"
            )
        text = _COMMON.format(model=model, name=each) + settings.format(history=HISTORY)
        (folder / f"{each}.yaml").write_text(text, "utf-8")


_HEADS: Mapping[str, str] = {
    "user_id": "user_id:token",
    "history": "item_id_list:token_seq",
    "item_id": "item_id:token",
    "timestamp": "timestamp:float",
}


def _inter(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(pl.col(column).alias(head) for column, head in _HEADS.items() if column in rows.columns)


def _events(prepared: Prepared) -> pl.DataFrame:
    """Return all events, targets after the others, each with the user's items before it, oldest first."""
    seen = prepared.interactions.select("user_id", "item_id", "timestamp", "part")
    asked = prepared.requests.select("request_id", "user_id", timestamp="cutoff", part=pl.lit("test"))
    targets = prepared.truth.filter(pl.col("label") > 0).join(asked, on="request_id", maintain_order="left")
    events = pl.concat([seen, targets.select(seen.columns)]).with_row_index("line")
    before = pl.concat_list(pl.col("item_id").shift(back).over("user_id") for back in range(HISTORY, 0, -1))
    return events.with_columns(history=before.list.drop_nulls().list.join(" ")).drop("line")


def _items(items: pl.DataFrame) -> pl.DataFrame:
    words = pl.col("categories").list.eval(pl.element().str.replace_all(r"\s+", "_"))
    return items.select(
        pl.col("item_id").alias("item_id:token"),
        _plain(pl.col("title")).alias("title:token_seq"),
        pl.col("year").alias("release_year:token"),
        _plain(words.list.join(" ")).alias("class:token_seq"),
    )


def _plain(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all(r"[\p{Cc}\s]+", " ").str.replace_all('"', "'", literal=True).str.strip_chars()


def _refuse_odd(events: pl.DataFrame) -> None:
    for column in ("user_id", "item_id"):
        wrong = events.filter(pl.col(column).str.contains(r'[\s"]') | (pl.col(column) == ""))[column]
        if len(wrong):
            raise DataError(
                f"{wrong.n_unique():,} values of {column} hold blanks or quotation marks, the first is {wrong[0]!r}",
                hint="RecBole's files cannot hold them: rename them in the source, or export as csv.",
            )
