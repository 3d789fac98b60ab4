"""The whole path with a real language model, SmolLM2-135M-Instruct, and with real sentence embeddings, MiniLM."""

import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from math import fsum
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command_line import Bench, table
from film_data import FILMS, write_films
from llmrs_bench.core.types import Message, Prompt
from llmrs_bench.llm.backends.transformers import TransformersEngine
from llmrs_bench.llm.engine_options import TransformersOptions
from llmrs_bench.llm.model_aliases import ModelSpec
from real_model import find_minilm

# What each template that ranks is asked with, so that a test takes seconds.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "likelihood": (),
    "label": (),
    "yes-no": (),
    "listwise": ("-O", "answer_tokens=24"),
    "paper": ("-O", "answer_tokens=24"),
    "pairwise": ("-T", "method=heapsort"),
    "setwise": ("-T", "top=2"),
    "sliding-window": ("-T", "window=3", "-T", "stride=2", "-O", "answer_tokens=12"),
}
QUICK = ("likelihood",)  # the others are asked by `make test-slow`
TITLES = tuple(title for title, _ in FILMS)
AGREEMENT = 2e-4  # nat in a title, in float32


def asking(number: int) -> Prompt:
    """Return a likelihood prompt with a history of its own, for 20 titles, some of which begin alike."""
    shown = "\n".join(f"- {TITLES[(7 * number + step) % 20]}" for step in range(3 + number))
    messages = (
        Message("user", f"A user chose these movies, one after the other:\n{shown}\n\nWhich movie is next?"),
        Message("assistant", "The next movie is:"),
    )
    titles = TITLES[-20:] if number % 2 else TITLES[:20]
    return Prompt(f"p{number}", f"r{number}", messages, titles, tuple(f" {title}" for title in titles))


PROMPTS = [asking(number) for number in range(4)]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("films"))


@pytest.fixture
def films_bench(tmp_path: Path, films: Path) -> Bench:
    """The command line on the films, prepared with 5 candidates for 3 users."""
    made = Bench(tmp_path / "home", films)
    made.prepare("--users", "3", "--n-candidates", "5", dataset="films")
    return made


def engine_of(folder: Path, **options: Any) -> TransformersEngine:
    return TransformersEngine(ModelSpec("smollm2", str(folder)), TransformersOptions(**options), device="cpu", seed=0)


@pytest.fixture(scope="module")
def engine(smollm2_folder: Path) -> Iterator[TransformersEngine]:
    made = engine_of(smollm2_folder)
    yield made
    made.close()


def sums(engine: Any, prompts: list[Prompt] = PROMPTS) -> dict[str, list[float]]:
    """Return the log-likelihood of each title of each prompt."""
    return {
        answer.prompt_id: [fsum(title) for title in answer.choice_logprobs or ()] for answer in engine.answer(prompts)
    }


def apart(one: dict[str, list[float]], other: dict[str, list[float]]) -> float:
    """Return the largest difference in a title."""
    return max(abs(a - b) for name, titles in one.items() for a, b in zip(titles, other[name], strict=True))


@pytest.mark.parametrize(
    "template", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in TEMPLATES]
)
def test_templates_rank_with_a_real_model(films_bench: Bench, smollm2_folder: Path, template: str) -> None:
    films_bench.run("infer", "-m", str(smollm2_folder), "-d", "films", "-t", template, *TEMPLATES[template])
    rankings = table(films_bench, "films/*/runs/*/rankings.parquet")
    requests = table(films_bench, "films/*/data/requests.parquet")
    for request_id, candidates in requests.select("request_id", "candidates").rows():
        ranked = rankings.filter(pl.col("request_id") == request_id).sort("rank")
        assert sorted(ranked["item_id"]) == sorted(candidates)
        assert ranked["rank"].to_list() == [1, 2, 3, 4, 5]
    responses = table(films_bench, "films/*/runs/*/responses.parquet")
    assert responses["prompt_tokens"].min() > 50  # type: ignore[operator]
    if TEMPLATES[template][-2:-1] != ("-O",):
        assert rankings["score"].null_count() == 0  # nothing was unranked
    films_bench.run("evaluate", "-d", "films")
    row = next(
        row
        for row in json.loads(films_bench.run("compare", "-d", "films", "--format", "json").stdout)["rows"]
        if row["model"] == smollm2_folder.name
    )
    assert row["prefill_tokens"] > 0


def test_a_prompt_begins_once_and_a_title_ends_it(engine: TransformersEngine) -> None:
    tokenizer = engine.reader.tokenizer
    tokens = engine.reader.read(PROMPTS[0]).tokens
    text = tokenizer.decode(tokens.prefix)
    assert text.startswith("<|im_start|>system\n")
    assert text.count("<|im_start|>user\n") == text.count("<|im_start|>assistant\n") == 1
    assert text.endswith("<|im_start|>assistant\nThe next movie is:")
    assert tokens.prefix.count(tokenizer.bos_token_id) == 3  # ChatML opens every turn with it
    assert not tokens.moved
    assert [tokenizer.decode(suffix) for suffix in tokens.suffixes] == [f" {title}" for title in TITLES[:20]]


