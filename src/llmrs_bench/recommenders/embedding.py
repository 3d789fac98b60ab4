"""Embedding: candidates whose texts mean about the same as those of the items of the history."""

from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError
from scipy.sparse import csr_matrix

from llmrs_bench.core import config
from llmrs_bench.core.device import pick_device
from llmrs_bench.core.environment import expanded, no_progress_bars
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.hashing import files_digest
from llmrs_bench.core.types import Json, Progress
from llmrs_bench.recommenders.base import TEXT, Corpus, ScoreBlock, TrainContext, item_texts, score_blocks
from llmrs_bench.recommenders.model_store import damaged, read_checkpoint, write_checkpoint
from llmrs_bench.recommenders.sequences import Sequences, Vocabulary

# What sentence-transformers raises for a model that is missing, incomplete or not one of its own.
_FAILURES = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError),
    *(SafetensorError, UnpicklingError, EOFError),
)
# Batches between two signs of progress.
_ROUND = 16


class EmbeddingOptions(config.Options):
    """`model` is an id of the Hugging Face hub or a local folder, of a model for sentence-transformers.

    `revision` is a branch, tag or commit of the hub; `max_history` is the number of newest items of a user that are
    looked at; `batch` counts texts.
    """

    model: str = Field(default="sentence-transformers/all-MiniLM-L6-v2", min_length=1)
    revision: str | None = None
    max_history: int = Field(default=10, ge=1)
    batch: int = Field(default=64, ge=1)


class Embedding:
    """Scores an item by the cosine of its sentence embedding with the mean of those of the newest items of the history.

    Texts are those of `item_texts`, embedded in float32, with no prompt but the model's default; what is longer than
    the model reads is cut by it. Every vector has length 1 before the mean. An item without a text scores 0, as does
    every item where the history holds none that is known; a known item can score less than that. The embedding of a
    column `text` of the requests counts as that of one more item.
    """

    Options: ClassVar[type[config.Options]] = EmbeddingOptions
    learns: ClassVar[bool] = False

    def __init__(self, options: EmbeddingOptions, *, seed: int, device: str) -> None:
        self.options = options
        self.device = pick_device(device)
        self._items = Vocabulary(())
        self._embed: Callable[[list[str]], NDArray[np.float32]] | None = None
        self._vectors: NDArray[np.float32] = np.zeros((0, 1), dtype=np.float32)

    def fit(self, corpus: Corpus, work: TrainContext) -> dict[str, Json]:
        """Embed every item; items with the same text get the same vector.

        The facts hold what decides the vectors: the library's version, and the commit of a model of the hub or the
        digest of a local folder.

        Raises:
            ModelError: If no item has a text, sentence-transformers is missing, the model cannot be loaded, or it
                returns vectors that are not finite.
        """
        items, texts = item_texts(corpus.items)
        encoder, version = _load_encoder(self.options, self.device)
        distinct = sorted(set(texts))
        vectors = _encode(encoder, distinct, self.options.batch, work.progress)
        if not np.isfinite(vectors).all():
            raise ModelError(f"{self.options.model} returns embeddings that are not finite", hint="Use another model.")
        place = {text: row for row, text in enumerate(distinct)}
        self._items, self._vectors = items, vectors[[place[text] for text in texts]]
        self._embed = lambda wanted: _encode(encoder, wanted, self.options.batch, work.progress)
        return {
            "items": len(items),
            "model": self.options.model,
            "revision": self.options.revision,
            **_origin(self.options.model, encoder),
            "dimension": vectors.shape[1],
            "library": f"sentence-transformers {version}",
            "device": self.device.type,
        }

    def score(self, requests: pl.DataFrame, items: pl.Series) -> Iterator[ScoreBlock]:
        """Yield the cosine of every item.

        Computed in float64 and rounded to float32, so that the noise of another batch is rounded away.

        Raises:
            ModelError: If the model is not fitted.
        """
        self._check_fitted()
        vectors = _unit(np.vstack([np.zeros_like(self._vectors[:1]), self._vectors]).astype(np.float64))
        asked = vectors[self._items.encode(items)].T
        histories = Sequences.of(requests["history"], self._items).last(self.options.max_history)
        for rows in score_blocks(len(requests)):
            users, events = histories.take(rows).flat()
            chosen = csr_matrix((np.ones(len(events)), (users, events)), shape=(len(rows), len(vectors)))
            chosen.sum_duplicates()  # and sorts: float sums depend on the order
            said = self._said(requests[TEXT][rows.tolist()].to_list()) if TEXT in requests.columns else 0.0
            yield ScoreBlock(rows, (_unit(chosen @ vectors + said) @ asked).astype(np.float32))

    def _said(self, texts: list[str]) -> NDArray[np.float64]:
        """Return the embedding of each text; that of an empty one is 0.

        Raises:
            ModelError: If the embedding model was not loaded with the vectors.
        """
        if self._embed is None:
            raise ModelError(
                "this embedding was loaded without its model, so it cannot read texts", hint="Fit it again."
            )
        found = self._embed(texts).astype(np.float64)
        found[[not text for text in texts]] = 0.0
        return found

    def save(self, folder: Path) -> None:
        """Write vectors, options and item vocabulary into the existing `folder`.

        Raises:
            ModelError: If the model is not fitted.
        """
        self._check_fitted()
        facts: dict[str, Json] = {"options": self.options.model_dump(mode="json"), "items": list(self._items.ids)}
        write_checkpoint(folder, "embedding", facts, {"vectors": torch.from_numpy(self._vectors)})

    @classmethod
    def load(cls, folder: Path, *, device: str) -> Self:
        """Return the model that `save` wrote; neither the embedding model nor its library is needed.

        Raises:
            ModelError: If the folder is damaged, incomplete or another recommender's.
        """
        facts, parts = read_checkpoint(folder, "embedding")
        place = pick_device(device).type
        try:
            model = cls(EmbeddingOptions.parse(facts["options"], owner="embedding"), seed=0, device=place)
            model._items, model._vectors = Vocabulary(tuple(facts["items"])), parts["vectors"].numpy()
        except (KeyError, TypeError, ValueError, OptionError) as error:
            raise damaged(folder, "embedding", str(error)) from error
        if len(model._items) != len(model._vectors):
            raise damaged(folder, "embedding", f"{len(model._items)} items, but {len(model._vectors)} vectors")
        return model

    def _check_fitted(self) -> None:
        if not len(self._items):
            raise ModelError("embedding is not fitted yet", hint="Call fit, or load a fitted model.")


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `rows` scaled to length 1; those of length 0 stay as they are."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: NDArray[np.float64] = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return scaled


