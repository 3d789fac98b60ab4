"""The transformers engine against plain forward passes written here."""

import dataclasses
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines import transformers as engine_module
from llmrs_bench.engines.causal import score_packed
from llmrs_bench.engines.transformers import TransformersEngine, TransformersOptions
from llmrs_bench.errors import EngineError, ModelError, OptionError
from llmrs_bench.types import Message, Prompt, Response
from tiny_models import TITLES, choice_prompt, text_prompt, tiny_llama, tiny_mistral, tiny_t5


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def chat_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("chat"), chat=True)


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_t5(tmp_path_factory.mktemp("t5"))


def engine(folder: Path, **options: Any) -> TransformersEngine:
    spec = ModelSpec("tiny", str(folder))
    return TransformersEngine(spec, TransformersOptions(**{"answer_tokens": 8, **options}), device="cpu", seed=0)


def answers(made: TransformersEngine, *prompts: Prompt) -> dict[str, Response]:
    found = {response.prompt_id: response for response in made.answer(prompts)}
    assert len(found) == len(prompts)
    return found


def scores(made: TransformersEngine, prompt: Prompt) -> tuple[tuple[float, ...], ...]:
    logprobs = answers(made, prompt)[prompt.prompt_id].choice_logprobs
    assert logprobs is not None
    return logprobs


