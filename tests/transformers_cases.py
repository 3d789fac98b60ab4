"""Engines over tiny models, and what one plain forward pass for each choice says."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from llmrs_bench.core.types import Message, Prompt, Response
from llmrs_bench.llm.backends.transformers import TransformersEngine
from llmrs_bench.llm.engine_options import TransformersOptions
from llmrs_bench.llm.model_aliases import ModelSpec
from tiny_models import TITLES


def engine(folder: Path, **options: Any) -> TransformersEngine:
    spec = ModelSpec("tiny", str(folder))
    return TransformersEngine(spec, TransformersOptions(**{"answer_tokens": 8, **options}), device="cpu", seed=0)


def answers(made: TransformersEngine, *prompts: Prompt) -> dict[str, Response]:
    found = {response.prompt_id: response for response in made.answer(prompts)}
    assert len(found) == len(prompts)
    return found


def scores(made: TransformersEngine, prompt: Prompt) -> tuple[tuple[float, ...], ...]:
    logprobs = answers(made, prompt)[prompt.prompt_id].choice_logprobs
    assert logprobs is not None
    return logprobs


def plain_text(prompt: Prompt) -> str:
    return "\n".join(message.content for message in prompt.messages)


@cache
def loaded(folder: Path) -> tuple[PreTrainedTokenizerFast, PreTrainedModel]:
    return AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)


@cache
def reference(folder: Path, text: str, choice: str, *, special: bool = True) -> list[float]:
    """Score the tokens of prompt + choice that the prompt does not share, in one plain forward pass."""
    tokenizer, model = loaded(folder)
    ids = tokenizer(text + choice, add_special_tokens=special)["input_ids"]
    alone = tokenizer(text, add_special_tokens=special)["input_ids"] + [-1]
    start = next(index for index, (one, other) in enumerate(zip(alone, ids, strict=False)) if one != other)
    with torch.inference_mode():
        logprobs = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return [logprobs[index - 1, ids[index]].item() for index in range(start, len(ids))]


def yes_no_prompts(request: str, *, titles: tuple[str, ...] = TITLES, history: int = 3) -> list[Prompt]:
    """Return prompts that differ near their end only."""
    shown = "\n".join(f"- {title}" for title in TITLES[:history])
    return [
        Prompt(
            f"{request}/{number}",
            request,
            (
                Message("user", f"A user chose these movies:\n{shown}\nDoes the user choose this one?\n{title}"),
                Message("assistant", "Answer:"),
            ),
            (title,),
            (" Yes", " No"),
            labels=True,
        )
        for number, title in enumerate(titles)
    ]
