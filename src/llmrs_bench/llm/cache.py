"""Answers of one served model, kept in shards that are complete or absent, and found again by what was asked."""

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl

from llmrs_bench.core.errors import ArtifactError, DamagedError, is_damage
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.core.locks import is_locked, locked
from llmrs_bench.core.schemas import check_schema, from_rows
from llmrs_bench.core.tables import atomic_write, file_state, parse_parquet
from llmrs_bench.core.types import UNANSWERED, Prompt

STORE = "store.json"
_OPEN = 128_000_000  # bytes of shards held in memory
_LATEST, _SEARCHED = 8, 64  # shards that say how long answers take, and among which those are looked for
_COUNTED = ("prompt_tokens", "cached_tokens", "completion_tokens")
_OF_SESSIONS = ("seconds_loading", "peak_device_gb")
_KEY = 32  # hex digits
_LATE = 50_000  # keys that are held beside the sorted ones

_ASKED = json.JSONEncoder(ensure_ascii=False)

Keys = np.ndarray[Any, np.dtype[np.bytes_]]


def cache_key(prompt: Prompt) -> str:
    """Return a digest of all that a model is shown and asked: 32 hex digits.

    Neither the request nor the candidates' ids are part of it: two requests that read alike are answered alike.
    """
    asked: list[Any] = [[message.role, message.content] for message in prompt.messages]
    asked += [prompt.choices, prompt.labels, prompt.grammar, len(prompt.shown) if prompt.grammar else None]
    asked += [prompt.sample] if prompt.sample else []
    return sha256(_ASKED.encode(asked).encode()).hexdigest()[:_KEY]


