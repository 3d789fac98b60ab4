"""The GGUF file of a real language model, beside an ordinary folder of the same weights."""

from pathlib import Path

import pytest

from llmrs_bench.llm.backends.transformers import TransformersEngine
from tiny_models import TITLES, choice_prompt
from transformers_cases import engine, scores

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def from_gguf(smollm2_gguf: Path) -> TransformersEngine:
    return engine(smollm2_gguf)


@pytest.fixture(scope="module")
def from_folder(smollm2_folder: Path) -> TransformersEngine:
    return engine(smollm2_folder)


def test_the_gguf_file_reads_prompts_as_the_folder_does(
    from_gguf: TransformersEngine, from_folder: TransformersEngine
) -> None:
    prompt = choice_prompt(titles=(*TITLES, "Élan (1999)", "20,000 Leagues Under the Sea (1954)"))
    job = from_gguf.reader.read(prompt)
    assert job.text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert job.text.endswith("<|im_start|>assistant\nThe next movie is:")
    assert job.tokens == from_folder.reader.read(prompt).tokens
    turns = from_gguf.reader.tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert job.tokens.prefix.count(turns) == 3  # system, user and assistant: nothing is put before them
    assert from_gguf.context == from_folder.context == 8192


def test_the_gguf_file_scores_as_the_folder_does(
    from_gguf: TransformersEngine, from_folder: TransformersEngine
) -> None:
    prompt = choice_prompt(titles=TITLES[:4])
    for found, known in zip(scores(from_gguf, prompt), scores(from_folder, prompt), strict=True):
        assert found == pytest.approx(known, abs=1e-4)
