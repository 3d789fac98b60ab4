"""Resamples are the same whoever draws them, and percentiles those of numpy."""

import numpy as np
import pytest
from scipy.special import ndtr, stdtrit

from llmrs_bench.resampling import draw_ahead, expanded_tail, resamples, two_percentiles


def test_resamples_drawn_ahead_are_those_drawn_where_they_are_needed() -> None:
    users, samples = 600, 500  # so many that they are kept
    generator = np.random.default_rng(7)
    wanted = [generator.multinomial(users, np.full(users, 1 / users), size=size) for size in (200, 200, 100)]
    draw_ahead(users, samples, 7)
    found = list(resamples(users, samples, 7))
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert found[0] is next(iter(resamples(users, samples, 7)))  # drawn once


@pytest.mark.parametrize("columns", [1, 2, 3, 40, 201, 2000])
def test_percentiles_are_those_of_numpy_to_the_bit(columns: int) -> None:
    values = np.random.default_rng(columns).random((5, columns))
    values[1] = values[1].round(1)
    for ends in ((2.5, 97.5), (5.0, 95.0)):
        assert two_percentiles(values, ends).tolist() == np.percentile(values, ends, axis=1).T.tolist()


@pytest.mark.parametrize("users", [2, 5, 50, 943])
def test_few_users_have_a_wider_interval(users: int) -> None:
    """The tail is normal(-t sqrt(n / (n - 1))), with the quantile of Student's t to four digits from five users on."""
    exact = float(ndtr(-stdtrit(users - 1, 0.975) * (users / (users - 1)) ** 0.5))
    assert expanded_tail(users) == pytest.approx(exact, rel=0.002 if users > 5 else 0.2, abs=1e-5)
    assert expanded_tail(users) < expanded_tail(10 * users) < expanded_tail(1) == pytest.approx(0.025)
