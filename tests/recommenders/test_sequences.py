"""Vocabulary, ragged sequences and full-ranking validation."""

import math

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from llmrs_bench.core.errors import ModelError
from llmrs_bench.recommenders.sequences import Histories, Sequences, Vocabulary, user_histories
from llmrs_bench.recommenders.training import Holdout
from recommender_cases import interactions_of

VOCABULARY = Vocabulary(("a", "b", "c"))
USERS = Vocabulary(("u", "v", "x"))
LISTS = pl.Series([["a", "x", "b"], [], ["c"], None, ["b", "b", "a", "c"]], dtype=pl.List(pl.String))


def test_vocabulary_is_sorted_and_knows_what_it_does_not_know() -> None:
    assert Vocabulary.of(pl.Series(["c", "a", "b", "a"])) == VOCABULARY
    assert VOCABULARY.encode(pl.Series(["c", "x", "a"])).tolist() == [3, 0, 1]


def test_sequences_leave_unknown_items_out() -> None:
    sequences = Sequences.of(LISTS, VOCABULARY)
    assert sequences.lengths.tolist() == [2, 0, 1, 0, 4]
    assert sequences.padded().tolist() == [[1, 2, 0, 0], [0] * 4, [3, 0, 0, 0], [0] * 4, [2, 2, 1, 3]]


def test_last_and_take_keep_the_newest_items_of_the_chosen_rows() -> None:
    chosen = Sequences.of(LISTS, VOCABULARY).last(2).take(np.array([4, 1, 0]))
    assert chosen.padded().tolist() == [[1, 3], [0, 0], [1, 2]]
    rows, items = chosen.flat()
    assert (rows.tolist(), items.tolist()) == ([0, 0, 2, 2], [1, 3, 1, 2])


def test_sequences_of_nothing_are_empty() -> None:
    nothing = Sequences.of(LISTS.clear(), VOCABULARY)
    assert nothing.padded().shape == (0, 0)


def events(*rows: tuple[str, str, str]) -> pl.DataFrame:
    return interactions_of([(user, item, time, part) for time, (user, item, part) in enumerate(rows)])


EVENTS = events(
    ("u", "b", "train"),
    ("u", "a", "train"),
    ("u", "c", "valid"),
    ("v", "a", "train"),
    ("v", "b", "valid"),
    ("v", "c", "valid"),
    ("w", "c", "train"),
    ("w", "new", "valid"),
    ("x", "a", "train"),
    ("y", "a", "valid"),
)


def test_user_histories_keep_the_order_of_events_and_know_their_users() -> None:
    names, histories = user_histories(EVENTS.filter(part="train"), USERS, VOCABULARY)
    assert names.to_list() == ["u", "v", "w", "x"]
    assert histories.users.tolist() == [1, 2, 0, 3]
    assert histories.items.padded().tolist() == [[2, 1], [1, 0], [3, 0], [1, 0]]


def test_histories_are_taken_and_cut_with_their_users() -> None:
    histories = user_histories(EVENTS.filter(part="train"), USERS, VOCABULARY)[1]
    chosen = histories.take(np.array([3, 0])).last(1)
    assert len(chosen) == 2
    assert chosen.users.tolist() == [3, 1]
    assert chosen.items.padded().tolist() == [[1], [1]]
    assert histories.last(0).items.padded().shape == (4, 0)


def test_holdout_takes_the_first_validation_event_of_users_with_training() -> None:
    holdout = Holdout.of(EVENTS, USERS, VOCABULARY)
    assert holdout.targets.tolist() == [3, 2, 0]
    assert holdout.histories.users.tolist() == [1, 2, 0]
    assert holdout.histories.items.padded().tolist() == [[2, 1], [1, 0], [3, 0]]


def test_held_out_users_are_asked_for_their_last_event() -> None:
    held_out = events(("u", "a", "valid"), ("u", "b", "valid"), ("u", "c", "valid"), ("x", "a", "train"))
    holdout = Holdout.of(held_out, USERS, VOCABULARY)
    assert holdout.targets.tolist() == [3]
    assert [VOCABULARY.ids[code - 1] for code in holdout.histories.items.padded()[0]] == ["a", "b"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # u: only c is unseen, rank 1. v: b against c. w: never trained on, 0.
        ([9.0, 5.0, 1.0], (1 + 1 + 0) / 3),
        ([9.0, 1.0, 5.0], (1 + 1 / math.log2(3) + 0) / 3),
        ([1.0, 1.0, 1.0], (1 + 1 / math.log2(3) + 0) / 3),
        # Nothing is lower than nan: the target is last of all three items, 1 / log2(4).
        ([math.nan] * 3, (1 / 2 + 1 / 2 + 0) / 3),
    ],
)
def test_ndcg_ranks_unseen_items_and_ties_count_against_the_target(row: list[float], expected: float) -> None:
    def logits(histories: Histories) -> Tensor:
        return torch.tensor([row] * len(histories))

    assert Holdout.of(EVENTS, USERS, VOCABULARY).ndcg(logits) == pytest.approx(expected)


def test_ndcg_is_zero_below_its_depth() -> None:
    holdout = Holdout.of(EVENTS, USERS, VOCABULARY)
    assert holdout.ndcg(lambda h: torch.tensor([[9.0, 1.0, 5.0]] * len(h)), k=1) == pytest.approx(1 / 3)


def test_holdout_needs_validation_events() -> None:
    with pytest.raises(ModelError, match="validation") as caught:
        Holdout.of(EVENTS.filter(part="train"), USERS, VOCABULARY)
    assert "three events" in caught.value.hint