class ResponseCache:
    """The answers of one model under one set of options, on disk.

    A shard is written beside its place, flushed to the disk and moved there: a process killed at any moment leaves
    whole shards alone. Its name ends in a digest of its bytes, so that a damaged one is found. Several processes may
    write into one store, and claim what they ask; of two answers to one question the first shard by name counts, for
    all readers alike.

    Args:
        folder: Its directory, made if it is not there.
        served: Everything that decides an answer besides what is asked: model, tokenizer, chat template, engine,
            options and versions.

    Raises:
        ArtifactError: If the folder holds the answers of something else, or a shard is damaged.
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
            atomic_write(folder / STORE, json.dumps(served, indent=2, sort_keys=True).encode())
        elif fingerprint(read_served(folder)) != self.fingerprint:
            raise ArtifactError(
                f"{folder} holds the answers of another model or other options",
                hint=f"Move that folder away: see {folder / STORE}.",
            )
        self.session = uuid4().hex[:12]
        self._claims = folder / "claims"
        self._names = sorted(_shard_names(self._shards))
        read = [_keys_of(self._shards / name) for name in self._names]
        self._index = _Index([keys.answered for keys in read])
        self._unanswered = {key: number for number, keys in enumerate(read) for key in keys.others}
        self._frames: OrderedDict[str, pl.DataFrame] = OrderedDict()  # the latest ones, bounded by their size
        self._open = 0  # bytes

    def __len__(self) -> int:
        return len(self._index)

    def find(self, keys: Iterable[str], *, unanswered: bool = False) -> dict[str, dict[str, Any]]:
        """Return the answers to the keys that were answered, as rows of the schema `answers`.

        Args:
            keys: What was asked.
            unanswered: Return the rows of those, too, that a server was asked for and did not answer.
        """
        wanted = dict.fromkeys(keys)
        places = self._index.find(wanted)
        if unanswered:
            known = {key for some in places.values() for key in some}
            for key in wanted:
                if key not in known and key in self._unanswered:
                    places.setdefault(self._unanswered[key], []).append(key)
        found: dict[str, dict[str, Any]] = {}
        for number, some in sorted(places.items()):
            frame = self._shard(self._names[number])
            rows = frame.filter(pl.col("key").is_in(pl.Series(some, dtype=pl.String).implode()))
            found |= {row["key"]: row for row in rows.unique("key", keep="first").iter_rows(named=True)}
        return found

    def keep(self, rows: Sequence[Mapping[str, Any]], session: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Write answers as one shard, and return them as `find` will.

        Args:
            rows: Of the schema `answers` but for `session`.
            session: What is known of this process and its engine; it replaces what was said before.
        """
        frame = from_rows("answers", [{**row, "session": self.session} for row in rows])
        recorded = {**session, _RECORDED: _record_digest(session)}
        atomic_write(self._sessions / f"{self.session}.json", json.dumps(recorded, indent=2).encode())
        content = BytesIO()
        frame.write_parquet(content, compression="zstd")
        name = f"{len(self._names) + 1:06d}-{self.session}-{_digest(content.getvalue())}.parquet"
        atomic_write(self._shards / name, content.getvalue())
        self._names.append(name)
        keys = _remembered(self._shards / name, frame)
        self._index.add(keys.answered.astype(str).tolist(), len(self._names) - 1)
        self._unanswered |= dict.fromkeys(keys.others, len(self._names) - 1)
        return {row["key"]: row for row in frame.iter_rows(named=True)}

    def began(self) -> datetime | None:
        """Return when the first of the answers was asked for, None while there is none.

        Raises:
            ArtifactError: If a record of a session is damaged.
        """
        if not self._names:
            return None
        records = [self._recorded(path.stem) for path in sorted(self._sessions.glob("*.json"))]
        return min(
            (datetime.fromisoformat(record["started"]) for record in records if "started" in record), default=None
        )

    @contextmanager
    def claimed(self, keys: Iterable[str]) -> Iterator[set[str]]:
        """Yield those of the keys that have no answer and that no other process is asking: each is asked by one.

        A claim ends with its process, however that ends.
        """
        wanted, place = set(keys), self._claims / uuid4().hex[:12]
        if not wanted:
            yield wanted
            return
        with ExitStack() as claim:
            with locked(self._claims / "all.lock", f"the list of prompts that runs ask of {self.folder.name}"):
                for names in self._others().values():
                    wanted -= names
                self.refresh()
                wanted -= self.find(wanted).keys()
                if wanted:
                    place.with_suffix(".keys").write_text("\n".join(wanted), "utf-8")
                    claim.callback(place.with_suffix(".keys").unlink, missing_ok=True)
                    claim.enter_context(locked(place.with_suffix(".lock"), self.folder.name))
            yield wanted

    def wait_for(self, keys: Iterable[str]) -> None:
        """Wait until no other process asks any of the keys."""
        wanted = set(keys)
        for claim, names in self._others().items():
            if names & wanted:
                with locked(claim, f"answers of {self.folder.name} that another run is asking for"):
                    claim.with_suffix(".keys").unlink(missing_ok=True)
        self.refresh()

    def _others(self) -> dict[Path, set[str]]:
        """Return what processes are asking, by the lock of each claim; claims that nobody holds are removed."""
        found = {}
        for path in sorted(self._claims.glob("*.keys")):
            with suppress(FileNotFoundError):
                names, claim = set(path.read_text("utf-8").split()), path.with_suffix(".lock")
                if is_locked(claim):
                    found[claim] = names
                else:
                    path.unlink()
        return found

    def refresh(self) -> None:
        """Take in the shards that other processes have written meanwhile."""
        for name in sorted(_shard_names(self._shards) - set(self._names)):
            read = _keys_of(self._shards / name)
            keys = read.answered.astype(str).tolist()
            self._names.append(name)
            self._unanswered |= dict.fromkeys(read.others, len(self._names) - 1)
            known = {key for some in self._index.find(keys).values() for key in some}
            self._index.add([key for key in keys if key not in known], len(self._names) - 1)

    def sessions(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what was recorded of sessions, by name.

        Raises:
            ArtifactError: If a record is missing or damaged.
        """
        return {name: self._recorded(name) for name in sorted(names)}

    def speed(self, *, choices: bool) -> "Speed | None":
        """Return what the latest answers of a kind took, or None if there are none.

        Args:
            choices: Whether choices were scored, or a text was written.
        """
        latest = sorted(self._names, key=lambda name: (self._shards / name).stat().st_mtime, reverse=True)
        scored = pl.col("finish_reason") == "choices"
        frames: list[pl.DataFrame] = []
        for name in latest[:_SEARCHED]:
            rows = self._shard(name).filter(pl.col("finish_reason") != UNANSWERED, scored if choices else ~scored)
            frames += [rows.select("session", "seconds", *_COUNTED)] if rows.height else []
            if len(frames) == _LATEST:
                break
        if not frames:
            return None
        rows = pl.concat(frames)
        prompt, cached, written = (int(rows[name].sum()) for name in _COUNTED)
        seconds, tokens = float(rows["seconds"].cast(pl.Float64).sum()), prompt - cached + written
        records = self.sessions(rows["session"].unique()).values()
        known = {name: [float(each[name]) for each in records if each.get(name)] for name in _OF_SESSIONS}
        return Speed(
            answers=rows.height,
            per_token=seconds / tokens if prompt and tokens else None,
            written=written / rows.height,
            loading=max(known["seconds_loading"], default=None),
            device_gb=max(known["peak_device_gb"], default=None),
        )

    def _recorded(self, session: str) -> dict[str, Any]:
        path = self._sessions / f"{session}.json"
        try:
            record: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if not isinstance(record, dict):
                raise ValueError("it is no object")
            # Records of earlier versions have no digest.
            if record.pop(_RECORDED, None) not in (None, _record_digest(record)):
                raise ValueError("it was changed after it was written")
            if not isinstance(record.get("started", ""), str):
                raise ValueError("it does not say when it started")
        except (OSError, ValueError, RecursionError) as error:
            if isinstance(error, OSError) and not is_damage(error):
                raise
            raise DamagedError(
                f"{path} cannot be read, so it is not known how the answers of that session were computed: {error}",
                hint=f"Restore the file, or delete {self._shards}/*-{session}-*.parquet and {path}: only these "
                "answers are then asked for again.",
            ) from error
        return record

    def _shard(self, name: str) -> pl.DataFrame:
        frame = self._frames.pop(name, None)
        if frame is None:
            path = self._shards / name
            frame = _read_shard(path).rename(_RENAMED, strict=False)
            if "least_shown" not in frame.columns:  # it was kept before 0.1.0
                frame = frame.with_columns(least_shown=pl.lit(None, pl.Float32))
            frame = check_schema("answers", frame, where=str(path))
            self._open += int(frame.estimated_size())
        self._frames[name] = frame
        while self._open > _OPEN and len(self._frames) > 1:
            self._open -= int(self._frames.popitem(last=False)[1].estimated_size())
        return frame


@dataclass(frozen=True, slots=True)
class Speed:
    """What answers took.

    Args:
        answers: How many say so.
        per_token: Seconds for each token that was computed: read and not cached, scored or written. None: the server
            did not count them.
        written: Tokens that were scored or written for an answer, on average.
        loading: Seconds that the model took to load, the longest time; None where nothing was loaded.
        device_gb: The most memory of the device, where it was read.
    """

    answers: int
    per_token: float | None
    written: float
    loading: float | None
    device_gb: float | None


_RENAMED = {"clipped": "n_truncated", "bare": "without_attributes"}  # of answers that were kept before 0.1.0
_RECORDED = "digest"  # in the record of a session: of all the rest


def _record_digest(record: Mapping[str, Any]) -> str:
    return sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


_NAMED_BY = re.compile(r".*-([0-9a-f]{8})", re.DOTALL)  # a folder that a workspace has named by what it holds


def read_served(folder: Path) -> dict[str, Any]:
    """Return what a store says its answers were decided by.

    Raises:
        ArtifactError: If it cannot be read.
    """
    try:
        served: dict[str, Any] = json.loads((folder / STORE).read_text("utf-8"))
        if not isinstance(served, dict):
            raise ValueError("it is no object")
        named = _NAMED_BY.fullmatch(folder.name)
        if named is not None and fingerprint(served)[:8] != named[1]:
            raise ValueError("it was changed after it was written, or its folder renamed")
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise DamagedError(
            f"{folder / STORE} cannot be read; it says which model and options gave the answers next to it: {error}",
            hint="Restore the file, or delete it: `infer` without --from-cache then writes it again.",
        ) from error
    return served


class _Index:
    """Which shard holds the answer to a key: sorted arrays of 36 bytes an answer, and beside them what came lately.

    Args:
        shards: The keys of each shard; of two shards with one key the first counts.
    """

    def __init__(self, shards: Sequence[Keys]) -> None:
        keys = np.concatenate([np.zeros(0, dtype=f"S{_KEY}"), *shards])
        numbers = np.repeat(np.arange(len(shards), dtype=np.int32), [len(shard) for shard in shards])
        self._keys, first = np.unique(keys, return_index=True)
        self._numbers = numbers[first]
        self._late: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._keys) + len(self._late)

    def add(self, keys: Sequence[str], number: int) -> None:
        """Add the keys of a shard, which are not there yet."""
        self._late |= dict.fromkeys(keys, number)
        if len(self._late) > _LATE:
            keys_now = np.concatenate([self._keys, np.array(list(self._late), dtype=f"S{_KEY}")])
            numbers = np.concatenate([self._numbers, np.fromiter(self._late.values(), dtype=np.int32)])
            order = np.argsort(keys_now)
            self._keys, self._numbers, self._late = keys_now[order], numbers[order], {}

    def find(self, keys: Iterable[str]) -> dict[int, list[str]]:
        """Return those of the keys that are there, by the number of their shard."""
        wanted, found = list(keys), dict[int, list[str]]()
        sought = np.array(wanted, dtype=f"S{_KEY}")
        places = np.searchsorted(self._keys, sought)
        for key, place, same in zip(wanted, places, _are_at(self._keys, places, sought), strict=True):
            number = int(self._numbers[place]) if same else self._late.get(key)
            if number is not None:
                found.setdefault(number, []).append(key)
        return found


def _are_at(keys: Keys, places: "np.ndarray[Any, Any]", sought: Keys) -> Any:
    """Return for each sought key whether it stands at its place."""
    if not len(keys):
        return np.zeros(len(sought), dtype=bool)
    return keys[np.minimum(places, len(keys) - 1)] == sought


@dataclass(frozen=True, slots=True)
class _ShardKeys:
    """What a shard says without its answers.

    Args:
        state: Its file when it was read.
        answered: The keys with an answer.
        others: Those that a server left without one.
    """

    state: tuple[int, ...]
    answered: Keys
    others: tuple[str, ...]


# Shards that this process has read or written; a study opens their store once a row.
_KNOWN: OrderedDict[Path, _ShardKeys] = OrderedDict()
_REMEMBERED = 4096  # of at most 2,000 keys each; usually of some tens


def _keys_of(path: Path) -> _ShardKeys:
    """Return the keys of a shard; it is read and its digest checked once, and again after the file has changed.

    Raises:
        ArtifactError: If it cannot be read, or is damaged.
    """
    known = _KNOWN.get(path)
    if known is not None and known.state == file_state(path):
        return known
    return _remembered(path, _read_shard(path, ["key", "finish_reason"]))


def _remembered(path: Path, frame: pl.DataFrame) -> _ShardKeys:
    answered = frame["finish_reason"] != UNANSWERED
    keys = np.array(frame["key"].filter(answered).to_list(), dtype=f"S{_KEY}")
    found = _ShardKeys(file_state(path), keys, tuple(frame["key"].filter(~answered)))
    _KNOWN[path] = found
    while len(_KNOWN) > _REMEMBERED:
        with suppress(KeyError):  # rows of other servers read, too
            _KNOWN.popitem(last=False)
    return found


def _shard_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix == ".parquet"}


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]


def _read_shard(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Read a shard, or some columns of it.

    Raises:
        ArtifactError: If it cannot be read, or its bytes are not those that were written.
    """
    again = f"Delete {path}: only its answers are then asked for again."
    try:
        content = path.read_bytes()
        if _digest(content) != path.stem.rpartition("-")[2]:
            raise DamagedError(f"{path} is damaged: its contents do not match the digest in its name", hint=again)
        return parse_parquet(BytesIO(content), columns)
    except OSError as error:
        if not is_damage(error):
            raise
        raise DamagedError(f"{path} cannot be read: {error}", hint=again) from error
