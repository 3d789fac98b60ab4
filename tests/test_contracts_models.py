"""The laws of ARCHITECTURE.md over every registered engine and recommender."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import ENGINES, RECOMMENDERS
from llmrs_bench.core.types import Prompt, Response
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.recommenders.base import Corpus, TrainContext
from recommender_cases import corpus_of, interactions_of, request_of, scores_of, trained, untrained
from serving import vllm_serving
from tiny_models import TITLES, choice_prompt, text_prompt, tiny_llama, yes_no_prompts

# ---------------------------------------------------------------- engines

ENGINE_OPTIONS: dict[str, dict[str, str]] = {
    "mock": {},
    "transformers": {"answer_tokens": "8"},
    "openai": {"answer_tokens": "8", "api": "completions", "context": "256"},  # served by vLLM
    "ray": {"engine": "transformers", "workers": "2", "answer_tokens": "8"},
    "vllm": {"answer_tokens": "8", "dtype": "float32", "enforce_eager": "true", "kv_cache_gb": "1"},
}
LABELS = replace(choice_prompt("labels", titles=TITLES[:4]), choices=(" A", " B", " C", " D"), labels=True)
PROMPTS = [
    *(choice_prompt(f"c{number}", history=number) for number in range(1, 5)),
    *yes_no_prompts(),
    LABELS,
    replace(text_prompt("permutation", history=2), grammar="permutation", shown=TITLES[:12]),
    *(text_prompt(f"t{number}", history=number) for number in range(1, 4)),
]


def engine_parameter(name: str) -> Any:
    if name == "ray":  # it leaves files and sockets open when it stops
        return pytest.param(name, marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore")])
    if name not in ("vllm", "openai"):
        return pytest.param(name)
    missing = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
    # vLLM warns about its own dependencies.
    return pytest.param(name, marks=[pytest.mark.vllm, pytest.mark.filterwarnings("ignore"), missing])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def by_the_book(folder: Path) -> dict[str, Response]:
    """What the model says when every choice is read with its whole prompt, and every prompt alone."""
    kind = ENGINES.load("transformers")
    options = kind.Options(answer_tokens=8, packed=False, deterministic=True)
    return answers(kind(ModelSpec("tiny", str(folder), chat=False), options, device="cpu", seed=0), PROMPTS)


@pytest.fixture(scope="module")
def vllm_server() -> Iterator[Callable[[Path], str]]:
    """Serves the model of a folder, and gives the URL."""
    with ExitStack() as servers:
        yield lambda folder: servers.enter_context(vllm_serving(folder, name="tiny"))


@pytest.fixture(scope="module", params=map(engine_parameter, ENGINES.names()))
def engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[Any]:
    name = request.param
    kind = ENGINES.load(name)
    given = ENGINE_OPTIONS[name]
    if name == "openai":
        url = request.getfixturevalue("vllm_server")(folder)
        given = given | {"base_url": url, "tokenizer": str(folder)}
    options = kind.Options.parse(given, owner=name)
    made = kind(
        ModelSpec("tiny", "tiny" if name == "openai" else str(folder), chat=False), options, device="cpu", seed=0
    )
    yield made
    made.close()


def answers(engine: Any, prompts: list[Prompt]) -> dict[str, Response]:
    given = list(engine.answer(prompts))
    assert len(given) == len(prompts)
    return {answer.prompt_id: answer for answer in given}


def test_engines_answer_every_prompt_once_and_in_kind(engine: Any) -> None:
    given = answers(engine, PROMPTS)
    for prompt in PROMPTS:
        answer = given[prompt.prompt_id]
        assert answer.prompt_tokens > 0
        assert engine.count_tokens([prompt])[0] <= engine.context
        if prompt.choices is None:
            assert answer.text is not None
            assert answer.choice_logprobs is None
            assert answer.finish_reason in ("stop", "length")
        else:
            assert answer.text is None
            assert answer.choice_logprobs is not None
            assert len(answer.choice_logprobs) == len(prompt.choices)
            assert all(logprobs and max(logprobs) <= 0 for logprobs in answer.choice_logprobs)


def test_engines_that_hold_a_model_say_what_it_says(engine: Any, by_the_book: dict[str, Response]) -> None:
    if engine.facts()["engine"] == "mock":
        pytest.skip("the mock holds no model")
    for name, answer in answers(engine, PROMPTS).items():
        assert answer.text == by_the_book[name].text
        for one, other in zip(answer.choice_logprobs or (), by_the_book[name].choice_logprobs or (), strict=True):
            assert one == pytest.approx(other, abs=1e-3)


def test_engines_obey_the_grammar_of_permutations(engine: Any) -> None:
    prompts = [prompt for prompt in PROMPTS if prompt.grammar]
    for prompt in prompts:
        text = answers(engine, prompts)[prompt.prompt_id].text or ""
        assert sorted(int(number) for number in text.split(",")) == list(range(1, len(prompt.shown) + 1))


def test_engines_that_forget_answer_the_same(engine: Any) -> None:
    first = answers(engine, PROMPTS)
    engine.reset_cache()
    for name, answer in answers(engine, PROMPTS).items():
        assert answer.text == first[name].text
        for one, other in zip(answer.choice_logprobs or (), first[name].choice_logprobs or (), strict=True):
            assert one == pytest.approx(other, abs=1e-5)


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
    "rp3beta": {},
    "ease": {},
    "bm25": {},
    "bprmf": {"epochs": "2", "dim": "8"},
    "fpmc": {"epochs": "2", "dim": "8"},
    "gru4rec": {"epochs": "2", "dim": "8", "hidden": "8", "max_history": "10"},
    "bert4rec": {"epochs": "2", "dim": "8", "max_history": "10"},
    "sasrec": {"epochs": "2", "dim": "8", "max_history": "10"},
}
CANDIDATES = [*(f"i{number}" for number in range(10)), "never-seen"]


def recommender_parameter(name: str) -> Any:
    if name != "embedding":
        return pytest.param(name)
    missing = importlib.util.find_spec("sentence_transformers") is None
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason="needs sentence-transformers"))


@pytest.fixture(scope="module", params=map(recommender_parameter, RECOMMENDERS.names()))
def recommender(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """The name of a recommender, and options that make it small."""
    name = request.param
    if name == "embedding":
        from tiny_embeddings import tiny_encoder

        return name, {"model": str(tiny_encoder(tmp_path_factory.mktemp("embedding")))}
    return name, RECOMMENDER_OPTIONS[name]


def interactions() -> pl.DataFrame:
    return interactions_of(
        [
            (f"u{user}", f"i{(user * 3 + step) % 17}", step, "valid" if step == 7 else "train")
            for user in range(20)
            for step in range(8)
        ]
    )


def ranking_requests(turned: bool = False) -> pl.DataFrame:
    """Six requests: one without history, one with an unknown item alone, one of a user who is not in training."""
    walks = [[f"i{(user + step) % 17}" for step in range(8)] for user in range(6)]
    histories = {**{f"u{user}": walk for user, walk in enumerate(walks)}, "u3": [], "u4": ["unknown"]}
    rows = [
        request_of(
            history,
            CANDIDATES[::-1] if turned else CANDIDATES,
            name=f"test-{user}",
            user="stranger" if user == "u5" else user,
            cutoff=8,
        )
        for user, history in histories.items()
    ]
    return pl.concat(rows[::-1] if turned else rows)


def fitted(recommender: tuple[str, dict[str, str]], seed: int = 0) -> Any:
    name, options = recommender
    return trained(name, interactions(), seed, **options)


def test_recommenders_score_every_candidate_even_unknown_ones_and_users_without_history(
    recommender: tuple[str, dict[str, str]],
) -> None:
    table = scores_of(fitted(recommender), ranking_requests())
    assert set(table) == {f"test-u{user}" for user in range(6)}
    for values in table.values():
        assert set(values) == set(CANDIDATES)
        assert all(isfinite(value) for value in values.values())


def test_recommenders_yield_every_request_once_in_blocks(recommender: tuple[str, dict[str, str]]) -> None:
    many = pl.concat([ranking_requests()] * 50)
    given = list(fitted(recommender).score(many, pl.Series(CANDIDATES)))
    assert len(given) > 1
    assert sorted(row for block in given for row in block.rows.tolist()) == list(range(len(many)))
    for block in given:
        assert block.scores.shape == (len(block.rows), len(CANDIDATES))


def test_recommenders_ignore_the_order_of_candidates_and_requests(recommender: tuple[str, dict[str, str]]) -> None:
    model = fitted(recommender)
    assert scores_of(model, ranking_requests()) == scores_of(model, ranking_requests(turned=True))


def test_recommenders_score_an_item_the_same_whatever_else_is_asked(recommender: tuple[str, dict[str, str]]) -> None:
    model = fitted(recommender)
    together = scores_of(model, ranking_requests())
    for row in ranking_requests().iter_slices(1):
        name, some = row["request_id"][0], CANDIDATES[4:6]
        alone = scores_of(model, row.with_columns(candidates=pl.Series([some])))[name]
        assert alone == {item: together[name][item] for item in some}


def test_recommenders_repeat_with_their_seed(recommender: tuple[str, dict[str, str]]) -> None:
    first, again = (scores_of(fitted(recommender, seed=1), ranking_requests()) for _ in range(2))
    assert first == again


def test_recommenders_say_whether_fewer_interactions_make_another_model(
    recommender: tuple[str, dict[str, str]],
) -> None:
    name, options = recommender
    whole = corpus_of(interactions())
    few = Corpus(whole.interactions.filter(pl.col("user_id").is_in([f"u{user}" for user in range(7)])), whole.items)
    table = []
    for corpus in (whole, few):
        model = untrained(name, 0, **options)
        model.fit(corpus, TrainContext())
        table.append(scores_of(model, ranking_requests()))
    assert (table[0] != table[1]) == RECOMMENDERS.load(name).learns


def test_recommenders_that_can_be_saved_come_back_the_same(
    recommender: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    model = fitted(recommender)
    if not hasattr(model, "save"):
        assert not hasattr(model, "load")
        return
    model.save(tmp_path)
    again = type(model).load(tmp_path, device="cpu")
    assert scores_of(again, ranking_requests()) == scores_of(model, ranking_requests())
    assert again.options.model_dump() == model.options.model_dump()


def test_recommenders_refuse_unknown_options(recommender: tuple[str, dict[str, str]]) -> None:
    name, _ = recommender
    with pytest.raises(OptionError, match="no_such_option"):
        RECOMMENDERS.load(name).Options.parse({"no_such_option": "1"}, owner=name)
