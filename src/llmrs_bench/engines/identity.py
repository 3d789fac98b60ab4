"""What identifies a model's weights, tokenizer and chat template, found without loading any of them."""

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
from llmrs_bench.errors import ModelError

MOCK_VERSION = "3"
_SUFFIXES = frozenset({".json", ".safetensors", ".bin", ".model", ".txt", ".jinja"})
_TIMEOUT = 20.0  # seconds


def identify(model: ModelSpec) -> dict[str, str]:
    """Return what answers of `model` may be cached under: two models with equal values answer alike.

    A local folder gives `content`, the digest of its files: renaming or moving it changes nothing. A model of
    the Hugging Face hub gives `source` and `commit`, of the local cache if the hub cannot be reached.

    Raises:
        ModelError: If there is no such model, it is gated, or the hub cannot be reached and nothing is cached.
    """
    if model.source == "mock":
        return {"mock": MOCK_VERSION}
    folder = local_folder(model)
    if folder is not None:
        return {"content": folder_digest(folder)}
    return {"source": model.source, "commit": _commit(model)}


def local_folder(model: ModelSpec) -> Path | None:
    """Return the folder that `model` is loaded from, or None if its source is an id of the hub.

    Raises:
        ModelError: If the source is written as a path, and there is no such folder.
    """
    folder = Path(model.source).expanduser()
    if folder.is_dir():
        return folder
    if model.source.startswith((".", "~", "/")) or folder.is_absolute() or model.source.count("/") > 1:
        raise ModelError(
            f"no folder {model.source!r}",
            hint="Give a folder with config.json, a tokenizer and weights, or an id such as meta-llama/Llama-2-7b-hf.",
        )
    return None


def folder_digest(folder: Path) -> str:
    """Return the digest of a model folder: of the relative name and the digest of each file that matters.

    Files that matter are those of configuration, weights, tokenizer and chat template, by their suffix.

    Raises:
        ModelError: If the folder has no config.json.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json", hint="Give the folder of a model in the transformers format.")
    total = sha256()
    files = (path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
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


def _commit(model: ModelSpec) -> str:
    try:
        commit = HfApi().model_info(model.source, revision=model.revision, timeout=_TIMEOUT).sha
    except GatedRepoError as error:
        raise gated(model) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"model {model.source!r} has no revision {model.revision!r}",
            hint=f"See https://huggingface.co/{model.source}/commits/main for its commits.",
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"no model {model.source!r} on the Hugging Face hub, or it is private",
            hint="Check the id (owner/name); set HF_TOKEN for a private model; a local folder works, too.",
        ) from error
    except (HTTPError, OSError) as error:
        return _cached_commit(model, error)
    if commit is None:
        raise ModelError(f"the hub names no commit of {model.source!r}", hint="Try again, or give a local folder.")
    return commit


def gated(model: ModelSpec) -> ModelError:
    """Return the error for a model whose licence the user has not accepted."""
    return ModelError(
        f"model {model.source!r} is gated: its licence has to be accepted first",
        hint=f"Accept it at https://huggingface.co/{model.source}, then set HF_TOKEN to a token of that account.",
    )


def _cached_commit(model: ModelSpec, error: Exception) -> str:
    cached = try_to_load_from_cache(model.source, "config.json", revision=model.revision)
    if isinstance(cached, str):
        return Path(cached).parent.name  # .../snapshots/<commit>/config.json
    raise ModelError(
        f"model {model.source!r} is not in the local cache, and the hub did not answer: {error}",
        hint=f"Run `hf download {model.source}` where there is a connection, or give a local folder as the model; "
        "if HF_HUB_OFFLINE is set, unset it.",
    ) from error
