"""Tuning a language model on prompts with known answers: early stopping, and resuming after a kill."""

import math
import resource
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from llmrs_bench.core.environment import no_progress_bars
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.hashing import generator
from llmrs_bench.core.training_checkpoint import Resume
from llmrs_bench.core.types import Json, Step
from llmrs_bench.llm.backends.packing import pad_right, row_logits
from llmrs_bench.llm.generate import Meter
from llmrs_bench.llm.loading import Checkpoint, exhausted
from llmrs_bench.llm.processes import Group, is_lost, let_go, lost
from llmrs_bench.llm.tokenization import Ids, PromptReader, cut, encode, special_tokens
from llmrs_bench.llm.tune_options import Method, TuneOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CLIP = 1.0  # of the norm of a gradient
_ALONE = Group()
# What names the projections of queries and of values, in the architectures that have them apart or in one.
_QUERY_VALUE = ("q_proj", "v_proj", "q", "v", "query", "value", "query_key_value", "qkv_proj", "c_attn", "Wqkv")


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt and its answer as token ids; the answer ends with its end-of-turn token."""

    sample_id: str
    prompt: Ids
    answer: Ids

    @property
    def size(self) -> int:
        """How many tokens it has."""
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True, slots=True)
class Validation:
    """What says when to stop: `measure` returns a value of the metric `name` for the model as it is."""

    name: str
    measure: Callable[[], float]
    lower: bool = False  # is better


def end_of_turn(reader: PromptReader) -> Ids:
    """Return the token that a model writes after an answer.

    With a chat template it is the first special token behind a turn of the assistant; else the end-of-sequence token.

    Raises:
        ModelError: If there is none.
    """
    tokenizer = reader.tokenizer
    if reader.chat is not False and tokenizer.chat_template is not None and not reader.encoder_decoder:
        # Not the last turn: some templates leave that open.
        turns = [{"role": role, "content": "qzq"} for role in ("user", "assistant", "user")]
        after = str(tokenizer.apply_chat_template(turns, tokenize=False)).split("qzq")[2]
        marks = special_tokens(tokenizer)
        if (found := next((token for token in encode(tokenizer, [after])[0] if token in marks), None)) is not None:
            return (found,)
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no token that ends an answer", hint="Use a model with an eos_token.")
    return (int(tokenizer.eos_token_id),)


def answer_loss(model: "PreTrainedModel", samples: Sequence[Sample], *, whole: bool = False) -> tuple[Tensor, int]:
    """Return the summed negative log-likelihood of the supervised tokens in nats, and how many they are.

    Logits are computed for supervised positions alone, in float32. Padding stands behind all that is read.

    Args:
        model: Causal or encoder-decoder.
        samples: Of one pass.
        whole: Whether prompts of a causal model are supervised, too, but for their first token.
    """
    device = model.device
    if model.config.is_encoder_decoder:
        begin = model.config.decoder_start_token_id
        inputs = [(begin, *sample.answer[:-1]) for sample in samples]
        prompts = pad_right([sample.prompt for sample in samples], 0).to(device)
        lengths = torch.tensor([len(sample.prompt) for sample in samples], device=device)
        given = {
            "input_ids": prompts,
            "attention_mask": (torch.arange(prompts.shape[1], device=device) < lengths[:, None]).long(),
        }
        name, firsts = "decoder_input_ids", [0] * len(samples)
    else:
        inputs = [(sample.prompt + sample.answer)[:-1] for sample in samples]
        given, name = {}, "input_ids"
        firsts = [0 if whole else len(sample.prompt) - 1 for sample in samples]
    padded = pad_right(inputs, 0).to(device)
    width = padded.shape[1]
    rows = [
        at * width + place
        for at, (ids, first) in enumerate(zip(inputs, firsts, strict=True))
        for place in range(first, len(ids))
    ]
    told = (sample.prompt + sample.answer for sample in samples)
    wanted = [
        token
        for ids, text, sample in zip(inputs, told, samples, strict=True)
        for token in (text[1:] if whole and name == "input_ids" else sample.answer)[-len(ids) :]
    ]
    logits = row_logits(model, torch.tensor(rows, device=device), **given, **{name: padded}, use_cache=False)
    loss = nn.functional.cross_entropy(logits, torch.tensor(wanted, device=device), reduction="sum")
    return loss, len(wanted)


def passes(samples: Sequence[Sample], tokens: int) -> Iterator[list[Sample]]:
    """Cut a batch into what one pass takes, those of like length together."""
    ordered = sorted(samples, key=lambda sample: (sample.size, sample.sample_id))
    return cut(ordered, fits=lambda some: len(some) * max(sample.size for sample in some) <= tokens)


def mean_loss(model: "PreTrainedModel", samples: Sequence[Sample], *, tokens: int) -> float:
    """Return the loss of the answers in nats a token, without gradients."""
    with torch.no_grad():
        found = [answer_loss(model, some) for some in passes(samples, tokens)]
        return sum(loss.item() for loss, _ in found) / sum(count for _, count in found)


def load_trainable(
    checkpoint: Checkpoint,
    method: Method,
    options: TuneOptions,
    device: torch.device,
    group: Group = _ALONE,
) -> Any:
    """Load a model for tuning: a `PeftModel`, or with `full` the model itself; of a group, this process's part of it.

    An adapter that `checkpoint` holds is tuned on as it is; a new one changes nothing yet.

    Raises:
        ModelError: If it cannot be loaded, or has no layer that the options name.
    """
    if checkpoint.files.gguf is not None:
        raise ModelError(
            f"{checkpoint.files.gguf} is a GGUF file, whose rounded weights cannot be tuned",
            hint="Give the folder that it was made from.",
        )
    with group.in_turn():
        model = _load(checkpoint, method, options, device, place=torch.device("cpu") if group.sharded else device)
        group.shard(plain_model(model))
    if group.sharded:  # a pass of the whole model settles which part of it gathers what
        mean_loss(plain_model(model), [Sample("", (0,), (0,))], tokens=1)
        let_go(model)
    return model


def _load(
    checkpoint: Checkpoint, method: Method, options: TuneOptions, device: torch.device, *, place: torch.device
) -> Any:
    config = checkpoint.config()
    adapter = checkpoint.files.adapter
    if method == "full":
        if adapter is not None:
            raise OptionError(
                f"--method full tunes no adapter, and {adapter.folder} is one", hint="Use --method lora, or the base."
            )
        return checkpoint.base(config, dtype=torch.float32).to(place).requires_grad_(True)
    try:
        from peft import LoraConfig, PeftModel, TaskType, get_peft_model
    except ImportError as error:
        raise ModelError(
            f"models are tuned with PEFT, which cannot be imported: {error}",
            hint="Run `pip install 'llmrs-bench[tune]'`.",
        ) from error
    if options.quantization == "none":
        base = checkpoint.base(config, dtype=options.low(device)).to(place)
    else:
        base = checkpoint.base(config, dtype=options.low(device), **_quantized(options, device))
    with warnings.catch_warnings():  # PEFT may use what transformers has since renamed
        warnings.simplefilter("ignore", FutureWarning)
        if adapter is not None:
            return PeftModel.from_pretrained(base, str(adapter.folder), is_trainable=True)
        model = get_peft_model(
            base,
            LoraConfig(
                task_type=TaskType.SEQ_2_SEQ_LM if config.is_encoder_decoder else TaskType.CAUSAL_LM,
                r=options.rank,
                lora_alpha=2 * options.rank if options.alpha is None else options.alpha,
                lora_dropout=options.dropout,
                target_modules="all-linear" if options.modules == "all-linear" else _query_value(base),
                revision=checkpoint.identity.get("commit"),
            ),
        )
    model.peft_config["default"].base_model_name_or_path = checkpoint.source
    return model


def _quantized(options: TuneOptions, device: torch.device) -> dict[str, Any]:
    """Return the arguments with which transformers loads weights in 4 bits, and their scales in 8.

    Raises:
        ModelError: If bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise ModelError(
            f"quantization={options.quantization} needs the package bitsandbytes, which is not installed",
            hint="Run `pip install bitsandbytes`, or leave the option out.",
        )
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=options.quantization,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=options.low(device),
    )
    return {"quantization_config": config, "device_map": {"": device}}


