"""Texts of a transformers model, greedy or sampled, many prompts at a time."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from llmrs_bench.engines.permutation import Permutation
from llmrs_bench.engines.tokens import Ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def greedy_config(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> GenerationConfig:
    """Return a configuration for greedy answers that takes nothing from the checkpoint but its special tokens.

    Checkpoints bring temperatures and repetition penalties of their own, which `generate` would mix in.
    """
    own = model.generation_config
    stop = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
    stops = stop if isinstance(stop, list) else [] if stop is None else [stop]
    start = own.decoder_start_token_id
    return GenerationConfig(
        do_sample=False,
        eos_token_id=stops or None,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(stops), 0),
        bos_token_id=own.bos_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None) if start is None else start,
    )


def generate(
    model: "PreTrainedModel",
    config: GenerationConfig,
    prompts: Sequence[Ids],
    *,
    budgets: Sequence[int],
    stops: Sequence[int],
    grammars: Sequence[Permutation] | None = None,
    temperature: float = 0.0,
    seeds: Sequence[int] = (),
) -> list[tuple[Ids, bool]]:
    """Return for each prompt the new tokens up to the first stop token, and whether there was one.

    Prompts are padded on the left, or on the right for an encoder, and the padding is masked.

    Args:
        model: Causal or encoder-decoder.
        config: Of `greedy_config`.
        prompts: Token ids.
        budgets: The most tokens to write behind each prompt.
        stops: Tokens that end a text, instead of those of `config`.
        grammars: What each text may be.
        temperature: Of sampled texts; 0 writes the likeliest tokens.
        seeds: Of each sampled text.
    """
    width = max(map(len, prompts))
    right = bool(model.config.is_encoder_decoder)
    ids, mask = [], []
    for prompt in prompts:
        fill, ones = [config.pad_token_id] * (width - len(prompt)), [1] * len(prompt)
        ids.append([*prompt, *fill] if right else [*fill, *prompt])
        mask.append([*ones, *[0] * len(fill)] if right else [*[0] * len(fill), *ones])
    start = 1 if right else width  # an encoder-decoder's output begins with its start token
    settings = deepcopy(config)
    settings.max_new_tokens = max(budgets)
    settings.eos_token_id = list(stops) or None
    extra: dict[str, Any] = {} if grammars is None else {"prefix_allowed_tokens_fn": _admit(grammars, start)}
    if temperature > 0:
        extra["logits_processor"] = LogitsProcessorList([_Noise(temperature, seeds, model.device)])
    output = model.generate(
        input_ids=torch.tensor(ids, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        generation_config=settings,
        **extra,
    )
    written = output[:, start:].tolist()
    return [_cut(row[:budget], stops) for row, budget in zip(written, budgets, strict=True)]


class _Noise(LogitsProcessor):  # type: ignore[misc]  # transformers leaves it untyped
    """Adds Gumbel noise, after which the likeliest token is one drawn from the softmax (Gumbel, 1954).

    Each row has a generator of its own, so that a text does not depend on the others of its batch.
    """

    def __init__(self, temperature: float, seeds: Sequence[int], device: torch.device) -> None:
        self.temperature = temperature
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        waits = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in zip(waits, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores / self.temperature - waits.clamp_min(torch.finfo(torch.float32).tiny).log()


def _admit(grammars: Sequence[Permutation], start: int) -> Callable[[int, Tensor], list[int]]:
    """Return what `generate` asks for the tokens that may come next in one row of a batch."""

    def allowed(row: int, ids: Tensor) -> list[int]:
        grammar, written = grammars[row], ids[start:].tolist()
        # A text that has ended is padded until the others of its batch have.
        return list(grammar.stops) if set(grammar.stops) & set(written) else grammar.allowed(written)

    return allowed


def _cut(row: list[int], stops: Sequence[int]) -> tuple[Ids, bool]:
    for index, token in enumerate(row):
        if token in stops:
            return tuple(row[: index + 1]), True
    return tuple(row), False
