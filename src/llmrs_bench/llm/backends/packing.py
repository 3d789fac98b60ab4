"""Many titles in one forward pass: prompts that begin alike, and the tree of tokens behind them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmrs_bench.llm.backends.token_tree import Pack
from llmrs_bench.llm.tokenization import Ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CAST_TOGETHER = 16384  # tokens of the vocabulary whose output weights are held in float32 at a time


def row_logits(model: "PreTrainedModel", rows: Tensor, **inputs: Any) -> Tensor:
    """Run a model, and return the logits (n, vocabulary) of n rows of what it reads, in float32.

    A logit in bfloat16 has 8 bits: between 16 and 32 it is a multiple of 1/8. So the last hidden state of each row is
    multiplied with the output weights in float32; all that the model does to logits afterwards (soft-capping, scales)
    is its own code on these numbers. A head that is not a plain linear layer, such as a quantised one or one with
    an adapter, computes as it does; its logits are cast.

    Args:
        model: Causal or encoder-decoder.
        rows: Which rows, counted through the batch of shape (sequences, tokens) that the head gets.
        inputs: Of the model's forward pass.
    """
    head = model.get_output_embeddings()
    if head is None:
        return _picked(model(**inputs).logits, rows)
    with _chosen_rows(head, rows) as hidden:
        logits: Tensor = model(**inputs).logits
    # A model may reach its output weights by another way than a call of its head.
    if len(hidden) == 1 and logits.shape[:-1] == (1, len(rows)):
        return logits[0].float()
    return _picked(logits, rows)


@contextmanager
def _chosen_rows(head: nn.Module, rows: Tensor) -> Iterator[list[Tensor]]:
    """Let a head compute these rows alone, and return logits (1, rows, vocabulary); yield the states it got."""
    own, before = head.forward, vars(head).get("forward")
    plain = head if type(head) is nn.Linear and before is None and head.weight.is_floating_point() else None
    seen: list[Tensor] = []

    def forward(states: Tensor) -> Tensor:
        chosen = states.flatten(0, -2)[rows][None]
        seen.append(chosen)
        if plain is None:
            logits: Tensor = own(chosen)
            return logits
        return _linear(chosen, plain.weight, plain.bias)

    head.forward = forward
    try:
        yield seen
    finally:
        if before is None:
            del head.forward
        else:
            head.forward = before


def _linear(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return states @ weight.T + bias in float32, also where the rest of the model computes in less (autocast)."""
    with torch.autocast(states.device.type, enabled=False):
        wide = states.float()
        if weight.dtype == torch.float32:
            return nn.functional.linear(wide, weight, bias)
        parts = [nn.functional.linear(wide, part.float()) for part in torch.split(weight, _CAST_TOGETHER)]
        logits = torch.cat(parts, dim=-1)
        return logits if bias is None else logits.add_(bias.float())


def _picked(logits: Tensor, rows: Tensor) -> Tensor:
    return logits.flatten(0, -2)[rows].float()


_ROWS_TOGETHER = 64  # rows of (vocabulary,) that are summed at a time; few of them stay in a CPU's cache


class PackBatch:
    """Packs behind prefixes of their own as tensors, each a sequence that is padded at its beginning.

    Args:
        packs: B packs; `rows` is the number of rows of the largest.
        device: Where the tensors are.
    """

    def __init__(self, packs: Sequence[Pack], device: torch.device) -> None:
        self.packs = packs
        self.rows = max(len(pack.inputs) for pack in packs)
        columns = [[pack.inputs, pack.depths, pack.places, pack.ends] for pack in packs]
        padded = [[[0] * (self.rows - len(column)) + list(column) for column in pack] for pack in columns]
        # Padding ends at place 0, so no row is below it.
        self.inputs, self.depths, self.places, self.ends = torch.tensor(padded, device=device).unbind(1)  # (B, rows)

    @property
    def scored(self) -> Tensor:
        """Return the rows that have edges, those of each pack in turn, counted through all the (B, rows)."""
        found = [
            (number + 1) * self.rows - back
            for number, pack in enumerate(self.packs)
            for back in range(pack.scored, 0, -1)
        ]
        return torch.tensor(found, dtype=torch.long, device=self.inputs.device)

    def mask(self, prefixes: Tensor, width: int, dtype: torch.dtype) -> Tensor:
        """Return the numbers added to attention scores, (B, 1, rows, width + rows), for any attention code.

        Args:
            prefixes: The lengths (B,) of the prefixes.
            width: Columns that the prefixes take, padding at their ends counted.
            dtype: That of the model.
        """
        place = self.places[:, :, None]
        below = (self.places[:, None, :] <= place) & (place < self.ends[:, None, :])  # (B, rows, rows)
        before = torch.arange(width, device=prefixes.device)[None, :] < prefixes[:, None]  # (B, width)
        seen = torch.cat([before[:, None, :].expand(-1, self.rows, -1), below], dim=2)[:, None]
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)

    def read(self, last: Tensor | None, logits: Tensor | None) -> list[list[list[float]]]:
        """Return for each pack the log-probabilities of the scored tokens of each of its branches.

        Args:
            last: The logits (B, vocabulary) of the last token of each prefix, if a pack has firsts.
            logits: The logits (n, vocabulary) of the n rows of `scored`, if a pack has edges.
        """
        firsts = [(number, token) for number, pack in enumerate(self.packs) for token in pack.firsts]
        edges, before = [], 0
        for pack in self.packs:
            start = before - len(pack.inputs) + pack.scored
            edges += [(start + row, token) for row, token in pack.edges]
            before += pack.scored
        first, rest = iter(edge_logprobs(last, firsts)), iter(edge_logprobs(logits, edges))
        found = []
        for pack in self.packs:
            values = [next(first) for _ in pack.firsts] + [next(rest) for _ in pack.edges]
            found.append([[values[edge] for edge in path] for path in pack.paths])
        return found


def edge_logprobs(logits: Tensor | None, edges: Sequence[tuple[int, int]]) -> list[float]:
    """Return the natural-log probability of each (row, token) under float32 logits (rows, vocabulary)."""
    if logits is None or not edges:
        return []
    totals = torch.cat([part.logsumexp(1) for part in torch.split(logits, _ROWS_TOGETHER)])
    rows, tokens = torch.tensor(edges, device=logits.device).unbind(1)
    values: list[float] = (logits[rows, tokens] - totals[rows]).tolist()
    return values


def pad_right(rows: Sequence[Ids], fill: int) -> Tensor:
    """Return rows of ids as one tensor (rows, longest), filled up at their ends."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])


# Rows packed together compare each with each, though most pairs are masked. This share of the layers' other
# arithmetic may be lost to that; a few rows are packed in any case, for a pass over few rows wastes more.
_LOST = 0.1
_FEW_ROWS = 512


def worthwhile_rows(model: "PreTrainedModel") -> int:
    """Return how many rows to pack together, by the shape of the model."""
    config = model.config.get_text_config()
    embedding = model.get_input_embeddings().weight.numel()
    weights = model.num_parameters() - embedding * (1 if config.tie_word_embeddings else 2)
    pair = 4 * config.num_hidden_layers * config.hidden_size  # operations for a row and one that it sees
    return max(_FEW_ROWS, int(_LOST * 2 * weights / pair))
