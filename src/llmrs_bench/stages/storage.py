"""What is kept below the home: runs of all data sets, what each holds, sizes, and what may be deleted."""

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from llmrs_bench.clicks.baselines import TRIVIAL
from llmrs_bench.core.artifacts import FOREIGN_AFTER, MANIFEST, Artifact, Manifest, open_artifact, open_placed
from llmrs_bench.core.config import MODELS
from llmrs_bench.core.costs import RUN_COSTS
from llmrs_bench.core.errors import ArtifactError, OptionError
from llmrs_bench.core.locks import is_locked, locked, machine
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.schemas import TABLES
from llmrs_bench.stages.compare import protocol_words
from llmrs_bench.stages.evaluate import CHANCE
from llmrs_bench.stages.unseen_items import unseen_words
from llmrs_bench.stages.usage import children, size_of, visible
from llmrs_bench.stages.workspace import (
    Place,
    Reference,
    called,
    leaving_out,
    not_inferred,
    open_data,
    prepared,
    ranks,
    variants,
)

log = logging.getLogger(__name__)

STATES = ("evaluated", "not evaluated", "texts", "damaged", "in the making")
PARTS = ("data", "prompts", "runs", "priors", "audits", "probes", "judgements", "evals")  # of a variant
_DRAFT = re.compile(r"\.(?P<name>.+)\.(?P<machine>[0-9a-f]{8})-[0-9a-f]{8}(?:\.old)?\.partial")
_LOCK = re.compile(r"\.(?P<name>.+)\.lock")
# What one row of a table of a run is, or what another file holds.
_ROWS = {
    "rankings": "one row a request and item",
    "unseen_items": "one row a candidate item without a training event",
    "responses": "one row a prompt",
    "view_rankings": "one row a request, order and item",
    "metrics": "one row a request and metric",
    "clicks": "one row a request",
    "predictions": "one row a request",
    "prompts": "one row a prompt",
    "views": "one row a request and order",
    MANIFEST: "options, inputs, versions, command, facts",
}


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run as `list runs` has it; what its manifest says is None where that cannot be read.

    Args:
        dataset: The variant of the data set, as to be typed.
        run: Its name.
        state: One of `STATES`.
        path: Its folder.
        size: Bytes of it and of what was measured of it.
        artifact: The run; None where it is damaged or in the making.
    """

    dataset: str
    run: str
    state: str
    path: Path
    size: int
    artifact: Artifact | None

    @property
    def made(self) -> datetime | None:
        """When it was begun, in UTC."""
        return None if self.artifact is None else self.artifact.manifest.started

    @property
    def called(self) -> str | None:
        """The name that somebody gave it."""
        return None if self.artifact is None else called(self.artifact)

    def fits(self, name: str) -> bool:
        """Tell whether a name is its own or begins so, or is the one that somebody gave it."""
        return self.run.startswith(name) or self.called == name

    @property
    def options(self) -> str:
        """What it was made with beyond the defaults, as typed."""
        if self.artifact is None:
            return ""
        config, facts = self.artifact.manifest.config, self.artifact.facts
        seed = {"seed": facts["seed"]} if facts.get("seed") else {}
        asked = {name: config[name] for name in ("template", "limit") if config.get(name) is not None}
        if asked.get("template") and facts.get("history") is not None:
            asked["history"] = facts["history"]
        return " ".join(f"{key}={value}" for key, value in {**asked, **facts.get("typed", {}), **seed}.items())

    @property
    def values(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        manifest = None if self.artifact is None else self.artifact.manifest
        facts: Mapping[str, Any] = {} if manifest is None else manifest.facts
        return {
            "dataset": self.dataset,
            "run": self.run,
            "name": self.called,
            "options": self.options,
            "state": self.state,
            "made": None if self.made is None else self.made.isoformat(timespec="seconds"),
            "model": facts["model"]["name"] if facts.get("model") else manifest and manifest.name,
            "kind": facts.get("kind"),
            "requests": facts.get("requests"),
            "seconds": facts.get("seconds"),
            "price_usd": facts.get("price_usd"),
            "bytes": self.size,
            "path": str(self.path),
            "command": manifest and manifest.command,
        }


def find_runs(
    home: Path,
    dataset: str | None = None,
    names: Sequence[str] = (),
    *,
    state: str | None = None,
    before: datetime | None = None,
    wanted: bool = True,
) -> list[RunEntry]:
    """Return the runs of all data sets, by data set and time; those that cannot be read with a warning each.

    Args:
        home: Folder of all artifacts.
        dataset: Of this one alone: `NAME`, all its variants, or `NAME@VARIANT`.
        names: Those alone whose names begin so.
        state: Those alone in this state.
        before: Those alone that were begun before.
        wanted: Whether the hint about a name that fits none is how to make the run; not where runs are deleted.

    Raises:
        OptionError: If the data set or the state is unknown, or a name fits no run.
        ArtifactError: If the data set is not prepared.
    """
    if state is not None and state not in STATES:
        raise unknown_name("state", state, list(STATES))
    found = [entry for place in _places(home, dataset) for entry in _entries(place)]
    known = [entry.run for entry in found]
    for name in names:
        if not any(entry.fits(name) for entry in found):
            raise not_inferred(name, known, (dataset or "DATASET") if wanted else "")
    return [
        entry
        for entry in found
        if (not names or any(entry.fits(name) for name in names))
        and (state is None or entry.state == state)
        and (before is None or (entry.made is not None and entry.made < before))
    ]


def find_run(home: Path, name: str, dataset: str | None = None, *, wanted: bool = True) -> RunEntry:
    """Return the run of a name, which may be cut to its first characters.

    Raises:
        OptionError: If the name fits none, or several.
    """
    found = find_runs(home, dataset, [name], wanted=wanted)
    found = [entry for entry in found if name in (entry.run, entry.called)] or found
    if len(found) != 1:
        raise OptionError(
            f"{name} means {len(found)} runs: " + ", ".join(f"{each.run} of {each.dataset}" for each in found),
            hint="Type more of the name"
            + (", or add --dataset NAME@VARIANT." if len({each.dataset for each in found}) > 1 else "."),
        )
    return found[0]


def _places(home: Path, dataset: str | None) -> list[Place]:
    if dataset is None:
        return [Place(home / name / variant) for name, found in prepared(home).items() for variant in found]
    reference = Reference.parse(dataset)
    found = variants(home, reference.dataset)
    if reference.variant is not None or not found:
        return [open_data(home, dataset).place]
    return [Place(home / reference.dataset / variant) for variant in found]


def _entries(place: Place) -> list[RunEntry]:
    """Return the runs of a variant by time; those in the making come last."""
    folders = children(place.runs)
    made = [_entry(place, path) for path in folders if path.is_dir() and not path.name.startswith(".")]
    locks = (_LOCK.fullmatch(path.name) for path in folders)
    open_ = [found["name"] for found in locks if found and is_locked(place.runs / found.string)]
    done = {entry.run for entry in made}
    rest = [place.runs / name for name in open_ if name not in done]
    return [
        *sorted(made, key=lambda entry: (entry.made or datetime.max.replace(tzinfo=UTC), entry.run)),
        *(RunEntry(place.reference, path.name, "in the making", path, 0, None) for path in rest),
    ]


def _entry(place: Place, path: Path) -> RunEntry:
    artifact = None
    with leaving_out():
        artifact = open_placed(path, hint="run `llmrs-bench infer` again.")
    own = _belongings(place, path.name, artifact)
    if artifact is None:
        state = "damaged"
    elif not ranks(artifact):
        state = "texts"
    else:
        state = "evaluated" if any(other.parent == place.evals for other in own) else "not evaluated"
    return RunEntry(place.reference, path.name, state, path, sum(map(size_of, (path, *own))), artifact)


def _belongings(place: Place, name: str, run: Artifact | None) -> list[Path]:
    """Return what was made of a run and is of no use without it: its evaluations, and its priors."""
    evaluations = [path for path in children(place.evals) if path.name.startswith(f"{name}-")]
    if run is None or "prompts" not in run.manifest.inputs:
        return evaluations
    return [*evaluations, *(prior.path for prior in _artifacts(place.priors) if _is_of(prior, run))]


def _is_of(prior: Artifact, run: Artifact) -> bool:
    made, wanted = prior.manifest, run.manifest
    return made.config == wanted.config and made.inputs.items() <= wanted.inputs.items()


@dataclass(frozen=True, slots=True)
class RunReport:
    """What `show` says of a run.

    Args:
        entry: Its line in the list of runs.
        options: What it was made with, as typed: name to value.
        protocol: What boards of its data have in common, in words.
        costs: Its costs, those that are known.
        kinds: How many answers are of each kind; empty but for language models.
        metrics: Means of what was measured.
        warnings: What was said when it was made.
        files: Its files, each with what it holds.
    """

    entry: RunEntry
    options: Mapping[str, Any]
    protocol: Mapping[str, str]
    costs: Mapping[str, Any]
    kinds: Mapping[str, int]
    metrics: Mapping[str, float]
    warnings: Sequence[str]
    files: Mapping[Path, str]


def show_run(home: Path, name: str, dataset: str | None = None) -> RunReport:
    """Return what is known of a run; its name may be cut to its first characters.

    Raises:
        OptionError: If the name fits none, or several.
        DamagedError: If it cannot be read.
    """
    entry = find_run(home, name, dataset)
    run = entry.artifact or open_placed(entry.path, hint="run `llmrs-bench infer` again.")
    data, facts = open_data(home, entry.dataset), run.facts
    own = [run, *_artifacts(data.place.evals, entry.run + "-")]
    own += [made for made in _artifacts(data.place.prompts) if _answers(run, made)]
    metrics: dict[str, float] = {}
    unseen = unseen_words(data, run)
    for made in own[1:]:
        unseen = made.facts.get("unseen", {}).get("words") or unseen
        if made.manifest.config.get("invalid") == "expected":
            metrics |= {**made.facts["means"], **made.facts["catalogue"]}
    return RunReport(
        entry=entry,
        options={key: value for key, value in _flat(run.manifest.config) if value not in (None, {}, [])},
        protocol=protocol_words(data, "expected"),
        costs={
            name: facts[name] for name in RUN_COSTS if facts.get(name) is not None and not isinstance(facts[name], dict)
        },
        kinds=facts.get("kinds", {}),
        metrics=metrics,
        warnings=[*map(str, facts.get("warnings", [])), *([unseen] if unseen else [])],
        files=dict(pair for made in own for pair in _files(made)),
    )


def _flat(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        yield from _flat(value) if isinstance(value, Mapping) else [(key, value)]


def _files(made: Artifact) -> Iterator[tuple[Path, str]]:
    for file in [*made.manifest.files, MANIFEST]:
        name = file.removesuffix(".parquet")
        columns = f": {', '.join(TABLES[name])}" if name in TABLES else ""
        yield made.path / file, _ROWS.get(name, "part of the model") + columns


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes together: why, its paths, the first of which names it, and their bytes."""

    why: str
    paths: tuple[Path, ...]
    size: int