def _query_value(model: nn.Module) -> list[str]:
    """Return the names of the layers that make queries and values.

    Raises:
        ModelError: If none has a known name.
    """
    found = {name.rpartition(".")[2] for name, _ in model.named_modules()} & set(_QUERY_VALUE)
    if not found:
        raise ModelError("modules=qv: this model has no layers with known names", hint="Use -O modules=all-linear.")
    return sorted(found)


def plain_model(model: Any) -> "PreTrainedModel":
    """Return the model of transformers, with the layers of an adapter in their places."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@dataclass
class Tuning:
    """Where a tuning stands; `losses` has a value for each stretch between validations, `curve` one more."""

    kept: ClassVar[tuple[str, ...]] = ("curve", "losses", "best_at", "steps", "seconds", "evaluating", "joules")

    curve: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best_at: int = 0  # which of the validations after training began, from 1
    best: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0  # of steps
    evaluating: float = 0.0  # seconds
    joules: float | None = 0.0


def tune(
    model: Any,
    samples: Callable[[int], Sequence[Sample]],
    validation: Validation,
    options: TuneOptions,
    *,
    seed: int,
    progress: Callable[[int], AbstractContextManager[Step]],
    resume: Resume,
    group: Group = _ALONE,
) -> dict[str, Json]:
    """Tune `model` in place, and leave it with the weights that validated best after training began.

    The order of the samples in each epoch depends on the seed and the epoch alone. Several processes share the samples
    of each batch, and add up their gradients; the first of them validates, and keeps the training. Where each holds a
    part of the weights, all of them validate in step.

    Args:
        model: What `load_trainable` returned; the highest learning rate is that of an adapter, or of all weights.
        samples: Returns those of an epoch, counted from 0: always as many, and all of them are seen in it.
        validation: Measured before the first step, every so many steps, and at the end.
        options: The rates, the batches and when to stop.
        seed: Of the order.
        progress: Opens the display for so many steps.
        resume: Keeps the tuning after each validation, and holds an earlier one that was interrupted.
        group: The processes that tune this model together.

    Raises:
        ModelError: If a loss is not finite, memory runs out, or what was kept belongs to another tuning.
    """
    plain = plain_model(model)
    method: Method = "lora" if hasattr(model, "peft_config") else "full"
    _make_ready(plain, options)
    net = nn.ParameterList([weight for weight in model.parameters() if weight.requires_grad])
    optimizer = torch.optim.AdamW(net, lr=options.rate(method), weight_decay=options.weight_decay)
    narrow = options.low(plain.device)
    low = torch.autocast(plain.device.type, narrow, enabled=method == "full" and narrow != torch.float32)
    said, count = f"valid {validation.name}", len(samples(0))
    each = math.ceil(count / options.batch)
    total, every = options.epochs * each, options.every(each)
    state, meter = Tuning(), Meter()
    resumed = _begin(net, optimizer, state, resume, group)

    def measured(step: Step, note: str = "") -> str:
        """Validate, remember weights that are the best so far, and say what was found."""
        step(state.steps, f"{note} validating".lstrip())
        start, before = time.perf_counter(), meter.joules()
        model.eval()
        with low:
            value = group.measure(plain, validation.measure)
        state.curve.append(value)
        known = state.curve[1:]
        if state.steps and (not state.best or _better(value, known[state.best_at - 1], validation)):
            state.best_at = len(known)
            state.best = {name: weight.detach().clone() for name, weight in net.state_dict().items()}
        state.evaluating += time.perf_counter() - start
        state.joules = _added(state.joules, before, meter.joules())
        return f"{said} {value:.4f}"

    with progress(total) as step, _words():
        note = f"{said} {state.curve[-1]:.4f}" if state.curve else measured(step)
        step(state.steps, note)
        while state.steps < total and len(state.losses) - state.best_at < options.patience:
            start, before, loss = time.perf_counter(), meter.joules(), 0.0
            model.train()
            begun, upto = state.steps, min(total, state.steps + every)
            while state.steps < upto:
                _set_rate(optimizer, options, method, state.steps, total)
                batch = _batch(samples(state.steps // each), options.batch, seed, state.steps, each)
                group.seed(seed, state.steps)
                loss += _step(plain, net, optimizer, batch, options, low, group)
                state.steps += 1
                step(state.steps, f"loss {loss / (state.steps - begun):.3f} {note}")
            state.losses.append(loss / (upto - begun))
            state.seconds += time.perf_counter() - start
            state.joules = _added(state.joules, before, meter.joules())
            note = measured(step, f"loss {state.losses[-1]:.3f}")
            if group.rank == 0 or group.sharded:
                resume.save(net, optimizer, state)
            step(state.steps, f"loss {state.losses[-1]:.3f} {note}")
    net.load_state_dict(state.best)
    model.eval()
    return {
        "metric": validation.name,
        "steps": state.steps,
        "steps_planned": total,
        "evaluate_every": every,
        **({"resumed_after": resumed} if resumed else {}),
        "valid_before": state.curve[0],
        "valid_best": state.curve[state.best_at],
        "best_step": min(total, state.best_at * every),
        "valid_curve": list[Json](state.curve),
        "loss_curve": list[Json](state.losses),
        "trained_weights": sum(weight.numel() for weight in net),
        "all_weights": sum(weight.numel() for weight in model.parameters()),
        "seconds": round(state.seconds + state.evaluating, 3),
        "seconds_evaluating": round(state.evaluating, 3),
        "samples_per_second": round(state.steps * min(options.batch, count) / state.seconds, 3),
        "joules": state.joules,
        "peak_memory_gb": round(_peak_gb(plain.device), 3),
        "device": torch.cuda.get_device_name(plain.device) if plain.device.type == "cuda" else plain.device.type,
        "dtype": str(narrow).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        **group.facts,
    }


def _begin(net: nn.ParameterList, optimizer: torch.optim.Optimizer, state: Tuning, resume: Resume, group: Group) -> int:
    """Go on where an interrupted training stands, in all processes; return the validations that it had."""
    with group.in_turn():
        resumed = resume.load(net, optimizer, state)
    group.start_alike(net, state.steps)
    return resumed


def _make_ready(model: "PreTrainedModel", options: TuneOptions) -> None:
    """See to the memory of training."""
    if options.checkpointing:
        # Newer versions of transformers have another name for it.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _better(value: float, other: float, validation: Validation) -> bool:
    return value < other if validation.lower else value > other


def _added(total: float | None, before: float | None, after: float | None) -> float | None:
    return None if total is None or before is None or after is None else total + after - before


def _batch(samples: Sequence[Sample], size: int, seed: int, step: int, each: int) -> list[Sample]:
    """Return the samples of a step: a part of the seeded order of its epoch, which has `each` steps."""
    epoch, place = divmod(step, each)
    order = generator("tune", seed, epoch).permutation(len(samples))
    return [samples[at] for at in order[place * size : (place + 1) * size]]


def _set_rate(optimizer: torch.optim.Optimizer, options: TuneOptions, method: Method, step: int, total: int) -> None:
    rising = max(1, round(options.warmup * total))
    share = min(1.0, (step + 1) / rising)
    if options.schedule == "cosine" and step >= rising:
        share = (1 + math.cos(math.pi * (step - rising) / max(1, total - rising))) / 2
    for group in optimizer.param_groups:
        group["lr"] = options.rate(method) * share


def _step(
    model: "PreTrainedModel",
    net: nn.ParameterList,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Sample],
    options: TuneOptions,
    low: AbstractContextManager[Any],
    group: Group,
) -> float:
    """Take one step on the mean loss of the supervised tokens of a batch, and return it."""
    whole = options.loss == "all" and not model.config.is_encoder_decoder
    count = sum(sample.size - 1 if whole else len(sample.answer) for sample in batch)
    optimizer.zero_grad()
    shares = [list(passes(batch[rank :: group.size], options.batch_tokens)) for rank in range(group.size)]
    own = [(some, 1.0) for some in shares[group.rank]]
    if group.sharded:  # every pass gathers weights from all processes, so all have as many; those to fill up count 0
        shortest = min(batch, key=lambda sample: sample.size)
        own += [([shortest], 0.0)] * (max(map(len, shares)) - len(own))
    total = 0.0
    for some, weight in own:
        with low:
            loss, _ = answer_loss(model, some, whole=whole)
        (loss * weight / count).backward()  # type: ignore[no-untyped-call]
        total += weight * loss.item()
    total = group.add_gradients(net, total)
    nn.utils.clip_grad_norm_(net, _CLIP)
    if not math.isfinite(total):
        raise ModelError(f"the training diverged: its loss is {total}", hint="Lower -O lr, or use -O dtype=float32.")
    optimizer.step()
    return total / count


class _words(AbstractContextManager[None]):  # noqa: N801 - reads as a function
    """Say what to do where memory runs out, or another process has gone."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, RuntimeError) and exhausted(error):
            raise ModelError(
                "the device ran out of memory while tuning",
                hint="Lower -O batch_tokens, or add -O checkpointing=true, then run the command again.",
            ) from error
        if isinstance(error, RuntimeError) and is_lost(error):
            raise lost(error) from error


def _peak_gb(device: torch.device) -> float:
    """Return the most memory that tuning took on a GPU, and on a CPU this process at all, in GB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def save_tuned(model: Any, reader: PromptReader, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
    """Write an adapter, or all weights, with the tokenizer and its chat template into an existing folder.

    Args:
        model: The model.
        reader: Of its prompts.
        folder: The folder.
        weights: Those to write where the model holds a part of each alone.

    Raises:
        OSError: If there is no room for them.
    """
    with warnings.catch_warnings(), no_progress_bars():
        warnings.simplefilter("ignore", FutureWarning)
        adapter = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
        try:
            model.save_pretrained(str(folder), state_dict=weights, **adapter)
        except SafetensorError as error:  # it has the system's number in its words
            raise OSError(f"the tuned model cannot be written to {folder}: {error}") from error
        (folder / "README.md").unlink(missing_ok=True)  # a form to fill in
    reader.tokenizer.save_pretrained(str(folder))
