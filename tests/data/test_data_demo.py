from collections import Counter
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.schemas import check_schema
from llmrs_bench.data.demo import WORDS, Demo
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.sources import EVENTS, Raw


@pytest.fixture(scope="module")
def raw() -> Raw:
    return Demo().load(None)


def test_the_demo_is_the_same_every_time(raw: Raw) -> None:
    again = Demo().load(None)
    assert again.events.equals(raw.events)
    assert again.items.equals(raw.items)


def test_sizes_and_columns(raw: Raw) -> None:
    check_schema("items", raw.items)
    assert raw.events.schema == EVENTS
    assert raw.items.height == raw.items["title"].n_unique() == raw.items["item_id"].n_unique() == 400
    assert raw.items["year"].is_between(1950, 2024).all()
    assert raw.items["categories"].list.len().is_between(1, 2).all()
    counts = raw.events.group_by("user_id").len()["len"]
    assert counts.len() == 1000
    assert (counts.min(), counts.max()) == (25, 40)
    assert set(raw.events["rating"].unique()) == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_no_pair_repeats_and_no_times_tie(raw: Raw) -> None:
    assert not raw.events.select(pl.struct("user_id", "item_id").is_duplicated().any()).item()
    assert not raw.events.select(pl.struct("user_id", "timestamp").is_duplicated().any()).item()
    assert raw.events.equals(raw.events.sort("user_id", "timestamp"))


def test_titles_carry_their_genre() -> None:
    vocabulary = [set(f"{first} {second}".split()) for first, second in WORDS.values()]
    assert all(len(words) == 16 for words in vocabulary)
    assert len(set.union(*vocabulary)) == 16 * len(WORDS)


def test_the_next_part_tends_to_follow_and_genres_run(raw: Raw) -> None:
    titles = dict(raw.items.select("item_id", "title").iter_rows())
    genres = {item: categories[0] for item, categories in raw.items.select("item_id", "categories").iter_rows()}
    follows, same, starts, steps = 0, 0, 0, 0
    names = set(titles.values())
    for items in raw.events.group_by("user_id", maintain_order=True).agg("item_id")["item_id"]:
        for now, then in pairwise(items):
            steps += 1
            same += genres[now] == genres[then]
            if not titles[now].endswith(" II") and f"{titles[now]} II" in names:
                starts += 1
                follows += titles[then] == f"{titles[now]} II"
    assert follows / starts > 0.3
    assert same / steps > 2 / len(WORDS)


def test_some_films_are_much_more_popular(raw: Raw) -> None:
    counts = sorted(Counter(raw.events["item_id"].to_list()).values(), reverse=True)
    assert sum(counts[:40]) / sum(counts) > 0.2


def test_the_demo_takes_no_files(tmp_path: Path) -> None:
    files = SourceFiles.open(tmp_path)
    assert not Demo().accepts(files)
    assert Demo().uses(None) == ()
    with pytest.raises(OptionError, match="is made, not read"):
        Demo().load(files)
