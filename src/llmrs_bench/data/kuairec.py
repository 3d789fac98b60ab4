"""KuaiRec, views of short videos, in the layout of its owner.

C. Gao et al., "KuaiRec: A Fully-observed Dataset and Insights for Evaluating Recommender Systems", CIKM 2022.
"""

from collections.abc import Iterator

import polars as pl

from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.fields import number, require_filled
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.records import NO_ITEMS, ItemRow, csv_rows, framed, given, named, only, sentences, tables, words
from llmrs_bench.data.sources import Raw, complete_items

VIEWS, CAPTIONS = r"big_matrix\.csv", r"kuairec_caption_category\.csv"
COLUMNS = ["user_id", "video_id", "play_duration", "video_duration", "time", "date", "timestamp", "watch_ratio"]
LEVELS = [f"{level}_level_category_name" for level in ("first", "second", "third")]
UNKNOWN = "UNKNOWN"
RULES = (
    "views are those of big_matrix.csv: the small matrix, in which every user saw every video, is not read",
    "ratings are watch ratios: how long a video was played by how long it is",
)


class KuaiRec:
    """Reads `big_matrix.csv`, and captions of `kuairec_caption_category.csv` as titles if they are there."""

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether the views are there."""
        return bool(named(files, VIEWS))

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the name of the views, and that of the captions if they are there.

        Raises:
            DataError: If there are no views, or more than one file of a kind.
        """
        views = only(files, VIEWS, "views")
        return (views, only(files, CAPTIONS, "captions")) if named(files, CAPTIONS) else (views,)

    def load(self, files: SourceFiles | None) -> Raw:
        """Read views, and the captions of videos.

        Raises:
            DataError: If a file is missing or malformed, naming the file and the line.
        """
        views, *captions = self.uses(files)
        files = given(files)
        parts = []
        for above, rows in tables(files, views, COLUMNS, separator=",", header=",".join(COLUMNS)):
            require_filled(rows, ["user_id", "video_id", "timestamp"], name=views, header_lines=above)
            moments = number(rows, "timestamp", name=views, header_lines=above)
            ratio = number(rows, "watch_ratio", pl.Float32, name=views, header_lines=above).alias("rating")
            parts.append(rows.select("user_id", pl.col("video_id").alias("item_id"), moments, ratio))
        events = pl.concat(parts)
        if not captions:
            return complete_items(Raw(ITEMS.to_frame(), events, (*RULES, NO_ITEMS), {"items_listed": 0}))
        items = framed(_videos(files, captions[0]), ITEMS, name=captions[0])
        kept = items.unique("item_id", keep="first", maintain_order=True)
        facts = {"items_listed": kept.height, "items_listed_twice_dropped": items.height - kept.height}
        return complete_items(Raw(kept, events, RULES, facts))


def _videos(files: SourceFiles, name: str) -> Iterator[ItemRow]:
    """Yield videos: the title is the caption, or the text of the cover where there is none."""
    wanted = ["video_id", "manual_cover_text", "caption", "topic_tag", *LEVELS]
    for _, (video, cover, caption, topic, *levels) in csv_rows(files, name, wanted):
        categories = list(dict.fromkeys(text for level in levels if (text := words(level)) and text != UNKNOWN))
        titles = [text for text in (caption, cover) if text.strip() and text.strip() != UNKNOWN]
        text = sentences({"Categories": categories, "Topics": topic.strip("[]")})
        yield video, titles[0] if titles else None, text, None, categories
