"""GGUF files of tiny models, as llama.cpp's converter writes them."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_gguf(path: Path, model: Path, *, architecture: str = "llama") -> Path:
    """Write the Llama in the folder `model` as a GGUF file in float32, and return its path."""
    from gguf import GGUFWriter, TokenType

    config = json.loads((model / "config.json").read_text("utf-8"))
    tokenizer = json.loads((model / "tokenizer.json").read_text("utf-8"))
    told = json.loads((model / "tokenizer_config.json").read_text("utf-8"))
    writer = GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(
        (config.get("rope_parameters") or config)["rope_theta"]
    )  # before transformers 5 the second
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    vocabulary = tokenizer["model"]["vocab"]
    special = {token["id"] for token in tokenizer["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if at in special else TokenType.NORMAL for at in range(len(tokens))])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(vocabulary[told["bos_token"]])
    writer.add_eos_token_id(vocabulary[told["eos_token"]])
    writer.add_pad_token_id(vocabulary[told["pad_token"]])
    writer.add_add_bos_token(True)
    template = model / "chat_template.jinja"
    if template.is_file():
        writer.add_chat_template(template.read_text("utf-8"))
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, weights in load_file(model / "model.safetensors").items():
        stem = name.removesuffix(".weight")
        if stem in _WHOLE:
            writer.add_tensor(f"{_WHOLE[stem]}.weight", weights)
        else:
            number, part = stem.removeprefix("model.layers.").split(".", 1)
            turned = _interleave(weights, heads[part[-6:]]) if part[-6:] in heads else weights
            writer.add_tensor(f"blk.{number}.{_LAYER[part]}.weight", turned)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _interleave(weights: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Return the rows of a projection in llama.cpp's order: the two halves of each head in turns."""
    rows, columns = weights.shape
    halves = weights.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))
