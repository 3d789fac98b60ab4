"""Which files a model is: a folder or an id of the hub, a GGUF file in it, a LoRA adapter beside it."""

from dataclasses import dataclass
from pathlib import Path

from llmrs_bench.engines.lora import CONFIG as ADAPTER_CONFIG
from llmrs_bench.engines.lora import Adapter, read_adapter
from llmrs_bench.errors import ModelError, OptionError

GGUF = ".gguf"
_WEIGHTS = ("*.safetensors", "*.bin")
_ADAPTER_WEIGHTS = "adapter_model"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where the files of a model are.

    Args:
        source: The id of a model on the hub, or the path of a folder.
        revision: Of the hub: a commit, a tag, a branch or None.
        folder: The folder, or None if `source` is an id.
        gguf: The name of the GGUF file in it that holds weights, tokenizer and chat template.
        adapter: The LoRA adapter that the weights are used with.
    """

    source: str
    revision: str | None = None
    folder: Path | None = None
    gguf: str | None = None
    adapter: Adapter | None = None


def find_files(
    source: str, *, revision: str | None = None, gguf_file: str | None = None, lora: Path | None = None
) -> ModelFiles:
    """Return where the files of a model are, without asking the hub.

    Args:
        source: A folder with a model or an adapter, a GGUF file, or an id of the hub.
        revision: Of the hub.
        gguf_file: Which GGUF file of the folder or of the hub's repository is meant.
        lora: The folder of an adapter for it.

    Raises:
        ModelError: If `source` is written as a path and nothing is there, or it is not clear which of its files are
            meant.
        OptionError: If `gguf_file` or `lora` names nothing that fits.
    """
    path = Path(source).expanduser()
    if lora is None and path.is_dir() and is_adapter(path):
        if gguf_file is None and _holds_weights(path):
            raise ModelError(
                f"{path} holds a model and a LoRA adapter",
                hint=f"Move {ADAPTER_CONFIG} and {_ADAPTER_WEIGHTS}.* to a folder of their own; give it as "
                "`-O lora=FOLDER` to use the adapter.",
            )
        return _adapted(path)
    adapter = None if lora is None else read_adapter(lora)
    if path.suffix.lower() == GGUF and path.is_file():
        if gguf_file is not None:
            raise OptionError(
                f"gguf_file={gguf_file}: the model is a GGUF file already", hint="Leave out -O gguf_file."
            )
        return ModelFiles(str(path.parent), folder=path.parent, gguf=path.name, adapter=adapter)
    if path.is_dir():
        return ModelFiles(str(path), folder=path, gguf=find_gguf(path, gguf_file), adapter=adapter)
    if _looks_like_path(source, path):
        raise ModelError(
            f"no folder {source!r}" if path.suffix.lower() != GGUF else f"no file {source!r}",
            hint="Give a folder with config.json, a tokenizer and weights, a GGUF file, or an id such as "
            "meta-llama/Llama-2-7b-hf.",
        )
    return ModelFiles(source, revision, gguf=gguf_file, adapter=adapter)


def is_adapter(folder: Path) -> bool:
    """Tell whether a folder holds a LoRA adapter."""
    return (folder / ADAPTER_CONFIG).is_file()


def _adapted(folder: Path) -> ModelFiles:
    """Return the files of an adapter's base, with the adapter."""
    adapter = read_adapter(folder)
    if adapter.base is None:
        raise ModelError(
            f"the LoRA adapter {folder} does not name its base model",
            hint="Give the base as --model, and the adapter as `-O lora=FOLDER`.",
        )
    base = Path(adapter.base).expanduser()
    if not base.is_dir() and _looks_like_path(adapter.base, base):
        raise ModelError(
            f"the base of the LoRA adapter {folder} is {adapter.base!r}, and there is no such folder",
            hint=f"Give the base as --model, and the adapter as `-O lora={folder}`.",
        )
    if base.is_dir():
        return ModelFiles(str(base), folder=base, gguf=find_gguf(base), adapter=adapter)
    return ModelFiles(adapter.base, adapter.base_revision, adapter=adapter)


def _looks_like_path(source: str, path: Path) -> bool:
    written = source.startswith((".", "~", "/")) or path.is_absolute()
    return written or source.count("/") > 1 or path.suffix.lower() == GGUF


def _holds_weights(folder: Path) -> bool:
    """Tell whether a folder holds weights in the transformers format, those of an adapter left out."""
    return any(
        not path.name.startswith(_ADAPTER_WEIGHTS) and path.name != "training_args.bin"
        for pattern in _WEIGHTS
        for path in folder.glob(pattern)
    )


def find_gguf(folder: Path, gguf_file: str | None = None) -> str | None:
    """Return the GGUF file of a folder that is meant, or None if it holds a model in the transformers format.

    Raises:
        ModelError: If it holds several, and `gguf_file` chooses none.
        OptionError: If it holds no `gguf_file`.
    """
    there = sorted(path.name for path in folder.iterdir() if path.suffix.lower() == GGUF and path.is_file())
    if gguf_file is not None:
        if gguf_file not in there:
            raise OptionError(
                f"gguf_file={gguf_file}: {folder} has no such file",
                hint=f"It holds {', '.join(there)}." if there else "It holds no GGUF file: leave out -O gguf_file.",
            )
        return gguf_file
    if not there or _holds_weights(folder):
        return None
    if len(there) > 1:
        raise ModelError(
            f"{folder} holds {len(there)} GGUF files: {', '.join(there)}",
            hint=f"Choose one, such as `-O gguf_file={there[0]}`.",
        )
    return there[0]