def reference(folder: Path, text: str, choice: str, *, special: bool = True) -> list[float]:
    """Score the tokens of prompt + choice that the prompt does not share, in one plain forward pass."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer(text + choice, add_special_tokens=special)["input_ids"]
    start = next(
        i
        for i, (a, b) in enumerate(
            zip(tokenizer(text, add_special_tokens=special)["input_ids"] + [-1], ids, strict=False)
        )
        if a != b
    )
    with torch.inference_mode():
        logprobs = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return [logprobs[i - 1, ids[i]].item() for i in range(start, len(ids))]


def plain_text(prompt: Prompt) -> str:
    return "\n".join(message.content for message in prompt.messages)


@pytest.mark.parametrize(
    "options",
    [{}, {"packed": False}, {"batch_tokens": 20}, {"packed": False, "batch_tokens": 200}],
    ids=["packed", "plain", "packed in groups", "plain in groups"],
)
def test_choice_logprobs_are_those_of_one_forward_pass_per_title(llama: Path, options: dict[str, Any]) -> None:
    prompt = choice_prompt()
    found = scores(engine(llama, **options), prompt)
    for choice, values in zip(prompt.choices or (), found, strict=True):
        assert values == pytest.approx(reference(llama, plain_text(prompt), choice), abs=1e-4)
    assert len({len(values) for values in found}) > 2


def test_one_token_titles_need_no_packed_row(llama: Path) -> None:
    prompt = choice_prompt(titles=("Toy", "The"))
    found = scores(engine(llama), prompt)
    assert [len(values) for values in found] == [1, 1]
    assert found[0] == pytest.approx(reference(llama, plain_text(prompt), " Toy"), abs=1e-4)


def test_answers_do_not_depend_on_the_order_of_prompts_or_choices(llama: Path) -> None:
    prompts = [choice_prompt(f"p{n}", history=n % 5) for n in range(8)]
    prompts += [text_prompt(f"t{n}", history=n % 5) for n in range(8)]
    shuffled = random.Random(1).sample(prompts, len(prompts))
    assert answers(engine(llama, batch_tokens=400), *prompts) == answers(engine(llama, batch_tokens=400), *shuffled)

    order = random.Random(2).sample(range(len(TITLES)), len(TITLES))
    turned = choice_prompt(titles=tuple(TITLES[i] for i in order))
    straight = scores(engine(llama), choice_prompt())
    assert scores(engine(llama), turned) == tuple(straight[i] for i in order)


def test_a_token_across_the_boundary_moves_it_for_all_choices(llama: Path) -> None:
    prompt = Prompt("p", "p", (Message("user", "The next movie is: Th"),), ("a", "b"), ("e Matrix", "ree"))
    made = engine(llama)
    tokenizer = AutoTokenizer.from_pretrained(llama)
    whole = tokenizer("The next movie is: The Matrix")["input_ids"]
    assert (
        tokenizer("The next movie is: Th")["input_ids"] != whole[: len(tokenizer("The next movie is: Th")["input_ids"])]
    )

    found = scores(made, prompt)
    assert found[0] == pytest.approx(reference(llama, "The next movie is: Th", "e Matrix"), abs=1e-4)
    assert made.facts()["boundary_moved"] == 1


def test_plain_prompts_and_chat_prompts_begin_with_one_bos(llama: Path, chat_llama: Path) -> None:
    for folder in (llama, chat_llama):
        made = engine(folder)
        bos = made.reader.tokenizer.bos_token_id
        for prompt in (choice_prompt(), text_prompt()):
            prefix = made.reader.read(prompt).tokens.prefix
            assert prefix[0] == bos
            assert prefix.count(bos) == 1


def test_chat_choices_continue_the_prefix_of_the_assistant(chat_llama: Path) -> None:
    prompt = choice_prompt()
    text = f"<s><|user|>{prompt.messages[0].content}<|end|><|assistant|>{prompt.messages[1].content}"
    found = scores(engine(chat_llama), prompt)
    for choice, values in zip(prompt.choices or (), found, strict=True):
        assert values == pytest.approx(reference(chat_llama, text, choice, special=False), abs=1e-4)


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
        torch.tensor([made.reader.read(prompts[0]).tokens.prefix]), generation_config=made.weights.generation_config
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
        assert values == pytest.approx(logprobs.gather(1, target.T)[:, 0].tolist(), abs=1e-4)

    prompts = [text_prompt(f"t{n}", history=n) for n in range(3)]
    found = answers(made, *prompts)
    for one in prompts:
        ids = tokenizer(plain_text(one), return_tensors="pt")["input_ids"]
        output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8)
        assert found[one.prompt_id].text == tokenizer.decode(output[0], skip_special_tokens=True)
        assert made.needs(one) == ids.shape[1]


def test_a_prompt_that_does_not_fit_is_an_error_not_a_cut(llama: Path) -> None:
    made = engine(llama, answer_tokens=30)
    longest = max(n for n in range(60) if made.needs(text_prompt(history=n)) <= made.context)
    answers(made, text_prompt(history=longest))
    with pytest.raises(EngineError, match="needs") as caught:
        list(made.answer([text_prompt(history=longest + 1)]))
    assert "answer_tokens" in caught.value.hint
    tokens = made.reader.read(choice_prompt()).tokens
    assert made.needs(choice_prompt()) == len(tokens.prefix) + max(map(len, tokens.suffixes))


def test_the_catalogue_may_narrow_the_context(llama: Path) -> None:
    spec = ModelSpec("tiny", str(llama), context=64)
    assert TransformersEngine(spec, TransformersOptions(), device="cpu", seed=0).context == 64
    assert engine(llama).context == 256


def test_prompts_beyond_a_sliding_window_are_scored_plainly(tmp_path: Path) -> None:
    folder = tiny_mistral(tmp_path, window=64)
    made = engine(folder)
    short, long = choice_prompt("short", titles=TITLES[:4], history=0), choice_prompt("long", history=12)
    assert made.needs(short) <= 64 < made.needs(long)
    found = answers(made, short, long)
    for prompt in (short, long):
        for choice, values in zip(prompt.choices or (), found[prompt.prompt_id].choice_logprobs or (), strict=True):
            assert values == pytest.approx(reference(folder, plain_text(prompt), choice), abs=1e-4)
    assert made.facts()["scored_plainly"] == 1


def test_the_self_check_stops_a_model_that_packs_badly(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(llama)
    scores(made, choice_prompt())
    difference = made.facts()["self_check_difference"]
    assert isinstance(difference, float)
    assert difference < 1e-4

    exact = score_packed

    def shifted(*args: Any, **kwargs: Any) -> list[list[float]]:
        return [[value + 0.01 for value in row] for row in exact(*args, **kwargs)]

    monkeypatch.setattr(engine_module, "score_packed", shifted)
    with pytest.raises(EngineError, match="differ by") as caught:
        scores(engine(llama), choice_prompt())
    assert "packed=false" in caught.value.hint
    assert len(scores(engine(llama, packed=False), choice_prompt())) == len(TITLES)


def test_out_of_memory_is_an_engine_error(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    made = engine(llama)
    monkeypatch.setattr(engine_module, "score_plain", exhausted)
    with pytest.raises(EngineError, match="out of memory") as caught:
        scores(made, choice_prompt())
    assert "batch_tokens" in caught.value.hint


def test_repeated_and_missing_choices(llama: Path) -> None:
    made = engine(llama)
    twice = scores(made, choice_prompt(titles=("Heat", "Alien", "Heat")))
    assert twice[0] == twice[2] != twice[1]
    assert scores(made, dataclasses.replace(choice_prompt(), choices=())) == ()
    with pytest.raises(EngineError, match="blank"):
        scores(made, dataclasses.replace(choice_prompt(), choices=(" Heat", " ")))


def test_what_cannot_be_loaded_is_a_model_error(tmp_path: Path, llama: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        engine(tmp_path / "absent")
    with pytest.raises(ModelError, match=r"no config\.json"):
        engine(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(ModelError, match="cannot load"):
        engine(tmp_path)
    spec = ModelSpec("tiny", str(llama), remote_code=True)
    with pytest.raises(ModelError, match="Python code") as caught:
        TransformersEngine(spec, TransformersOptions(), device="cpu", seed=0)
    assert "trust_remote_code=true" in caught.value.hint
    with pytest.raises(OptionError, match="chat_template"):
        engine(llama, chat_template=tmp_path / "absent.jinja")


def test_chat_without_a_template_names_the_option_that_gives_one(llama: Path, tmp_path: Path) -> None:
    spec = ModelSpec("tiny", str(llama), chat=True)
    with pytest.raises(ModelError, match="no chat template") as caught:
        list(TransformersEngine(spec, TransformersOptions(), device="cpu", seed=0).answer([text_prompt()]))
    assert "chat_template=PATH" in caught.value.hint
    template = tmp_path / "chat.jinja"
    template.write_text("{{ bos_token }}{{ messages[0].content }}")
    made = engine(llama, chat_template=template)
    assert made.facts()["chat_template_sha256"] is not None
    assert made.reader.read(text_prompt()).tokens == engine(llama).reader.read(text_prompt()).tokens


def test_facts_name_model_tokenizer_and_numbers(chat_llama: Path) -> None:
    facts = engine(chat_llama).facts()
    assert facts["model_source"] == str(chat_llama)
    assert (facts["dtype"], facts["device"], facts["context"]) == ("float32", "cpu", 256)
    for name in ("content", "tokenizer_sha256", "chat_template_sha256"):
        assert len(str(facts[name])) == 64
    assert engine(chat_llama, dtype="bfloat16").facts()["dtype"] == "bfloat16"
