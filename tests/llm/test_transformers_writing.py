"""Texts of the transformers engine: batches, stops, thoughts and grammars, against `generate` one by one."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.cache_utils import DynamicLayer

from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.types import Prompt
from llmrs_bench.llm.backends import transformers, transformers_generation
from llmrs_bench.llm.backends.transformers_generation import RoomyLayer, roomy_cache
from llmrs_bench.prompts.parsing.thoughts import spoken
from tiny_models import (
    CHAT_TEMPLATE,
    TITLES,
    choice_prompt,
    text_prompt,
    tiny_llama,
    tiny_mistral,
    tiny_t5,
    train_tokenizer,
)
from transformers_cases import answers, engine, plain_text, scores

THINKING_TEMPLATE = CHAT_TEMPLATE + (
    "{% if add_generation_prompt and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def chat_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("chat"), chat=True)


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose template asks it to think, or tells it that it has thought; it never ends a thought."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("thinker")
    tokenizer = train_tokenizer()
    tokenizer.chat_template = THINKING_TEMPLATE
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.save_pretrained(folder)
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, initializer_range=0.2, **shape)
    model = LlamaForCausalLM(config).eval()
    model.get_output_embeddings().weight.data[-2:] = 0
    model.save_pretrained(folder)
    return folder


def greedy(folder: Path, ids: list[int], count: int) -> list[int]:
    """Return the likeliest tokens behind others."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    inputs = torch.tensor([ids])
    output = model.generate(inputs, attention_mask=torch.ones_like(inputs), do_sample=False, max_new_tokens=count)
    return list(output[0, len(ids) :].tolist())


def asked(folder: Path, prompt: Prompt, more: str = "") -> list[int]:
    """Return the tokens of a prompt that goes through the chat template."""
    text = f"<s><|user|>{prompt.messages[0].content}<|end|><|assistant|>{more}"
    return list(AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"])


def test_a_layer_with_room_holds_what_a_copied_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RoomyLayer, "ROOM", 2)
    roomy, plain = RoomyLayer(), DynamicLayer()
    for step, tokens in enumerate((5, 1, 1, 1, 1, 2, 1, 1)):
        keys, values = torch.randn(2, 2 if step > 3 else 4, 3, tokens, 7).unbind()
        for held, expected in zip(roomy.update(keys, values), plain.update(keys, values), strict=True):
            assert held.equal(expected)
        if step == 3:
            for layer in (roomy, plain):
                layer.batch_select_indices(torch.tensor([2, 0]))
                layer.crop(-2)
    assert roomy.get_seq_length() == plain.get_seq_length() == 11


def test_windows_and_encoders_keep_the_caches_they_have(llama: Path, t5: Path, tmp_path: Path) -> None:
    (cache,) = roomy_cache(engine(llama).weights).values()
    assert [type(layer) for layer in cache.layers] == [RoomyLayer] * 2
    assert roomy_cache(engine(tiny_mistral(tmp_path, window=8)).weights) == {}
    assert roomy_cache(engine(t5).weights) == {}


def test_batches_that_write_on_a_cpu_fill_the_memory_of_keys_and_values(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = engine(llama).weights.config
    token = 2 * 2 * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads) * 4
    prompts = [text_prompt(f"p{n}", history=n) for n in range(4)]
    for said, usual, held, batches in (
        ({}, 20, 1000, 1),
        ({}, 1000, 20, 1),
        ({}, 20, 20, 4),
        ({"batch_tokens": 20}, 1000, 1000, 4),
    ):
        monkeypatch.setattr(transformers, "BATCH_TOKENS", usual)
        monkeypatch.setattr(transformers, "_CPU_CACHE", held * token)
        assert len(list(engine(llama, answer_tokens=4, **said).batches(prompts))) == batches


