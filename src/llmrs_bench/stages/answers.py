"""Answers of one served model, kept in shards that are complete or absent, and found again by what was asked."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from llmrs_bench.errors import ArtifactError
from llmrs_bench.fingerprint import fingerprint
from llmrs_bench.schemas import check_schema, from_rows
from llmrs_bench.stages.whole import move_whole, write_whole
from llmrs_bench.types import Prompt

STORE = "store.json"
_OPEN_SHARDS = 8  # frames of shards held in memory


def prompt_key(prompt: Prompt) -> str:
    """Return a digest of all that a model is shown and asked: 32 hex digits.

    Neither the request nor the candidates' ids are part of it: two requests that read alike are answered alike.
    """
    asked: list[Any] = [[message.role, message.content] for message in prompt.messages]
    asked += [prompt.choices, prompt.labels, prompt.grammar, len(prompt.shown) if prompt.grammar else None]
    asked += [prompt.sample] if prompt.sample else []
    return sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()[:32]


class AnswerStore:
    """The answers of one model under one set of options, on disk.

    A shard is written beside its place, flushed to the disk and moved there: a process killed at any moment leaves
    whole shards alone. Several processes may write into one store; of two answers to one question the first shard
    by name counts, for all readers alike.

    Args:
        folder: Its directory, made if it is not there.
        served: Everything that decides an answer besides what is asked: model, tokenizer, chat template, engine,
            options and versions.

    Raises:
        ArtifactError: If the folder holds the answers of something else.
    """

    def __init__(self, folder: Path, served: Mapping[str, Any]) -> None:
        self.folder = folder
        self.served = dict(served)
        self.fingerprint = fingerprint(dict(served))
        self._shards = folder / "shards"
        self._sessions = folder / "sessions"
        for made in (self._shards, self._sessions):
            made.mkdir(parents=True, exist_ok=True)
        if not (folder / STORE).is_file():
            write_whole(folder / STORE, json.dumps(served, indent=2, sort_keys=True).encode())
        elif fingerprint(read_served(folder)) != self.fingerprint:
            raise ArtifactError(
                f"{folder} holds the answers of another model or other options",
                hint=f"Delete that folder, or move it away: see {folder / STORE}.",
            )
        self.session = uuid4().hex[:12]
        self._count = len(list(self._shards.glob("*.parquet")))
        self._index = self._read_index()
        self._frames: dict[str, pl.DataFrame] = {}

    def __len__(self) -> int:
        return len(self._index)

    def find(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the answers to the keys that were answered, as rows of the schema `answers`."""
        wanted = pl.DataFrame({"key": list(dict.fromkeys(keys))}, schema={"key": pl.String})
        places = wanted.join(self._index, on="key", how="inner", maintain_order="left")
        found: dict[str, dict[str, Any]] = {}
        for shard in places["shard"].unique().sort():
            rows = self._shard(shard).join(places.filter(pl.col("shard") == shard), on="key", how="semi")
            found |= {row["key"]: row for row in rows.unique("key", keep="first").iter_rows(named=True)}
        return found

    def keep(self, rows: Sequence[Mapping[str, Any]], session: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Write answers as one shard, and return them as `find` will.

        Args:
            rows: Of the schema `answers` but for `session`.
            session: What is known of this process and its engine; it replaces what was said before.
        """
        frame = from_rows("answers", [{**row, "session": self.session} for row in rows])
        write_whole(self._sessions / f"{self.session}.json", json.dumps(session, indent=2).encode())
        self._count += 1
        name = f"{self._count:06d}-{self.session}.parquet"
        partial = self._shards / f".{name}.partial"
        frame.write_parquet(partial, compression="zstd")
        move_whole(partial, self._shards / name)
        self._index = pl.concat([self._index, frame.select("key", shard=pl.lit(name))])
        return {row["key"]: row for row in frame.iter_rows(named=True)}

    def sessions(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what was recorded of sessions, by name."""
        return {name: json.loads((self._sessions / f"{name}.json").read_text("utf-8")) for name in sorted(names)}

    def _read_index(self) -> pl.DataFrame:
        parts = [pl.DataFrame(schema={"key": pl.String, "shard": pl.String})]
        for path in sorted(self._shards.glob("*.parquet")):
            with _reading(path):
                parts.append(pl.read_parquet(path, columns=["key"]).with_columns(shard=pl.lit(path.name)))
        return pl.concat(parts).unique("key", keep="first", maintain_order=True)

    def _shard(self, name: str) -> pl.DataFrame:
        if name not in self._frames:
            path = self._shards / name
            with _reading(path):
                frame = check_schema("answers", pl.read_parquet(path), where=str(path))
            while len(self._frames) >= _OPEN_SHARDS:
                self._frames.pop(next(iter(self._frames)))
            self._frames[name] = frame
        return self._frames[name]


def read_served(folder: Path) -> dict[str, Any]:
    """Return what a store says its answers were decided by.

    Raises:
        ArtifactError: If it cannot be read.
    """
    try:
        served: dict[str, Any] = json.loads((folder / STORE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder / STORE} cannot be read: {error}", hint=f"Delete {folder}.") from error
    return served


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a shard is read into an ArtifactError."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(
            f"{path} cannot be read: {error}", hint=f"Delete {path}: its answers are then asked for again."
        ) from error