def runs_to_remove(home: Path, entries: Sequence[RunEntry]) -> list[Removal]:
    """Return what goes with runs: their evaluations and priors. Kept answers and trained models stay.

    Raises:
        ArtifactError: If one is in the making, or another one that stays was made of it.
    """
    chosen = {entry.path for entry in entries}
    for entry in entries:
        if entry.state == "in the making":
            raise ArtifactError(f"run {entry.run} is in the making", hint="Wait until it is done, or stop its process.")
        place = Place(entry.path.parents[1])
        users = [
            other.path for other in _artifacts(place.runs) if entry.artifact and _uses(place, other, entry.artifact)
        ]
        if left := [path.name for path in users if path not in chosen]:
            raise ArtifactError(
                f"run {entry.run} is in use: {', '.join(left)} {'was' if len(left) == 1 else 'were'} made from it",
                hint="Name those, too, or keep it.",
            )
    found = []
    for entry in entries:
        own = _belongings(Place(entry.path.parents[1]), entry.run, entry.artifact)
        found.append(Removal(f"run of {entry.dataset}", (entry.path, *own), entry.size))
    return found


def _uses(place: Place, other: Artifact, run: Artifact) -> bool:
    """Return whether another run was made of this one: a fusion, another normalisation, prompts that show it."""
    if other.path == run.path:
        return False
    if run.manifest.fingerprint in other.manifest.inputs.values():
        return True
    shown = run.digest("rankings" if ranks(run) else "responses")  # opinions of candidates, or texts
    told = [made for made in _artifacts(place.prompts) if shown in made.manifest.inputs.values()]
    return any(_answers(other, made) for made in told)