@pytest.mark.parametrize("chat", [False, True])
def test_written_answers_are_those_of_generate_one_by_one(llama: Path, chat_llama: Path, chat: bool) -> None:
    folder = chat_llama if chat else llama
    prompts = [text_prompt(f"p{n}", history=n) for n in range(6)]
    found = answers(engine(folder, batch_tokens=300), *prompts)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    for prompt in prompts:
        text = f"<s><|user|>{prompt.messages[0].content}<|end|><|assistant|>" if chat else plain_text(prompt)
        ids = tokenizer(text, add_special_tokens=not chat, return_tensors="pt")["input_ids"]
        output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8)
        response = found[prompt.prompt_id]
        assert response.text == tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
        assert response.prompt_tokens == ids.shape[1]
        assert (response.completion_tokens, response.finish_reason) == (8, "length")


def test_answers_stop_at_the_checkpoint_s_stop_tokens_and_ignore_its_sampling(llama: Path, tmp_path: Path) -> None:
    made = engine(llama)
    prompts = [text_prompt(f"p{n}", history=n) for n in range(4)]
    free = answers(made, *prompts)
    written = made.weights.generate(
        torch.tensor([made.reader.read(prompts[0]).tokens.prefix]),
        generation_config=made.weights.generation_config,
        max_new_tokens=8,
    )[0, -8:].tolist()
    folder = shutil.copytree(llama, tmp_path / "sampling")
    own = {"eos_token_id": [2, written[4]], "do_sample": True, "temperature": 0.3, "repetition_penalty": 9.0}
    (folder / "generation_config.json").write_text(json.dumps(own))

    again = answers(engine(folder), *prompts)
    assert again["p0"].finish_reason == "stop"
    assert again["p0"].completion_tokens == written.index(written[4]) + 1
    for name, response in again.items():
        if response.finish_reason == "length":
            assert response.text == free[name].text
        else:
            assert (free[name].text or "").startswith((response.text or "").rstrip("\ufffd"))


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_rows_that_end_leave_their_batch_and_the_others_write_on(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    prompts = [text_prompt(f"p{n}", history=n) for n in range(8)]
    folder = shutil.copytree(llama, tmp_path / "stops")
    stops = list(range(2, len(AutoTokenizer.from_pretrained(llama)), 8))
    if temperature == 0:
        stops = greedy(llama, [*engine(llama).reader.read(prompts[0]).tokens.prefix], 5)[-1:]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}))
    whole = answers(engine(folder, temperature=temperature), *prompts)
    assert {response.finish_reason for response in whole.values()} == {"stop", "length"}

    monkeypatch.setattr(transformers_generation, "_PIECE", 3)
    made, rows, heard = engine(folder, temperature=temperature), list[int](), list[int]()
    plain = made.weights.generate

    def noted(**said: Any) -> Tensor:
        rows.append(len(said["input_ids"]))
        output: Tensor = plain(**said)
        return output

    monkeypatch.setattr(made.weights, "generate", noted)
    made.tell(heard.append)
    assert answers(made, *prompts) == whole
    assert len(rows) == 3  # pieces of 8 tokens
    assert rows[0] == 8 > rows[-1] > 0
    assert sum(heard) >= sum(one.prompt_tokens + one.completion_tokens for one in whole.values())


def test_tokens_are_told_of_as_soon_as_they_are_read_or_written(llama: Path) -> None:
    made, heard = engine(llama), list[int]()
    made.tell(heard.append)
    found = answers(made, *(text_prompt(f"p{n}", history=n) for n in range(3))).values()
    read, written = (sum(getattr(one, name) for one in found) for name in ("prompt_tokens", "completion_tokens"))
    assert heard == [read + 3] + [3] * 7
    assert written == 3 * 8


