"""How many users are validated, how often, and what that does to a training."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from llmrs_bench.core.schemas import INTERACTIONS, ITEMS
from llmrs_bench.recommenders.base import Corpus, TrainContext
from llmrs_bench.recommenders.bprmf import BPRMF
from llmrs_bench.recommenders.factors import FactorOptions
from llmrs_bench.recommenders.sequences import Histories, Vocabulary
from llmrs_bench.recommenders.training import Holdout, ValidationPlan


@pytest.mark.parametrize(
    ("of_users", "user_cost", "epoch_cost", "patience", "expected"),
    [
        (6_040, 3_416, 5e8, 10, (6_040, 1)),  # a small catalogue: everybody, always
        (50_000, 10_000, 1e9, 10, (17_647, 1)),  # as many as are paid for, above 10,000
        (50_000, 17_000, 2.5e8, 10, (10_000, 4)),  # then fewer epochs
        (50_000, 17_000, 1e8, 10, (5_190, 5)),  # not fewer than twice in the patience, then fewer users
        (50_000, 17_000, 1e8, 1, (1_038, 1)),
        (50_000, 1_000_000, 1e8, 10, (1_000, 5)),  # not so few that noise chooses
        (300, 1_000_000, 1e8, 10, (300, 5)),
    ],
)
def test_plans_leave_out_users_first_and_then_epochs(
    of_users: int, user_cost: float, epoch_cost: float, patience: int, expected: tuple[int, int]
) -> None:
    plan = ValidationPlan.of(of_users, user_cost, epoch_cost, patience)
    assert (plan.users, plan.every) == expected
    assert plan.facts() == {"users": expected[0], "of_users": of_users, "every_epochs": expected[1]}


@pytest.mark.parametrize("events", [10**5, 10**6, 10**7])
@pytest.mark.parametrize("items", [1_000, 17_000, 100_000])
@pytest.mark.parametrize("users", [5_000, 50_000])
def test_validation_takes_at_most_15_percent(users: int, items: int, events: int) -> None:
    cost = events * 500
    plan = ValidationPlan.of(users, items, cost, 10)
    spent = plan.users * items / plan.every
    assert spent <= 0.15 * (cost + spent) or plan.users == 1_000
    assert plan.users == users or plan.users >= 1_000


def holdout(users: int, items: int) -> Holdout:
    """Return users who have each seen one item, and whose next one is another."""
    names = Vocabulary(tuple(f"i{item:04}" for item in range(items)))
    seen = [f"i{user % items:04}" for user in range(users)]
    targets = [f"i{(user * 7 + 1) % items:04}" for user in range(users)]
    rows = {
        "user_id": [f"u{user:04}" for user in range(users)] * 2,
        "item_id": seen + targets,
        "part": ["train"] * users + ["valid"] * users,
    }
    people = Vocabulary(tuple(f"u{user:04}" for user in range(users)))
    return Holdout.of(pl.DataFrame(rows), people, names)


def test_ranks_over_many_items_and_blocks_are_those_of_a_sort() -> None:
    users, items = 70, 3_000
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 500, size=(users + 1, items)).astype(np.float32)  # many ties
    held = holdout(users, items)
    expected = 0.0
    for user in range(users):
        row, target = scores[user + 1], (user * 7 + 1) % items
        others = np.delete(row, sorted({user % items, target}))
        rank = 1 + int((others >= row[target]).sum())
        expected += 1 / math.log2(1 + rank) if rank <= 1000 and user % items != target else 0

    blocks: list[int] = []

    def logits(histories: Histories) -> Tensor:
        blocks.append(len(histories))
        return torch.from_numpy(scores[histories.users])

    assert held.ndcg(logits, k=1000) == pytest.approx(expected / users)
    assert blocks == [70]
    wide = Holdout(held.histories, held.targets, 10**6)  # a row of a million scores: fewer at a time
    assert wide.ndcg(logits, k=1000) == pytest.approx(expected / users)
    assert blocks == [70, 32, 32, 6]


def test_samples_are_users_with_their_own_targets_and_follow_the_seed() -> None:
    held = holdout(50, 60)
    chosen = held.sample(20, seed=3)
    assert len(chosen) == len(set(chosen.histories.users.tolist())) == 20
    of = dict(zip(held.histories.users.tolist(), held.targets.tolist(), strict=True))
    assert [of[user] for user in chosen.histories.users.tolist()] == chosen.targets.tolist()
    assert held.sample(20, seed=3).targets.tolist() == chosen.targets.tolist()
    assert held.sample(20, seed=4).histories.users.tolist() != chosen.histories.users.tolist()


def wide_corpus() -> Corpus:
    """Return 60 users with five events each, all of other items, and a validation event."""
    users, length = 60, 6
    rows = {
        "user_id": np.repeat([f"u{user}" for user in range(users)], length),
        "item_id": [f"i{(user * 5 + step) % 300}" for user in range(users) for step in range(length)],
        "timestamp": np.tile(np.arange(length), users),
        "rating": np.full(users * length, None),
        "part": np.tile(["train"] * (length - 1) + ["valid"], users),
    }
    return Corpus(pl.DataFrame(rows, schema=INTERACTIONS), pl.DataFrame(schema=ITEMS))


def fitted(options: FactorOptions) -> dict[str, Any]:
    """Return the facts of a training on `wide_corpus`."""
    return BPRMF(options, seed=0, device="cpu").fit(wide_corpus(), TrainContext())


def test_a_network_says_how_it_validated() -> None:
    options = FactorOptions(epochs=3, dim=4)
    facts = fitted(options)
    assert facts["validation"] == {"users": 60, "of_users": 60, "every_epochs": 1}
    assert len(facts["valid_curve"]) == 3


def test_expensive_validation_is_rarer_and_changes_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    options = FactorOptions(epochs=8, dim=4, patience=6)
    often = fitted(options)
    monkeypatch.setattr(BPRMF, "event_cost", 120)
    seldom = fitted(options)
    assert seldom["validation"] == {"users": 60, "of_users": 60, "every_epochs": 3}
    # After epochs 3 and 6, and after the last one.
    assert seldom["valid_curve"] == [often["valid_curve"][epoch - 1] for epoch in (3, 6, 8)]
    assert seldom["best_epoch"] in (3, 6, 8)
