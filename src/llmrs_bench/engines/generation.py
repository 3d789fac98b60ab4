"""Greedy answers of a transformers model, many prompts at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig

from llmrs_bench.engines.tokens import Ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def greedy_config(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", *, answer_tokens: int
) -> GenerationConfig:
    """Return a configuration for greedy answers that takes nothing from the checkpoint but its special tokens.

    Checkpoints bring temperatures and repetition penalties of their own, which `generate` would mix in.
    """
    own = model.generation_config
    stop = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
    stops = stop if isinstance(stop, list) else [] if stop is None else [stop]
    start = own.decoder_start_token_id
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=answer_tokens,
        eos_token_id=stops or None,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(stops), 0),
        bos_token_id=own.bos_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None) if start is None else start,
    )


def generate(model: "PreTrainedModel", config: GenerationConfig, prompts: Sequence[Ids]) -> list[tuple[Ids, bool]]:
    """Return for each prompt the new tokens up to the first stop token, and whether there was one.

    Prompts are padded on the left, or on the right for an encoder, and the padding is masked.
    """
    width = max(map(len, prompts))
    right = bool(model.config.is_encoder_decoder)
    ids, mask = [], []
    for prompt in prompts:
        fill, ones = [config.pad_token_id] * (width - len(prompt)), [1] * len(prompt)
        ids.append([*prompt, *fill] if right else [*fill, *prompt])
        mask.append([*ones, *[0] * len(fill)] if right else [*[0] * len(fill), *ones])
    output = model.generate(
        input_ids=torch.tensor(ids, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        generation_config=config,
    )
    written = output[:, 1 if right else width :].tolist()  # an encoder-decoder's output begins with its start token
    return [_cut(row, config.eos_token_id or []) for row in written]


def _cut(row: list[int], stops: list[int]) -> tuple[Ids, bool]:
    for index, token in enumerate(row):
        if token in stops:
            return tuple(row[: index + 1]), True
    return tuple(row), False
