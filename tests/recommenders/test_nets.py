"""What the networks see: nothing of the future, of padding, or of the item they are to guess."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from llmrs_bench.recommenders.attention import AttentionOptions
from llmrs_bench.recommenders.bert4rec import BERT4RecNet
from llmrs_bench.recommenders.gru4rec import GRU4RecNet, GRU4RecOptions
from llmrs_bench.recommenders.losses import Loss
from llmrs_bench.recommenders.neural import Net
from llmrs_bench.recommenders.sasrec import SASRecNet
from llmrs_bench.recommenders.sequences import PADDING, Histories, Sequences
from recommender_cases import untrained

SHAPE = AttentionOptions(max_history=8, dim=8, heads=2, dropout=0.0)
NETS: dict[str, Callable[[], Net]] = {
    "sasrec": lambda: SASRecNet(9, SHAPE),
    "gru4rec": lambda: GRU4RecNet(9, GRU4RecOptions(dim=8, hidden=8, layers=2, dropout=0.0)),
    "bert4rec": lambda: BERT4RecNet(9, SHAPE),
}


def seeded_net(name: str) -> Net:
    torch.manual_seed(0)
    net = NETS[name]().double().eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return net


@pytest.fixture(params=list(NETS))
def net(request: pytest.FixtureRequest) -> Net:
    return seeded_net(request.param)


@pytest.fixture(params=["sasrec", "gru4rec"])
def causal(request: pytest.FixtureRequest) -> Net:
    return seeded_net(request.param)


def differences(net: Net, one: list[int], other: list[int]) -> Tensor:
    """Return by how much the state of each position differs between two sequences."""
    difference: Tensor = (net(torch.tensor([one])) - net(torch.tensor([other]))).abs().amax(2)[0]
    return difference


def test_a_position_sees_nothing_after_it(causal: Net) -> None:
    moved = differences(causal, [1, 2, 3, 4, 5], [1, 2, 9, 4, 5])
    assert (moved[:2] == 0).all()
    assert (moved[2:] > 1e-4).all()


def test_bert4rec_looks_both_ways() -> None:
    moved = differences(seeded_net("bert4rec"), [1, 2, 3, 4, 5], [1, 2, 9, 4, 5])
    assert (moved > 1e-4).all()


def test_padding_changes_nothing(net: Net) -> None:
    alone, padded = net(torch.tensor([[1, 2, 3]])), net(torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]]))
    torch.testing.assert_close(padded[:1, :3], alone, rtol=0, atol=1e-12)


def test_training_and_evaluation_are_one_function_without_dropout(net: Net) -> None:
    items = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
    real = items != PADDING
    torch.testing.assert_close(net.train()(items)[real], net.eval()(items)[real], rtol=0, atol=1e-12)


def test_order_and_position_matter(net: Net) -> None:
    assert differences(net, [1, 2, 3], [2, 1, 3])[-1] > 1e-4


def test_output_weights_are_those_of_the_items_in_order(net: Net) -> None:
    weights, table = net.item_weights(), net.get_parameter("item.weight")
    assert len(weights) == 9
    assert torch.equal(weights[:, :8], table[1:10])


def test_the_bias_of_bert4rec_is_added_to_every_logit() -> None:
    net = seeded_net("bert4rec")
    items, bias = torch.tensor([[1, 2, 10]]), torch.arange(9.0, dtype=torch.float64)
    before = net(items) @ net.item_weights().T
    with torch.no_grad():
        net.get_parameter("bias").add_(bias)
    after = net(items) @ net.item_weights().T
    torch.testing.assert_close(after - before, bias.expand_as(before))


# ---------------------------------------------------------------- training examples

WALKS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3, 5, 8, 9], [7, 9, 3]]


def histories(walks: list[list[int]]) -> Histories:
    lengths = np.array([len(walk) for walk in walks])
    items = np.array([item for walk in walks for item in walk])
    return Histories(np.zeros(len(walks), dtype=np.int64), Sequences(items, np.cumsum(lengths) - lengths, lengths))


class Spied:
    """What an untrained model puts into its network, and what states and targets it hands to its loss."""

    def __init__(self, name: str, walks: list[list[int]], monkeypatch: pytest.MonkeyPatch, **options: str) -> None:
        self.inputs: list[Tensor] = []
        self.states: list[Tensor] = []
        self.targets: list[int] = []
        monkeypatch.setattr(f"llmrs_bench.recommenders.{name}.make_loss", lambda *_: self.loss())
        model = untrained(name, 0, dropout="0", **options)
        torch.manual_seed(0)
        self.net = model.build(0, 9)
        self.net.register_forward_pre_hook(lambda _, given: self.inputs.append(given[0]))
        self.steps = len(list(model.losses(self.net, histories(walks), torch.Generator().manual_seed(0))))

    def loss(self) -> Loss:
        def spy(states: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
            self.states.append(states)
            self.targets.extend((targets + 1).tolist())
            return states.sum()

        return spy


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_every_item_but_the_first_is_a_target_in_every_epoch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spied = Spied(name, WALKS, monkeypatch, batch="3")
    assert spied.steps == 2
    assert sorted(spied.targets) == sorted(item for walk in WALKS for item in walk[1:])


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_a_state_knows_what_comes_before_its_target_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Spied(name, [[3, 1, 4, 1, 5]], monkeypatch), Spied(name, [[3, 1, 9, 1, 5]], monkeypatch)
    assert (first.targets, second.targets) == ([1, 4, 1, 5], [1, 9, 1, 5])
    moved = (first.states[0] - second.states[0]).abs().amax(1)
    assert (moved[:2] == 0).all()
    assert (moved[2:] > 0).all()


def test_the_targets_of_bert4rec_are_what_its_masks_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    spied = Spied("bert4rec", WALKS, monkeypatch, masked="0.5", batch="3")
    assert spied.steps == 2
    hidden = iter(spied.targets)
    seen = []
    for row in (row.tolist() for group in spied.inputs for row in group):
        assert row.count(spied.net.mask) >= 1
        walk = [next(hidden) if item == spied.net.mask else item for item in row]
        seen.append([item for item in walk if item != PADDING])
        assert walk[len(seen[-1]) :] == [PADDING] * (len(walk) - len(seen[-1]))
    assert next(hidden, None) is None
    assert sorted(seen) == sorted(WALKS)


@pytest.mark.parametrize("masked", [0.001, 0.2, 0.7])
def test_bert4rec_masks_its_share_and_at_least_one_item(masked: float, monkeypatch: pytest.MonkeyPatch) -> None:
    walks = [[1, 2, 3, 4, 5]] * 2000
    spied = Spied("bert4rec", walks, monkeypatch, masked=str(masked), batch="2000")
    counts = torch.cat([(group == spied.net.mask).sum(1) for group in spied.inputs])
    assert counts.min() >= 1
    # A row of five that draws none gets one; four standard errors of at most 0.5 * sqrt(5 / 2000).
    assert counts.double().mean().item() == pytest.approx(5 * masked + (1 - masked) ** 5, abs=4 * 0.025)
