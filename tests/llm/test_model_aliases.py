"""The catalogue of models: every name once, and the models that people use."""

import re

import pytest

from llmrs_bench.llm.model_aliases import _TABLE, MODEL_ALIASES, release_of


def test_every_name_and_every_source_stands_once() -> None:
    lines = [line.split() for line in _TABLE.splitlines() if line and line[0] not in "[#"]
    names, sources = zip(*(line[:2] for line in lines), strict=True)
    assert len(set(names)) == len(set(sources)) == len(lines) == len(MODEL_ALIASES)


@pytest.mark.parametrize(
    ("name", "source", "context", "chat"),
    [
        ("qwen2.5-3b-instruct", "Qwen/Qwen2.5-3B-Instruct", 32768, True),
        ("qwen3-4b-base", "Qwen/Qwen3-4B-Base", 32768, False),
        ("qwen3-8b", "Qwen/Qwen3-8B", 40960, True),
        ("qwen3-4b-instruct-2507", "Qwen/Qwen3-4B-Instruct-2507", 262144, True),
        ("qwen3.5-4b", "Qwen/Qwen3.5-4B", 262144, True),
        ("llama-3.2-3b-instruct", "meta-llama/Llama-3.2-3B-Instruct", 131072, True),
        ("gemma-3-1b-it", "google/gemma-3-1b-it", 32768, True),
        ("gemma-4-e2b-it", "google/gemma-4-E2B-it", 131072, True),
        ("mistral-7b-instruct", "mistralai/Mistral-7B-Instruct-v0.3", 32768, True),
        ("phi-4", "microsoft/phi-4", 16384, True),
        ("olmo-2-7b", "allenai/OLMo-2-1124-7B", 4096, False),
        ("olmo-3-7b-instruct", "allenai/Olmo-3-7B-Instruct", 65536, True),
        ("gpt-oss-20b", "openai/gpt-oss-20b", 131072, True),
        ("deepseek-v3", "deepseek-ai/DeepSeek-V3", 163840, True),
        ("r1-distill-qwen-7b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", 131072, True),
        ("smollm3-3b", "HuggingFaceTB/SmolLM3-3B", 65536, True),
    ],
)
def test_models_of_now_are_known_with_what_their_configurations_say(
    name: str, source: str, context: int, chat: bool
) -> None:
    spec = MODEL_ALIASES[name]
    assert (spec.source, spec.context, spec.chat) == (source, context, chat)


def test_days_of_release_are_days_and_data_end_before_them() -> None:
    dated = [(spec.released, spec.cutoff) for spec in MODEL_ALIASES.values() if spec.released]
    assert len(dated) > 60
    for released, cutoff in dated:
        assert re.fullmatch(r"20[0-9]{2}-[01][0-9]-[0-3][0-9]", released)
        assert cutoff is None or (re.fullmatch(r"20[0-9]{2}-[01][0-9]", cutoff) and cutoff <= released)
    assert not [spec.name for spec in MODEL_ALIASES.values() if spec.cutoff and not spec.released]


def test_a_typed_day_counts_before_that_of_the_catalogue() -> None:
    assert release_of("meta-llama/Llama-3.1-8B") == {"released": "2024-07-23", "cutoff": "2023-12"}
    assert release_of("Qwen/Qwen3-8B") == {"released": "2025-04-29"}
    assert release_of("Qwen/Qwen3-8B", "2025-05-01") == {"released": "2025-05-01"}
    assert release_of("nobody/nothing") == {}
    assert release_of("nobody/nothing", "2024-01-01") == {"released": "2024-01-01"}
