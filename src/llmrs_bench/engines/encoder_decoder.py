"""Exact log-probabilities of target texts under an encoder-decoder model of transformers, such as Flan-T5."""

from typing import TYPE_CHECKING

import torch
from transformers.modeling_outputs import BaseModelOutput

from llmrs_bench.engines.causal import gather_rows
from llmrs_bench.engines.packing import pad_right
from llmrs_bench.engines.tokens import Tokenized

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def score_targets(model: "PreTrainedModel", tokens: Tokenized, *, batch_tokens: int) -> list[list[float]]:
    """Score each distinct suffix as the beginning of a decoder's output; the encoder reads the prompt once.

    The decoder starts with its own start token and reads the suffixes as one batch padded on the right.

    Returns:
        For each of `tokens.distinct` the log-probabilities of its tokens.
    """
    prefix = torch.tensor([tokens.prefix], device=model.device)  # (1, P)
    hidden = model.get_encoder()(input_ids=prefix, return_dict=True).last_hidden_state  # (1, P, width)
    start = int(model.config.decoder_start_token_id)
    distinct = tokens.distinct
    size = max(1, batch_tokens // (len(tokens.prefix) + tokens.longest))
    values: list[list[float]] = []
    for begin in range(0, len(distinct), size):
        suffixes = distinct[begin : begin + size]
        inputs = pad_right([(start, *suffix[:-1]) for suffix in suffixes], 0).to(model.device)
        states = BaseModelOutput(last_hidden_state=hidden.expand(len(suffixes), -1, -1))
        logits = model(encoder_outputs=states, decoder_input_ids=inputs, use_cache=False).logits
        values += gather_rows(logits, suffixes)
    return values
