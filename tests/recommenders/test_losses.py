"""Losses against numpy, the training loop, dropout."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from llmrs_bench.errors import ModelError, OptionError
from llmrs_bench.recommenders import losses
from llmrs_bench.recommenders.checkpoint import read_checkpoint, write_checkpoint
from llmrs_bench.recommenders.dropout import Dropout
from llmrs_bench.recommenders.losses import cross_entropy
from llmrs_bench.recommenders.training import TrainingOptions, resolve_device, seeded, train
from llmrs_bench.types import silent


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


def test_cross_entropy_of_large_logits_is_finite() -> None:
    loss = cross_entropy(torch.tensor([[1000.0], [-1000.0]]), torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 0]))
    assert loss.item() == pytest.approx((0 + 2000) / 2)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_keeps_the_mean_and_drops_the_stated_share(p: float) -> None:
    layer = Dropout(p)
    with seeded(0, torch.device("cpu")):
        out = layer(torch.ones(333, 301))
    # Standard deviation of a share over 100,233 draws: below 0.0016.
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=5 * 0.0016)
    assert out.max().item() == pytest.approx(1 / (1 - p), rel=1e-4)
    assert torch.equal(layer.eval()(torch.ones(5)), torch.ones(5))


def test_seeding_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1, torch.device("cpu")):
        torch.rand(10)
    assert torch.equal(torch.rand(3), expected)


def run(curve: list[float], **options: int) -> tuple[nn.Linear, dict[str, object], list[float]]:
    """Train a layer of one weight whose validation follows `curve`, and say which weights it had."""
    net = nn.Linear(1, 1, bias=False)
    weights: list[float] = []

    def one_loss() -> Iterator[Tensor]:
        yield net.weight.sum()

    def validate() -> float:
        weights.append(net.weight.item())
        return curve[len(weights) - 1]

    facts = train(net, one_loss, validate, TrainingOptions.model_validate(options), silent("x", 1))
    return net, dict(facts), weights


def test_training_stops_when_patience_is_out_and_keeps_the_best_weights() -> None:
    net, facts, weights = run([0.1, 0.3, 0.2, 0.3, 0.9], patience=2)
    assert (facts["epochs"], facts["best_epoch"], facts["valid_ndcg@10"]) == (4, 2, 0.3)
    assert weights[1] != weights[3]
    assert net.weight.item() == weights[1]


def test_training_ends_after_its_epochs() -> None:
    net, facts, weights = run([0.1, 0.2, 0.3, 0.4], epochs=3)
    assert facts["epochs"] == 3
    assert net.weight.item() == weights[2]


def test_a_diverged_training_is_an_error() -> None:
    net = nn.Linear(1, 1)
    with pytest.raises(ModelError, match="nan") as caught:
        train(net, lambda: iter([net.weight.sum() * torch.nan]), lambda: 0.0, TrainingOptions(), silent("x", 1))
    assert "lr" in caught.value.hint


def test_devices_are_checked() -> None:
    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(OptionError, match="'gpu'"):
        resolve_device("gpu")


def test_no_gpu_is_an_error_not_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(ModelError, match="no GPU"):
        resolve_device("cuda")


def test_a_checkpoint_is_of_one_kind_and_whole(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no readable a checkpoint"):
        read_checkpoint(tmp_path, "a")
    write_checkpoint(tmp_path, "a", {"x": 1}, {"w": torch.ones(2)})
    facts, weights = read_checkpoint(tmp_path, "a")
    assert facts["x"] == 1
    assert torch.equal(weights["w"], torch.ones(2))
    with pytest.raises(ModelError, match="of kind 'a', not 'b'"):
        read_checkpoint(tmp_path, "b")
    file = tmp_path / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelError, match="damaged") as caught:
        read_checkpoint(tmp_path, "a")
    assert caught.value.hint
