"""The bootstrap interval covers the true mean as often as it says."""

import numpy as np
import pytest

from llmrs_bench.stats import bootstrap_interval


def test_interval_covers_the_true_mean() -> None:
    generator = np.random.default_rng(0)
    draws = (generator.random((400, 300)) < 0.3).astype(np.float64)
    # Every row is a sample of its own, so resampling them together changes nothing.
    ends = bootstrap_interval(draws, samples=500, seed=1)
    covered = ((ends[:, 0] <= 0.3) & (ends[:, 1] >= 0.3)).mean()
    assert covered == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 400) ** 0.5)


def test_constant_values_have_no_width_and_seeds_repeat() -> None:
    values = np.vstack([np.full(50, 0.25), np.arange(50) / 50])
    ends = bootstrap_interval(values, samples=200, seed=3)
    assert ends[0] == pytest.approx([0.25, 0.25])
    assert ends[1, 0] < values[1].mean() < ends[1, 1]
    assert np.array_equal(ends, bootstrap_interval(values, samples=200, seed=3))


def test_rows_share_their_resamples() -> None:
    values = np.random.default_rng(2).random((1, 80))
    ends = bootstrap_interval(np.vstack([values, values]), samples=200, seed=0)
    assert np.array_equal(ends[0], ends[1])