def test_a_written_answer_begins_a_turn_of_the_assistant(engine: TransformersEngine) -> None:
    asked = Prompt("p", "p", PROMPTS[0].messages[:1], TITLES[:20])
    text = engine.reader.tokenizer.decode(engine.reader.read(asked).tokens.prefix)
    assert text.endswith("Which movie is next?<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.slow
def test_packed_and_plain_scoring_agree(engine: TransformersEngine, smollm2_folder: Path) -> None:
    plain = engine_of(smollm2_folder, packed=False)
    prompts = [replace(prompt, shown=prompt.shown[:8], choices=(prompt.choices or ())[:8]) for prompt in PROMPTS[:2]]
    assert apart(sums(engine, prompts), sums(plain, prompts)) <= AGREEMENT
    plain.close()


@pytest.mark.slow
def test_lm_evaluation_harness_agrees(engine: TransformersEngine) -> None:
    """The same texts through another program: its own tokenisation, batches and softmax."""
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install 'lm_eval[hf]'")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    instance = import_module("lm_eval.api.instance").Instance
    harness = import_module("lm_eval.models.huggingface").HFLM(
        engine.weights, tokenizer=engine.reader.tokenizer, batch_size=4, device="cpu", add_bos_token=False
    )
    prompts = PROMPTS[:1]
    pairs = [(engine.reader.read(prompt).text, choice) for prompt in prompts for choice in prompt.choices or ()]
    asked = [instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    values = iter(harness.loglikelihood(asked, disable_tqdm=True))
    theirs = {prompt.prompt_id: [next(values)[0] for _ in prompt.choices or ()] for prompt in prompts}
    assert apart(theirs, sums(engine, prompts)) <= AGREEMENT


@pytest.mark.slow
def test_a_healthy_model_runs_in_bfloat16(engine: TransformersEngine, smollm2_folder: Path) -> None:
    half = engine_of(smollm2_folder, dtype="bfloat16")
    half.check(PROMPTS)
    rounded, exact = sums(half), sums(engine)
    assert half.facts()["scored_plainly"] == 0
    assert 1e-4 < apart(rounded, exact) < 2.0
    for name, titles in exact.items():  # rounding moves titles, and hardly their order
        order = sorted(range(len(titles)), key=titles.__getitem__)
        again = sorted(range(len(titles)), key=rounded[name].__getitem__)
        assert len({*order[-5:]} & {*again[-5:]}) >= 4
    half.close()


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")  # vLLM warns about its own dependencies
def test_vllm_agrees(engine: TransformersEngine, smollm2_folder: Path) -> None:
    pytest.importorskip("vllm")
    from llmrs_bench.llm.backends.vllm import VllmEngine
    from llmrs_bench.llm.engine_options import VllmOptions

    options = VllmOptions(dtype="float32", enforce_eager=True, kv_cache_gb=1, max_model_len=1024)
    other = VllmEngine(ModelSpec("smollm2", str(smollm2_folder)), options, device="auto", seed=0)
    try:
        other.check(PROMPTS)
        assert apart(sums(other), sums(engine)) <= 1e-3
    finally:
        other.close()


@pytest.mark.slow
def test_killed_and_resumed_it_ends_in_the_same_bytes(films: Path, tmp_path: Path, smollm2_folder: Path) -> None:
    arguments = ["infer", "-m", str(smollm2_folder), "-d", "films", "-t", "likelihood", "-O", "batch_tokens=256"]
    killed, whole = Bench(tmp_path / "killed", films), Bench(tmp_path / "whole", films)
    for bench in (killed, whole):
        bench.prepare("--n-candidates", "10", dataset="films")
    often = "from llmrs_bench.cli import progress; progress.FIRST_AFTER = progress.EVERY = 0.0; "
    command = [sys.executable, "-c", f"{often}from llmrs_bench.cli.main import main; main()", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        [*command, "--home", str(killed.home), "--log", "json"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said = json.loads(line)
            if said["level"] == "progress" and 0 < said["done"] < said["total"]:
                process.send_signal(signal.SIGTERM)
                break
    kept = [pl.read_parquet(path).height for path in killed.home.glob("films/answers/*/shards/*.parquet")]
    assert 0 < sum(kept) < 12
    for bench in (killed, whole):
        bench.run(*arguments)
    bytes_of = [next(b.home.glob("films/*/runs/*/rankings.parquet")).read_bytes() for b in (killed, whole)]
    assert bytes_of[0] == bytes_of[1]


def test_real_sentence_embeddings_rank(films_bench: Bench) -> None:
    if importlib.util.find_spec("sentence_transformers") is None:
        pytest.skip("sentence-transformers is not installed: pip install 'llmrs-bench[embedding]'")
    folder = find_minilm()
    films_bench.run("infer", "-m", "embedding", "-d", "films", "-O", f"model={folder}")
    rankings = table(films_bench, "films/*/runs/embedding-*/rankings.parquet")
    assert rankings["score"].null_count() == 0
    assert rankings["score"].is_between(-1, 1).all()
    assert rankings["score"].n_unique() > rankings.height // 2
