"""How many tokens a model takes: what its files say, and `-O context=N` where they do not."""

import logging
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, LlamaConfig, MambaConfig, MambaForCausalLM, PretrainedConfig, T5Config, XLNetConfig

from llmrs_bench.llm.loading import context_length
from llmrs_bench.llm.model_aliases import ModelSpec
from tiny_models import choice_prompt, tiny_llama, tiny_t5, train_tokenizer
from transformers_cases import engine, scores

ENDLESS = int(1e30)  # what tokenizers write where nobody said


def tiny_mamba(folder: Path) -> Path:
    """Write a state-space model, whose configuration names no length, into `folder`, and return it."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(context=ENDLESS)
    config = MambaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        state_size=4,
        num_hidden_layers=2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    MambaForCausalLM(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def context(
    config: PretrainedConfig, *, said: int = ENDLESS, catalogue: int | None = None, wanted: int | None = None
) -> int:
    model = ModelSpec("tiny", "owner/tiny", context=catalogue)
    return context_length(model, config, train_tokenizer(context=said), wanted=wanted)


def test_the_least_of_what_is_said_counts() -> None:
    llama = LlamaConfig(max_position_embeddings=512)
    assert context(llama) == 512
    assert context(llama, said=64) == 512  # a tokenizer has no say beside a configuration
    assert context(llama, catalogue=256) == 256
    assert context(llama, wanted=100) == 100
    assert context(llama, wanted=1000) == 512
    assert context(GPT2Config(n_positions=64), wanted=1000) == 64


def test_the_length_of_training_is_no_limit() -> None:
    t5 = T5Config(is_encoder_decoder=True)
    assert context(t5, said=128) == 128
    assert context(t5, said=128, wanted=700) == 700
    t5.n_positions = 512
    assert context(t5) == 512


@pytest.mark.parametrize("config", [MambaConfig(), T5Config(), XLNetConfig()], ids=["mamba", "t5", "xlnet"])
def test_where_nothing_is_said_a_default_is_named_once(
    config: PretrainedConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert context(config) == 2048
    (line,) = caplog.messages
    assert "-O context=N" in line
    caplog.clear()
    assert context(config, wanted=300) == 300
    assert context(config, wanted=30_000) == 30_000
    assert not caplog.messages


@pytest.mark.parametrize("absurd", [-1, 0, 1, 10**9])
def test_lengths_that_are_none_count_as_not_said(absurd: int) -> None:
    config = LlamaConfig()
    config.max_position_embeddings = absurd
    assert context(config, said=64) == 64
    assert context(config, wanted=32) == 32


def test_the_option_bounds_an_engine(tmp_path: Path) -> None:
    assert engine(tiny_mamba(tmp_path / "mamba"), context=512).context == 512
    assert engine(tiny_t5(tmp_path / "t5", context=ENDLESS), context=300).context == 300
    llama = tiny_llama(tmp_path / "llama")
    assert engine(llama, context=100).context == 100
    prompt = choice_prompt(history=3)
    assert scores(engine(llama, context=200), prompt) == scores(engine(llama), prompt)
