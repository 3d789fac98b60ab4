"""Which files a model is, and the digest that makes it the same model."""

from dataclasses import dataclass
from pathlib import Path

from llmrs_bench.core.environment import expanded
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.hashing import files_digest, remembered_digest
from llmrs_bench.llm.adapters import CARD, Adapter, read_adapter
from llmrs_bench.llm.adapters import CONFIG as ADAPTER_CONFIG
from llmrs_bench.llm.model_aliases import ModelSpec

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
    path = expanded(source)
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
    """Return whether a folder holds a LoRA adapter."""
    return (folder / ADAPTER_CONFIG).is_file()


def _adapted(folder: Path) -> ModelFiles:
    """Return the files of an adapter's base, with the adapter."""
    adapter = read_adapter(folder)
    if adapter.base is None:
        raise ModelError(
            f"the LoRA adapter {folder} does not name its base model",
            hint="Give the base as --model, and the adapter as `-O lora=FOLDER`.",
        )
    base = expanded(adapter.base)
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
    """Return whether a folder holds weights in the transformers format, those of an adapter left out."""
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


MOCK_VERSION = "3"
_SUFFIXES = frozenset({".json", ".safetensors", ".bin", ".model", ".txt", ".jinja"})
_TIMEOUT = 20.0  # seconds


def identify(model: ModelSpec, *, gguf_file: str | None = None, lora: Path | None = None) -> dict[str, str]:
    """Return what answers of `model` may be cached under: two models with equal values answer alike.

    A local folder gives `content`, the digest of its files, and a GGUF file that of its bytes: renaming or moving them
    changes nothing. A model of the Hugging Face hub gives `source` and `commit`, of the local cache if the hub cannot
    be reached, and `gguf_file` if one is meant. A LoRA adapter adds `adapter`, the digest of its files.

    Args:
        model: Its source may be a folder, a GGUF file, the folder of an adapter, or an id of the hub.
        gguf_file: Which GGUF file of a folder or a repository is meant.
        lora: The folder of an adapter for the model.

    Raises:
        ModelError: If there is no such model, it is gated, or the hub cannot be reached and nothing is cached.
        OptionError: If `gguf_file` or `lora` names nothing that fits.
    """
    if model.source == "mock":
        return {"mock": MOCK_VERSION}
    return identify_files(find_files(model.source, revision=model.revision, gguf_file=gguf_file, lora=lora))


def identify_files(files: ModelFiles) -> dict[str, str]:
    """Return what `identify` says of a model whose files are known."""
    adapter = {} if files.adapter is None else {"adapter": files_digest(files.adapter.folder, files.adapter.files)}
    if files.folder is None:
        named = {} if files.gguf is None else {"gguf_file": files.gguf}
        return {"source": files.source, "commit": _commit(files), **named, **adapter}
    if files.gguf is not None:
        return {"content": remembered_digest(files.folder / files.gguf), **adapter}
    return {"content": _model_digest(files.folder), **adapter}


def local_gguf(files: ModelFiles, commit: str | None) -> Path:
    """Return the path of a model's GGUF file; one of the hub is downloaded.

    Raises:
        ModelError: If that fails.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever client the hub has

    assert files.gguf is not None
    if files.folder is not None:
        return files.folder / files.gguf
    try:
        return Path(HfApi().hf_hub_download(files.source, files.gguf, revision=commit))
    except (HTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"{files.gguf} of {files.source!r} cannot be downloaded: {error}",
            hint=f"Try again, or run `hf download {files.source} {files.gguf}` where there is a connection.",
        ) from error


def _model_digest(folder: Path) -> str:
    """Return the digest of a model folder: of the relative name and the digest of each file that matters.

    Files that matter are those of configuration, weights, tokenizer and chat template, by their suffix.

    Raises:
        ModelError: If the folder has no config.json.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} has no config.json",
            hint="Give the folder of a model in the transformers format, of a LoRA adapter, or with a GGUF file.",
        )
    # What a tuning says of itself is no part of the model.
    apart = {folder / CARD, folder / "manifest.json"} if (folder / CARD).is_file() else set()
    files = (path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file() and path not in apart)
    return files_digest(folder, files)


def _commit(files: ModelFiles) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: of whichever client the hub has
        GatedRepoError,
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    source, revision = files.source, files.revision
    try:
        found = HfApi().model_info(source, revision=revision, timeout=_TIMEOUT)
    except GatedRepoError as error:
        raise gated(source) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"model {source!r} has no revision {revision!r}",
            hint=f"See https://huggingface.co/{source}/commits/main for its commits.",
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"no model {source!r} on the Hugging Face hub, or it is private",
            hint="Check the id (owner/name); set HF_TOKEN for a private model; a local folder works, too.",
        ) from error
    except (HTTPError, OSError) as error:
        return _cached_commit(files, error)
    if found.sha is None:
        raise ModelError(f"the hub names no commit of {source!r}", hint="Try again, or give a local folder.")
    _check_format(files, {file.rfilename for file in found.siblings or ()})
    return found.sha


def _check_format(files: ModelFiles, names: set[str]) -> None:
    """Refuse a repository whose files are not those of a model, before anything is downloaded."""
    source = files.source
    ggufs = sorted(name for name in names if name.lower().endswith(GGUF))
    if files.gguf is not None and names and files.gguf not in names:
        raise ModelError(
            f"model {source!r} has no file {files.gguf!r}",
            hint=f"Its GGUF files are {', '.join(ggufs)}." if ggufs else "It has no GGUF file: leave out -O gguf_file.",
        )
    if files.gguf is None and ADAPTER_CONFIG in names:
        raise ModelError(
            f"{source!r} holds a LoRA adapter",
            hint=f"Run `hf download {source} --local-dir FOLDER`, and give that folder as the model.",
        )
    if files.gguf is None and ggufs and "config.json" not in names:
        raise ModelError(
            f"model {source!r} holds GGUF files: {', '.join(ggufs)}",
            hint=f"Choose one, such as `-O gguf_file={ggufs[0]}`.",
        )


def gated(source: str) -> ModelError:
    """Return the error for a model whose licence the user has not accepted."""
    return ModelError(
        f"model {source!r} is gated: its licence has to be accepted first",
        hint=f"Accept it at https://huggingface.co/{source}, then set HF_TOKEN to a token of that account.",
    )


def _cached_commit(files: ModelFiles, error: Exception) -> str:
    from huggingface_hub import try_to_load_from_cache

    wanted = "config.json" if files.gguf is None else files.gguf
    cached = try_to_load_from_cache(files.source, wanted, revision=files.revision)
    if isinstance(cached, str):
        return Path(cached.removesuffix(f"/{wanted}")).name  # .../snapshots/<commit>/<file>
    download = files.source if files.gguf is None else f"{files.source} {files.gguf}"
    raise ModelError(
        f"model {files.source!r} is not in the local cache, and the hub did not answer: {error}",
        hint=f"Run `hf download {download}` where there is a connection, or give a local folder as the model; "
        "if HF_HUB_OFFLINE is set, unset it.",
    ) from error
