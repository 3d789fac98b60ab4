"""A sentence embedding model of a few thousand random weights."""

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel

from tiny_models import train_tokenizer


def tiny_encoder(folder: Path, *, seed: int = 0) -> Path:
    """Write a BERT with mean pooling for sentence-transformers into `folder`, and return it."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(context=64)
    bert = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,
        pad_token_id=tokenizer.pad_token_id,
    )
    plain = folder / "plain"
    BertModel(bert).eval().save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    target = folder / "encoder"
    SentenceTransformer(str(plain), device="cpu").save(str(target))
    return target
