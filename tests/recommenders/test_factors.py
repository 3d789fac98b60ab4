"""Events of factor models: the item before, and negatives that the user has not seen."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from llmrs_bench.recommenders.factors import Events
from llmrs_bench.recommenders.sequences import Histories, Sequences
from recommender_cases import untrained

WALKS = {1: [3, 1, 3, 2], 2: [5], 4: [2, 4]}


def events(walks: dict[int, list[int]] = WALKS, items: int = 6) -> Events:
    lengths = np.array([len(walk) for walk in walks.values()])
    flat = np.array([item for walk in walks.values() for item in walk])
    return Events(Histories(np.array(list(walks)), Sequences(flat, np.cumsum(lengths) - lengths, lengths)), items)


def epoch(made: Events, size: int, seed: int = 0) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    return list(made.batches(size, torch.Generator().manual_seed(seed)))


def test_every_event_is_there_once_with_the_item_before_it() -> None:
    steps = epoch(events(), 3)
    assert [len(users) for users, *_ in steps] == [3, 3, 1]
    rows = sorted(row for step in steps for row in zip(*(column.tolist() for column in step[:3]), strict=True))
    assert rows == [(1, 0, 3), (1, 1, 3), (1, 3, 1), (1, 3, 2), (2, 0, 5), (4, 0, 2), (4, 2, 4)]


def test_the_order_is_drawn_anew_by_the_generator() -> None:
    def order(seed: int) -> list[int]:
        return [item for _, _, targets, _ in epoch(events(), 2, seed) for item in targets.tolist()]

    assert order(0) == order(0)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1


def test_negatives_are_uniform_among_what_the_user_has_not_seen() -> None:
    made, drawn = events(items=20), Counter[tuple[int, int]]()
    for seed in range(500):
        for users, _, _, negatives in epoch(made, 4, seed):
            drawn.update(zip(users.tolist(), negatives.tolist(), strict=True))
    for user, walk in WALKS.items():
        unseen = set(range(1, 21)) - set(walk)
        assert {item for name, item in drawn if name == user} == unseen
        for item in unseen:
            share, count = 1 / len(unseen), 500 * len(walk)
            # Four standard errors.
            assert abs(drawn[user, item] / count - share) < 4 * (share * (1 - share) / count) ** 0.5


def test_a_user_who_has_seen_everything_gets_some_item() -> None:
    ((_, _, _, negatives),) = epoch(events({1: [1, 2, 3]}, items=3), 9)
    assert set(negatives.tolist()) <= {1, 2, 3}


@pytest.mark.parametrize("name", ["bprmf", "fpmc"])
def test_regularisation_shortens_the_vectors(name: str) -> None:
    def loss(reg: str) -> float:
        model = untrained(name, 0, reg=reg)
        torch.manual_seed(0)
        net = model.build(4, 6)
        first = next(model.losses(net, events(), torch.Generator().manual_seed(0)))
        return float(first.item())

    assert loss("0") < loss("0.1") < loss("1")
    assert loss("1") - loss("0") == pytest.approx(10 * (loss("0.1") - loss("0")), rel=1e-4)
