"""Tiny models of many architectures against one full sequence for each title, whatever way the engine takes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from llmrs_bench.core.types import Message
from llmrs_bench.llm.backends import transformers_generation
from llmrs_bench.llm.backends.token_tree import shared_head
from llmrs_bench.llm.backends.transformers import TransformersEngine
from llmrs_bench.llm.backends.transformers_generation import RoomyLayer
from tiny_models import CORPUS, choice_prompt, text_prompt, train_tokenizer
from transformers_cases import answers, engine

SHAPE = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "initializer_range": 0.15,
    "max_position_embeddings": 512,
}
# As the configurations of published Phi-3 models say it.
LONGROPE = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
LATENT = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 16}
LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
LEARNED = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
T5 = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 4, "num_heads": 4, "initializer_factor": 2.0}

# Kinds that pack, and what their configurations say beside the shape.
PACKED: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama dynamic": {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}},
    "gpt2": {},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "final_logit_softcapping": 5.0, "attn_logit_softcapping": 10.0},
    "gemma3_text": {"head_dim": 16, "sliding_window": 512},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "qwen3_moe": {"head_dim": 16, **EXPERTS},
    "phi": {},
    "opt": {"ffn_dim": 128, "word_embed_proj_dim": 64, "init_std": 0.15},
    "falcon": {"alibi": False},
    "mistral": {"sliding_window": 512},
    "mixtral": {"num_local_experts": 4},
    "gpt_neox": {},
    "deepseek_v3": {**LATENT, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2,
                    "moe_intermediate_size": 64, "first_k_dense_replace": 1, "num_key_value_heads": 4},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.7},
    "olmo2": {},
    "smollm3": {"use_sliding_window": False},
    "t5": T5,
    "mt5": {**T5, "initializer_factor": 0.5},
    "umt5": {**T5, "initializer_factor": 0.5},
}  # fmt: skip
# Kinds that do not, with a word of the reason.
PLAIN: dict[str, tuple[dict[str, Any], str]] = {
    "mamba": ({"state_size": 8, "n_positions": 512}, "state"),
    "mamba2": ({"state_size": 8, "num_heads": 8, "head_dim": 16, "n_groups": 2, "chunk_size": 16}, "state"),
    "rwkv": ({"attention_hidden_size": 64, "context_length": 512}, "state"),
    "recurrent_gemma": ({"lru_width": 64, "head_dim": 16, "attention_window_size": 512}, "state"),
    "jamba": ({"num_experts": 2, "use_mamba_kernels": False, "mamba_d_state": 8, "attn_layer_offset": 1,
               "attn_layer_period": 2}, "state"),
    "lfm2": ({"layer_types": ["conv", "full_attention"] * 2, "block_ff_dim": 128, "block_multiple_of": 16}, "state"),
    "qwen3_next": ({"head_dim": 16, **EXPERTS, **LINEAR, "shared_expert_intermediate_size": 64}, "state"),
    "qwen3_5_text": ({"head_dim": 16, **LINEAR}, "state"),
    "llama4_text": ({"attention_chunk_size": 64, "num_local_experts": 2, "head_dim": 16}, "chunked_attention"),
    "bloom": ({}, "positions"),
    "mpt": ({"d_model": 64, "n_layers": 4, "n_heads": 4, "max_seq_len": 512}, "positions"),
    "falcon alibi": ({"alibi": True}, "ALiBi"),
    "gpt_neo": ({"attention_types": [[["global", "local"], 2]], "window_size": 64, "num_layers": 4}, "differ"),
    "bart": ({**LEARNED, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "init_std": 0.15}, "differ"),
}  # fmt: skip


def made(folder: Path, kind: str, **said: Any) -> Path:
    """Write a model of this kind into a folder, or skip where the installed transformers has none."""
    torch.manual_seed(0)
    name = kind.partition(" ")[0]
    try:
        known = AutoConfig.for_model(name)
    except (ValueError, KeyError):
        pytest.skip(f"the installed transformers has no {name!r}")
    tokenizer = train_tokenizer(eos=known.is_encoder_decoder, context=512, corpus=CORPUS)
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 0}
    config = AutoConfig.for_model(name, vocab_size=len(tokenizer), **{**SHAPE, **ids, **said})
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    auto.from_config(config, dtype=torch.float32).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def reference(engine: TransformersEngine, ids: tuple[int, ...], suffix: tuple[int, ...]) -> list[float]:
    """Score a suffix behind a prompt in one plain pass of the model's own."""
    with torch.inference_mode():
        if engine.encoder_decoder:
            start = engine.weights.config.decoder_start_token_id
            logits = engine.weights(
                input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([(start, *suffix)])
            ).logits[0, :-1]
        else:
            logits = engine.weights(input_ids=torch.tensor([ids + suffix])).logits[0, len(ids) - 1 : -1]
    found = logits.float().log_softmax(-1)
    return [found[row, token].item() for row, token in enumerate(suffix)]


