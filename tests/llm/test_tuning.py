import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from typer.main import get_command

from llmrs_bench.cli.main import app
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.training_checkpoint import Resume, seeded
from llmrs_bench.core.types import Json, Message, Prompt, Step
from llmrs_bench.llm import tuning
from llmrs_bench.llm.base import ModelOptions
from llmrs_bench.llm.loading import Checkpoint
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.tokenization import PromptReader
from llmrs_bench.llm.training_memory import check_memory
from llmrs_bench.llm.tune_options import Method, TuneOptions
from llmrs_bench.llm.tuning import (
    Sample,
    Validation,
    answer_loss,
    end_of_turn,
    load_trainable,
    mean_loss,
    plain_model,
    tune,
)
from tiny_models import tiny_llama, tiny_t5

CPU = torch.device("cpu")
SAMPLES = [
    Sample("a", (1, 20, 21, 22, 23), (30, 2)),
    Sample("b", (1, 40, 41), (31, 32, 33, 2)),
    Sample("c", (1, 50, 51, 52), (34, 2)),
]


@contextmanager
def unseen(total: int) -> Iterator[Step]:
    yield lambda done, note="", total=None: None


def checkpoint(folder: Path) -> Checkpoint:
    return Checkpoint(ModelSpec("tiny", str(folder)), ModelOptions())


def tuned(
    folder: Path,
    samples: Sequence[Sample],
    options: TuneOptions,
    *,
    drawn: Callable[[int], Sequence[Sample]] | None = None,
    method: Method = "lora",
    kept: Path | None = None,
    progress: Callable[[int], AbstractContextManager[Step]] = unseen,
    measure: Callable[[Any], float] | None = None,
    lower: bool = True,
) -> tuple[dict[str, Json], Any]:
    with seeded(0, CPU) as order:
        model = load_trainable(checkpoint(folder), method, options, CPU)
        plain = plain_model(model)
        validation = Validation(
            "loss", lambda: (measure or (lambda net: mean_loss(net, samples, tokens=512)))(plain), lower=lower
        )
        resume = Resume(kept, "the same", order)
        drawn = drawn or (lambda epoch: samples)
        facts = tune(model, drawn, validation, options, seed=0, progress=progress, resume=resume)
    return facts, model


def value(model: Any, samples: Sequence[Sample], *, whole: bool = False) -> tuple[float, int]:
    with torch.inference_mode():
        loss, count = answer_loss(model, samples, whole=whole)
    return loss.item(), count


@pytest.mark.parametrize("whole", [False, True])
def test_the_loss_is_that_of_transformers_on_the_same_labels(tmp_path: Path, whole: bool) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama(tmp_path), dtype=torch.float32)
    width = max(sample.size for sample in SAMPLES)
    ids = torch.tensor([[*s.prompt, *s.answer, *[0] * (width - s.size)] for s in SAMPLES])
    labels = torch.tensor(
        [[*(s.prompt if whole else [-100] * len(s.prompt)), *s.answer, *[-100] * (width - s.size)] for s in SAMPLES]
    )
    loss, count = value(model, SAMPLES, whole=whole)
    assert count == (sum(s.size - 1 for s in SAMPLES) if whole else 8)
    assert loss / count == pytest.approx(model(input_ids=ids, labels=labels).loss.item(), abs=1e-5)


def test_the_loss_of_an_encoder_decoder_is_that_of_transformers_on_the_answer_alone(tmp_path: Path) -> None:
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5(tmp_path), dtype=torch.float32)
    sample = SAMPLES[1]
    loss, count = value(model, [sample])
    theirs = model(input_ids=torch.tensor([sample.prompt]), labels=torch.tensor([sample.answer])).loss
    assert loss / count == pytest.approx(theirs.item(), abs=1e-5)
    together, _ = value(model, SAMPLES)
    assert together == pytest.approx(sum(value(model, [sample])[0] for sample in SAMPLES), rel=1e-6)


def test_the_loss_of_a_sample_does_not_depend_on_those_beside_it(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama(tmp_path), dtype=torch.float32)
    together, _ = value(model, SAMPLES)
    assert together == pytest.approx(sum(value(model, [sample])[0] for sample in SAMPLES), rel=1e-6)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_lowers_the_loss_and_leaves_the_best_weights(tmp_path: Path, method: Method) -> None:
    options = TuneOptions(rank=4, lr=0.01, epochs=10, batch=2, evaluate_every=5, dtype="float32", patience=9)
    facts, model = tuned(tiny_llama(tmp_path), SAMPLES, options, method=method)
    assert facts["steps"] == 20
    curve = facts["valid_curve"]
    assert isinstance(curve, list)
    assert len(curve) == 5  # before the first step, too
    assert facts["valid_before"] == curve[0]
    assert facts["valid_best"] == min(map(float, curve[1:]))  # type: ignore[arg-type]
    assert mean_loss(plain_model(model), SAMPLES, tokens=512) == pytest.approx(facts["valid_best"], abs=1e-5)
    assert float(facts["valid_best"]) < 0.7 * float(curve[0])  # type: ignore[arg-type]


