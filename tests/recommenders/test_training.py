"""The training loop, dropout, seeds, devices, checkpoints."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from llmrs_bench.core.device import pick_device
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.training_checkpoint import Resume, seeded
from llmrs_bench.core.types import no_progress
from llmrs_bench.recommenders.attention import Dropout
from llmrs_bench.recommenders.model_store import read_checkpoint, read_facts, write_checkpoint
from llmrs_bench.recommenders.training import TrainingOptions, train


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


def nowhere() -> Resume:
    return Resume(None, "", torch.Generator())


def run(curve: list[float], every: int = 1, **options: int) -> tuple[nn.Linear, dict[str, object], list[float]]:
    """Train a layer of one weight whose validation follows `curve`, and say which weights it had."""
    net = nn.Linear(1, 1, bias=False)
    weights: list[float] = []

    def one_loss() -> Iterator[Tensor]:
        yield net.weight.sum()

    def validate() -> float:
        weights.append(net.weight.item())
        return curve[len(weights) - 1]

    made = TrainingOptions.model_validate(options)
    facts = train(net, one_loss, validate, made, no_progress("x", 1), nowhere(), every=every)
    return net, dict(facts), weights


def test_training_stops_when_patience_is_out_and_keeps_the_best_weights() -> None:
    net, facts, weights = run([0.1, 0.3, 0.2, 0.3, 0.9], patience=2)
    assert (facts["epochs"], facts["best_epoch"], facts["valid_ndcg@10"]) == (4, 2, 0.3)
    assert weights[1] != weights[3]
    assert net.weight.item() == weights[1]


@pytest.mark.parametrize(("patience", "epochs"), [(4, 12), (10, 14)])
def test_rare_validation_waits_for_its_patience_and_four_validations(patience: int, epochs: int) -> None:
    # After every second epoch; epoch 4 is best.
    net, facts, weights = run([0.1, 0.3, 0.2, 0.3, 0.1, 0.2, 0.1, 0.9], every=2, patience=patience)
    assert (facts["epochs"], facts["best_epoch"], facts["valid_ndcg@10"]) == (epochs, 4, 0.3)
    assert net.weight.item() == weights[1]


def test_rare_validation_looks_at_the_last_epoch() -> None:
    net, facts, weights = run([0.1, 0.3, 0.4], every=2, epochs=5)
    assert (facts["epochs"], facts["best_epoch"], len(weights)) == (5, 5, 3)
    assert net.weight.item() == weights[2]


def test_training_ends_after_its_epochs() -> None:
    net, facts, weights = run([0.1, 0.2, 0.3, 0.4], epochs=3)
    assert facts["epochs"] == 3
    assert net.weight.item() == weights[2]


def test_without_validation_all_epochs_count_and_the_last_weights_stay() -> None:
    net = nn.Linear(1, 1, bias=False)
    options = TrainingOptions(epochs=5, patience=1, lr=0.1)
    start = net.weight.item()
    facts = train(net, lambda: iter([net.weight.sum()]), None, options, no_progress("x", 1), nowhere())
    assert facts["epochs"] == 5
    assert facts["valid_curve"] == []
    assert "best_epoch" not in facts
    # Adam moves a weight of constant gradient by lr in every step.
    assert net.weight.item() == pytest.approx(start - 0.5, abs=1e-4)


def test_a_diverged_training_is_an_error() -> None:
    net = nn.Linear(1, 1)
    with pytest.raises(ModelError, match="nan") as caught:
        train(
            net, lambda: iter([net.weight.sum() * torch.nan]), None, TrainingOptions(), no_progress("x", 1), nowhere()
        )
    assert "lr" in caught.value.hint


def test_devices_are_checked() -> None:
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(OptionError, match="'gpu'"):
        pick_device("gpu")


def test_no_gpu_is_an_error_not_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == "cpu"
    with pytest.raises(OptionError, match="no GPU"):
        pick_device("cuda")


def test_a_checkpoint_is_of_one_kind_and_whole(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no readable checkpoint"):
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


def test_the_facts_of_a_checkpoint_are_read_whatever_its_kind(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "a", {"x": 1}, {"w": torch.ones(2)})
    facts = read_facts(tmp_path)
    assert (facts["kind"], facts["x"], len(facts["sha256"])) == ("a", 1, 64)
    for text in ("{", "[]"):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(ModelError, match="no readable checkpoint") as caught:
            read_facts(tmp_path)
        assert caught.value.hint
