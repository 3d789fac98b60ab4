"""The OpenAI engine against llama.cpp's own server with a real model: labels, texts, and what it cannot be asked."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import llama_server
from command_line import Bench
from llmrs_bench.core.errors import EngineError
from llmrs_bench.llm.backends.openai import OpenAIEngine
from llmrs_bench.llm.backends.openai_options import OpenAIOptions
from llmrs_bench.llm.model_aliases import ModelSpec
from openai_cases import answers, engine
from tiny_models import TITLES, choice_prompt, tiny_llama

pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.skipif(bool(llama_server.missing()), reason=f"not installed: {llama_server.missing()}"),
]
LABELS = replace(choice_prompt(titles=TITLES[:4]), choices=(" A", " B", " C", " D"), labels=True)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llama_server.llama_serving() as found:
        yield found


def test_labels_and_lists_come_from_the_server_and_the_warning_names_the_option(bench: Bench, url: str) -> None:
    bench.prepare("--users", "2", "--n-candidates", "10", "--history", "2")
    command = ("infer", "--model", "smollm2", "--engine", "openai", "--dataset", "small", "-O", f"base_url={url}")
    few = bench.run(*command, "--template", "label", "-O", "top_logprobs=2")
    assert f"sent to {url}" in few.stderr
    assert "-O top_logprobs" in few.stderr
    many = bench.run(*command, "--template", "label", "-O", "top_logprobs=1000")
    assert "-O top_logprobs" not in many.stderr
    assert "partial" not in many.stderr
    listed = bench.run(*command, "--template", "listwise", "-O", "answer_tokens=12")
    assert "2 prompts" in listed.stderr


def test_a_label_is_known_once_the_server_shows_enough_tokens(url: str) -> None:
    few, many = (answers(engine(url, top_logprobs=count), LABELS)["p"].choice_logprobs for count in (2, 1000))
    assert few is not None
    assert many is not None
    assert sum(map(len, few)) <= 2 < sum(map(len, many)) == 4
    assert all(not one or one == pytest.approx(other, abs=0.01) for one, other in zip(few, many, strict=True))


def test_likelihoods_are_refused_because_the_server_ignores_echo(url: str, tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path)  # its token ids are some of the server's
    options = OpenAIOptions(base_url=url, api="completions", tokenizer=str(folder))
    made = OpenAIEngine(ModelSpec("smollm2", "smollm2", chat=False), options, device="auto", seed=0)
    with pytest.raises(EngineError, match="ignores `echo`") as caught:
        answers(made, choice_prompt())
    assert "label" in caught.value.hint
