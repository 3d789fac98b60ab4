"""Rankings and data written for other tools."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import polars as pl

from llmrs_bench.core.errors import DataError


def write_trec_run(rankings: pl.DataFrame, path: Path, *, tag: str) -> None:
    """Write `qid Q0 docid rank score tag`, the score being how many items come at this rank or below.

    So scores fall strictly with the rank, and tools that sort by score alone, as trec_eval does, keep the order, ties
    and unranked items included. What the model scored is in the CSV alone.

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
            f"{odd.height:,} labels are not whole numbers, the first is {odd['label'][0]:g}",
            hint="This format needs whole numbers: export as csv.",
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


PARTS = ("train", "valid", "test")
HISTORY = 50
_USERS = 2000
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
        DataError: If an id cannot be written in the format, or a user has several requests, for which it has no place.
    """
    if prepared.requests["user_id"].is_duplicated().any():
        raise DataError(
            "some users have several requests, but RecBole's files hold one sequence per user",
            hint="Export as csv, or prepare the data with one target per user.",
        )
    events = _events(prepared)
    _refuse_odd(events)
    for each, rows, model, settings in (
        (name, [events], "BPR", _GENERAL),
        (f"{name}-sequential", _with_histories(prepared, events), "SASRec", _SEQUENTIAL),
    ):
        place = folder / each
        place.mkdir()
        _items(prepared.items).write_csv(place / f"{each}.item", separator="\t", quote_style="never")
        _write_parts(rows, place, each)
        text = _COMMON.format(model=model, name=each) + settings.format(history=HISTORY)
        (folder / f"{each}.yaml").write_text(text, "utf-8")


def _write_parts(slices: Iterable[pl.DataFrame], place: Path, name: str) -> None:
    """Write the file of each part, slice behind slice."""
    with ExitStack() as stack:
        files = {part: stack.enter_context((place / f"{name}.{part}.inter").open("wb")) for part in PARTS}
        for first, rows in zip(chain([True], repeat(False)), slices, strict=False):
            for part, file in files.items():
                chosen = _inter(rows.filter(pl.col("part") == part))
                chosen.write_csv(file, separator="\t", quote_style="never", include_header=first)


_HEADS: Mapping[str, str] = {
    "user_id": "user_id:token",
    "history": "item_id_list:token_seq",
    "item_id": "item_id:token",
    "timestamp": "timestamp:float",
}


def _inter(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(pl.col(column).alias(head) for column, head in _HEADS.items() if column in rows.columns)


def _events(prepared: Prepared) -> pl.DataFrame:
    """Return all events in the order of time, targets after the others."""
    seen = prepared.interactions.select("user_id", "item_id", "timestamp", "part")
    asked = prepared.requests.select("request_id", "user_id", timestamp="cutoff", part=pl.lit("test"))
    targets = prepared.truth.filter(pl.col("label") > 0).join(asked, on="request_id", maintain_order="left")
    return pl.concat([seen, targets.select(seen.columns)])


def _by_users(events: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the events of some users at a time: histories take fifty times the memory of events."""
    users = events["user_id"].unique(maintain_order=True)
    for part in range(0, len(users), _USERS):
        yield events.filter(pl.col("user_id").is_in(users[part : part + _USERS].implode()))


def _with_histories(prepared: Prepared, events: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the events that have any before them, with these: the newest items, oldest first.

    All targets of a request stand behind its history, none of them behind another.
    """
    before = pl.concat_list(pl.col("item_id").shift(back).over("user_id") for back in range(HISTORY, 0, -1))
    asked = prepared.requests.select("user_id", told=pl.col("history").list.tail(HISTORY).list.join(" "))
    for some in _by_users(events):
        rows = some.with_columns(history=before.list.drop_nulls().list.join(" ")).join(
            asked, on="user_id", how="left", maintain_order="left"
        )
        told = pl.when(pl.col("part") == "test").then("told").otherwise("history")
        yield rows.with_columns(history=told).filter(pl.col("history") != "")


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
