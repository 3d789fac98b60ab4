"""A LoRA adapter merged into the weights of its base model, after a look at whether it changes them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmrs_bench.engines.lora import LEAST_CHANGE, Adapter, changes_nothing
from llmrs_bench.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PROBE_TOKENS = 32


def merge(model: "PreTrainedModel", adapter: Adapter, *, source: str) -> "PreTrainedModel":
    """Return `model` with the adapter added to its weights.

    Args:
        model: The base, in float32.
        adapter: The adapter.
        source: Where the base is from, for messages.

    Raises:
        ModelError: If the adapter does not fit the base, part of it belongs to no module, or it changes nothing.
    """
    try:
        from peft import PeftModel, get_peft_model_state_dict
        from peft.utils.save_and_load import load_peft_weights
    except ImportError as error:
        raise ModelError(
            f"LoRA adapters are read with PEFT, which cannot be imported: {error}",
            hint="Run `pip install 'llmrs-bench[lora]'`.",
        ) from error
    with _fitting(adapter, source), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names without a module, which are compared here
        adapted = PeftModel.from_pretrained(model, str(adapter.folder)).eval()
        stored = set(load_peft_weights(str(adapter.folder), device="cpu"))
        used = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
        lost = sorted(stored - used) or sorted(name for name in used - stored if "lora_" in name)
        if lost:
            raise ValueError(f"{len(lost)} of its tensors have no counterpart there, such as {lost[0]}")
        with adapted.disable_adapter():
            before = _probe(adapted)
        if float((_probe(adapted) - before).abs().max()) <= LEAST_CHANGE:
            raise changes_nothing(adapter, source)
        merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    return merged


def _probe(model: Any) -> Tensor:
    """Return the log-probabilities of each next token in a text of tokens from all over the vocabulary."""
    vocabulary = model.get_input_embeddings().num_embeddings
    ids = torch.linspace(0, vocabulary - 1, _PROBE_TOKENS, device=model.device).long()[None]
    decoded = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.inference_mode():
        logits: Tensor = model(input_ids=ids, **decoded).logits
    return logits.log_softmax(-1)


@contextmanager
def _fitting(adapter: Adapter, source: str) -> Iterator[None]:
    """Turn what PEFT raises about an adapter into a ModelError."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        told = "" if adapter.base is None else f" It was made for {adapter.base}."
        raise ModelError(
            f"the LoRA adapter {adapter.folder} does not fit {source}: {str(error).splitlines()[0]}",
            hint=f"Give the model that the adapter was trained on as --model.{told}",
        ) from error
