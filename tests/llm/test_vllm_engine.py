"""The vLLM engine against the transformers engine, on one tiny model."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmrs_bench.core.errors import EngineError, OptionError
from llmrs_bench.core.types import Message, Prompt, Response
from llmrs_bench.llm.backends.transformers import TransformersEngine
from llmrs_bench.llm.backends.vllm import VllmEngine
from llmrs_bench.llm.engine_options import TransformersOptions, VllmOptions
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.self_check import SelfCheck
from tiny_models import TITLES, choice_prompt, text_prompt, tiny_llama, yes_no_prompts

pytest.importorskip("vllm")
pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]  # vLLM warns about its own dependencies

BLOCK = 32  # the default on a CPU
LONG = "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb, told once more for everybody who slept, "


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"), context=512)


@pytest.fixture(scope="module")
def options() -> VllmOptions:
    return VllmOptions(dtype="float32", enforce_eager=True, kv_cache_gb=1, answer_tokens=8, self_check=1)


@pytest.fixture(scope="module")
def vllm_engine(folder: Path, options: VllmOptions) -> Iterator[VllmEngine]:
    made = VllmEngine(ModelSpec("tiny", str(folder)), options, device="auto", seed=0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def exact_engine(folder: Path) -> TransformersEngine:
    settings = TransformersOptions(dtype="float32", answer_tokens=8)
    return TransformersEngine(ModelSpec("tiny", str(folder)), settings, device="cpu", seed=0)


def answers(engine: Any, *prompts: Prompt) -> dict[str, Response]:
    found = {response.prompt_id: response for response in engine.answer(prompts)}
    assert len(found) == len(prompts)
    return found


def assert_same_scores(one: Response, other: Response) -> None:
    assert one.choice_logprobs is not None
    assert other.choice_logprobs is not None
    for left, right in zip(one.choice_logprobs, other.choice_logprobs, strict=True):
        assert len(left) == len(right)
        assert left == pytest.approx(right, abs=1e-3)
        assert sum(left) == pytest.approx(sum(right), abs=1e-3)


def prompt_of_length(engine: VllmEngine, remainder: int) -> Prompt:
    """Return a prompt of some blocks and `remainder` tokens."""
    for words in range(200):
        text = f"It was good{', very good' * words}. The next movie is:"
        prompt = Prompt("p", "p", (Message("user", text),), TITLES, tuple(f" {title}" for title in TITLES))
        length = len(engine.reader.read(prompt).tokens.prefix)
        if length > BLOCK and length % BLOCK == remainder:
            return prompt
    raise AssertionError(f"no prompt of {remainder} tokens beyond its blocks")


@pytest.mark.parametrize("remainder", [0, 1, BLOCK - 1])
def test_scores_are_exact_wherever_the_prompt_ends_in_its_block(
    vllm_engine: VllmEngine, exact_engine: TransformersEngine, remainder: int
) -> None:
    prompt = prompt_of_length(vllm_engine, remainder)
    expected = answers(exact_engine, prompt)["p"]
    assert_same_scores(answers(vllm_engine, prompt)["p"], expected)
    again = answers(vllm_engine, prompt)["p"]  # now all of it is in the cache
    assert again.cached_tokens > 0
    assert_same_scores(again, expected)


def test_what_titles_begin_with_is_scored_once_and_what_is_cached_is_asked_again(
    vllm_engine: VllmEngine, exact_engine: TransformersEngine
) -> None:
    prompt = choice_prompt(titles=tuple(f"{LONG * 2}{title}" for title in (*TITLES[:5], "Heat", "Heat 2")))
    distinct = vllm_engine.reader.read(prompt).tokens.distinct
    assert len({suffix[: 2 * BLOCK] for suffix in distinct}) == 1
    vllm_engine.reset_cache()
    reruns, requests = counts(vllm_engine)
    expected = answers(exact_engine, prompt)["p"]
    assert_same_scores(answers(vllm_engine, prompt)["p"], expected)
    first = counts(vllm_engine)
    assert first[0] - reruns <= 1  # at most one cut falls on the border of a block
    # One for the prompt and one for each title that does not begin another.
    assert len(distinct) == 6
    assert first[1] - requests - (first[0] - reruns) == 1 + 3
    assert_same_scores(answers(vllm_engine, prompt)["p"], expected)  # now everything is in the cache
    assert counts(vllm_engine)[0] > first[0]


def test_prompts_that_begin_alike_are_read_once(vllm_engine: VllmEngine) -> None:
    vllm_engine.reset_cache()
    found = answers(vllm_engine, *yes_no_prompts())
    for user in ("ann", "bob"):
        own = [response for name, response in found.items() if name.startswith(user)]
        assert sum(response.cached_tokens == 0 for response in own) == 1
        for response in own:
            assert response.cached_tokens == 0 or response.cached_tokens > response.prompt_tokens - 2 * BLOCK


def test_grammars_give_the_permutation_that_transformers_gives(
    vllm_engine: VllmEngine, exact_engine: TransformersEngine
) -> None:
    prompts = [replace(text_prompt(f"g{n}", history=n), grammar="permutation", shown=TITLES[: n + 2]) for n in range(9)]
    expected = answers(exact_engine, *prompts)
    for prompt in prompts:
        response = answers(vllm_engine, prompt, text_prompt("free"))[prompt.prompt_id]
        assert response.text == expected[prompt.prompt_id].text
        numbers = sorted(int(number) for number in (response.text or "").split(","))
        assert numbers == list(range(1, len(prompt.shown) + 1))
        assert response.completion_tokens == expected[prompt.prompt_id].completion_tokens


def counts(engine: VllmEngine) -> tuple[int, int]:
    """Return the requests asked again, and all requests."""
    facts = engine.facts()
    assert isinstance(facts["reruns"], int)
    assert isinstance(facts["requests"], int)
    return facts["reruns"], facts["requests"]


def test_many_prompts_in_any_order_score_as_one_by_one(
    vllm_engine: VllmEngine, exact_engine: TransformersEngine
) -> None:
    prompts = [choice_prompt(f"p{n}", history=n, titles=TITLES[: n + 1]) for n in range(10)]
    prompts += yes_no_prompts()
    prompts.append(choice_prompt("one token", titles=("Toy", "The")))
    assert vllm_engine.reader.read(prompts[-1]).tokens.longest == 1
    expected = answers(exact_engine, *prompts)
    for found in (
        answers(vllm_engine, *prompts),
        answers(vllm_engine, *random.Random(0).sample(prompts, len(prompts))),
    ):
        for name, response in found.items():
            assert_same_scores(response, expected[name])
            assert response.prompt_tokens == expected[name].prompt_tokens
            assert response.completion_tokens == expected[name].completion_tokens


def test_prompts_that_do_not_fit_the_cache_together_go_in_chunks(
    vllm_engine: VllmEngine, exact_engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [choice_prompt(f"p{n}", history=n) for n in range(5)]
    monkeypatch.setattr(vllm_engine, "_together", 1000)
    jobs = vllm_engine.reader.plan(prompts, count_tokens=vllm_engine._count_tokens, context=vllm_engine.context)
    assert len(list(vllm_engine._chunks(jobs))) > 1
    expected = answers(exact_engine, *prompts)
    for name, response in answers(vllm_engine, *prompts).items():
        assert_same_scores(response, expected[name])


def test_written_answers_are_those_of_transformers(vllm_engine: VllmEngine, exact_engine: TransformersEngine) -> None:
    prompts = [text_prompt(f"t{n}", history=n) for n in range(5)]
    expected = answers(exact_engine, *prompts)
    for name, response in answers(vllm_engine, *prompts).items():
        assert (response.text, response.finish_reason) == (expected[name].text, expected[name].finish_reason)
        assert response.completion_tokens == expected[name].completion_tokens


def test_samples_depend_on_their_prompt_and_number_alone(vllm_engine: VllmEngine) -> None:
    warm = vllm_engine.options.model_copy(update={"temperature": 1.0})
    writer, vllm_engine.writer.options = vllm_engine.writer, warm
    try:
        prompts = [replace(text_prompt(f"p{number}"), sample=number) for number in range(5)]
        together = {name: response.text for name, response in answers(vllm_engine, *prompts).items()}
        alone = {name: response.text for one in prompts for name, response in answers(vllm_engine, one).items()}
    finally:
        writer.options = vllm_engine.options
    assert together == alone
    assert len(set(together.values())) > 2


def test_the_self_check_is_recorded_and_no_part_of_the_run(vllm_engine: VllmEngine) -> None:
    vllm_engine._self_check = SelfCheck(2)
    vllm_engine.reset_cache()
    before = counts(vllm_engine)
    prompts = [choice_prompt(f"p{n}", history=n) for n in range(5)]
    vllm_engine.check(prompts)
    facts = vllm_engine.facts()
    assert facts["self_check_prompts"] == 2
    assert isinstance(facts["self_check_difference"], float)
    assert facts["self_check_difference"] < 1e-3
    assert isinstance(facts["self_check_noise"], float)
    assert counts(vllm_engine) == before
    found = answers(vllm_engine, *prompts)
    assert min(response.cached_tokens for response in found.values()) == 0
    assert vllm_engine.facts()["self_check_prompts"] == 2


def test_the_self_check_stops_wrong_scores(vllm_engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    score = vllm_engine._scorer.score
    monkeypatch.setattr(
        vllm_engine._scorer, "score", lambda jobs: [([[v + 0.1 for v in row] for row in s], c) for s, c in score(jobs)]
    )
    monkeypatch.setattr(vllm_engine, "_self_check", SelfCheck(1))
    with pytest.raises(EngineError, match="with and without the prefix cache differ") as caught:
        list(vllm_engine.answer([choice_prompt()]))
    assert "share_prompt=false" in caught.value.hint


def test_the_self_check_stops_plain_scores_that_depend_on_the_batch(
    vllm_engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = vllm_engine._scorer.score_plain
    monkeypatch.setattr(
        vllm_engine._scorer,
        "score_plain",
        lambda job: [[v - 0.1 * (len(job.tokens.suffixes) > 1) for v in row] for row in score(job)],
    )
    monkeypatch.setattr(vllm_engine, "_self_check", SelfCheck(1))
    with pytest.raises(EngineError, match="between two batch sizes") as caught:
        vllm_engine.check([choice_prompt()])
    assert "max_num_seqs=1" in caught.value.hint


def test_facts_and_refusals(vllm_engine: VllmEngine, folder: Path, options: VllmOptions) -> None:
    facts = vllm_engine.facts()
    assert (facts["engine"], facts["dtype"], facts["context"], facts["block_size"]) == ("vllm", "float32", 512, BLOCK)
    with pytest.raises(EngineError, match="needs"):
        list(vllm_engine.answer([text_prompt(history=190)]))
    other = "cuda" if facts["device"] == "cpu" or "cpu" in str(facts["device"]).lower() else "cpu"
    with pytest.raises(OptionError, match=other):
        VllmEngine(ModelSpec("tiny", str(folder)), options, device=other, seed=0)