def assert_exact(made: TransformersEngine, *histories: int, tolerance: float = 1e-3) -> None:
    prompts = [choice_prompt(f"p{history}", history=history) for history in histories]
    made.check(prompts)
    found = answers(made, *prompts)
    for prompt in prompts:
        tokens = made.reader.read(prompt).tokens
        for suffix, values in zip(tokens.suffixes, found[prompt.prompt_id].choice_logprobs or (), strict=True):
            assert values == pytest.approx(reference(made, tokens.prefix, suffix), abs=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PACKED)
def test_kinds_that_pack_are_packed_and_exact(kind: str, tmp_path: Path) -> None:
    found = engine(made(tmp_path, kind, **PACKED[kind]))
    assert_exact(found, 0, 2, 6)
    facts = found.facts()
    assert found.scorer.architecture.proven
    assert (facts["scored_plainly"], facts["self_check_prompts"]) == (0, 2)
    assert isinstance(facts["self_check_difference"], float)
    assert facts["self_check_difference"] < 1e-3


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind == "llama" else pytest.mark.slow)
        for kind in PACKED
        if kind not in ("t5", "mt5", "umt5")
    ],
)
def test_what_prompts_of_several_users_begin_with_is_read_once(kind: str, tmp_path: Path) -> None:
    found = engine(made(tmp_path, kind, **PACKED[kind]), self_check=0)
    same = choice_prompt(history=6).messages[0].content
    prompts = [
        replace(choice_prompt(f"p{n}"), messages=(Message("user", f"{same} {'movie ' * n}"),)) for n in range(1, 4)
    ]
    read: list[tuple[int, ...]] = []
    found.weights.get_input_embeddings().register_forward_hook(lambda _, given, __: read.append(tuple(given[0].shape)))
    scored = answers(found, *prompts)
    prefixes = [found.reader.read(prompt).tokens.prefix for prompt in prompts]
    head = shared_head(prefixes)
    assert head > 40
    assert {prefix[:head] for prefix in prefixes} == {prefixes[0][:head]}
    assert read[:2] == [(1, head), (3, max(map(len, prefixes)) - head)]
    assert len(read) == 3
    for prompt, prefix in zip(prompts, prefixes, strict=True):
        suffixes = found.reader.read(prompt).tokens.suffixes
        for suffix, values in zip(suffixes, scored[prompt.prompt_id].choice_logprobs or (), strict=True):
            assert values == pytest.approx(reference(found, prefix, suffix), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLAIN)
def test_kinds_that_do_not_pack_are_scored_plainly_and_say_so_once(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said, reason = PLAIN[kind]
    found = engine(made(tmp_path, kind, **said))
    assert_exact(found, 0, 2, 6)
    assert found.facts()["scored_plainly"] == 3
    (told,) = [record.getMessage() for record in caplog.records if "one by one" in record.getMessage()]
    assert reason in told
    assert "size of tensor" not in told


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*PACKED, *PLAIN])
def test_kinds_write_with_roomy_caches_what_they_write_without(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RoomyLayer, "ROOM", 3)
    monkeypatch.setattr(transformers_generation, "_PIECE", 2)
    said = PACKED[kind] if kind in PACKED else PLAIN[kind][0]
    folder = made(tmp_path, kind, **said)
    prompts = [text_prompt(f"p{history}", history=history) for history in (0, 2, 6)]
    written = answers(engine(folder, answer_tokens=8), *prompts)
    monkeypatch.setattr(transformers_generation, "roomy_cache", lambda model: {})
    assert written == answers(engine(folder, answer_tokens=8), *prompts)


@pytest.mark.parametrize(
    "switch", [48, pytest.param(90, marks=pytest.mark.slow), 118, pytest.param(500, marks=pytest.mark.slow)]
)
def test_prompts_on_both_sides_of_a_switch_of_rotary_factors_are_exact(switch: int, tmp_path: Path) -> None:
    said = {"rope_scaling": LONGROPE, "original_max_position_embeddings": switch, "rope_theta": 10000.0}
    found = engine(made(tmp_path, "phi3", **said))
    assert found.scorer.architecture.switch == switch
    assert_exact(found, *range(0, 28, 4))
    lengths = {found.scorer.architecture.side(found.reader.read(choice_prompt(history=n)).tokens) for n in (0, 24)}
    assert found.facts()["self_check_prompts"] == 2 * len(lengths)
    assert len(lengths) == 1 + (switch < 500)
    assert found.scorer.scored_plainly < 7


@pytest.mark.slow
def test_an_encoder_with_experts_is_scored(tmp_path: Path) -> None:
    said = {**T5, "num_layers": 2, "num_experts": 2, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}
    assert_exact(engine(made(tmp_path, "switch_transformers", **said)), 0, 2)
