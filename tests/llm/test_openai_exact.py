"""Likelihoods, labels and grammars by token ids, against a server that holds a tiny model, as transformers reads it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fault_server import RefusalError, Script, serve
from llmrs_bench.core.errors import EngineError
from llmrs_bench.core.types import Prompt, Response
from llmrs_bench.llm.backends.openai import OpenAIEngine
from llmrs_bench.llm.backends.openai_options import OpenAIOptions
from llmrs_bench.llm.backends.transformers import TransformersEngine
from llmrs_bench.llm.engine_options import TransformersOptions
from llmrs_bench.llm.model_aliases import ModelSpec
from tiny_models import TITLES, choice_prompt, text_prompt, tiny_llama, train_tokenizer, yes_no_prompts

LABELS = replace(choice_prompt("labels", titles=TITLES[:4]), choices=(" A", " B", " C", " D"), labels=True)
SHORT = [  # labels of a token each
    replace(choice_prompt(f"short{number}", history=number, titles=TITLES[:4]), choices=(" A", " H", " L"), labels=True)
    for number in range(3)
]
PROMPTS = [*(choice_prompt(f"c{number}", history=number) for number in range(3)), *yes_no_prompts(), LABELS, *SHORT]
RANKED = replace(text_prompt("ranked"), grammar="permutation", shown=TITLES[:11])


@dataclass
class TinyServer:
    """Answers completions of token ids with a tiny model, as vLLM's server does."""

    folder: Path
    picks: bool = True  # knows logprob_token_ids
    echoes: bool = True
    obeys: bool = True  # knows allowed_token_ids
    extra: int = 0  # tokens that it puts before each prompt

    def __post_init__(self) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(self.folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = [1] * self.extra + body["prompt"]
        with torch.inference_mode():
            rows = self.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        allowed = body.get("allowed_token_ids") if self.obeys else None
        token = max(allowed or range(rows.shape[1]), key=lambda candidate: float(rows[-1, candidate]))
        echoed = self.tokenizer.decode(ids) if body.get("echo") else ""
        choice = {"text": echoed + self.tokenizer.decode([token]), "finish_reason": "length", "token_ids": [token]}
        if body.get("logprobs") and body.get("echo") and self.echoes:
            scored = [float(rows[place, following]) for place, following in enumerate([*ids[1:], token])]
            choice["logprobs"] = {"token_logprobs": [None, *scored]}
        elif body.get("logprobs"):
            wanted = [*body.get("logprob_token_ids", []), token] if self.picks else [token]
            named = {f"token_id:{one}" if self.picks else "x": float(rows[-1, one]) for one in wanted}
            choice["logprobs"] = {"top_logprobs": [named]}
        return {"choices": [choice], "usage": {"prompt_tokens": len(ids), "completion_tokens": 1}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Response]:
    options = TransformersOptions(answer_tokens=8)
    made = TransformersEngine(ModelSpec("tiny", str(folder), chat=False), options, device="cpu", seed=0)
    return {response.prompt_id: response for response in made.answer([*PROMPTS, RANKED])}


@pytest.fixture
def server(folder: Path) -> TinyServer:
    return TinyServer(folder)


@pytest.fixture
def script(server: TinyServer) -> Script:
    return Script(reply=server.reply)


@pytest.fixture
def engine(script: Script, folder: Path) -> Iterator[OpenAIEngine]:
    with serve(script) as url:
        options = OpenAIOptions(base_url=url, api="completions", tokenizer=str(folder), context=256, concurrency=3)
        made = OpenAIEngine(ModelSpec("tiny", "tiny", chat=False), options, device="auto", seed=0)
        yield made
        made.close()


def assert_same(found: Iterator[Response], expected: dict[str, Response], names: set[str]) -> None:
    answers = {response.prompt_id: response for response in found}
    assert set(answers) == names
    for name, answer in answers.items():
        assert answer.text == expected[name].text
        assert answer.prompt_tokens >= expected[name].prompt_tokens
        for one, other in zip(answer.choice_logprobs or (), expected[name].choice_logprobs or (), strict=True):
            assert one == pytest.approx(other, abs=1e-3)


NAMES = {prompt.prompt_id for prompt in PROMPTS}


@pytest.mark.slow
def test_choices_and_grammars_are_those_of_transformers(engine: OpenAIEngine, expected: dict[str, Response]) -> None:
    assert_same(engine.answer([*PROMPTS, RANKED]), expected, {*NAMES, "ranked"})


def test_labels_of_a_token_each_take_one_request(
    engine: OpenAIEngine, script: Script, expected: dict[str, Response]
) -> None:
    assert engine.reader is not None
    assert {engine.reader.read(prompt).tokens.longest for prompt in SHORT} == {1}
    assert_same(engine.answer(SHORT), expected, {prompt.prompt_id for prompt in SHORT})
    assert len(script.requests) == 1 + len(SHORT)  # one compares the tokenizers
    assert engine.facts()["labels_by_id"] is True


@pytest.mark.parametrize("fault", [None, 400, 422])
def test_labels_are_echoed_where_the_server_cannot_pick_tokens(
    engine: OpenAIEngine,
    server: TinyServer,
    script: Script,
    expected: dict[str, Response],
    fault: int | None,
) -> None:
    def reply(body: dict[str, Any]) -> dict[str, Any]:
        if fault and "logprob_token_ids" in body:
            raise RefusalError(fault)
        return server.reply(body)

    server.picks, script.reply = False, reply
    assert_same(engine.answer(SHORT), expected, {prompt.prompt_id for prompt in SHORT})
    assert engine.facts()["labels_by_id"] is False
    before = len(script.requests)
    assert_same(engine.answer(SHORT[:1]), expected, {"short0"})
    assert len(script.requests) - before == 3  # it is not tried again


def test_a_prompt_that_is_refused_is_not_taken_for_a_server_that_cannot(engine: OpenAIEngine, script: Script) -> None:
    def reply(body: dict[str, Any]) -> dict[str, Any]:
        raise RefusalError(401)

    script.reply = reply
    with pytest.raises(EngineError, match="401"):
        list(engine.answer([LABELS]))
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("trouble", "prompt", "message"),
    [
        ({"echoes": False}, choice_prompt(), "echo the log-probabilities"),
        ({"extra": 1}, choice_prompt(), "tokens where"),
        ({"obeys": False}, RANKED, "allowed_token_ids"),
    ],
)
def test_servers_that_do_something_else_are_named(
    engine: OpenAIEngine, server: TinyServer, trouble: dict[str, Any], prompt: Prompt, message: str
) -> None:
    for name, value in trouble.items():
        setattr(server, name, value)
    with pytest.raises(EngineError, match=message):
        list(engine.answer([prompt]))


