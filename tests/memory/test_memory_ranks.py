"""Ranks of true continuations: exact tests against an enumeration of all cases, ties, controls, corrections."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from llmrs_bench.memory.ranks import RankedTrial, exact_p, judge


def trial(scores: Sequence[float], true: int) -> RankedTrial:
    return RankedTrial(np.array(scores, dtype=float), true)


def noise(count: int, candidates: int, seed: int) -> list[RankedTrial]:
    draw = np.random.default_rng(seed)
    return [RankedTrial(draw.random(candidates), int(draw.integers(candidates))) for _ in range(count)]


def known(count: int, candidates: int, seed: int) -> list[RankedTrial]:
    return [
        RankedTrial(each.scores + 9 * np.eye(candidates)[each.true], each.true)
        for each in noise(count, candidates, seed)
    ]


@pytest.mark.parametrize(
    "trials",
    [
        [trial([3, 2, 1, 0], 0)],
        [trial([3, 2, 1, 0], 3), trial([3, 2, 1], 1)],
        [trial([1, 1, 0, 0], 0), trial([5, 5, 5], 2), trial([2, 3], 1)],
        [trial([0.5, 0.5, 0.5, 0.1, 0.9], 4), trial([1, 2, 3, 4], 2), trial([7, 7], 0)],
    ],
)
def test_p_is_that_of_all_cases(trials: list[RankedTrial]) -> None:
    weights = [each.weights.tolist() for each in trials]
    observed = sum(row[each.true] for row, each in zip(weights, trials, strict=True))
    cases = [sum(case) for case in product(*weights)]
    assert exact_p(trials) == pytest.approx(sum(case >= observed for case in cases) / len(cases), abs=1e-9)


def test_ties_count_by_expectation() -> None:
    tied = trial([4, 4, 4, 1], 1)
    assert (tied.better, tied.tied) == (0, 2)
    assert tied.first == pytest.approx(1 / 3)
    assert tied.weights[0] == tied.weights[1] == tied.weights[2] == round(240 * (1 + 1 / 2 + 1 / 3) / 3)
    assert trial([4, 4, 4, 1], 3).first == 0


def test_a_model_of_one_score_is_at_chance() -> None:
    flat = [trial([1.0] * 20, at) for at in range(20)]
    [verdict] = judge({("event", "token"): (flat, flat)})
    assert verdict.share == pytest.approx(0.05) == verdict.chance
    assert verdict.p == pytest.approx(1.0)
    assert not verdict.significant


def test_what_is_known_is_found_and_what_is_not_is_not() -> None:
    found = judge(
        {
            ("item", "token"): (known(50, 100, 1), noise(50, 100, 2)),
            ("event", "token"): (noise(50, 20, 3), noise(50, 20, 4)),
        }
    )
    item, event = found
    assert item.significant
    assert item.share == 1.0
    assert item.corrected < 1e-9
    assert item.against == "chance"
    assert not event.significant
    assert event.low is not None
    assert event.high is not None
    assert event.low < event.chance < event.high


def test_corrections_are_holm_over_the_probes() -> None:
    weak = [RankedTrial(each.scores + 0.1 * np.eye(20)[each.true], each.true) for each in noise(60, 20, 5)]
    answers = {("item", "token"): (known(20, 20, 1), noise(20, 20, 2)), ("line", "token"): (weak, noise(60, 20, 6))}
    first, second = judge(answers)
    assert first.corrected == pytest.approx(2 * first.p)
    assert second.corrected == pytest.approx(max(second.p, first.corrected))


def test_what_other_ids_have_too_is_no_memory() -> None:
    liked = known(60, 20, 7)
    [verdict] = judge({("event", "token"): (liked, liked)})
    assert verdict.p < 1e-9
    assert verdict.control_p < 1e-9
    assert (verdict.against, verdict.significant) == ("control", False)
    mixed = known(20, 20, 8) + noise(40, 20, 9)
    [beyond] = judge({("event", "token"): (known(60, 20, 7), mixed)})
    assert (beyond.against, beyond.significant) == ("control", True)


def test_a_small_effect_of_the_item_before_is_no_memory_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """In both arms true continuations stand a little higher: about one verdict in twenty may be significant."""

    def lifted(seed: int) -> list[RankedTrial]:
        return [RankedTrial(each.scores + 0.05 * np.eye(20)[each.true], each.true) for each in noise(60, 20, seed)]

    monkeypatch.setattr("llmrs_bench.memory.ranks._FLIPS", 200)
    monkeypatch.setattr("llmrs_bench.memory.ranks.mean_interval", lambda values, **given: np.zeros((1, 2)))
    found = [judge({("event", "token"): (lifted(seed), lifted(seed + 1000))}, seed=seed)[0] for seed in range(40)]
    assert {verdict.against for verdict in found} == {"control"}
    assert sum(verdict.p < 0.05 for verdict in found) > 8  # chance alone would call these memory
    assert sum(verdict.significant for verdict in found) <= 5


def test_one_trial_has_no_interval() -> None:
    [verdict] = judge({("item", "token"): (known(1, 20, 1), noise(1, 20, 2))})
    assert (verdict.share, verdict.low, verdict.high) == (1.0, None, None)


def test_no_trials_give_no_verdict() -> None:
    assert judge({("line", "token"): ([], [])}) == []
    assert exact_p([]) == 1.0


@pytest.mark.slow
def test_one_in_twenty_is_significant_by_chance() -> None:
    p = np.array([exact_p(noise(40, 20, seed)) for seed in range(3000)])
    assert 0.04 < (p < 0.05).mean() < 0.06
    assert 0.47 < p.mean() < 0.53