def _encode(encoder: Any, texts: list[str], batch: int, progress: Progress) -> NDArray[np.float32]:
    """Return the normalised embeddings (text, dimension), made from short texts to long ones, against padding."""
    order = sorted(range(len(texts)), key=lambda row: (len(texts[row]), row))
    parts: list[NDArray[np.float32]] = []
    with progress("embedding, encoding", len(texts)) as step:
        for start in range(0, len(texts), batch * _ROUND):
            chunk = [texts[row] for row in order[start : start + batch * _ROUND]]
            parts.append(encoder.encode(chunk, batch_size=batch, normalize_embeddings=True, show_progress_bar=False))
            step(start + len(chunk))
    vectors = np.concatenate(parts).astype(np.float32)
    return vectors[np.argsort(order)]


def _load_encoder(options: EmbeddingOptions, device: torch.device) -> tuple[Any, str]:
    """Return the embedding model in float32, and the version of sentence-transformers."""
    try:
        import sentence_transformers
    except ImportError as error:
        raise ModelError(
            f"sentence-transformers cannot be imported: {error}", hint="Run `pip install 'llmrs-bench[embedding]'`."
        ) from error
    folder = _local_folder(options.model)
    if folder is not None and options.revision is not None:
        raise ModelError(
            f"revision {options.revision!r} has no effect on the folder {options.model!r}",
            hint="Leave it out, or give an id of the hub as the model.",
        )
    source = options.model if folder is None else str(folder)
    try:
        with no_progress_bars():
            encoder = sentence_transformers.SentenceTransformer(source, revision=options.revision, device=device.type)
    except _FAILURES as error:
        raise ModelError(
            f"cannot load the embedding model {options.model!r}: {error}",
            hint="Check the id or the folder. Without a connection, run `hf download` where there is one, or give the "
            "folder of a model as -O model=FOLDER.",
        ) from error
    return encoder.float(), str(sentence_transformers.__version__)


def _local_folder(model: str) -> Path | None:
    """Return the folder that `model` is, or None if it is an id of the hub."""
    folder = expanded(model)
    if folder.is_dir():
        return folder
    if model.startswith((".", "~")) or folder.is_absolute() or model.count("/") > 1:
        raise ModelError(
            f"no folder {model!r}",
            hint="Give the folder of a model for sentence-transformers, or an id such as "
            f"{EmbeddingOptions.model_fields['model'].default}.",
        )
    return None


def _origin(model: str, encoder: Any) -> dict[str, Json]:
    """Return what identifies the files of an embedding model: `content` of a folder, or `commit` of the hub."""
    folder = _local_folder(model)
    if folder is not None:
        return {"content": folder_digest(folder)}
    commits = (getattr(getattr(part, "config", None), "_commit_hash", None) for part in encoder.modules())
    return {"commit": next((commit for commit in commits if isinstance(commit, str)), None)}


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of the relative names and contents of all files in `folder` but hidden ones."""
    found = (path for path in folder.rglob("*") if path.is_file())
    shown = (path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return files_digest(folder, shown)
