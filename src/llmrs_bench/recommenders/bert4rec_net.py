"""The BERT4Rec network: a bidirectional transformer over item ids and a mask."""

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from llmrs_bench.recommenders.attention import Attention, AttentionOptions, initialise
from llmrs_bench.recommenders.dropout import Dropout
from llmrs_bench.recommenders.neural import Net
from llmrs_bench.recommenders.sequences import PADDING


class BERT4RecNet(Net):
    """The encoder of BERT (Devlin et al., 2019) over items, with output weights tied to the input and an output bias.

    Sequences are right-padded and padding is hidden, so it changes nothing. The last column of states and of item
    weights carries the bias: it is one in every state.

    Args:
        items: Number of known items; their integers are 1 to `items`, that of the mask is `items` + 1.
        options: The shape of the network.
    """

    def __init__(self, items: int, options: AttentionOptions) -> None:
        super().__init__()
        self.mask = items + 1
        self.item = nn.Embedding(items + 2, options.dim, padding_idx=PADDING)
        self.position = nn.Embedding(options.max_history, options.dim)
        self.norm, self.dropout = nn.LayerNorm(options.dim), Dropout(options.dropout)
        self.blocks = nn.ModuleList(Block(options) for _ in range(options.blocks))
        self.bias = nn.Parameter(torch.zeros(items))
        self.apply(initialise)

    def forward(self, items: Tensor) -> Tensor:
        """Return a state for every position: (batch, time) -> (batch, time, dim + 1)."""
        hidden = (items == PADDING)[:, None, None, :]
        x = self.dropout(self.norm(self.item(items) + self.position.weight[: items.shape[1]]))
        for block in self.blocks:
            x = block(x, hidden)
        return torch.cat([x, x.new_ones(*x.shape[:2], 1)], 2)

    def item_weights(self) -> Tensor:
        """Return the output weights (item, dim + 1): row i belongs to the integer i + 1."""
        return torch.cat([self.item.weight[1:-1], self.bias[:, None]], 1)


class Block(nn.Module):
    """Attention, then a feed-forward layer of four times the width, each followed by residual and normalisation."""

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__()
        dim = options.dim
        self.attention = Attention(dim, options.heads, options.dropout)
        self.attention_norm, self.forward_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.inner, self.outer = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = Dropout(options.dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Map (batch, time, dim) to the same shape; `hidden` as in `Attention`."""
        x = self.attention_norm(x + self.dropout(self.attention(x, x, hidden)))
        out: Tensor = self.forward_norm(x + self.dropout(self.outer(F.gelu(self.inner(x)))))
        return out