def _answers(run: Artifact, prompts: Artifact) -> bool:
    asked = run.manifest.inputs.get("prompts")
    return asked is not None and asked == prompts.digest("prompts")


def unused(home: Path, dataset: str | None = None, *, before: datetime | None = None) -> list[Removal]:
    """Return what no run needs: evaluations, priors, prompts, trained recommenders, and drafts of killed processes.

    Kept answers and tuned models stay: they cost money or hours. So do downloads and prepared data.

    Raises:
        OptionError, ArtifactError: As `find_runs` does.
    """
    found: list[tuple[str, Path]] = []
    places = _places(home, dataset)
    for place in places:
        names = [path.name for path in children(place.runs) if path.is_dir()]
        runs = _artifacts(place.runs)
        kept = tuple(f"{name}-" for name in (CHANCE, *TRIVIAL, *names))
        found += [("evaluation without a run", path) for path in visible(place.evals) if not path.name.startswith(kept)]
        for prior in _artifacts(place.priors):
            if not any(_is_of(prior, run) for run in runs):
                found.append(("priors without a run", prior.path))
        for made in () if _is_busy(place) else _artifacts(place.prompts):
            if not any(_answers(run, made) for run in runs):
                found.append(("prompts that no run answers", made.path))
        for part in PARTS:
            found += _drafts(getattr(place, part))
    for folder in {place.root.parent: None for place in places}:
        siblings = [Place(folder / variant) for variant in variants(home, folder.name)]
        runs = [run for place in siblings for run in _artifacts(place.runs)]
        lists = [_config(place) for place in siblings]
        needed = any(str(config.get("candidates")).startswith(MODELS) for config in lists)
        if not needed and not any(map(_is_busy, siblings)):
            for model in _artifacts(folder / "models"):
                if model.manifest.stage == "infer" and not any(_trained(run.manifest, model.manifest) for run in runs):
                    found.append(("recommender without a run", model.path))
        found += _drafts(folder / "models")
    return [
        Removal(why, (path,), size_of(path))
        for why, path in found
        if before is None or datetime.fromtimestamp(path.stat().st_mtime, UTC) < before
    ]


