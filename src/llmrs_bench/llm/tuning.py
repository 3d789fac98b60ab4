"""Tuning a language model on prompts with known answers: early stopping, and resuming after a kill."""

import math
import resource
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from llmrs_bench.core.config import Options
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.hashing import generator
from llmrs_bench.core.training_checkpoint import Resume
from llmrs_bench.core.types import Json, Step
from llmrs_bench.llm.backends.packing import pad_right, row_logits
from llmrs_bench.llm.generate import Meter
from llmrs_bench.llm.loading import Checkpoint, exhausted
from llmrs_bench.llm.tokenization import Ids, PromptReader, cut, encode, special_tokens

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Method: TypeAlias = Literal["lora", "full"]
_LR: dict[Method, float] = {"lora": 2e-4, "full": 2e-5}
_CLIP = 1.0  # of the norm of a gradient
# What names the projections of queries and of values, in the architectures that have them apart or in one.
_QUERY_VALUE = ("q_proj", "v_proj", "q", "v", "query", "value", "query_key_value", "qkv_proj", "c_attn", "Wqkv")


class TuneOptions(Options):
    """How a model is tuned.

    Args:
        rank: Of the matrices of LoRA.
        alpha: Their weight is alpha / rank; None: 2 x rank.
        dropout: Share of their inputs that is left out in training.
        modules: Which layers have them: all linear ones, or those of queries and values alone.
        lr: The highest learning rate; None: 2e-4 for LoRA, 2e-5 for all weights.
        batch: Samples of one step of the optimizer (AdamW).
        batch_tokens: The most tokens, padding counted, in one pass; the gradients of a batch's passes add up.
        epochs: How often all samples are seen at most.
        warmup: The share of all steps in which the learning rate rises.
        schedule: What it does afterwards: fall to 0 along a cosine, or stay.
        weight_decay: Of AdamW.
        evaluate_every: Steps between validations; None: an epoch, or 10 where that is less.
        patience: Validations without a better one after which training stops.
        valid: Validation requests at most, a seeded choice; it never depends on the number of samples.
        dtype: Number format of the weights; `auto` is float32 on a CPU, else bfloat16. Adapters, and with `full` all
            weights, are float32.
        checkpointing: Compute activations again in the backward pass, which takes less memory and more time.
        loss: On the answer and the end of its turn alone, or on the prompt as well, as TALLRec had it.
        context: The most tokens of a prompt and its answer; history beyond that is left out, oldest first.
        trust_remote_code: Let the model run the Python code of its repository.
    """

    rank: int = Field(default=8, ge=1, le=512)
    alpha: float | None = Field(default=None, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    modules: Literal["all-linear", "qv"] = "all-linear"
    lr: float | None = Field(default=None, gt=0)
    batch: int = Field(default=16, ge=1)
    batch_tokens: int = Field(default=4096, ge=1)
    epochs: int = Field(default=10, ge=1)
    warmup: float = Field(default=0.1, ge=0, le=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    evaluate_every: int | None = Field(default=None, ge=1)
    patience: int = Field(default=3, ge=1)
    valid: int = Field(default=200, ge=1)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    checkpointing: bool = False
    loss: Literal["answer", "all"] = "answer"
    context: int = Field(default=1024, ge=2)
    trust_remote_code: bool = False

    # Options that `full` does not read.
    of_lora: ClassVar[frozenset[str]] = frozenset({"rank", "alpha", "dropout", "modules"})

    def low(self, device: torch.device) -> torch.dtype:
        """Return the number format of the passes; bfloat16 is slow on a CPU without instructions for it."""
        wide = self.dtype == "float32" or (self.dtype == "auto" and device.type == "cpu")
        return torch.float32 if wide else torch.bfloat16

    def rate(self, method: Method) -> float:
        """Return the highest learning rate."""
        return _LR[method] if self.lr is None else self.lr


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
        raise ModelError("the tokenizer has no token that ends an answer", hint="Take a model with an eos_token.")
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
    with torch.inference_mode():
        found = [answer_loss(model, some) for some in passes(samples, tokens)]
        return sum(loss.item() for loss, _ in found) / sum(count for _, count in found)


def load_trainable(checkpoint: Checkpoint, method: Method, options: TuneOptions, device: torch.device) -> Any:
    """Load a model for tuning: a `PeftModel`, or with `full` the model itself.

    An adapter that `checkpoint` holds is tuned on as it is; a new one changes nothing yet.

    Raises:
        ModelError: If it cannot be loaded, or has no layer that the options name.
    """
    if checkpoint.files.gguf is not None:
        raise ModelError(
            f"{checkpoint.files.gguf} is a GGUF file, and its weights are rounded",
            hint="Give the folder that it was made from.",
        )
    config = checkpoint.config()
    adapter = checkpoint.files.adapter
    if method == "full":
        if adapter is not None:
            raise OptionError(
                f"--method full tunes no adapter, and {adapter.folder} is one", hint="Use --method lora, or the base."
            )
        return checkpoint.base(config, dtype=torch.float32).to(device).requires_grad_(True)
    try:
        from peft import LoraConfig, PeftModel, TaskType, get_peft_model
    except ImportError as error:
        raise ModelError(
            f"models are tuned with PEFT, which cannot be imported: {error}",
            hint="Run `pip install 'llmrs-bench[tune]'`.",
        ) from error
    base = checkpoint.base(config, dtype=options.low(device)).to(device)
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


def _query_value(model: nn.Module) -> list[str]:
    """Return the names of the layers that make queries and values.

    Raises:
        ModelError: If none has a known name.
    """
    found = {name.rpartition(".")[2] for name, _ in model.named_modules()} & set(_QUERY_VALUE)
    if not found:
        raise ModelError("modules=qv: this model has no layers of a known name", hint="Use -O modules=all-linear.")
    return sorted(found)


def plain_model(model: Any) -> "PreTrainedModel":
    """Return the model of transformers, with the layers of an adapter in their places."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def check_memory(
    config: "PretrainedConfig", method: Method, options: TuneOptions, *, longest: int, device: torch.device
) -> float:
    """Return about how many GB training takes, before any weight is loaded.

    Weights, gradients and the two moments of AdamW are counted; what a pass keeps for the backward pass is estimated
    at 34 numbers a token, layer and unit of width (arXiv 2205.05198), and a tenth of that with `checkpointing`.

    Raises:
        ModelError: If that is more than is free.
    """
    import psutil

    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(config)
    weights = sum(weight.numel() for weight in model.parameters())
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    adapters = options.rank * sum(module.in_features + module.out_features for module in linear)
    bytes_each = options.low(device).itemsize
    fixed = 16 * weights if method == "full" else bytes_each * weights + 16 * adapters
    text = config.get_text_config()
    tokens = max(longest, min(options.batch_tokens, options.batch * longest))
    layers, width = int(getattr(text, "num_hidden_layers", 1)), int(getattr(text, "hidden_size", 1))
    kept = 34 * tokens * layers * width * bytes_each / 2 * (0.1 if options.checkpointing else 1)
    need = float(fixed + kept) / 1e9
    free = (torch.cuda.mem_get_info()[0] if device.type == "cuda" else psutil.virtual_memory().available) / 1e9
    if need > free:
        ways = ["--method lora"] if method == "full" else ["a smaller model"]
        ways += [f"-O batch_tokens={longest}"] if tokens > longest else []
        ways += [] if options.checkpointing else ["-O checkpointing=true"]
        ways += ["-O dtype=bfloat16"] if method == "lora" and options.low(device) == torch.float32 else []
        raise ModelError(
            f"tuning this model takes about {need:.1f} GB ({fixed / 1e9:.1f} GB of them weights, gradients and "
            f"moments), and {free:.1f} GB are free on {device.type}",
            hint=f"Try {', '.join(ways)}.",
        )
    return need


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
    samples: Sequence[Sample],
    validation: Validation,
    options: TuneOptions,
    *,
    method: Method,
    seed: int,
    progress: Callable[[int], AbstractContextManager[Step]],
    resume: Resume,
) -> dict[str, Json]:
    """Tune `model` in place, and leave it with the weights that validated best after training began.

    The order of the samples in each epoch depends on the seed and the epoch alone.

    Args:
        model: What `load_trainable` returned.
        samples: All of them are seen in each epoch.
        validation: Measured before the first step, every so many steps, and at the end.
        options: The rates, the batches and when to stop.
        method: Decides the learning rate.
        seed: Of the order.
        progress: Opens the display for so many steps.
        resume: Keeps the tuning after each validation, and holds an earlier one that was interrupted.

    Raises:
        ModelError: If a loss is not finite, memory runs out, or what was kept belongs to another tuning.
    """
    plain = plain_model(model)
    if options.checkpointing:
        # Newer versions of transformers have another name for it.
        enable = getattr(plain, "activation_checkpointing_enable", None) or plain.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    net = nn.ParameterList([weight for weight in model.parameters() if weight.requires_grad])
    optimizer = torch.optim.AdamW(net, lr=options.rate(method), weight_decay=options.weight_decay)
    narrow = options.low(plain.device)
    low = torch.autocast(plain.device.type, narrow, enabled=method == "full" and narrow != torch.float32)
    each = math.ceil(len(samples) / options.batch)
    total, every = options.epochs * each, options.evaluate_every or max(each, min(10, options.epochs * each))
    state, meter = Tuning(), Meter()
    resumed = resume.load(net, optimizer, state)
    if plain.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def measured() -> str:
        """Validate, remember weights that are the best so far, and say what was found."""
        start, before = time.perf_counter(), meter.joules()
        model.eval()
        with low:
            value = validation.measure()
        state.curve.append(value)
        known = state.curve[1:]
        if state.steps and (not state.best or _better(value, known[state.best_at - 1], validation)):
            state.best_at = len(known)
            state.best = {name: weight.detach().clone() for name, weight in net.state_dict().items()}
        state.evaluating += time.perf_counter() - start
        state.joules = _added(state.joules, before, meter.joules())
        return f"{validation.name} {value:.4f}"

    with progress(total) as step, _memory_words():
        note = measured() if not state.curve else f"{validation.name} {state.curve[-1]:.4f}"
        step(state.steps, note)
        while state.steps < total and len(state.losses) - state.best_at < options.patience:
            start, before, loss = time.perf_counter(), meter.joules(), 0.0
            model.train()
            upto = min(total, state.steps + every)
            begun = state.steps
            while state.steps < upto:
                _set_rate(optimizer, options, method, state.steps, total)
                batch = _batch(samples, options.batch, seed, state.steps, each)
                loss += _step(plain, net, optimizer, batch, options, low)
                state.steps += 1
                step(state.steps, f"loss {loss / (state.steps - begun):.3f} {note}")
            state.losses.append(loss / (upto - begun))
            state.seconds += time.perf_counter() - start
            state.joules = _added(state.joules, before, meter.joules())
            note = measured()
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
        "samples_per_second": round(state.steps * min(options.batch, len(samples)) / state.seconds, 3),
        "joules": state.joules,
        "peak_memory_gb": round(_peak_gb(plain.device), 3),
        "device": torch.cuda.get_device_name(plain.device) if plain.device.type == "cuda" else plain.device.type,
        "dtype": str(narrow).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


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
) -> float:
    """Take one step on the mean loss of the supervised tokens of a batch, and return it."""
    whole = options.loss == "all" and not model.config.is_encoder_decoder
    count = sum(sample.size - 1 if whole else len(sample.answer) for sample in batch)
    optimizer.zero_grad()
    total = 0.0
    for some in passes(batch, options.batch_tokens):
        with low:
            loss, _ = answer_loss(model, some, whole=whole)
        (loss / count).backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    nn.utils.clip_grad_norm_(net, _CLIP)
    if not math.isfinite(total):
        raise ModelError(f"the training diverged: its loss is {total}", hint="Lower -O lr, or take -O dtype=float32.")
    optimizer.step()
    return total / count


class _memory_words(AbstractContextManager[None]):  # noqa: N801 - reads as a function
    """Say what to do where memory runs out."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, RuntimeError) and exhausted(error):
            raise ModelError(
                "the device ran out of memory while tuning",
                hint="Lower -O batch_tokens, or add -O checkpointing=true; the same command goes on.",
            ) from error


def _peak_gb(device: torch.device) -> float:
    """Return the most memory that tuning took on a GPU, and on a CPU this process at all, in GB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def save_tuned(model: Any, reader: PromptReader, folder: Path) -> None:
    """Write an adapter, or all weights, with the tokenizer and its chat template into an existing folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        if hasattr(model, "peft_config"):
            model.save_pretrained(str(folder), save_embedding_layers=False)
            (folder / "README.md").unlink(missing_ok=True)  # a form to fill in
        else:
            model.save_pretrained(str(folder))
    reader.tokenizer.save_pretrained(str(folder))
