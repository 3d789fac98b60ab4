"""The self-check: which prompts it looks at, that no healthy model stops, and that every planted error does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from llmrs_bench.core.errors import EngineError, raised_here
from llmrs_bench.core.types import Prompt
from llmrs_bench.llm.backends import likelihood
from llmrs_bench.llm.backends.packing import PackBatch, pad_right, row_logits
from llmrs_bench.llm.backends.token_tree import Group
from llmrs_bench.llm.backends.transformers import TransformersEngine
from llmrs_bench.llm.self_check import Difference, SelfCheck, agrees, difference, is_noise, sampled
from llmrs_bench.llm.tokenization import Job, Tokenized
from tiny_models import TITLES, choice_prompt, tiny_llama, tiny_mistral, train_tokenizer
from transformers_cases import answers, engine, yes_no_prompts

PROMPTS = [choice_prompt(f"p{history}", history=history) for history in range(6)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


def shifted(monkeypatch: pytest.MonkeyPatch, made: TransformersEngine) -> None:
    """Give packed tokens positions that are too high by one."""
    score = row_logits

    def wrong(model: Any, rows: Tensor, **inputs: Any) -> Tensor:
        mask = inputs.get("attention_mask")
        if mask is not None and mask.dim() == 4:
            inputs["position_ids"] = inputs["position_ids"] + 1
        return score(model, rows, **inputs)

    monkeypatch.setattr(likelihood, "row_logits", wrong)


def without_bos(monkeypatch: pytest.MonkeyPatch, made: TransformersEngine) -> None:
    """Leave out the first token of prompts that are packed."""
    score = made.scorer.score_groups

    def wrong(model: Any, groups: list[Group]) -> list[list[list[float]]]:
        return score(model, [Group(one.jobs, one.prefix[1:], one.owners, one.packs) for one in groups])

    monkeypatch.setattr(made.scorer, "score_groups", wrong)


def swapped(monkeypatch: pytest.MonkeyPatch, made: TransformersEngine) -> None:
    """Score packed titles with other weights, as if an adapter were swapped or ignored."""
    score, weights = made.scorer.score_groups, made.weights.model.layers[0].self_attn.q_proj.weight
    added = torch.randn(weights.shape[0], 4) @ torch.randn(4, weights.shape[1]) * 0.1

    def wrong(model: Any, groups: list[Group]) -> list[list[list[float]]]:
        own = weights.clone()
        weights.add_(added)
        scored = score(model, groups)
        weights.copy_(own)
        return scored

    monkeypatch.setattr(made.scorer, "score_groups", wrong)


def leaking(monkeypatch: pytest.MonkeyPatch, made: TransformersEngine) -> None:
    """Let each title see those before it."""
    right = PackBatch.mask

    def wrong(batch: PackBatch, prefixes: Tensor, width: int, dtype: torch.dtype) -> Tensor:
        mask = right(batch, prefixes, width, dtype)
        before = batch.places[:, None, :] <= batch.places[:, :, None]
        mask[:, 0, :, width:].masked_fill_(before, 0)
        return mask

    monkeypatch.setattr(PackBatch, "mask", wrong)


def blind(monkeypatch: pytest.MonkeyPatch, made: TransformersEngine) -> None:
    """Hide the last token of the prompt from what is packed behind it."""
    right = PackBatch.mask
    monkeypatch.setattr(PackBatch, "mask", lambda batch, prefixes, *rest: right(batch, prefixes - 1, *rest))


PLANTED: list[Callable[[pytest.MonkeyPatch, TransformersEngine], None]] = [
    shifted, without_bos, swapped, leaking, blind,
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("plant", PLANTED)
def test_planted_errors_stop_the_run(plant: Any, dtype: str, llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    made = engine(llama, dtype=dtype)
    plant(monkeypatch, made)
    with pytest.raises(EngineError, match="packed and plain scores of a title differ by") as caught:
        made.check(PROMPTS)
    assert "packed=false" in caught.value.hint
    plain = engine(llama, dtype=dtype, packed=False)
    plain.check(PROMPTS)
    assert len(answers(plain, *PROMPTS)) == len(PROMPTS)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("seed", range(4))
def test_healthy_models_do_not_stop(seed: int, dtype: str, tmp_path: Path) -> None:
    made = engine(tiny_llama(tmp_path, seed=seed, layers=4), dtype=dtype, self_check=6)
    made.check([*PROMPTS, *yes_no_prompts("r")])
    facts = made.facts()
    assert facts["self_check_prompts"] == 6
    assert isinstance(facts["self_check_noise"], float)
    assert isinstance(facts["self_check_difference"], float)
    assert made.scorer.obstacle is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_plain_scores_that_depend_on_the_batch_stop_the_run(
    dtype: str, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = engine(llama, dtype=dtype, packed=False)
    plain = made.scorer._plain

    def wrong(job: Job, batch_tokens: int) -> list[list[float]]:
        return [[value - 0.3 * (batch_tokens > 1) for value in row] for row in plain(job, batch_tokens)]

    monkeypatch.setattr(made.scorer, "_plain", wrong)
    with pytest.raises(EngineError, match="between two batch sizes") as caught:
        made.check(PROMPTS)
    assert "batch_tokens=1" in caught.value.hint


def unproven(folder: Path) -> Path:
    """Write a model that packs, of a kind that is not known to."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer()
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    limits = {"num_key_value_heads": 1, "max_position_embeddings": 256, "initializer_range": 0.3}
    config = AutoConfig.for_model("starcoder2", vocab_size=len(tokenizer), sliding_window=None, **shape, **limits)
    AutoModelForCausalLM.from_config(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_kinds_that_are_not_known_are_packed_if_that_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = unproven(tmp_path)
    made = engine(folder)
    answers(made, *PROMPTS)
    assert made.facts()["scored_plainly"] == 0

    unchecked = engine(folder, self_check=0)
    answers(unchecked, *PROMPTS)
    assert unchecked.facts()["scored_plainly"] == len(PROMPTS)

    differing = engine(folder)
    leaking(monkeypatch, differing)
    answers(differing, *PROMPTS)
    assert differing.facts()["scored_plainly"] == len(PROMPTS)
    assert [record.getMessage() for record in caplog.records if "packed and plain" in record.getMessage()]


def test_errors_of_this_program_are_not_blamed_on_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(unproven(tmp_path))

    monkeypatch.delattr(PackBatch, "scored")
    with pytest.raises(AttributeError, match="scored"):
        made.check(PROMPTS)


def test_whose_an_error_is_shows_where_it_was_raised() -> None:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", n_embd=8, n_layer=1, n_head=1, vocab_size=9))
    with pytest.raises(IndexError) as theirs:
        likelihood.score_plain(model, Tokenized((1, 20), ((3,),)), batch_tokens=9)
    assert not raised_here(theirs.value)
    with pytest.raises(ValueError, match="empty") as ours:
        pad_right([], 0)
    assert raised_here(ours.value)


@contextmanager
def passes(made: TransformersEngine) -> Iterator[list[int]]:
    """Yield a list that grows by the width of what the model reads."""
    widths: list[int] = []
    hook = made.weights.register_forward_pre_hook(
        lambda module, args, inputs: widths.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    yield widths
    hook.remove()


def test_the_check_looks_at_the_longest_and_the_shortest_prompt_and_then_no_more(llama: Path) -> None:
    made = engine(llama)
    lengths = [len(made.reader.read(prompt).tokens.prefix) for prompt in PROMPTS]
    with passes(made) as widths:
        made.check(PROMPTS)
        assert min(lengths) in widths
        assert max(lengths) <= max(widths)
        done = len(widths)
        made.check(PROMPTS)
        assert len(widths) == done
    assert made.facts()["batches"] == 0  # they are no part of the run


def test_the_check_looks_at_both_sides_of_a_window(tmp_path: Path) -> None:
    made = engine(tiny_mistral(tmp_path, window=64))
    made.check(PROMPTS[:1])
    assert made.facts()["self_check_prompts"] == 1
    made.check([choice_prompt(f"p{history}", history=history) for history in range(20)])
    assert made.facts()["self_check_prompts"] == 4


def test_prompts_beyond_a_window_are_scored_plainly_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = engine(tiny_mistral(tmp_path, window=64))
    answers(made, *(choice_prompt(f"p{history}", history=history) for history in (0, 12, 14)))
    assert made.facts()["scored_plainly"] == 2
    (told,) = [record.getMessage() for record in caplog.records if "one by one" in record.getMessage()]
    assert "64 tokens that some layers look back" in told


def job(name: str, length: int) -> Job:
    return Job(Prompt(name, name, (), (), ("x",)), Tokenized(tuple(range(length)), ((1,),)))


@pytest.mark.parametrize(("limit", "picked"), [(0, []), (1, ["e"]), (2, ["e", "a"]), (3, ["e", "c", "a"])])
def test_the_extremes_are_picked_first(limit: int, picked: list[str]) -> None:
    jobs = [job(name, 5 + number) for number, name in enumerate("abcde")]
    check = SelfCheck(limit)
    assert [one.prompt.prompt_id for one in check.pick(jobs, lambda job: 0)] == picked
    assert check.pick(jobs, lambda job: 0) == []
    assert check.complete(1)


def test_differences_are_those_of_tokens_not_of_titles() -> None:
    assert difference([[-1.0, -2.0], [-3.0]], [[-1.5, -1.5], [-3.0]]) == Difference((0.5 + 0.5 + 0) / 3, 0.5)
    assert difference([], []) == Difference()
    broken = difference([[nan, -1.0]], [[-1.0, -1.0]])
    assert not agrees(broken, Difference(), "float32")
    assert not is_noise(broken, "bfloat16")


def test_bounds_follow_the_noise_that_was_measured() -> None:
    found = Difference(0.1, 1.0)
    assert not agrees(found, Difference(), "bfloat16")
    assert agrees(found, Difference(0.05, 0.2), "bfloat16")
    assert not agrees(Difference(0.01, 0.01), Difference(), "float32")
    assert not agrees(Difference(0.0, 1.0), Difference(), "float32")


def test_a_sample_of_choices_has_the_shortest_and_the_longest(llama: Path) -> None:
    whole = engine(llama).reader.read(choice_prompt(titles=TITLES))
    some = sampled(whole)
    lengths = sorted(map(len, whole.tokens.distinct))
    assert sorted(map(len, some.tokens.distinct))[:: len(some.tokens.suffixes) - 1] == [lengths[0], lengths[-1]]
    assert len(some.tokens.suffixes) == 8
