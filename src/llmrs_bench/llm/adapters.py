"""LoRA adapters on disk, as PEFT writes them, and what is known of those, and of whole models, that were tuned here."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmrs_bench.core.errors import ModelError, OptionError, is_damage
from llmrs_bench.core.hashing import file_digest

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# An adapter has to change some log-probability of a prompt by more than this, in nats.
LEAST_CHANGE = 1e-6
# What an adapter for a language model is saved as.
_TASKS = ("CAUSAL_LM", "SEQ_2_SEQ_LM", None)
# Ranks that vLLM has room for.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# A folder of PEFT may hold the tokenizer that the adapter was trained with, and the state of its training.
_TOKENIZER = ("tokenizer", "special_tokens_map", "added_tokens", "vocab", "merges", "chat_template", "spiece")


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter.

    Args:
        folder: Where its configuration and weights are.
        rank: Its highest rank.
        base: The model that it was trained on, as a path or an id of the hub, if it says so.
        base_revision: Of the base on the hub.
    """

    folder: Path
    rank: int
    base: str | None = None
    base_revision: str | None = None

    @property
    def room(self) -> int:
        """Return the least rank that vLLM has room for and that is not below its own.

        Raises:
            ModelError: If it is above all of them.
        """
        room = next((known for known in _RANKS if known >= self.rank), None)
        if room is None:
            raise ModelError(
                f"the LoRA adapter {self.folder} has rank {self.rank}, and vLLM takes {_RANKS[-1]} at most",
                hint="Use --engine transformers.",
            )
        return room

    @property
    def has_tokenizer(self) -> bool:
        """Whether the tokenizer that it was trained with lies beside it."""
        return (self.folder / "tokenizer_config.json").is_file()

    @property
    def files(self) -> Iterator[Path]:
        """The files that decide what a model answers with it."""
        wanted = {CONFIG, *WEIGHTS}
        return (path for path in self.folder.iterdir() if path.name in wanted or path.name.startswith(_TOKENIZER))

    def request(self) -> Any:
        """Return what vLLM needs with every request."""
        from vllm.lora.request import LoRARequest

        return LoRARequest(self.folder.name, 1, str(self.folder))


def read_adapter(folder: Path) -> Adapter:
    """Return the adapter in a folder.

    Raises:
        OptionError: If it holds none, one that is not a LoRA, or one for models of another kind.
    """
    hint = f"Give a folder with {CONFIG} and {WEIGHTS[0]}, as PEFT writes it."
    if not folder.is_dir():
        raise OptionError(f"lora={folder}: there is no such folder", hint=hint)
    try:
        settings = json.loads((folder / CONFIG).read_text("utf-8"))
        ranks = [settings["r"], *(settings.get("rank_pattern") or {}).values()]
        rank = max(map(int, ranks))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise OptionError(f"lora={folder}: no LoRA adapter can be read there: {error}", hint=hint) from error
    if (kind := settings.get("peft_type", "LORA")) != "LORA":
        raise OptionError(f"lora={folder}: this is an adapter of the type {kind}, not LoRA", hint=hint)
    if (task := settings.get("task_type")) not in _TASKS:
        raise OptionError(
            f"lora={folder}: this adapter is for the task {task}, and changes no language model",
            hint="Give an adapter that was trained with task_type CAUSAL_LM.",
        )
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise OptionError(f"lora={folder}: it holds no {' or '.join(WEIGHTS)}", hint=hint)
    base = settings.get("base_model_name_or_path")
    return Adapter(folder.resolve(), rank, base or None, settings.get("revision") or None)


def changes_nothing(adapter: Adapter, source: str) -> ModelError:
    """Return the error for an adapter with which a model answers as without it."""
    return ModelError(
        f"the LoRA adapter {adapter.folder} changes nothing in what {source} answers",
        hint="Its weights are zero, or belong to modules that this model does not have: check that its training ended, "
        "and that this is its base; or leave the adapter out.",
    )


CARD = "tuning.json"
# Scores of an engine in float32 may differ by this from those that were kept, in nats.
MOST_DIFFERENCE = 1e-3


class ProbePrompt(BaseModel):
    """A prompt whose choices were scored: their log-probabilities in float32, of the tuned model and its base."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]
    labels: bool
    tuned: tuple[float, ...]
    base: tuple[float, ...]


class TunedModel(BaseModel):
    """What a folder says of the model that was tuned into it.

    `label` is the name of its row; `data` digests what it learned from, by table; `spec` is the `ModelSpec` of the
    base, `base` what identifies its weights; `chat_template` the digest of that; `files` a digest of each file that
    decides what it answers; `typed` the options that name it, `options` all that it was tuned with; `cost` what its
    training took; `probe` the prompts that show whether an engine serves it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    dataset: str
    data: dict[str, str]
    template: str
    method: str
    samples: int
    spec: dict[str, Any]
    base: dict[str, str]
    chat_template: str | None
    files: dict[str, str]
    typed: dict[str, str]
    options: dict[str, Any] = Field(default_factory=dict)
    cost: dict[str, float | None]
    probe: tuple[ProbePrompt, ...]

    def naming(self, dataset: str, template: str) -> dict[str, str]:
        """Return what names a row beside the label: options of the tuning, and on what else than this it was done."""
        elsewhere = {"tuned_on": self.dataset} if self.dataset != dataset else {}
        return {**self.typed, **elsewhere, **({"tuned_for": self.template} if self.template != template else {})}

    @property
    def numbers(self) -> dict[str, Any]:
        """What curves are drawn over: how many samples, and the options of the tuning; and the name without them."""
        return {"name": self.label.rpartition("-")[0], "samples": self.samples, "options": self.options}

    def check(self, folder: Path, base: Mapping[str, str] | None) -> None:
        """Compare the files of the folder, and the weights beside which its adapter is used, with what it says.

        Args:
            folder: Where it lies.
            base: What identifies the base in use, or None for whole weights.

        Raises:
            ModelError: If a file is missing, empty or another, or the base is another one.
        """
        again = f"Delete {folder} and run `llmrs-bench tune` again."
        for name, digest in self.files.items():
            path = folder / name
            if not path.is_file():
                raise ModelError(f"the tuned model {folder} lacks its file {name}", hint=again)
            if not path.stat().st_size:
                raise ModelError(f"{path} is empty", hint=again)
            if file_digest(path) != digest:
                raise ModelError(f"{path} is damaged: it is not the file that was tuned", hint=again)
        if base is not None and base.keys() == self.base.keys() and dict(base) != self.base:
            raise ModelError(
                f"the adapter {folder} was tuned on another model than the one it is used with",
                hint=f"It was tuned on {self.spec['source']}, whose files may have changed since: give that model, "
                "or tune again.",
            )


def read_tuned(folder: Path) -> TunedModel | None:
    """Return what a folder says of a model that was tuned into it, or None if it says nothing.

    Raises:
        ModelError: If that cannot be read.
    """
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        return TunedModel.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise ModelError(
            f"{path} cannot be read: {str(error).splitlines()[0]}",
            hint=f"Delete {folder} and run `llmrs-bench tune` again.",
        ) from error
