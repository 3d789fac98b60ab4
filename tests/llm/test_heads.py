"""Logits of chosen rows against what models make of all of them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from llmrs_bench.llm.backends.packing import row_logits

SHAPE: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SHAPE |= {"num_key_value_heads": 1, "initializer_range": 0.3, "pad_token_id": 0, "vocab_size": 50}
IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
ROWS = torch.tensor([2, 3, 7])
AFTER: dict[str, tuple[dict[str, Any], Any]] = {
    "llama": ({}, lambda logits: logits),
    "gemma2": ({"head_dim": 16, "final_logit_softcapping": 3.0}, lambda logits: 3 * torch.tanh(logits / 3)),
    "cohere": ({"logit_scale": 0.3}, lambda logits: 0.3 * logits),
    "granite": ({"logits_scaling": 4.0}, lambda logits: logits / 4),
    "phi": ({}, lambda logits: logits),  # its head has a bias
}


def tiny(kind: str, dtype: torch.dtype, **said: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SHAPE, **said})
    return AutoModelForCausalLM.from_config(config).to(dtype).eval()


@pytest.mark.parametrize("kind", AFTER)
def test_in_float32_rows_are_those_of_the_model_itself(kind: str) -> None:
    model = tiny(kind, torch.float32, **AFTER[kind][0])
    with torch.inference_mode():
        expected = model(IDS).logits.flatten(0, 1)[ROWS]
        assert row_logits(model, ROWS, input_ids=IDS) == pytest.approx(expected, abs=1e-5)
        assert model(IDS).logits.shape == (2, 4, 50)  # the head is as it was


@pytest.mark.parametrize("kind", AFTER)
def test_in_bfloat16_rows_are_the_product_of_states_and_weights_in_float32(kind: str) -> None:
    said, after = AFTER[kind]
    model = tiny(kind, torch.bfloat16, **said)
    head = model.get_output_embeddings()
    with torch.inference_mode():
        states = model(IDS, output_hidden_states=True).hidden_states[-1].flatten(0, 1)[ROWS].float()
        bias = 0 if head.bias is None else head.bias.float()
        expected = after(states @ head.weight.float().T + bias)
        found = row_logits(model, ROWS, input_ids=IDS)
        own = model(IDS).logits.flatten(0, 1)[ROWS].float()
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-4 < (own - expected).abs().max()


def test_a_head_in_float32_stays_so_where_the_rest_computes_in_bfloat16() -> None:
    model = tiny("llama", torch.float32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = row_logits(model, ROWS, input_ids=IDS)
        own = model(IDS).logits.flatten(0, 1)[ROWS]
        states = model(IDS, output_hidden_states=True).hidden_states[-1].flatten(0, 1)[ROWS].float()
    expected = (states @ model.get_output_embeddings().weight.T).detach()
    assert own.dtype == torch.bfloat16
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-5 < (own.float() - expected).abs().max()


class Doubling(nn.Linear):
    """A head that is more than its weights say."""

    def forward(self, states: Tensor) -> Tensor:
        return 2 * super().forward(states)


def test_a_head_that_is_no_plain_layer_computes_as_it_does() -> None:
    model = tiny("llama", torch.bfloat16)
    model.lm_head = Doubling(32, 50, bias=False, dtype=torch.bfloat16)
    with torch.inference_mode():
        expected = model(IDS).logits.flatten(0, 1)[ROWS].float()
        assert row_logits(model, ROWS, input_ids=IDS) == pytest.approx(expected, rel=0.02)


def test_a_model_that_does_not_call_its_head_gives_its_own_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama", torch.float32)
    with torch.inference_mode():
        expected = model(IDS).logits.flatten(0, 1)[ROWS]
        monkeypatch.setattr(model, "get_output_embeddings", lambda: nn.Linear(32, 50))
        assert torch.equal(row_logits(model, ROWS, input_ids=IDS), expected)
        monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
        assert torch.equal(row_logits(model, ROWS, input_ids=IDS), expected)


def test_no_rows_have_no_logits() -> None:
    assert row_logits(tiny("llama", torch.float32), ROWS[:0], input_ids=IDS).shape == (0, 50)
