"""How prompts are cut into batches: by what they are, so that a batch is one pass wherever a run began."""

from dataclasses import replace
from pathlib import Path

import pytest

from llmrs_bench.core.types import Message, Prompt
from llmrs_bench.llm import generate, tokenization
from llmrs_bench.llm.base import asked_text, sample_seed
from llmrs_bench.llm.cache import ResponseCache
from llmrs_bench.llm.clipping import Question
from llmrs_bench.llm.generate import CachedGenerator
from llmrs_bench.llm.tokenization import Job, PromptReader, stretches
from tiny_models import choice_prompt, text_prompt, tiny_llama, train_tokenizer
from transformers_cases import engine, yes_no_prompts


def prompts(count: int) -> list[Prompt]:
    made = [choice_prompt(f"c{number}", history=number % 7) for number in range(count)]
    made += [prompt for number in range(count // 10) for prompt in yes_no_prompts(f"y{number}")]
    return made + [text_prompt(f"t{number}", history=number % 5) for number in range(count // 4)]


def test_prompts_of_one_request_stay_in_one_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenization, "_STRETCH", 5)
    asked = prompts(20)
    parts = list(stretches(asked))
    assert [prompt for part in parts for prompt in part] == asked
    assert all(len(part) >= 5 for part in parts[:-1])
    requests = [{prompt.request_id for prompt in part} for part in parts]
    assert sum(map(len, requests)) == len(set().union(*requests))


def test_a_batch_is_one_pass_and_the_rest_of_a_run_is_cut_as_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenization, "_STRETCH", 16)
    made = engine(tiny_llama(tmp_path), self_check=0, batch_tokens=512)
    asked = prompts(40)
    batches = list(made.batches(asked))
    assert sorted(prompt.prompt_id for batch in batches for prompt in batch) == sorted(p.prompt_id for p in asked)
    assert 1 < len(batches) < len(asked)
    assert list(made.batches(asked)) == batches
    answered = list(made.answer_batches(batches))
    assert made.facts()["batches"] == len(batches)
    assert [{response.prompt_id for response in part} for part in answered] == [
        {prompt.prompt_id for prompt in batch} for batch in batches
    ]
    later = engine(tmp_path, self_check=0, batch_tokens=512)
    rest = list(later.answer_batches(batches[5:]))
    assert rest == answered[5:]  # bit for bit


def test_each_of_more_prompts_than_are_remembered_is_tokenised_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenization, "_REMEMBERED", 2000)
    monkeypatch.setattr(generate, "_PIECE_TEXT", 4000, raising=False)
    tokenised: list[str] = []
    read = PromptReader._read

    def counted(reader: PromptReader, prompt: Prompt) -> Job:
        tokenised.append(prompt.prompt_id)
        return read(reader, prompt)

    monkeypatch.setattr(PromptReader, "_read", counted)
    asked = [
        replace(prompt, messages=(*prompt.messages, Message("user", f"Number {number}.")))
        for number, prompt in enumerate(prompts(40))
        if prompt.choices
    ]
    made = engine(tiny_llama(tmp_path / "model"), self_check=0)
    cached = CachedGenerator(ResponseCache(tmp_path / "cache", {"model": "tiny"}), lambda: made)
    answered = cached.ask([Question([prompt], 0, lambda fewer, *, without_attributes=False: []) for prompt in asked])
    assert len(answered) == len(asked)
    assert sum(row["prompt_tokens"] for row in answered.values()) > 2 * 2000
    assert sorted(tokenised) == sorted(prompt.prompt_id for prompt in asked)
    assert made.reader._held <= 2000


def test_what_was_read_is_remembered_up_to_a_number_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenization, "_REMEMBERED", 2000)
    reader = PromptReader(train_tokenizer(), chat=None, encoder_decoder=False)
    asked = prompts(40)
    first = [reader.read(prompt) for prompt in asked]
    assert sum(job.size for job in first) > 2000
    assert sum(job.size for job in reader._jobs.values()) == reader._held <= 2000
    assert reader.read(asked[-1]) is first[-1]
    assert reader.read(asked[0]) == first[0]
    assert reader.read(asked[0]) is not first[0]


def test_a_sample_hangs_on_what_is_asked_and_not_on_who_asks() -> None:
    one = Prompt("p", "r", (Message("user", "Which?"),), ("a", "b"), sample=1)
    same = Prompt("q", "s", one.messages, ("c",), sample=1)
    other = Prompt("p", "r", (Message("user", "What?"),), ("a", "b"), sample=1)
    seeds = [sample_seed(0, prompt.sample, asked_text(prompt)) for prompt in (one, same, other)]
    assert seeds[0] == seeds[1] != seeds[2]
