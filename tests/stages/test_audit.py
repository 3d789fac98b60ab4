"""An audit asks again, and says how much answers change by nothing but the state of the machine."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from llmrs_bench.core.config import LanguageModelConfig
from llmrs_bench.core.errors import EngineError
from llmrs_bench.core.types import Prompt, Response, no_progress
from llmrs_bench.llm.backends.mock import MockEngine
from llmrs_bench.stages.determinism import audit
from llmrs_bench.stages.workspace import Data


def test_a_steady_model_shows_no_noise(data: Data) -> None:
    facts = audit(data, LanguageModelConfig(model="mock", template="label"), no_progress, requests=5).artifact.facts
    assert facts["requests"] == 5
    for noise in facts["noise"].values():
        assert noise["choices"] == 5 * 10
        assert (noise["largest"], noise["top_changed"]) == (0.0, 0.0)


def test_noise_of_batches_is_found(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = MockEngine.answer

    def noisy(self: MockEngine, prompts: Sequence[Prompt]) -> Iterator[Response]:
        self.seed = len(prompts)  # another taste for every size of a batch
        yield from answer(self, prompts)

    monkeypatch.setattr(MockEngine, "answer", noisy)
    noise = audit(data, LanguageModelConfig(model="mock", template="label"), no_progress, requests=12).artifact.facts[
        "noise"
    ]
    assert noise["warm against cold"]["top_changed"] == 0
    assert noise["one by one against together"]["largest"] > 0.1
    assert noise["one by one against together"]["top_changed"] > 0.5


def test_texts_are_compared_as_texts(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = MockEngine.answer

    def noisy(self: MockEngine, prompts: Sequence[Prompt]) -> Iterator[Response]:
        self.seed = len(prompts)
        yield from answer(self, prompts)

    monkeypatch.setattr(MockEngine, "answer", noisy)
    noise = audit(data, LanguageModelConfig(model="mock"), no_progress, requests=4).artifact.facts["noise"]
    assert noise["one by one against together"]["texts_changed"] == 1
    assert noise["one by one against together"]["largest"] is None


def test_a_real_model_is_audited_and_its_answers_are_not_kept(data: Data, llama: Path) -> None:
    config = LanguageModelConfig(model=str(llama), engine="transformers", template="yes-no")
    facts = audit(data, config, no_progress, requests=3).artifact.facts
    assert facts["noise"]["warm against cold"]["choices"] == 3 * 10 * 2
    assert facts["noise"]["one by one against together"]["largest"] < 1e-4
    assert facts["serving"]["engine"] == "transformers"
    assert not data.place.answers.exists()


def test_a_model_on_a_server_may_have_any_name(data: Data) -> None:
    config = LanguageModelConfig(model="gpt-x", engine="openai", options={"base_url": "http://127.0.0.1:9/v1"})
    with pytest.raises(EngineError, match="does not answer"):
        audit(data, config, no_progress, requests=3)
