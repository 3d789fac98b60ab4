"""LoRA adapters on transformers: merged, exact, and refused where they do nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmrs_bench.core.errors import ModelError
from tiny_models import choice_prompt, tiny_llama, tiny_t5
from transformers_cases import engine, plain_text, scores

peft = pytest.importorskip("peft")
from lora_adapters import write_adapter  # noqa: E402

# PEFT, which writes the adapters here, may use what transformers has since renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base") / "llama")


def unmerged(base: Path, folder: Path, text: str, choice: str) -> list[float]:
    """Score a choice by PEFT itself: one forward pass with the adapter beside the weights."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder).eval()
    ids, start = tokenizer(text + choice)["input_ids"], len(tokenizer(text)["input_ids"])
    with torch.inference_mode():
        logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return [logprobs[index - 1, ids[index]].item() for index in range(start, len(ids))]


def test_an_adapter_scores_as_peft_does_without_merging(llama: Path, tmp_path: Path) -> None:
    folder, prompt = write_adapter(tmp_path / "tuned", llama), choice_prompt()
    for made in (engine(llama, lora=folder), engine(folder)):
        found = scores(made, prompt)
        for title, values in list(zip(prompt.choices or (), found, strict=True))[:4]:
            assert values == pytest.approx(unmerged(llama, folder, plain_text(prompt), title), abs=1e-4)
    assert max(abs(a[0] - b[0]) for a, b in zip(found, scores(engine(llama), prompt), strict=True)) > 1e-2


def test_an_encoder_decoder_takes_an_adapter(tmp_path: Path) -> None:
    base = tiny_t5(tmp_path / "t5")
    folder = write_adapter(tmp_path / "tuned", base, task=peft.TaskType.SEQ_2_SEQ_LM, target_modules=["q", "v"])
    assert scores(engine(folder), choice_prompt()) != scores(engine(base), choice_prompt())


def test_an_adapter_of_zeros_stops_the_run(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="changes nothing") as caught:
        engine(write_adapter(tmp_path / "zeros", llama, scale=0.0))
    assert "leave the adapter out" in caught.value.hint


def _rename(folder: Path, old: str, new: str) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({name.replace(old, new): value for name, value in load_file(path).items()}, path)


def test_tensors_for_modules_that_are_not_there_stop_the_run(llama: Path, tmp_path: Path) -> None:
    all_lost = write_adapter(tmp_path / "all", llama)
    _rename(all_lost, "self_attn", "attention")
    half = write_adapter(tmp_path / "half", llama)
    _rename(half, "layers.1.", "layers.7.")
    for folder in (all_lost, half):
        with pytest.raises(ModelError, match="no counterpart"):
            engine(folder)


def test_an_adapter_for_other_modules_says_whose_it_is(llama: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "tuned", llama)
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings |= {"target_modules": ["c_attn"], "base_model_name_or_path": "owner/gpt"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="c_attn") as caught:
        engine(llama, lora=folder)
    assert "owner/gpt" in caught.value.hint


def test_a_base_of_another_shape_is_refused(llama: Path, tmp_path: Path) -> None:
    other = tiny_llama(tmp_path / "deeper", layers=4)
    wide = write_adapter(tmp_path / "wide", llama)
    weights: dict[str, Any] = load_file(wide / "adapter_model.safetensors")
    grown = {name: torch.cat([value, value], dim=int("lora_A" in name)) for name, value in weights.items()}
    save_file(grown, wide / "adapter_model.safetensors")
    for base, folder in ((other, write_adapter(tmp_path / "tuned", llama)), (llama, wide)):
        with pytest.raises(ModelError, match="does not fit"):
            engine(base, lora=folder)


def test_the_tokenizer_beside_an_adapter_is_used(llama: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "tuned", llama)
    tokenizer = AutoTokenizer.from_pretrained(llama)
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}!{% endfor %}"
    tokenizer.save_pretrained(folder)
    assert engine(folder).reader.tokenizer.chat_template == tokenizer.chat_template
    assert engine(llama).reader.tokenizer.chat_template is None


def test_without_peft_the_extra_is_named(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_adapter(tmp_path / "tuned", llama)
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ModelError, match="PEFT") as caught:
        engine(folder)
    assert "llmrs-bench[lora]" in caught.value.hint