def test_batches_of_one_pass_and_of_several_give_the_same_weights(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path)
    options = TuneOptions(rank=4, lr=0.01, epochs=3, batch=3, dtype="float32", dropout=0)
    whole, _ = tuned(folder, SAMPLES, options)
    parts, _ = tuned(folder, SAMPLES, options.model_copy(update={"batch_tokens": 1, "checkpointing": True}))
    assert parts["loss_curve"] == pytest.approx(whole["loss_curve"], abs=1e-5)


def test_patience_counts_validations(tmp_path: Path) -> None:
    values = iter([1.0, 0.5, 0.6, 0.7, 0.8])
    options = TuneOptions(rank=2, epochs=9, batch=3, evaluate_every=1, patience=2, dtype="float32")
    facts, _ = tuned(tiny_llama(tmp_path), SAMPLES, options, measure=lambda _: next(values))
    assert facts["steps"] == 3
    assert facts["best_step"] == 1


class Killed(Exception):  # noqa: N818 - no error
    pass


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_training_that_was_cut_off_ends_in_the_same_weights(tmp_path: Path, method: Method) -> None:
    folder, kept = tiny_llama(tmp_path / "model"), tmp_path / "kept"
    options = TuneOptions(rank=4, lr=0.01, epochs=4, batch=2, evaluate_every=2, dtype="float32", dropout=0.3)

    @contextmanager
    def killing(total: int) -> Iterator[Step]:
        def step(done: int, note: str = "", total: int | None = None) -> None:
            if done == 5:
                raise Killed

        yield step

    asked: list[int] = []

    def drawn(epoch: int) -> list[Sample]:  # other answers in each epoch
        asked.append(epoch)
        return [replace(sample, answer=(sample.answer[0] + epoch, *sample.answer[1:])) for sample in SAMPLES]

    whole, first = tuned(folder, SAMPLES, options, method=method, drawn=drawn)
    assert asked[1:] == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(Killed):
        tuned(folder, SAMPLES, options, method=method, kept=kept, progress=killing, drawn=drawn)
    again, second = tuned(folder, SAMPLES, options, method=method, kept=kept, drawn=drawn)
    assert again["resumed_after"] == 2
    assert again["valid_curve"] == whole["valid_curve"]
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_was_kept_of_another_training_is_refused(tmp_path: Path) -> None:
    folder, kept = tiny_llama(tmp_path / "model"), tmp_path / "kept"
    options = TuneOptions(rank=4, epochs=1, batch=3, dtype="float32")
    tuned(folder, SAMPLES, options, kept=kept)
    data = bytearray(kept.read_bytes())
    data[-3] ^= 1
    kept.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="damaged"):
        tuned(folder, SAMPLES, options, kept=kept)


def test_adapters_are_float32_on_bfloat16_weights(tmp_path: Path) -> None:
    model = load_trainable(checkpoint(tiny_llama(tmp_path)), "lora", TuneOptions(dtype="bfloat16"), CPU)
    assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {torch.float32}
    assert {weight.dtype for weight in model.parameters() if not weight.requires_grad} == {torch.bfloat16}
    loss, _ = answer_loss(plain_model(model), SAMPLES)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in model.parameters() if weight.requires_grad)


def test_modules_are_all_linear_layers_or_those_of_queries_and_values(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path)
    found = {}
    for modules in ("all-linear", "qv"):
        model = load_trainable(checkpoint(folder), "lora", TuneOptions.parse({"modules": modules}, owner="t"), CPU)
        found[modules] = {name.split(".lora_")[0].rpartition(".")[2] for name in model.state_dict() if "lora_A" in name}
    assert found["qv"] == {"q_proj", "v_proj"}
    assert found["all-linear"] == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.mark.parametrize("chat", [False, True])
def test_an_answer_ends_with_the_token_that_ends_a_turn(tmp_path: Path, chat: bool) -> None:
    tokenizer = checkpoint(tiny_llama(tmp_path, chat=chat)).tokenizer()
    reader = PromptReader(tokenizer, chat=None, encoder_decoder=False)
    assert tokenizer.convert_ids_to_tokens(end_of_turn(reader)) == ["<|end|>" if chat else "</s>"]


def test_what_does_not_fit_is_refused_before_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = checkpoint(tiny_llama(tmp_path)).config()
    assert check_memory(config, "lora", TuneOptions(), longest=100, device=CPU) < 0.1
    free = type("Free", (), {"available": 1e5})
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    with pytest.raises(ModelError, match="are free on cpu") as caught:
        check_memory(config, "full", TuneOptions(), longest=100, device=CPU)
    assert "--method lora" in str(caught.value.hint)


