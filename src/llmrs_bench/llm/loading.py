"""Tokenizers and weights loaded, adapters merged, and the memory that is left for batches."""

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from hashlib import sha256
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from pickle import UnpicklingError
from struct import error as StructError  # noqa: N812
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from huggingface_hub.errors import GatedRepoError
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from llmrs_bench.core.environment import no_progress_bars
from llmrs_bench.core.errors import EngineError, ModelError, raised_here
from llmrs_bench.llm.adapters import LEAST_CHANGE, Adapter, TunedModel, changes_nothing, read_tuned
from llmrs_bench.llm.base import ModelOptions
from llmrs_bench.llm.identity import ModelFiles, find_files, gated, identify_files, local_gguf
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.tokenization import read_template, template_digest

S = TypeVar("S")
T = TypeVar("T")
_LESS_MEMORY = "Use `-O dtype=bfloat16`, or show less history with --history."


class Memory:
    """Runs batches, and knows how many tokens one may have.

    Args:
        tokens: The bound at the start; it is halved whenever a batch does not fit.
        deterministic: Take only algorithms that repeat themselves.
        alone: Whether no other process computes the same batches in step. If one does, no batch is halved, and errors
            are left to the caller; gathered weights have to be tensors that training may use, too.
    """

    def __init__(self, tokens: int, *, deterministic: bool, alone: bool = True) -> None:
        self.tokens = tokens
        self.deterministic = deterministic
        self.alone = alone
        self.batches = 0
        self.halved = 0

    def run(self, batch: Sequence[S], work: Callable[[Sequence[S]], Sequence[T]]) -> Iterator[T]:
        """Yield what `work` makes of a batch, or of its halves where memory runs out.

        Raises:
            EngineError: If memory runs out for a batch of one, or the device or the model's own code fails.
        """
        pending = [batch]
        while pending:
            some = pending.pop()
            done = self._attempt(some, work)
            if done is not None:
                self.batches += 1
                yield from done
                continue
            half = (len(some) + 1) // 2
            pending += [some[half:], some[:half]]
            self.halved += 1
            self.tokens = max(1, self.tokens // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _attempt(self, batch: Sequence[S], work: Callable[[Sequence[S]], Sequence[T]]) -> Sequence[T] | None:
        """Return what `work` makes of a batch without gradients, or None if memory ran out and it can be halved."""
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(self.deterministic or before)
        try:
            with torch.inference_mode() if self.alone else torch.no_grad():
                return work(batch)
        except RuntimeError as error:
            if not self.alone:
                raise
            if not exhausted(error):
                raise EngineError(f"the model failed while answering: {error}", hint=_LESS_MEMORY) from error
            if len(batch) == 1:
                raise EngineError(
                    "the device ran out of memory while answering one request alone", hint=_LESS_MEMORY
                ) from error
            return None
        except Exception as error:
            if raised_here(error):
                raise
            raise EngineError(
                f"the model's own code failed while answering: {type(error).__name__}: {error}",
                hint="It may need another version of transformers, or packages of its own; or use another --engine.",
            ) from error
        finally:
            torch.use_deterministic_algorithms(before)


def exhausted(error: RuntimeError) -> bool:
    """Return whether memory ran out, for which a CPU has no error of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PROBE_TOKENS = 32


def merge(model: "PreTrainedModel", adapter: Adapter, *, source: str) -> "PreTrainedModel":
    """Return `model` with the adapter added to its weights.

    Args:
        model: The base, in float32.
        adapter: The adapter.
        source: Where the base is from, for messages.

    Raises:
        ModelError: If the adapter does not fit the base, part of it belongs to no module, or it changes nothing.
    """
    try:
        from peft import PeftModel, get_peft_model_state_dict
        from peft.utils.save_and_load import load_peft_weights
    except ImportError as error:
        raise ModelError(
            f"LoRA adapters are read with PEFT, which cannot be imported: {error}",
            hint="Run `pip install 'llmrs-bench[lora]'`.",
        ) from error
    with _fitting(adapter, source), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names without a module, which are compared here
        adapted = PeftModel.from_pretrained(model, str(adapter.folder)).eval()
        stored = set(load_peft_weights(str(adapter.folder), device="cpu"))
        used = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
        lost = sorted(stored - used) or sorted(name for name in used - stored if "lora_" in name)
        if lost:
            raise ValueError(f"{len(lost)} of its tensors have no counterpart there, such as {lost[0]}")
        with adapted.disable_adapter():
            before = _probe(adapted)
        if float((_probe(adapted) - before).abs().max()) <= LEAST_CHANGE:
            raise changes_nothing(adapter, source)
        merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    return merged


def _probe(model: Any) -> Tensor:
    """Return the log-probabilities of each next token in a text of tokens from all over the vocabulary."""
    vocabulary = model.get_input_embeddings().num_embeddings
    ids = torch.linspace(0, vocabulary - 1, _PROBE_TOKENS, device=model.device).long()[None]
    decoded = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.inference_mode():
        logits: Tensor = model(input_ids=ids, **decoded).logits
    return logits.log_softmax(-1)


@contextmanager
def _fitting(adapter: Adapter, source: str) -> Iterator[None]:
    """Turn what PEFT raises about an adapter into a ModelError."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        told = "" if adapter.base is None else f" It was made for {adapter.base}."
        raise ModelError(
            f"the LoRA adapter {adapter.folder} does not fit {source}: {str(error).splitlines()[0]}",
            hint=f"Give the model that the adapter was trained on as --model.{told}",
        ) from error


if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)
_FAILURES = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, ImportError, RuntimeError),
    *(SafetensorError, StructError, EOFError),  # files that are cut off
)
# Lengths from this on are the tokenizers' way to say that there is no limit; a few configurations write -1.
_NO_LIMIT = 10**9
# What a model takes that does not say: about what such models (state spaces, relative positions) were trained with.
_ASSUMED_TOKENS = 2048
# Where a configuration writes the length of the training texts, beside max_position_embeddings, which is a limit.
_TRAINED_WITH = ("n_positions", "max_seq_len", "context_length", "seq_length")


