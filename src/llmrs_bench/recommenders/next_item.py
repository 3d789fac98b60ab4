"""Training of networks that read a sequence and predict, at every position, the item that comes next."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from llmrs_bench.recommenders.losses import Loss
from llmrs_bench.recommenders.neural import Net
from llmrs_bench.recommenders.sequences import PADDING, Sequences

# Sequences in one forward pass. Those of a training step are sorted by length first, against padding.
GROUP = 32


def epoch_batches(sequences: Sequences, size: int, generator: torch.Generator) -> Iterator[list[Tensor]]:
    """Yield steps of `size` sequences in random order, each as padded groups (sequence, time) of like length."""
    order = torch.randperm(len(sequences), generator=generator).numpy()
    for start in range(0, len(order), size):
        batch = sequences.take(order[start : start + size])
        batch = batch.take(np.argsort(batch.lengths, kind="stable"))
        yield [
            batch.take(np.arange(first, min(first + GROUP, len(batch)))).padded()
            for first in range(0, len(batch), GROUP)
        ]


def next_item_losses(
    net: Net, sequences: Sequences, size: int, loss: Loss, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yield the loss of each step of one epoch: every item but the first is a target.

    Args:
        net: Maps items (sequence, time) to states (sequence, time, dim), each of what comes up to it.
        sequences: Each one item longer than the network is to see.
        size: Sequences in a step.
        loss: Of all positions of a step.
        generator: Draws the order of sequences.
    """
    device = net.item_weights().device
    for groups in epoch_batches(sequences, size, generator):
        states, targets = [], []
        for group in groups:
            items = group.to(device)
            real = items[:, 1:] != PADDING  # (sequence, time)
            states.append(net(items[:, :-1])[real])
            targets.append(items[:, 1:][real] - 1)
        yield loss(torch.cat(states), net.item_weights(), torch.cat(targets))


def newest_states(net: Net, sequences: Sequences) -> Tensor:
    """Return the state after the newest item of each sequence (sequence, dim); an empty one gets that of padding."""
    device = net.item_weights().device
    items = sequences.padded().to(device)
    if not items.shape[1]:
        return net.item_weights().new_zeros(len(sequences), net.item_weights().shape[1])
    newest = torch.from_numpy(np.maximum(sequences.lengths - 1, 0)).to(device)
    states: Tensor = net(items)[torch.arange(len(items), device=device), newest]
    return states
