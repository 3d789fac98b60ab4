"""vLLM with a LoRA adapter, and with a model that thinks: engines of their own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines.lora import read_adapter
from llmrs_bench.errors import ModelError, OptionError
from llmrs_bench.types import Response
from tiny_models import choice_prompt, text_prompt, tiny_llama

SMALL = {"dtype": "float32", "enforce_eager": "true", "block_size": "32", "kv_cache_gb": "1", "self_check": "1"}
WIDTH, RANK = 64, 4


def write_adapter(folder: Path, *, scale: float) -> Path:
    """Write an adapter of the tiny Llama's query projections, as PEFT would."""
    folder.mkdir()
    torch.manual_seed(0)
    weights = {}
    for layer in range(2):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora"
        weights[f"{name}_A.weight"] = torch.randn(RANK, WIDTH)
        weights[f"{name}_B.weight"] = torch.randn(WIDTH, RANK) * scale
    save_file(weights, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


@contextmanager
def engine(model: Path, **options: str) -> Iterator[Any]:
    from llmrs_bench.engines.vllm import VllmEngine

    parsed = VllmEngine.Options.parse({**SMALL, **options}, owner="vllm")
    made = VllmEngine(ModelSpec("tiny", str(model)), parsed, device="auto", seed=0)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


def scores(model: Path, **options: str) -> Response:
    with engine(model, **options) as made:
        response: Response = next(iter(made.answer([choice_prompt()])))
        return response


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_changes_the_scores_and_one_of_zeros_does_not(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    model = tiny_llama(tmp_path / "llama")
    plain, zero, real = (
        scores(model),
        scores(model, lora=str(write_adapter(tmp_path / "zero", scale=0.0))),
        scores(model, lora=str(write_adapter(tmp_path / "real", scale=1.0))),
    )
    assert plain.choice_logprobs is not None
    assert zero.choice_logprobs is not None
    assert real.choice_logprobs is not None
    for one, same, other in zip(plain.choice_logprobs, zero.choice_logprobs, real.choice_logprobs, strict=True):
        assert same == pytest.approx(one, abs=1e-4)
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 1e-2


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_does_not_think_is_not_asked_to(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    with pytest.raises(ModelError, match="does not think"), engine(tiny_llama(tmp_path / "x"), thinking_tokens="5"):
        pass


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_deterministic_on_a_cpu_takes_one_request_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    model = tiny_llama(tmp_path / "llama")
    prompts = [choice_prompt(f"p{n}", history=n) for n in range(4)] + [text_prompt("t")]
    with engine(model, deterministic="true", answer_tokens="4") as made:
        together = {response.prompt_id: response for response in made.answer(prompts)}
        for prompt in prompts:
            alone = next(iter(made.answer([prompt])))
            assert alone.choice_logprobs == together[prompt.prompt_id].choice_logprobs
            assert alone.cached_tokens == 0


@pytest.mark.parametrize("content", [None, "{", '{"r": "many"}', '{"r": 4096}'])
def test_folders_without_an_adapter_are_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(OptionError, match="lora=") as caught:
        read_adapter(tmp_path)
    assert "adapter_config.json" in caught.value.hint


def test_the_room_for_an_adapter_is_one_that_vllm_has(tmp_path: Path) -> None:
    assert read_adapter(write_adapter(tmp_path / "a", scale=0.0)).room == 8