def test_t5_choices_and_answers(t5: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(t5), AutoModelForSeq2SeqLM.from_pretrained(t5)
    prompt = choice_prompt(history=1)
    made = engine(t5, batch_tokens=200)
    encoder = tokenizer(plain_text(prompt), return_tensors="pt")["input_ids"]
    assert encoder[0, -1] == tokenizer.eos_token_id
    for title, values in zip(TITLES, scores(made, prompt), strict=True):
        target = tokenizer(title, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            logprobs = model(input_ids=encoder, labels=target).logits[0].log_softmax(-1)
        assert values == pytest.approx(logprobs.gather(1, target.T)[:, 0].tolist(), abs=1e-4, rel=1e-5)

    prompts = [text_prompt(f"t{n}", history=n) for n in range(3)]
    found = answers(made, *prompts)
    for one in prompts:
        ids = tokenizer(plain_text(one), return_tensors="pt")["input_ids"]
        output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8)
        assert found[one.prompt_id].text == tokenizer.decode(output[0], skip_special_tokens=True)
        assert made.count_tokens([one]) == [ids.shape[1]]


def test_t5_prompts_are_scored_together_and_apart(t5: Path) -> None:
    prompts = [choice_prompt(f"p{place}", history=history) for place, history in enumerate((1, 1, 2, 3, 1))]
    together = engine(t5)
    found = answers(together, *prompts)
    assert together.facts()["batches"] in range(1, len(prompts))
    assert isinstance(together.facts()["self_check_difference"], float)
    for options in ({"packed": False}, {"deterministic": True}, {"batch_tokens": 30}):
        for name, response in answers(engine(t5, **options), *prompts).items():
            for one, other in zip(response.choice_logprobs or (), found[name].choice_logprobs or (), strict=True):
                assert one == pytest.approx(other, abs=1e-4, rel=1e-5)  # of tens of nats


def ranking(prompt_id: str, count: int, history: int) -> Prompt:
    return Prompt(prompt_id, prompt_id, text_prompt(history=history).messages, TITLES[:count], grammar="permutation")


@pytest.mark.parametrize("model", ["llama", "chat_llama", "t5"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_grammars_admit_permutations_alone(model: str, deterministic: bool, request: pytest.FixtureRequest) -> None:
    made = engine(request.getfixturevalue(model), answer_tokens=1, deterministic=deterministic)
    prompts = [ranking(f"g{count}", count, history=count % 3) for count in (1, 2, 5, 12)]
    found = answers(made, *prompts, text_prompt("free"))
    for prompt in prompts:
        response = found[prompt.prompt_id]
        numbers = [int(number) for number in (response.text or "").split(", ")]
        assert sorted(numbers) == list(range(1, len(prompt.shown) + 1))
        assert response.finish_reason == "stop"
    assert found["free"].completion_tokens == 1
    if not made.encoder_decoder:
        room = [
            need - len(made.reader.read(prompt).tokens.prefix)
            for prompt, need in zip(prompts, made.count_tokens(prompts), strict=True)
        ]
        assert all(
            found[prompt.prompt_id].completion_tokens <= left for prompt, left in zip(prompts, room, strict=True)
        )


def test_an_endless_thought_is_closed_by_force_and_the_answer_follows(thinker: Path) -> None:
    made = engine(thinker, thinking_tokens=6, answer_tokens=5)
    prompts = [text_prompt(f"p{n}", history=n) for n in range(4)]
    found = answers(made, *prompts)
    tokenizer = made.reader.tokenizer
    closing = tokenizer("\n</think>\n\n", add_special_tokens=False)["input_ids"]
    for prompt in prompts:
        read = asked(thinker, prompt)
        thought = greedy(thinker, read, 6)
        answer = greedy(thinker, read + thought + closing, 5)
        response = found[prompt.prompt_id]
        assert response.text == f"<think>{tokenizer.decode(thought)}\n</think>\n\n{tokenizer.decode(answer)}"
        assert spoken(response.text) == f"\n\n{tokenizer.decode(answer)}"
        assert (response.thinking_tokens, response.completion_tokens) == (6, 11)
        assert (response.prompt_tokens, made.count_tokens([prompt])) == (len(read), [len(read) + 6 + 5 + len(closing)])


def test_a_model_that_ends_its_thought_answers_at_once(thinker: Path, tmp_path: Path) -> None:
    prompt = text_prompt()
    thought = greedy(thinker, asked(thinker, prompt), 12)
    place = next(place for place, token in enumerate(thought) if place > 2 and token not in thought[:place])
    folder = shutil.copytree(thinker, tmp_path / "ends")
    model = AutoModelForCausalLM.from_pretrained(folder)
    rows = model.get_output_embeddings().weight.data
    rows[-1] = 1.01 * rows[thought[place]]  # </think> wins wherever that token did
    model.save_pretrained(folder)

    response = answers(engine(folder, thinking_tokens=30, answer_tokens=5), prompt)["p"]
    text = AutoTokenizer.from_pretrained(folder).decode(thought[:place])
    assert (response.text or "").startswith(f"<think>{text}</think>\n\n")
    assert (response.thinking_tokens, response.completion_tokens) == (place + 1, place + 6)

    unasked = greedy(folder, asked(folder, prompt, "<think>\n\n</think>\n\n"), 12)
    end = AutoTokenizer.from_pretrained(folder).get_vocab()["</think>"]
    response = answers(engine(folder, answer_tokens=12), prompt)["p"]
    assert response.thinking_tokens == (unasked.index(end) + 1 if end in unasked else 0)


def test_thoughts_come_before_grammars_and_not_before_choices(thinker: Path) -> None:
    made = engine(thinker, thinking_tokens=6, answer_tokens=1)
    response = answers(made, ranking("g", 12, 1))["g"]
    numbers = [int(number) for number in spoken(response.text or "").split(", ")]
    assert sorted(numbers) == list(range(1, 13))
    assert (response.thinking_tokens, response.finish_reason) == (6, "stop")
    assert scores(made, choice_prompt()) == scores(engine(thinker), choice_prompt())


def test_models_that_do_not_think_are_refused_a_budget_for_it(chat_llama: Path, t5: Path) -> None:
    for folder in (chat_llama, t5):
        with pytest.raises(ModelError, match="does not think") as caught:
            engine(folder, thinking_tokens=6)
        assert "thinking_tokens=0" in caught.value.hint


def test_samples_depend_on_their_prompt_and_number_alone(llama: Path) -> None:
    """What stands beside a prompt in its batch changes nothing, and each sample is another draw."""
    prompts = [replace(text_prompt(f"p{n}"), sample=n) for n in range(6)]
    made = engine(llama, temperature=1.0, answer_tokens=8)
    together = {name: response.text for name, response in answers(made, *prompts).items()}
    alone = {name: response.text for one in prompts for name, response in answers(made, one).items()}
    assert together == alone
    assert len(set(together.values())) > 3
    others = [replace(prompt, prompt_id=f"other {prompt.prompt_id}", request_id="s") for prompt in prompts]
    assert [response.text for response in answers(made, *others).values()] == list(together.values())
    greedy = answers(engine(llama, answer_tokens=8), *prompts)
    assert len({response.text for response in greedy.values()}) == 1
    cold = answers(engine(llama, temperature=1e-4, answer_tokens=8), *prompts)
    assert {response.text for response in cold.values()} == {response.text for response in greedy.values()}


@pytest.mark.slow
def test_first_tokens_are_drawn_from_the_softmax(llama: Path) -> None:
    """Half the logits at temperature 2: frequencies of 4,000 draws against the model's own probabilities."""
    prompts = [replace(text_prompt(f"p{n}"), sample=n) for n in range(4000)]
    made = engine(llama, temperature=2.0, answer_tokens=1, batch_tokens=400_000)
    job = made.reader.read(prompts[0])
    with torch.inference_mode():
        logits = made.weights(torch.tensor([job.tokens.prefix])).logits[0, -1].double()
    likely = torch.softmax(logits / 2, -1)
    drawn = Counter(response.text for response in answers(made, *prompts).values())
    expected: Counter[str] = Counter()
    for token, share in enumerate(likely.tolist()):
        expected[made.reader.tokenizer.decode([token], skip_special_tokens=True)] += share
    distance = sum(abs(drawn[text] / 4000 - share) for text, share in expected.items()) / 2
    shuffled = np.random.default_rng(0).choice(len(likely), 4000, p=(likely / likely.sum()).numpy())
    usual = sum(abs((shuffled == token).mean() - share) for token, share in enumerate(likely.tolist())) / 2
    assert distance < 1.5 * usual
