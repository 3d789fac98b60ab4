"""Losses against numpy, and which items they take as negatives."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrs_bench.core.errors import OptionError
from llmrs_bench.recommenders import losses
from llmrs_bench.recommenders.losses import (
    LossOptions,
    binary,
    calibrated_power,
    cross_entropy,
    make_loss,
    pairwise,
    sampled_softmax,
)

Floats = NDArray[np.float64]


def parts(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    states = torch.randn(7, 4, generator=draw, dtype=torch.float64).requires_grad_()
    weights = torch.randn(5, 4, generator=draw, dtype=torch.float64).requires_grad_()
    return states, weights, torch.tensor([0, 4, 2, 2, 1, 3, 0])


@pytest.mark.parametrize("budget", [1, 15, 10**6])
def test_cross_entropy_is_that_of_numpy_in_chunks_of_any_size(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_CPU_LOGITS", budget)
    states, weights, targets = parts()
    s, w, t = states.detach().numpy(), weights.detach().numpy(), targets.numpy()
    exponents = np.exp(s @ w.T)
    probabilities = exponents / exponents.sum(1, keepdims=True)
    loss = cross_entropy(states, weights, targets)
    assert loss.item() == pytest.approx(-np.log(probabilities[np.arange(7), t]).mean(), rel=1e-12)

    (2 * loss).backward()  # type: ignore[no-untyped-call]
    assert states.grad is not None
    assert weights.grad is not None
    error = 2 * (probabilities - np.eye(5)[t]) / 7
    np.testing.assert_allclose(states.grad.numpy(), error @ w, atol=1e-12)
    np.testing.assert_allclose(weights.grad.numpy(), error.T @ s, atol=1e-12)


def test_cross_entropy_under_autocast_rounds_gradients_and_not_the_loss() -> None:
    def of(low: bool) -> tuple[float, Tensor, Tensor]:
        states, weights = (tensor.detach().float().requires_grad_() for tensor in parts()[:2])
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = cross_entropy(states, weights, parts()[2])
        loss.backward()  # type: ignore[no-untyped-call]
        assert states.grad is not None
        assert weights.grad is not None
        return loss.item(), states.grad, weights.grad

    (loss, *exact), (rounded, *near) = of(low=False), of(low=True)
    assert rounded == loss
    for gradient, other in zip(exact, near, strict=True):
        assert other.dtype == torch.float32
        assert 0 < (gradient - other).abs().max() < 0.01 * gradient.abs().max()


def test_cross_entropy_of_large_logits_is_finite() -> None:
    loss = cross_entropy(torch.tensor([[1000.0], [-1000.0]]), torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 0]))
    assert loss.item() == pytest.approx((0 + 2000) / 2)


# Items of the seven positions of `parts`, whose targets are 0, 4, 2, 2, 1, 3, 0: shared by all, of which each
# target is one, and of each position its own, of which the first and the fourth are the target.
SHARED = [0, 1, 2, 3, 4, 2]
OWN = [[0, 1], [1, 1], [0, 4], [2, 2], [4, 0], [1, 2], [3, 4]]
OWN_ONE = [[0], [1], [0], [2], [4], [1], [3]]


def log_sigmoid(x: Floats) -> Floats:
    return np.asarray(-np.log1p(np.exp(-x)))


def binary_of(positive: float, negative: Floats, count: int, power: float) -> float:
    return float(-power * log_sigmoid(np.array(positive)) - log_sigmoid(-negative).sum()) / (1 + count)


def pairwise_of(positive: float, negative: Floats, count: int, power: float) -> float:
    return float(-log_sigmoid(positive - negative).sum()) / count


def softmax_of(positive: float, negative: Floats, count: int, power: float) -> float:
    return float(np.log(np.exp(positive) + np.exp(negative).sum()) - positive)


@pytest.mark.parametrize("negatives", [SHARED, OWN, OWN_ONE], ids=["shared", "own", "one"])
@pytest.mark.parametrize(
    ("name", "power"), [("binary", 1.0), ("binary", 0.3), ("pairwise", 1.0), ("sampled_softmax", 1.0)]
)
def test_sampled_losses_are_those_of_numpy_without_negatives_that_are_the_target(
    name: str, power: float, negatives: list[int] | list[list[int]]
) -> None:
    states, weights, targets = parts()
    logits = (states @ weights.T).detach().numpy()
    formula = {"binary": binary_of, "pairwise": pairwise_of, "sampled_softmax": softmax_of}[name]
    values, drawn = [], torch.tensor(negatives)
    for position, target in enumerate(targets.tolist()):
        own = drawn.expand(7, -1)[position].numpy()
        values.append(formula(logits[position, target], logits[position, own[own != target]], len(own), power))
    found = {
        "binary": lambda: binary(states, weights, targets, drawn, power=power),
        "pairwise": lambda: pairwise(states, weights, targets, drawn),
        "sampled_softmax": lambda: sampled_softmax(states, weights, targets, drawn),
    }[name]()
    assert found.item() == pytest.approx(np.mean(values), rel=1e-5)
    found.backward()  # type: ignore[no-untyped-call]
    for tensor in (states, weights):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("name", ["binary", "pairwise", "sampled_softmax"])
def test_a_position_without_a_negative_left_moves_no_other_item(name: str) -> None:
    states, weights, targets = parts()
    loss = getattr(losses, name)(states[:1], weights, targets[:1], targets[:1, None])
    loss.backward()
    if name != "binary":
        assert loss.item() == 0
    assert weights.grad is not None
    assert weights.grad.isfinite().all()
    assert (weights.grad[1:] == 0).all()


@pytest.mark.parametrize("negatives", [1, 3])
@pytest.mark.parametrize("loss", ["bpr", "bce"])
def test_negatives_of_a_position_are_uniform_and_never_its_target(loss: str, negatives: int) -> None:
    torch.manual_seed(0)
    positions = 4000
    states = torch.ones(positions, 1, dtype=torch.float64)
    weights = torch.zeros(5, 1, dtype=torch.float64, requires_grad=True)
    made = make_loss(LossOptions.model_validate({"loss": loss, "negatives": negatives}), 5)
    made(states, weights, torch.full((positions,), 2)).backward()  # type: ignore[no-untyped-call]
    assert weights.grad is not None
    # At logits of zero each term has a gradient of one half: bpr has a term for each negative and divides by their
    # number, bce has one more for the target.
    terms = negatives if loss == "bpr" else negatives + 1
    pulls = weights.grad[:, 0] * 2 * terms
    assert pulls[2].item() == pytest.approx(-negatives if loss == "bpr" else -1, rel=1e-5)
    others = pulls[[0, 1, 3, 4]] / negatives
    assert others.sum().item() == pytest.approx(1, rel=1e-5)
    # Four standard errors of a share of 1/4.
    error = 4 * (0.25 * 0.75 / (positions * negatives)) ** 0.5
    assert others.tolist() == pytest.approx([0.25] * 4, abs=error)


@pytest.mark.parametrize(
    ("options", "function", "shape", "power"),
    [
        ({"loss": "bce"}, "binary", (7, 1), 1.0),
        ({"loss": "bce", "negatives": 3}, "binary", (7, 3), 1.0),
        ({"loss": "bpr"}, "pairwise", (7, 1), None),
        ({"loss": "bpr", "negatives": 3}, "pairwise", (7, 3), None),
        ({"loss": "gbce"}, "binary", (256,), 1.0),
        ({"loss": "gbce", "negatives": 2}, "binary", (2,), 1 - 0.75 * 0.5),
        ({"loss": "gbce", "negatives": 2, "calibration": 0.5}, "binary", (2,), 1 - 0.5 * 0.5),
        ({"loss": "sampled-softmax"}, "sampled_softmax", (512,), None),
        ({"loss": "sampled-softmax", "negatives": 3}, "sampled_softmax", (3,), None),
    ],
)
def test_options_name_a_loss_and_its_negatives(
    options: dict[str, object],
    function: str,
    shape: tuple[int, ...],
    power: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[tuple[int, ...], float | None]] = []

    def spy(states: Tensor, weights: Tensor, targets: Tensor, negatives: Tensor, power: float | None = None) -> Tensor:
        seen.append((tuple(negatives.shape), power))
        return states.sum()

    monkeypatch.setattr(losses, function, spy)
    make_loss(LossOptions.model_validate(options), len(parts()[1]))(*parts())
    ((found, raised),) = seen
    assert found == shape
    assert (raised or 1.0) == pytest.approx(power or 1.0)


def test_the_default_loss_looks_at_all_items_of_a_catalogue_that_is_not_large() -> None:
    assert make_loss(LossOptions(), 30_000)(*parts()).item() == cross_entropy(*parts()).item()
    assert [LossOptions().chosen(items) for items in (30_000, 30_001)] == ["ce", "sampled-softmax"]
    assert LossOptions(loss="ce").chosen(30_001) == "ce"
    made = make_loss(LossOptions(), 30_001)
    assert made(*parts()).item() != pytest.approx(cross_entropy(*parts()).item())


@pytest.mark.parametrize(
    ("negatives", "items", "calibration", "power"),
    [
        (256, 3417, 0.0, 1.0),
        (256, 3417, 1.0, 256 / 3416),
        (256, 3417, 0.75, 0.30620609),
        (1, 101, 0.5, 0.505),
        (100, 101, 0.75, 1.0),
        (500, 101, 1.0, 1.0),
    ],
)
def test_the_power_of_gbce_is_that_of_the_paper(negatives: int, items: int, calibration: float, power: float) -> None:
    assert calibrated_power(negatives, items, calibration) == pytest.approx(power, rel=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "ce", "negatives": "5"}, "negatives has no effect"),
        ({"negatives": "5"}, "negatives applies only to a loss that samples"),
        ({"loss": "bce", "calibration": "0.75"}, "does not read calibration"),
        ({"calibration": "0.5"}, "does not read calibration"),
        ({"loss": "gbce", "calibration": "1.5"}, "is above 1"),
        ({"loss": "bpr", "negatives": "0"}, "is below 1"),
        ({"loss": "hinge"}, "sampled-softmax"),
    ],
)
def test_idle_and_impossible_options_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        LossOptions.parse(options, owner="sasrec")
