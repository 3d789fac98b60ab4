"""vLLM with a LoRA adapter, and with a model that thinks: engines of their own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.types import Response
from llmrs_bench.llm.adapters import read_adapter
from llmrs_bench.llm.model_aliases import ModelSpec
from tiny_models import choice_prompt, text_prompt, tiny_llama
from transformers_cases import engine as transformers_engine
from transformers_cases import scores as transformers_scores

SMALL = {"dtype": "float32", "enforce_eager": "true", "block_size": "32", "kv_cache_gb": "1", "self_check": "1"}
WIDTH, RANK = 64, 4


def write_adapter(
    folder: Path, *, scale: float, base: Path | None = None, module: str = "q_proj", width: int = WIDTH
) -> Path:
    """Write an adapter of a projection in the tiny Llama, as PEFT would."""
    folder.mkdir()
    torch.manual_seed(0)
    weights = {}
    for layer in range(2):
        name = f"base_model.model.model.layers.{layer}.self_attn.{module}.lora"
        weights[f"{name}_A.weight"] = torch.randn(RANK, width)
        weights[f"{name}_B.weight"] = torch.randn(WIDTH, RANK) * scale
    save_file(weights, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": [module], "bias": "none"}
    settings |= {"base_model_name_or_path": None if base is None else str(base), "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


@contextmanager
def engine(model: Path, **options: str) -> Iterator[Any]:
    from llmrs_bench.llm.backends.vllm import VllmEngine

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
def test_an_adapter_scores_as_on_transformers_and_one_of_zeros_stops_the_run(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    model = tiny_llama(tmp_path / "llama")
    folder = write_adapter(tmp_path / "real", scale=1.0, base=model)
    plain, real = scores(model), scores(folder)
    assert plain.choice_logprobs is not None
    assert real.choice_logprobs is not None
    for one, other in zip(plain.choice_logprobs, real.choice_logprobs, strict=True):
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 1e-2
    if find_spec("peft") is not None:
        merged = transformers_scores(transformers_engine(folder), choice_prompt())
        for one, other in zip(merged, real.choice_logprobs, strict=True):
            assert other == pytest.approx(one, abs=1e-3)
    with pytest.raises(ModelError, match="changes nothing"):
        scores(model, lora=str(write_adapter(tmp_path / "zero", scale=0.0)))


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_for_other_modules_or_a_deeper_model_stops_the_run(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    model = tiny_llama(tmp_path / "llama")
    for name, kind in (("elsewhere", "c_attn"), ("wide", "q_proj")):
        folder = write_adapter(tmp_path / name, scale=1.0, module=kind, width=WIDTH * (1 + (name == "wide")))
        with pytest.raises(ModelError, match="LoRA adapter"):
            scores(model, lora=str(folder))


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_the_option_context_bounds_vllm(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    with engine(tiny_llama(tmp_path / "llama"), context="100") as made:
        assert made.context == 100


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
