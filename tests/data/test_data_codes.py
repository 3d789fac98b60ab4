"""Texts as numbers: equal where the texts are, and the first line of each."""

import random

import numpy as np
import polars as pl
import pytest

from llmrs_bench.data.codes import count_pairs, distinct, first_lines, has_repeats, order_by


def lines(texts: list[str]) -> list[int]:
    return [texts.index(text) for text in texts]


@pytest.mark.parametrize("count", [0, 1, 2, 400])
def test_a_text_is_the_line_it_first_stands_in(count: int) -> None:
    drawn = random.Random(count)
    texts = [f"reader {drawn.randrange(1 + count // 3)}" for _ in range(count)]
    assert first_lines(pl.Series(texts, dtype=pl.String)).tolist() == lines(texts)


@pytest.mark.parametrize("hashes", [[7] * 5, [9, 8, 9, 10, 8], [9, 8, 9, 16, 8]], ids=["one", "low bits", "some"])
def test_texts_that_share_a_hash_or_its_upper_bits_are_told_apart(
    hashes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["b", "a", "b", "c", "a"]
    real = pl.Series.hash
    alike = pl.Series(hashes, dtype=pl.UInt64)
    monkeypatch.setattr(pl.Series, "hash", lambda column, seed: alike if seed == 1 else real(column, seed))
    assert first_lines(pl.Series(texts)).tolist() == lines(texts)


def test_each_text_is_kept_once_in_the_order_of_first_places() -> None:
    assert distinct(pl.Series(["b", "a", "b", "c", "a"])).to_list() == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("times", "order"),
    [([1, 2, 3, 4, 4], [0, 2, 1, 3, 4]), ([5, 2, 3, -1, 2], [2, 0, 3, 1, 4])],
    ids=["sorted", "unsorted"],
)
def test_rows_are_ordered_by_code_then_time_then_place(times: list[float], order: list[int]) -> None:
    codes = np.array([0, 1, 0, 1, 1], dtype=np.uint32)
    assert order_by(codes, np.array(times, dtype=np.float64)).tolist() == order


def test_pairs_are_counted_once() -> None:
    users, items = (first_lines(pl.Series(list(texts))) for texts in ("aabba", "xyxxx"))
    assert count_pairs(users, items) == 3


def test_repeats_are_found_also_where_hashes_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    def events(items: str) -> pl.DataFrame:
        return pl.DataFrame({"user_id": ["ann"] * len(items), "item_id": list(items)})

    assert has_repeats(events("xyx"), ["user_id", "item_id"])
    assert not has_repeats(events("xyz"), ["user_id", "item_id"])
    monkeypatch.setattr(pl.Series, "hash", lambda column, seed: pl.Series([seed] * len(column), dtype=pl.UInt64))
    assert not has_repeats(events("xyz"), ["user_id", "item_id"])
