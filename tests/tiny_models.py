"""Language models of a few thousand random weights, with tokenizers trained on the spot."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from llmrs_bench.core.types import Message, Prompt

TITLES = (
    "Heat",
    "The Matrix",
    "The Matrix Reloaded",
    "Toy Story",
    "Toy Story 2",
    "Star Wars",
    "Alien",
    "Aliens",
    "Fargo",
    "The Godfather",
    "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb",
    "Amélie",
)
CORPUS = [f"A user chose these movies, one after the other:\n- {title}\nThe next movie is: {title}" for title in TITLES]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<|{{ message.role }}|>{{ message.content }}{% if not loop.last or message.role != 'assistant' %}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(
    *, vocabulary: int = 400, chat: bool = False, eos: bool = False, context: int = 256, corpus: list[str] | None = None
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer that puts BOS before a text, or with `eos` EOS after it as T5 does."""
    special = ["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS if corpus is None else corpus, trainer)
    name, text = ("</s>", "$A </s>") if eos else ("<s>", "<s> $A")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=text, special_tokens=[(name, tokenizer.token_to_id(name))]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=None if eos else "<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=context,
    )
    if chat:
        made.chat_template = CHAT_TEMPLATE
    return made


def tiny_llama(folder: Path, *, chat: bool = False, seed: int = 0, layers: int = 2, context: int = 256) -> Path:
    """Write a Llama with its tokenizer into `folder`, and return it."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(chat=chat, context=context)
    config = LlamaConfig(**_shape(tokenizer, layers, context))
    return _save(folder, LlamaForCausalLM(config), tokenizer)


def tiny_mistral(folder: Path, *, window: int, seed: int = 0) -> Path:
    """Write a Mistral whose attention looks back `window` tokens into `folder`, and return it."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer()
    config = MistralConfig(**_shape(tokenizer, 2, 256), sliding_window=window)
    return _save(folder, MistralForCausalLM(config), tokenizer)


def tiny_t5(folder: Path, *, seed: int = 0, context: int = 128) -> Path:
    """Write a T5 with its tokenizer into `folder`, and return it."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(eos=True, context=context)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_factor=4.0,
    )
    return _save(folder, T5ForConditionalGeneration(config), tokenizer)


def choice_prompt(prompt_id: str = "p", *, titles: tuple[str, ...] = TITLES, history: int = 3) -> Prompt:
    """Return a prompt for the likelihood of `titles` after `history` lines."""
    shown = "\n".join(f"- {TITLES[index % len(TITLES)]}" for index in range(history))
    messages = (
        Message("user", f"A user chose these movies, one after the other:\n{shown}\nWhich movie next?"),
        Message("assistant", "The next movie is:"),
    )
    return Prompt(prompt_id, prompt_id, messages, titles, tuple(f" {title}" for title in titles))


def text_prompt(prompt_id: str = "p", *, history: int = 3) -> Prompt:
    """Return a prompt for a written answer after `history` lines."""
    return Prompt(prompt_id, prompt_id, choice_prompt(history=history).messages[:1], TITLES)


def yes_no_prompts() -> list[Prompt]:
    """Return prompts of two requests that begin alike and ask about one title at the end."""
    history = choice_prompt(history=12).messages[0].content
    asked = {user: [(Message("user", f"{user} {history} {title}"),) for title in TITLES] for user in ("ann", "bob")}
    return [
        Prompt(f"{user}/{n}", user, messages, ("x",), (" Yes", " No"), labels=True)
        for user in asked
        for n, messages in enumerate(asked[user])
    ]


def _shape(tokenizer: PreTrainedTokenizerFast, layers: int, context: int) -> dict[str, object]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": context,
        "initializer_range": 0.2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
