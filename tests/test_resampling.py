"""Resamples are the same whoever draws them, and percentiles those of numpy."""

from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from scipy.special import ndtr, stdtrit

from llmrs_bench import resampling
from llmrs_bench.resampling import Draws, draw_ahead, expanded_tail, resamples, two_percentiles


def test_resamples_drawn_ahead_are_those_drawn_where_they_are_needed() -> None:
    users, samples = 600, 500  # so many that they are kept
    generator = np.random.default_rng(7)
    wanted = [generator.multinomial(users, np.full(users, 1 / users), size=size) for size in (200, 200, 100)]
    draw_ahead(users, samples, 7)
    found = list(resamples(users, samples, 7))
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert found[0] is next(iter(resamples(users, samples, 7)))  # drawn once


@pytest.mark.parametrize("together", [1, 7 * 40, 10_000])
def test_resamples_are_the_same_however_many_are_drawn_at_once(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = np.random.default_rng(2).multinomial(40, np.full(40, 1 / 40), size=250)
    monkeypatch.setattr(resampling, "_DRAWN_TOGETHER", together)
    monkeypatch.setattr(resampling, "_KEPT", 0)
    found = list(resamples(40, 250, 2))
    assert [len(part) for part in found] == [200, 50]
    assert np.array_equal(np.concatenate(found), wanted)


def test_the_resamples_drawn_last_are_kept_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_kept", OrderedDict())
    monkeypatch.setattr(resampling, "_KEPT", 2_000)
    first, second = resamples(10, 100, 0), resamples(10, 100, 1)
    assert resamples(10, 100, 0) is first  # and thereby the latest
    resamples(10, 100, 2)
    assert resamples(10, 100, 0) is first
    assert resamples(10, 100, 1) is not second


def test_threads_that_need_the_same_resamples_share_a_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    draws, begun, go_on = list[int](), Event(), Event()

    def slow(users: int, samples: int, seed: int) -> Iterator[Draws]:
        draws.append(seed)
        begun.set()
        assert go_on.wait(5)
        yield np.zeros((samples, users), dtype=np.uint8)

    monkeypatch.setattr(resampling, "_kept", OrderedDict())
    monkeypatch.setattr(resampling, "_drawn", slow)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(resamples, 3, 5, 9)
        assert begun.wait(5)
        other = pool.submit(resamples, 3, 5, 9)
        go_on.set()
        assert one.result() is other.result()
    assert draws == [9]


def test_a_draw_that_fails_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_kept", OrderedDict())
    with monkeypatch.context() as broken:
        broken.setattr(resampling, "_drawn", lambda *asked: iter(asked[3]))
        with pytest.raises(IndexError):
            resamples(3, 5, 9)
    assert len(next(iter(resamples(3, 5, 9)))) == 5


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
