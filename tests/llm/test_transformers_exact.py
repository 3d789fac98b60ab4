"""Packed, shared and batched scores of every kind of model against one plain forward pass for each choice."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)

from llmrs_bench.core.types import Message, Prompt
from tiny_models import choice_prompt, tiny_llama, tiny_mistral, train_tokenizer
from transformers_cases import answers, engine, plain_text, reference, yes_no_prompts

SHARING = ("The Matrix", "The Matrix Reloaded", "The Matrix", "Toy", "Toy Story", "Toy Story 2", "Heat")


def saved(folder: Path, make: Callable[[int], PreTrainedModel]) -> Path:
    torch.manual_seed(0)
    tokenizer = train_tokenizer()
    make(len(tokenizer)).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_gpt2(folder: Path) -> Path:
    """Write a model with learned positions."""
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256, "initializer_range": 0.3}
    return saved(
        folder, lambda size: GPT2LMHeadModel(GPT2Config(vocab_size=size, bos_token_id=1, eos_token_id=2, **shape))
    )


def tiny_opt(folder: Path) -> Path:
    """Write a model with learned positions that begin at 2."""
    config = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "init_std": 0.3}
    return saved(
        folder,
        lambda size: OPTForCausalLM(
            OPTConfig(vocab_size=size, max_position_embeddings=256, word_embed_proj_dim=32, pad_token_id=0, **config)
        ),
    )


def tiny_gemma(folder: Path) -> Path:
    """Write a model with soft caps on scores and logits, every other layer of which looks back 64 tokens."""
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    limits = {"num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 256, "sliding_window": 64}
    return saved(
        folder,
        lambda size: Gemma2ForCausalLM(
            Gemma2Config(vocab_size=size, initializer_range=0.2, pad_token_id=0, **shape, **limits)
        ),
    )


MODELS: dict[str, Callable[[Path], Path]] = {
    "llama": tiny_llama,
    "mistral": lambda folder: tiny_mistral(folder, window=64),
    "gpt2": tiny_gpt2,
    "opt": tiny_opt,
    "gemma": tiny_gemma,
}


@pytest.fixture(scope="module", params=list(MODELS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MODELS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


def prompts_of_all_modes() -> list[Prompt]:
    """Return titles that begin others, equal ones, single tokens; labels; and groups, short and long."""
    letters = (" A", " B", " C", " D")
    asked = [choice_prompt(f"p{history}", titles=SHARING, history=history) for history in (0, 1, 2, 5, 12)]
    asked += [choice_prompt(f"q{history}", history=history) for history in (0, 2)]
    asked += [choice_prompt("one", titles=("Alien",)), choice_prompt("token", titles=("Toy",))]
    asked += [Prompt("label", "label", (Message("user", "A. Heat\nB. Alien\nAnswer:"),), letters, letters, labels=True)]
    asked += yes_no_prompts("group") + yes_no_prompts("alone", titles=("Heat",)) + yes_no_prompts("long", history=9)
    return asked


def assert_exact(folder: Path, prompts: Iterable[Prompt], tolerance: float = 1e-4, **options: Any) -> dict[str, Any]:
    made = engine(folder, **options)
    asked = list(prompts)
    found = answers(made, *asked)
    for prompt in asked:
        logprobs = found[prompt.prompt_id].choice_logprobs or ()
        for choice, values in zip(prompt.choices or (), logprobs, strict=True):
            assert values == pytest.approx(reference(folder, plain_text(prompt), choice), abs=tolerance)
    return made.facts()


def test_every_mode_of_every_model_is_exact(model: Path) -> None:
    facts = assert_exact(model, prompts_of_all_modes())
    assert isinstance(facts["self_check_difference"], float)
    assert facts["self_check_difference"] < 1e-4
    assert (facts["scored_plainly"] > 0) == (model.name.startswith(("mistral", "gemma")))


@pytest.mark.parametrize("options", [{"batch_tokens": 40}, {"batch_tokens": 400}, {"packed": False}])
@pytest.mark.parametrize("deterministic", [False, True])
def test_bounds_do_not_change_scores(llama: Path, options: dict[str, Any], deterministic: bool) -> None:
    assert_exact(llama, prompts_of_all_modes(), deterministic=deterministic, **options)


def test_half_precision_is_as_exact_as_it_can_be(llama: Path) -> None:
    facts = assert_exact(llama, prompts_of_all_modes(), tolerance=0.25, dtype="bfloat16")
    assert facts["dtype"] == "bfloat16"


def test_eager_attention_reads_the_same_masks(llama: Path) -> None:
    made = engine(llama)
    made.weights.set_attn_implementation("eager")
    prompts = prompts_of_all_modes()
    found = answers(made, *prompts)
    expected = answers(engine(llama), *prompts)
    for name, response in found.items():
        for one, other in zip(response.choice_logprobs or (), expected[name].choice_logprobs or (), strict=True):
            assert one == pytest.approx(other, abs=1e-4)


def test_each_request_is_read_once(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(llama, self_check=0)
    read = list[int]()
    made.weights.register_forward_pre_hook(
        lambda module, args, inputs: read.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    prompts = [dataclasses.replace(prompt, choices=(" Toy", " The")) for prompt in yes_no_prompts("r")]
    found = answers(made, *prompts)
    sizes = [len(made.reader.read(prompt).tokens.prefix) for prompt in prompts]
    computed = sum(response.prompt_tokens - response.cached_tokens for response in found.values())
    assert [found[prompt.prompt_id].prompt_tokens for prompt in prompts] == sizes
    assert sum(read) == computed < sum(sizes) / 2
    assert len(read) == 2
    assert [response.cached_tokens for response in found.values()].count(0) <= 1


def test_several_requests_are_read_together_but_alone_where_results_must_not_depend_on_others(llama: Path) -> None:
    prompts = [choice_prompt(f"p{n}") for n in range(6)]
    together, alone = engine(llama, self_check=0), engine(llama, self_check=0, deterministic=True)
    answers(together, *prompts)
    found = answers(alone, *prompts)
    assert together.facts()["batches"] == 1
    assert alone.facts()["batches"] == 6
    for prompt in prompts:
        assert answers(alone, prompt)[prompt.prompt_id] == found[prompt.prompt_id]
