"""What identifies a model's weights, tokenizer and chat template, found without loading any of them."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: of whichever client the hub has
    GatedRepoError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines.lora import CONFIG as ADAPTER_CONFIG
from llmrs_bench.engines.model_files import GGUF, ModelFiles, find_files
from llmrs_bench.errors import ModelError

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
    adapter = {} if files.adapter is None else {"adapter": _digest(files.adapter.folder, files.adapter.files)}
    if files.folder is None:
        named = {} if files.gguf is None else {"gguf_file": files.gguf}
        return {"source": files.source, "commit": _commit(files), **named, **adapter}
    if files.gguf is not None:
        return {"content": file_digest(files.folder / files.gguf), **adapter}
    return {"content": folder_digest(files.folder), **adapter}


def local_gguf(files: ModelFiles, commit: str | None) -> Path:
    """Return the path of a model's GGUF file; one of the hub is downloaded.

    Raises:
        ModelError: If that fails.
    """
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


def folder_digest(folder: Path) -> str:
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
    return _digest(folder, (path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file()))


def _digest(folder: Path, files: Iterable[Path]) -> str:
    total = sha256()
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in files):
        total.update(f"{name}\0{file_digest(path)}\n".encode())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _commit(files: ModelFiles) -> str:
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
