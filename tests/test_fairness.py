"""Counterfactual fairness: similarities by hand, a planted bias, and tests that keep their level."""

import numpy as np
import pytest

from llmrs_bench.counterfactuals import by_user, similarities, similarity, spread


@pytest.mark.parametrize(
    ("neutral", "other", "expected"),
    [
        ("abcd", "abcd", (1, 1, 1)),
        ("abcd", "dcba", (1, 1, 0)),
        ("abcd", "efgh", (0, 0, 0)),
        # c, x and a: 2 of 5 items; 3 and 1 of 6; of the pairs c-x, c-a, x-a the neutral list has c before x.
        ("abc", "cxa", (2 / 4, (3 + 1) / 6, 1 / 3)),
        # A shorter list: 2 of 4 items, 4 and 3 of 10; a before b.
        ("abcd", "ab", (2 / 4, (4 + 3) / 10, 1)),
        ("a", "a", (1, 1, 1)),
        ("ab", "a", (1 / 2, 2 / 3, 0)),
        ("ab", "", (0, 0, 0)),
    ],
)
def test_similarities_by_hand(neutral: str, other: str, expected: tuple[float, float, float]) -> None:
    assert similarity(list(neutral), list(other)) == pytest.approx(expected)


def test_a_neutral_list_without_items_says_nothing() -> None:
    assert np.isnan(similarity([], ["a"])).all()


@pytest.mark.parametrize("size", [2, 5, 20])
def test_serp_is_that_of_the_published_code_but_for_its_scale(size: int) -> None:
    """Published: the sum of (K - i + 1) over places i from 0, times 0.5, over (K + 1) K."""
    generator = np.random.default_rng(size)
    neutral, other = (list(map(str, generator.permutation(2 * size)[:size])) for _ in range(2))
    shared = [place for place, item in enumerate(other) if item in neutral]
    published = sum(size - place + 1 for place in shared) * 0.5 / ((size + 1) * size)
    ours = similarity(neutral, other)[1]
    assert published == pytest.approx((ours * size * (size + 1) / 2 + len(shared)) * 0.5 / ((size + 1) * size))


def test_requests_of_a_user_count_as_one() -> None:
    users = {"r1": "bob", "r2": "ann", "r3": "bob", "r4": "cat"}
    lists = {"r1": ["a", "b"], "r2": ["a", "b"], "r3": ["a", "b"]}
    found = similarities(lists, {**lists, "r3": ["x", "y"]}, users)
    assert found.shape == (3, 3)
    assert found[0, :2].tolist() == [1.0, 0.5]
    assert np.isnan(found[:, 2]).all()
    assert by_user(np.array([[1.0, np.nan, 2.0, 4.0]]), users).tolist()[0][1:] == [1.5, 4.0]


def test_equal_values_are_not_apart() -> None:
    values = np.tile(np.random.default_rng(0).random(30), (3, 1))
    found = spread(values, samples=99, seed=0)
    assert (found.snsr, found.snsv, found.p_snsr, found.p_snsv) == (0.0, 0.0, 1.0, 1.0)


def test_a_planted_bias_is_found_with_its_size() -> None:
    generator = np.random.default_rng(1)
    user = generator.random(200) * 0.5
    values = np.stack([user, user + 0.02, user + 0.08]) + generator.normal(0, 0.05, (3, 200))
    found = spread(values, samples=999, seed=0)
    assert found.snsr == pytest.approx(0.08, abs=0.015)
    assert found.snsv == pytest.approx(np.std([0, 0.02, 0.08]), abs=0.006)
    assert found.p_snsr == found.p_snsv == pytest.approx(1 / 1000)


def test_users_without_a_value_are_left_out() -> None:
    values = np.array([[0.1, 0.5, np.nan], [0.3, 0.5, 0.9]])
    assert spread(values, samples=99, seed=0).snsr == pytest.approx(0.1)
    assert np.isnan(spread(values[:, 2:], samples=99, seed=0).snsr)


def test_values_that_are_the_same_in_distribution_keep_the_level() -> None:
    """Users differ much; what is stated changes a list, but no value more than another."""
    generator, trials = np.random.default_rng(2), 400
    p = []
    for trial in range(trials):
        values = generator.random(40) + generator.normal(0, 0.1, (3, 40))
        found = spread(values, samples=199, seed=trial)
        p.append((found.p_snsr, found.p_snsv))
    assert (np.array(p) <= 0.05).mean(0) == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / trials) ** 0.5)