class Checkpoint:
    """Where a model's files are, and how they are read.

    Args:
        model: The model; its revision is resolved to a commit, so that all files are of the same one.
        options: Whether its own code may run, and which GGUF file and adapter are meant.

    Raises:
        ModelError: If it cannot be found, or needs code of its own that may not run.
    """

    def __init__(self, model: ModelSpec, options: ModelOptions) -> None:
        if model.remote_code and not options.trust_remote_code:
            raise needs_code(model)
        self.model = model
        self.options = options
        self.files = find_files(model.source, revision=model.revision, gguf_file=options.gguf_file, lora=options.lora)
        self.identity = identify_files(self.files)
        self.source = self.files.source
        self.tuned = self._find_tuned()
        self.arguments: dict[str, Any] = {"trust_remote_code": options.trust_remote_code}
        if self.files.folder is None:
            self.arguments["revision"] = self.identity["commit"]

    def _find_tuned(self) -> TunedModel | None:
        """Return what is known of a model that was tuned here, once its files and its base are found to be the same."""
        adapter = self.files.adapter
        folder = self.files.folder if adapter is None else adapter.folder
        tuned = None if folder is None else read_tuned(folder)
        if folder is not None and tuned is not None:
            base = {name: value for name, value in self.identity.items() if name != "adapter"}
            tuned.check(folder, None if adapter is None else base)
        return tuned

    def config(self) -> "PretrainedConfig":
        """Load the configuration."""
        with self._reading() as (source, arguments):
            return AutoConfig.from_pretrained(source, **arguments)

    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """Load the tokenizer, with the chat template of the options if they name one.

        It is that of the adapter where its folder has one, else that of the model.
        """
        template = None if self.options.chat_template is None else read_template(self.options.chat_template)
        adapter = self.files.adapter
        if adapter is not None and adapter.has_tokenizer:
            with _loading(self.model, self.files):
                tokenizer = AutoTokenizer.from_pretrained(
                    adapter.folder, trust_remote_code=self.options.trust_remote_code
                )
        else:
            with self._reading() as (source, arguments):
                tokenizer = AutoTokenizer.from_pretrained(source, **arguments)
                # Before 5.20 transformers overlooks that the file asks for a BOS token.
                if self.files.gguf is not None and "add_bos_token" not in tokenizer.init_kwargs:
                    asked = _asks_for_bos(Path(source) / self.files.gguf)
                    tokenizer = AutoTokenizer.from_pretrained(source, add_bos_token=asked, **arguments)
        if template is not None:
            tokenizer.chat_template = template
        if self.tuned is not None and self.tuned.chat_template != template_digest(tokenizer):
            raise ModelError(
                f"{self.tuned.label} was tuned with another chat template than the one it is asked with",
                hint="Leave out -O chat_template; if the tokenizer's files were changed, tune again.",
            )
        return tokenizer

    def weights(self, config: "PretrainedConfig", *, dtype: torch.dtype, device: torch.device) -> "PreTrainedModel":
        """Load the weights for reading only: those of a GGUF file as numbers of `dtype`, an adapter merged into them.

        An adapter is merged in float32, and the sum then rounded to `dtype`.
        """
        adapter = self.files.adapter
        place = self.source if self.files.gguf is None else f"{self.source}/{self.files.gguf}"
        log.info("loading %s as %s on %s", place, dtype, device)
        weights = self.base(config, dtype=dtype if adapter is None else torch.float32)
        if adapter is not None:
            weights = merge(weights, adapter, source=self.source).to(dtype)
        with _loading(self.model, self.files):
            return weights.to(device).eval().requires_grad_(False)

    def base(self, config: "PretrainedConfig", *, dtype: torch.dtype, **more: Any) -> "PreTrainedModel":
        """Load the weights without an adapter, on the CPU; `more` goes to `from_pretrained`."""
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        with no_progress_bars(), self._reading() as (source, arguments):
            weights: PreTrainedModel = kind.from_pretrained(source, config=config, dtype=dtype, **arguments, **more)
            if self.files.gguf is not None:
                _forget_quantization(weights)
        return weights

    @contextmanager
    def _reading(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the place and the arguments for `from_pretrained`; what it raises becomes a ModelError.

        A GGUF file is read from a folder of its own: transformers would mix it with what lies beside it.
        """
        if self.files.gguf is None:
            with _loading(self.model, self.files):
                yield self.source, self.arguments
            return
        _need_gguf()
        path = local_gguf(self.files, self.identity.get("commit"))
        # Its progress bar is written to stderr, and has no switch.
        with TemporaryDirectory() as alone, redirect_stderr(StringIO()), _loading(self.model, self.files):
            (Path(alone) / path.name).symlink_to(path.resolve())
            yield alone, {"gguf_file": path.name, "trust_remote_code": self.options.trust_remote_code}


def _asks_for_bos(path: Path) -> bool:
    """Return whether a GGUF file says that texts begin with the BOS token."""
    from gguf import GGUFReader

    field = GGUFReader(path).fields.get("tokenizer.ggml.add_bos_token")
    return bool(field.contents()) if field is not None else False


def _need_gguf() -> None:
    missing = [name for name in ("gguf", "accelerate") if find_spec(name) is None]
    if missing:
        raise ModelError(
            f"a GGUF file is read with the package {missing[0]}, which is not installed",
            hint="Run `pip install 'llmrs-bench[gguf]'`, or serve the file with llama.cpp and use --engine openai.",
        )


def _forget_quantization(weights: "PreTrainedModel") -> None:
    """Make a model whose blocks were unpacked an ordinary one: nothing is to be done about them any more."""
    if hasattr(weights.config, "quantization_config"):
        del weights.config.quantization_config
    for name in ("hf_quantizer", "quantization_method"):
        if name in vars(weights):
            delattr(weights, name)
    if "is_quantized" in vars(weights):
        weights.is_quantized = False


def needs_code(model: ModelSpec) -> ModelError:
    """Return the error for a model that would run code of its own repository."""
    return ModelError(
        f"model {model.source!r} runs Python code of its own repository",
        hint="Read that code, then allow it with `-O trust_remote_code=true`.",
    )


def tokenizer_digest(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return the SHA-256 of a tokenizer: of all of it if it is a fast one, else of its vocabulary."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return sha256(text.encode()).hexdigest()


def context_length(
    model: ModelSpec, config: "PretrainedConfig", tokenizer: "PreTrainedTokenizerBase", *, wanted: int | None = None
) -> int:
    """Return how many tokens the model takes.

    That is the least that the catalogue, its configuration and `wanted` say. Where `wanted` is None, the lengths of
    the texts that it was trained with count, too, and those of its tokenizer: for encoder-decoder models, whose
    configurations often name no limit, and where nothing else is said. Where nothing is said at all, 2,048 tokens are
    assumed, and one line says so.
    """
    limits = stated_limits(model, config)
    if wanted is not None:
        return min([wanted, *limits])
    text = config.get_text_config()
    if config.is_encoder_decoder or not limits:
        limits += _said(*(getattr(text, name, None) for name in _TRAINED_WITH), tokenizer.model_max_length)
    if not limits:
        log.warning(
            "model %s does not state its context length: %d tokens are assumed; `-O context=N` sets another number",
            model.name,
            _ASSUMED_TOKENS,
        )
    return min(limits, default=_ASSUMED_TOKENS)


def stated_limits(model: ModelSpec, config: "PretrainedConfig") -> list[int]:
    """Return the lengths in tokens that the catalogue and the configuration give as what the model takes."""
    return _said(model.context, getattr(config.get_text_config(), "max_position_embeddings", None))


def _said(*lengths: Any) -> list[int]:
    """Return those of `lengths` that are lengths."""
    return [length for length in lengths if isinstance(length, int) and 1 < length < _NO_LIMIT]


def pick_dtype(name: str, config: "PretrainedConfig", device: torch.device) -> torch.dtype:
    """Return the number format for an option `dtype`; `auto` on a GPU is that of the checkpoint, else bfloat16."""
    if name == "auto":
        stored = getattr(config, "dtype", None)
        wide = torch.bfloat16 if stored is None else stored
        return torch.float32 if device.type == "cpu" else wide
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


@contextmanager
def _loading(model: ModelSpec, files: ModelFiles) -> Iterator[None]:
    """Turn what transformers raises while it loads `model` into a ModelError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"model {model.source!r} does not fit the memory of the device",
            hint="Use a smaller model, `-O dtype=bfloat16`, or several GPUs with --engine vllm.",
        ) from error
    except (UnpicklingError, *_FAILURES) as error:
        if refused := _refused(error):
            named = re.search(r"GLOBAL ([\w.]+)", str(refused))
            raise ModelError(
                f"a file with weights of model {model.source!r} holds more than tensors"
                + (f": it names {named[1]}" if named else ", or is damaged"),
                hint="Nothing in it was run. Use a model whose weights are safetensors.",
            ) from error
        if "trust_remote_code" in str(error):
            raise needs_code(model) from error
        if isinstance(error.__cause__, GatedRepoError) or isinstance(error, GatedRepoError):
            raise gated(files.source) from error
        if files.gguf is not None:
            raise ModelError(
                f"transformers cannot read the GGUF file {files.gguf}: {error}",
                hint=f"Serve it with llama.cpp (`llama-server -m {files.gguf}`), and use --engine openai "
                "-O base_url=http://127.0.0.1:8080/v1; or give the folder that it was made from.",
            ) from error
        raise ModelError(
            f"cannot load model {model.source!r}: {error}",
            hint="Check that it is a language model in the transformers format, and that its files are complete.",
        ) from error


def _refused(error: BaseException | None) -> UnpicklingError | None:
    """Return the refusal to read weights that hold code; some versions of transformers raise another error after it."""
    while error is not None and not isinstance(error, UnpicklingError):
        error = error.__cause__ or error.__context__
    return error
