"""The transformers engine: its tokens, its order, its checks and its errors."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from llmrs_bench.core.errors import EngineError, ModelError, OptionError
from llmrs_bench.core.types import Message, Prompt
from llmrs_bench.llm.backends.transformers import TransformersEngine
from llmrs_bench.llm.engine_options import TransformersOptions
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.tokenization import Job
from tiny_models import TITLES, choice_prompt, text_prompt, tiny_llama, tiny_mistral
from transformers_cases import answers, engine, plain_text, reference, scores, yes_no_prompts


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def chat_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("chat"), chat=True)


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


def test_a_prompt_that_does_not_fit_is_an_error_not_a_cut(llama: Path) -> None:
    made = engine(llama, answer_tokens=30)
    longest = max(n for n in range(60) if made.count_tokens([text_prompt(history=n)])[0] <= made.context)
    answers(made, text_prompt(history=longest))
    with pytest.raises(EngineError, match="needs") as caught:
        list(made.answer([text_prompt(history=longest + 1)]))
    assert "answer_tokens" in caught.value.hint
    tokens = made.reader.read(choice_prompt()).tokens
    assert made.count_tokens([choice_prompt()]) == [len(tokens.prefix) + max(map(len, tokens.suffixes))]


def test_the_catalogue_may_narrow_the_context(llama: Path) -> None:
    spec = ModelSpec("tiny", str(llama), context=64)
    assert TransformersEngine(spec, TransformersOptions(), device="cpu", seed=0).context == 64
    assert engine(llama).context == 256


def test_prompts_beyond_a_sliding_window_are_scored_plainly(tmp_path: Path) -> None:
    folder = tiny_mistral(tmp_path, window=64)
    made = engine(folder)
    short, long = choice_prompt("short", titles=TITLES[:4], history=0), choice_prompt("long", history=12)
    assert made.count_tokens([short])[0] <= 64 < made.count_tokens([long])[0]
    found = answers(made, short, long)
    for prompt in (short, long):
        for choice, values in zip(prompt.choices or (), found[prompt.prompt_id].choice_logprobs or (), strict=True):
            assert values == pytest.approx(reference(folder, plain_text(prompt), choice), abs=1e-4)
    assert made.facts()["scored_plainly"] == 1


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


@pytest.mark.parametrize("checks", [0, 1, 2, 5])
def test_the_self_check_scores_some_prompts_twice(llama: Path, checks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(llama, self_check=checks)
    checked = list[str]()
    plain = made.scorer._plain

    def noted(job: Job, batch_tokens: int) -> list[list[float]]:
        checked.append(job.prompt.prompt_id)
        return plain(job, batch_tokens)

    monkeypatch.setattr(made.scorer, "_plain", noted)
    answers(made, *yes_no_prompts("r"), *yes_no_prompts("s", history=8), choice_prompt("one"))
    assert len(checked) == len(set(checked)) == checks
    assert made.facts()["self_check_prompts"] == checks
    assert (made.facts()["self_check_difference"] is None) == (checks == 0)


def test_batches_that_do_not_fit_the_memory_are_halved(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(llama, self_check=0)
    score, sizes = made.scorer.score_groups, list[int]()

    def small(model: Any, groups: Any) -> Any:
        sizes.append(len(groups))
        if len(groups) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return score(model, groups)

    monkeypatch.setattr(made.scorer, "score_groups", small)
    prompts = [choice_prompt(f"p{n}") for n in range(5)]
    found, whole = answers(made, *prompts), answers(engine(llama), *prompts)
    assert sizes == [5, 3, 2, 1, 2]
    assert made.facts()["batches_halved"] == 2
    for name, response in found.items():
        for one, other in zip(response.choice_logprobs or (), whole[name].choice_logprobs or (), strict=True):
            assert one == pytest.approx(other, abs=1e-5)


def test_a_request_that_does_not_fit_the_memory_is_an_error(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(llama, self_check=0)

    def exhausted(*args: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(made.scorer, "score_groups", exhausted)
    with pytest.raises(EngineError, match="out of memory") as caught:
        scores(made, choice_prompt())
    assert "bfloat16" in caught.value.hint


def test_close_gives_the_memory_of_the_weights_back(llama: Path) -> None:
    made = engine(llama)
    made.reset_cache()
    scores(made, choice_prompt())
    made.close()
    assert all(weight.is_meta for weight in made.weights.parameters())
    assert made.facts()["dtype"] == "float32"