def test_a_loss_that_is_no_number_stops(tmp_path: Path) -> None:
    options = TuneOptions(rank=2, lr=1e30, epochs=9, batch=3, dtype="float32", warmup=0, patience=9)
    with pytest.raises(ModelError, match="diverged"):
        tuned(tiny_llama(tmp_path), SAMPLES, options, measure=lambda _: 1.0)


def rule_samples(
    reader: PromptReader, count: int, seed: int, *, permuted: bool = False
) -> tuple[list[Sample], list[bool]]:
    """Words, and whether the user likes them: those that end in z, or a random choice of as many."""
    draw, end = random.Random(seed), end_of_turn(reader)
    words = [" ".join([*draw.choices("abcdefgh", k=3), draw.choice("zq")]) for _ in range(count)]
    labels = [word.endswith("z") for word in words]
    if permuted:
        draw.shuffle(labels)
    samples = []
    for number, (word, liked) in enumerate(zip(words, labels, strict=True)):
        asked = Prompt(str(number), str(number), (Message("user", f"Does the user like {word}?"),), (), (" Yes", " No"))
        tokens = reader.read(asked).tokens
        samples.append(Sample(str(number), tokens.prefix, tokens.suffixes[0 if liked else 1] + end))
    return samples, labels


def separated(model: Any, samples: Sequence[Sample], labels: Sequence[bool]) -> float:
    """Return the AUC of the loss of a wrong answer less that of the right one, counted for Yes."""
    with torch.inference_mode():
        yes = next(sample.answer for sample, liked in zip(samples, labels, strict=True) if liked)
        no = next(sample.answer for sample, liked in zip(samples, labels, strict=True) if not liked)
        losses = [
            [answer_loss(model, [replace(sample, answer=answer)])[0].item() for sample in samples]
            for answer in (no, yes)
        ]
    scores = [other - own for other, own in zip(*losses, strict=True)]
    liked = [score for score, label in zip(scores, labels, strict=True) if label]
    others = [score for score, label in zip(scores, labels, strict=True) if not label]
    return sum(float(one > other) for one in liked for other in others) / (len(liked) * len(others))


@pytest.mark.slow
@pytest.mark.parametrize("permuted", [False, True])
def test_a_planted_rule_is_learned_and_permuted_labels_are_not(tmp_path: Path, permuted: bool) -> None:
    folder = tiny_llama(tmp_path)
    reader = PromptReader(checkpoint(folder).tokenizer(), chat=None, encoder_decoder=False)
    held, labels = rule_samples(reader, 40, seed=1)
    samples, _ = rule_samples(reader, 300, seed=2, permuted=permuted)
    options = TuneOptions(lr=0.02, epochs=6, evaluate_every=57, dtype="float32", dropout=0)
    facts, _ = tuned(folder, samples, options, measure=lambda model: separated(model, held, labels), lower=False)
    if permuted:
        assert abs(float(facts["valid_best"]) - 0.5) < 0.2  # type: ignore[arg-type]
    else:
        assert float(facts["valid_best"]) > 0.95  # type: ignore[arg-type]


def test_defaults_are_shown_as_they_are() -> None:
    with pytest.raises(OptionError) as caught:
        TuneOptions.parse({"rnk": "1"}, owner="tune")
    for text in ("lr (2e-4; full: 2e-5)", "alpha (2 x rank)", "evaluate_every (an epoch, or 10 steps if that is more)"):
        assert text in caught.value.hint
    assert "none)" not in caught.value.hint
    assert (TuneOptions().rate("lora"), TuneOptions().rate("full")) == (2e-4, 2e-5)
    command = get_command(app).commands["tune"]  # type: ignore[attr-defined]
    told = next(option.help for option in command.params if option.name == "option")
    for name, value in re.findall(r"(\w+)=([\w.-]+)", told.replace("KEY=VALUE", "")):
        assert str(getattr(TuneOptions(), name)) == value
    assert "lr (2e-4; full: 2e-5)" in told


def test_quantisation_needs_its_package_and_is_part_of_what_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = TuneOptions(quantization="nf4")
    assert options.result_options["quantization"] == "nf4"
    assert not {"quantization", "redraw"} & TuneOptions().result_options.keys()
    assert TuneOptions(redraw=True).result_options["redraw"]
    monkeypatch.setattr(tuning, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs the package bitsandbytes") as caught:
        load_trainable(checkpoint(tiny_llama(tmp_path)), "lora", options, CPU)
    assert "pip install bitsandbytes" in caught.value.hint


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_an_adapter_is_tuned_on_weights_in_4_bits(tmp_path: Path) -> None:
    options = TuneOptions(quantization="nf4", rank=4, lr=0.01, epochs=6, batch=3, dtype="float32", dropout=0)
    facts, model = tuned(tiny_llama(tmp_path), SAMPLES, options)
    assert {type(layer).__name__ for name, layer in model.named_modules() if name.endswith("proj")} == {"Linear4bit"}
    assert float(facts["valid_best"]) < float(facts["valid_before"])  # type: ignore[arg-type]
