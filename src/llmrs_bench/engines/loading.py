"""Tokenizer, configuration and weights of a model through transformers, with errors that say what to do."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.errors import GatedRepoError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines.chat import read_template
from llmrs_bench.engines.identity import gated, identify, local_folder
from llmrs_bench.engines.options import ModelOptions
from llmrs_bench.errors import ModelError, OptionError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)
_FAILURES = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError)
# Lengths above this are the tokenizers' way to say that there is no limit.
_NO_LIMIT = 10**9


class Checkpoint:
    """Where a model's files are: the arguments that every `from_pretrained` gets.

    Args:
        model: The model; its revision is resolved to a commit, so that all files are of the same one.
        options: Whether its own code may run.

    Raises:
        ModelError: If it cannot be found, or needs code of its own that may not run.
    """

    def __init__(self, model: ModelSpec, options: ModelOptions) -> None:
        if model.remote_code and not options.trust_remote_code:
            raise needs_code(model)
        self.model = model
        self.options = options
        self.identity = identify(model)
        folder = local_folder(model)
        self.source = str(folder) if folder is not None else model.source
        self.arguments: dict[str, Any] = {
            "revision": self.identity.get("commit"),
            "trust_remote_code": options.trust_remote_code,
        }
        if folder is not None:
            del self.arguments["revision"]

    def config(self) -> "PretrainedConfig":
        """Load the configuration."""
        with _loading(self.model):
            return AutoConfig.from_pretrained(self.source, **self.arguments)

    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """Load the tokenizer, with the chat template of the options if they name one."""
        template = None if self.options.chat_template is None else read_template(self.options.chat_template)
        with _loading(self.model):
            tokenizer = AutoTokenizer.from_pretrained(self.source, **self.arguments)
        if template is not None:
            tokenizer.chat_template = template
        return tokenizer

    def weights(self, config: "PretrainedConfig", *, dtype: torch.dtype, device: torch.device) -> "PreTrainedModel":
        """Load the weights for reading only."""
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        disable_progress_bar()  # loading a model is one line of the log
        log.info("loading %s as %s on %s", self.source, dtype, device)
        with _loading(self.model):
            weights = kind.from_pretrained(self.source, config=config, dtype=dtype, **self.arguments)
            return weights.to(device).eval().requires_grad_(False)


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


def context_length(model: ModelSpec, config: "PretrainedConfig", tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return how many tokens the model takes: the least that the catalogue, its configuration or tokenizer says.

    The tokenizer has a say for encoder-decoder models, whose configurations often name no length, and where
    nothing else does.

    Raises:
        ModelError: If none of them says.
    """
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    known = [length for length in (model.context, positions) if isinstance(length, int)]
    if config.is_encoder_decoder or not known:
        known.append(tokenizer.model_max_length)
    if min(known) >= _NO_LIMIT:
        raise ModelError(
            f"model {model.source!r} does not say how many tokens it takes",
            hint="Set model_max_length in its tokenizer_config.json, or use a model of the catalogue.",
        )
    return int(min(known))


def pick_device(device: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`; `auto` is a GPU if there is one.

    Raises:
        OptionError: If a GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError("device 'cuda': PyTorch sees no GPU", hint="Use --device cpu, or install PyTorch for CUDA.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def pick_dtype(name: str, config: "PretrainedConfig", device: torch.device) -> torch.dtype:
    """Return the number format for an option `dtype`; `auto` on a GPU is that of the checkpoint, else bfloat16."""
    if name == "auto":
        stored = getattr(config, "dtype", None)
        wide = torch.bfloat16 if stored is None else stored
        return torch.float32 if device.type == "cpu" else wide
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


@contextmanager
def _loading(model: ModelSpec) -> Iterator[None]:
    """Turn what transformers raises while it loads `model` into a ModelError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"model {model.source!r} does not fit the memory of the device",
            hint="Use a smaller model, `-O dtype=bfloat16`, or several GPUs with --engine vllm.",
        ) from error
    except _FAILURES as error:
        if "trust_remote_code" in str(error):
            raise needs_code(model) from error
        if isinstance(error.__cause__, GatedRepoError) or isinstance(error, GatedRepoError):
            raise gated(model) from error
        raise ModelError(
            f"cannot load model {model.source!r}: {error}",
            hint="Check that it is a language model in the transformers format, and that its files are complete.",
        ) from error
