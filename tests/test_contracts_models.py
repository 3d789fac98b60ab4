"""The laws of ARCHITECTURE.md over every registered engine and recommender."""

import importlib.util
from collections.abc import Iterator
from math import isfinite
from typing import Any

import polars as pl
import pytest

from llmrs_bench.catalog import ModelSpec
from llmrs_bench.registry import ENGINES, RECOMMENDERS
from llmrs_bench.schemas import INTERACTIONS, REQUESTS
from llmrs_bench.types import Prompt, Response, silent
from tiny_models import choice_prompt, text_prompt, tiny_llama

# ---------------------------------------------------------------- engines

ENGINE_OPTIONS: dict[str, dict[str, str]] = {
    "mock": {},
    "transformers": {"answer_tokens": "8"},
    "vllm": {"answer_tokens": "8", "dtype": "float32", "enforce_eager": "true", "kv_cache_gb": "1"},
}
PROMPTS = [
    *(choice_prompt(f"c{number}", history=number) for number in range(1, 5)),
    *(text_prompt(f"t{number}", history=number) for number in range(1, 4)),
]


def engine_parameter(name: str) -> Any:
    if name != "vllm":
        return pytest.param(name)
    missing = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
    # vLLM warns about its own dependencies.
    return pytest.param(name, marks=[pytest.mark.vllm, pytest.mark.filterwarnings("ignore"), missing])


@pytest.fixture(scope="module", params=map(engine_parameter, ENGINES.names()))
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    name = request.param
    kind = ENGINES.load(name)
    folder = tiny_llama(tmp_path_factory.mktemp("llama"))
    options = kind.Options.parse(ENGINE_OPTIONS[name], owner=name)
    made = kind(ModelSpec("tiny", str(folder), chat=False), options, device="cpu", seed=0)
    yield made
    if name == "vllm":
        made.llm.llm_engine.engine_core.shutdown()


def answers(engine: Any, prompts: list[Prompt]) -> dict[str, Response]:
    given = list(engine.answer(prompts))
    assert len(given) == len(prompts)
    return {answer.prompt_id: answer for answer in given}


def test_engines_answer_every_prompt_once_and_in_kind(engine: Any) -> None:
    given = answers(engine, PROMPTS)
    for prompt in PROMPTS:
        answer = given[prompt.prompt_id]
        assert answer.prompt_tokens > 0
        assert engine.needs(prompt) <= engine.context
        if prompt.choices is None:
            assert answer.text is not None
            assert answer.choice_logprobs is None
            assert answer.finish_reason in ("stop", "length")
        else:
            assert answer.text is None
            assert answer.choice_logprobs is not None
            assert len(answer.choice_logprobs) == len(prompt.choices)
            assert all(logprobs and max(logprobs) <= 0 for logprobs in answer.choice_logprobs)


def test_engines_give_the_same_answers_for_a_permuted_batch(engine: Any) -> None:
    first, second = answers(engine, PROMPTS), answers(engine, PROMPTS[::-1])
    for name, answer in first.items():
        assert second[name].text == answer.text
        for one, other in zip(answer.choice_logprobs or (), second[name].choice_logprobs or (), strict=True):
            assert one == pytest.approx(other, abs=1e-5)


def test_engines_score_a_title_the_same_wherever_it_stands(engine: Any) -> None:
    prompt = choice_prompt("c")
    assert prompt.choices is not None
    turned = Prompt("c", "c", prompt.messages, prompt.shown[::-1], prompt.choices[::-1])
    one, other = answers(engine, [prompt])["c"], answers(engine, [turned])["c"]
    assert one.choice_logprobs is not None
    assert other.choice_logprobs is not None
    for first, second in zip(one.choice_logprobs, other.choice_logprobs[::-1], strict=True):
        assert first == pytest.approx(second, abs=1e-5)


# ---------------------------------------------------------------- recommenders

RECOMMENDER_OPTIONS: dict[str, dict[str, str]] = {
    "random": {},
    "popularity": {},
    "recent-popularity": {},
    "itemknn": {"neighbours": "5"},
    "sasrec": {"epochs": "2", "dim": "8", "max_history": "10"},
}


def interactions() -> pl.DataFrame:
    rows = [
        {
            "user_id": f"u{user}",
            "item_id": f"i{(user * 3 + step) % 17}",
            "timestamp": step,
            "rating": 4.0,
            "part": "valid" if step == 7 else "train",
        }
        for user in range(20)
        for step in range(8)
    ]
    return pl.DataFrame(rows, schema=INTERACTIONS)


def ranking_requests(turned: bool = False) -> pl.DataFrame:
    candidates = [f"i{number}" for number in range(10)] + ["never-seen"]
    rows = [
        {
            "request_id": f"test-u{user}",
            "user_id": f"u{user}",
            "part": "test",
            "cutoff": 8,
            "history": []
            if user == 3
            else ["unknown"]
            if user == 4
            else [f"i{(user + step) % 17}" for step in range(8)],
            "candidates": candidates[::-1] if turned else candidates,
        }
        for user in range(6)
    ]
    return pl.DataFrame(rows[::-1] if turned else rows, schema=REQUESTS)


def fitted(name: str, seed: int = 0) -> Any:
    kind = RECOMMENDERS.load(name)
    options = kind.Options.parse(RECOMMENDER_OPTIONS[name], owner=name)
    model = kind(options, seed=seed, device="cpu")
    model.fit(interactions(), silent)
    return model


def scored(model: Any, requests: pl.DataFrame) -> dict[str, dict[str, float]]:
    return {scores.request_id: dict(scores.values) for scores in model.score(requests)}


@pytest.mark.parametrize("name", RECOMMENDERS.names())
def test_recommenders_score_every_candidate_even_unknown_ones_and_users_without_history(name: str) -> None:
    table = scored(fitted(name), ranking_requests())
    assert set(table) == {f"test-u{user}" for user in range(6)}
    for values in table.values():
        assert set(values) == {*(f"i{number}" for number in range(10)), "never-seen"}
        assert all(isfinite(value) for value in values.values())


@pytest.mark.parametrize("name", RECOMMENDERS.names())
def test_recommenders_ignore_the_order_of_candidates_and_requests(name: str) -> None:
    model = fitted(name)
    assert scored(model, ranking_requests()) == scored(model, ranking_requests(turned=True))


@pytest.mark.parametrize("name", RECOMMENDERS.names())
def test_recommenders_repeat_with_their_seed(name: str) -> None:
    assert scored(fitted(name, seed=1), ranking_requests()) == scored(fitted(name, seed=1), ranking_requests())


@pytest.mark.parametrize("name", RECOMMENDERS.names())
def test_recommenders_refuse_unknown_options(name: str) -> None:
    from llmrs_bench.errors import OptionError

    with pytest.raises(OptionError, match="no_such_option"):
        RECOMMENDERS.load(name).Options.parse({"no_such_option": "1"}, owner=name)
