"""What content-based recommenders read: one text of each item."""

import polars as pl

from llmrs_bench.errors import ModelError
from llmrs_bench.recommenders.sequences import Vocabulary

TEXT = "text"  # a column of requests that a content-based recommender reads where it is there: more to search for


def item_texts(items: pl.DataFrame) -> tuple[Vocabulary, list[str]]:
    """Return the items of the table `items` that say anything, and the text of each in the order of the vocabulary.

    A text is the title, the categories with commas between them, and the item's own text, one line each; what is
    empty is left out. The year is not part of it.

    Raises:
        ModelError: If no item says anything.
    """
    lines = [pl.col("title"), pl.col("categories").list.join(", "), pl.col("text")]
    told = [pl.when(line.str.strip_chars() != "").then(line.str.strip_chars()) for line in lines]
    texts = items.select("item_id", said=pl.concat_str(told, separator="\n", ignore_nulls=True))
    texts = texts.filter(pl.col("said") != "").sort("item_id")
    if texts.is_empty():
        raise ModelError(
            "no item has a title, a category or a text to compare it by",
            hint="Prepare a data set with a table of items, or take a model that learns from interactions.",
        )
    return Vocabulary(tuple(texts["item_id"])), list(texts["said"])