def _is_busy(place: Place) -> bool:
    """Return whether a run is in the making, for which there may be prompts and a model already."""
    return any(entry.state == "in the making" for entry in _entries(place))


def _trained(run: Manifest, model: Manifest) -> bool:
    fitted = {name: value for name, value in run.config.items() if name != "retrain"}  # each of several models
    return fitted == model.config and model.inputs.items() <= run.inputs.items()


def _config(place: Place) -> Mapping[str, Any]:
    with leaving_out():
        return open_artifact(place.data, hint="Prepare it again.").manifest.config
    return {"candidates": MODELS}  # what cannot be read may need everything


def _drafts(folder: Path) -> list[tuple[str, Path]]:
    """Return what killed processes left half-made; of those of other machines, what nothing touched for a week."""
    found = []
    for path in children(folder):
        draft = _DRAFT.fullmatch(path.name)
        if draft is None or is_locked(path.with_name(f".{draft['name']}.lock")):
            continue
        if draft["machine"] == machine() or time.time() - path.stat().st_mtime > FOREIGN_AFTER:
            found.append(("draft of a killed process", path))
    return found


def remove(home: Path, removals: Sequence[Removal], told: Callable[[Removal], None]) -> int:
    """Delete what was chosen; what another process works on stays, with a warning.

    Args:
        home: Folder of all artifacts; nothing outside it is touched.
        removals: What goes.
        told: Called with each that was deleted.

    Returns:
        How many bytes are free now.

    Raises:
        OptionError: If something lies outside the home, as behind a link.
    """
    root, freed = home.resolve(), 0
    for removal in removals:
        for path in removal.paths:
            if not path.resolve().is_relative_to(root) or path.is_symlink():
                raise OptionError(f"{path} is a link to a place outside {home}", hint="Delete it by hand.")
        busy = [path for path in removal.paths if is_locked(path.with_name(f".{path.name}.lock"))]
        if busy:
            log.warning("not deleted, since another process is using it: %s", busy[0])
            continue
        for path in reversed(removal.paths):  # what was made of a run goes before it
            _delete(path)
        freed += removal.size
        told(removal)
    return freed


def _delete(path: Path) -> None:
    """Delete a folder: it is there, or it is gone; what is left of it if this is interrupted is a draft."""
    with locked(path.with_name(f".{path.name}.lock"), path.name):
        if not path.exists():
            return
        gone = path.with_name(f".{path.name}.{machine()}-{uuid4().hex[:8]}.old.partial")
        if _DRAFT.fullmatch(path.name):
            gone = path
        else:
            os.replace(path, gone)
        shutil.rmtree(gone)


def _artifacts(folder: Path, prefix: str = "") -> list[Artifact]:
    """Return the artifacts in a folder that can be read; others are nobody's to judge here."""
    found = []
    for path in visible(folder):
        if path.is_dir() and path.name.startswith(prefix):
            try:
                found.append(open_artifact(path, hint=""))
            except ArtifactError:
                continue
    return found