@pytest.mark.parametrize("prompt", [choice_prompt(), LABELS, text_prompt(), RANKED])
def test_another_tokenizer_than_the_servers_is_noticed(
    engine: OpenAIEngine, server: TinyServer, prompt: Prompt
) -> None:
    server.tokenizer = train_tokenizer(vocabulary=300, corpus=["zz top and the queen of spades " * 3])
    with pytest.raises(EngineError, match="the server reads") as caught:
        list(engine.answer([prompt]))
    assert "-O tokenizer" in caught.value.hint


def test_a_server_that_ignores_echo_is_named(engine: OpenAIEngine, script: Script, server: TinyServer) -> None:
    script.reply = lambda body: server.reply({**body, "echo": False})
    with pytest.raises(EngineError, match="ignores `echo`") as caught:
        list(engine.answer([choice_prompt()]))
    assert "vLLM" in caught.value.hint
    assert "-O tokenizer" in caught.value.hint


def test_a_prompt_needs_its_longest_choice_and_the_token_that_is_written(engine: OpenAIEngine) -> None:
    assert engine.reader is not None
    tokens = engine.reader.read(choice_prompt()).tokens
    assert engine.count_tokens([choice_prompt()]) == [len(tokens.prefix) + tokens.longest + 1]


def test_every_request_is_billed(engine: OpenAIEngine, server: TinyServer, script: Script) -> None:
    """A server charges for the prompt once for each choice that is echoed."""
    server.picks = False
    list(engine.answer(SHORT[:1]))  # learns what the server can
    before = len(script.requests)
    [answer] = engine.answer(SHORT[:1])
    sent = [body for body in script.requests[before:] if "prompt" in body]
    assert len(sent) > 1
    assert answer.prompt_tokens == sum(len(body["prompt"]) for body in sent)
    assert answer.completion_tokens == len(sent)
