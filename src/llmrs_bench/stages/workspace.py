"""The home folder: prepared data sets, their variants, and the runs of each."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

import polars as pl

from llmrs_bench.core.artifacts import Artifact, StageResult, is_complete, open_artifact, open_placed, restate
from llmrs_bench.core.config import DEPTH, LABELLED, RATING, TEXTS, WHOLE
from llmrs_bench.core.errors import ArtifactError, DamagedError, OptionError, next_step
from llmrs_bench.core.hashing import fingerprint, uniform_hash
from llmrs_bench.core.registry import CLICK_MODELS, RECOMMENDERS, unknown_name
from llmrs_bench.core.schemas import SAMPLES
from llmrs_bench.data.datasets import DATASETS, known_dataset, plain_name
from llmrs_bench.llm.model_aliases import MODEL_ALIASES

log = logging.getLogger(__name__)
_FINGERPRINT = re.compile("[0-9a-f]{8}")

RESERVED = ("answers", "models", "source")


@dataclass(frozen=True, slots=True)
class Reference:
    """A data set as typed: `ml1m`, or `ml1m@paper` for one variant of how it was prepared."""

    dataset: str
    variant: str | None

    @property
    def text(self) -> str:
        """It as it may be typed."""
        return self.dataset if self.variant is None else f"{self.dataset}@{self.variant}"

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read `NAME` or `NAME@VARIANT`; a name may be that of a family and a category, as `amazon-2023:Books`.

        Raises:
            OptionError: If the variant is no plain name, or the family or its category is unknown.
        """
        dataset, at, variant = text.partition("@")
        dataset = plain_name(dataset)
        plain = variant.replace("-", "").replace("_", "").replace(".", "")
        if at and (not plain.isalnum() or variant.startswith(".") or variant in RESERVED):
            raise OptionError(
                f"{variant!r} cannot name a variant of {dataset!r}",
                hint="Use letters, digits, '-', '_' and '.', as in --dataset ml1m@paper.",
            )
        return cls(dataset, variant or None)


@dataclass(frozen=True, slots=True)
class Place:
    """The folders of one prepared data set."""

    root: Path

    @property
    def reference(self) -> str:
        """What to type as `--dataset`."""
        return f"{self.root.parent.name}@{self.root.name}"

    @property
    def data(self) -> Path:
        """The artifact of `prepare`."""
        return self.root / "data"

    @property
    def prompts(self) -> Path:
        """One artifact for each rendered template."""
        return self.root / "prompts"

    @property
    def answers(self) -> Path:
        """The answers of each language model, shared by the variants of a data set."""
        return self.root.parent / "answers"

    @property
    def runs(self) -> Path:
        """One artifact for each run: a table of rankings."""
        return self.root / "runs"

    @property
    def evals(self) -> Path:
        """One artifact for each evaluated run."""
        return self.root / "evals"

    @property
    def audits(self) -> Path:
        """One artifact for each audit of a language model."""
        return self.root / "audits"

    @property
    def priors(self) -> Path:
        """One artifact for each run whose titles were asked for without a history, too."""
        return self.root / "priors"

    @property
    def probes(self) -> Path:
        """One artifact for each probe of what a language model knows by heart."""
        return self.root / "probes"

    @property
    def judgements(self) -> Path:
        """One artifact for each judge of explanations, and what it was asked about."""
        return self.root / "judgements"

    @property
    def models(self) -> Path:
        """Trained models, shared by the variants of a data set."""
        return self.root.parent / "models"


@dataclass(frozen=True, slots=True)
class Data:
    """A prepared data set, opened."""

    place: Place
    artifact: Artifact

    @property
    def tie_seed(self) -> int:
        """Seed of the tie rule: that of the data, so that all runs on them share it."""
        return int(self.artifact.manifest.config["seed"])

    @property
    def task(self) -> str:
        """What is asked: `ranking`; or of one item a request, whether a user will like it, `click`, or its `rating`."""
        return str(self.artifact.manifest.config.get("task", "ranking"))

    @property
    def labelled(self) -> bool:
        """Whether a request is a labelled row: one item, and a label to be predicted."""
        return self.task in LABELLED

    @property
    def parts(self) -> Mapping[str, Mapping[str, float]]:
        """Of labelled rows, by part what `prepare` counted in it."""
        found: Mapping[str, Mapping[str, float]] = self.artifact.facts[f"{self.task}s"]
        return found

    def labelled_rows(self) -> pl.DataFrame:
        """Return all labelled requests: request_id, user_id, item_id, part, cutoff, history, liked."""
        requests = self.artifact.table("requests").with_columns(item_id=pl.col("candidates").list.first())
        asked = requests.join(self.artifact.table("outcomes"), on="request_id", how="left", maintain_order="left")
        return asked.select(name for name in SAMPLES if name != "label")

    def rating_scale(self) -> tuple[float, ...]:
        """Return the ratings that users give, in order: of the task `rating` in the part train, else of known events.

        Of more than 21 different ones these are none for that task, which asks for each of them, else the ends alone.
        Without ratings there are none.
        """
        if self.task == RATING:
            return tuple(self.artifact.facts["scale"].get("values", ()))
        table = "ratings" if self.labelled else "interactions"
        return _rating_scale(self.artifact.path, table, self.artifact.digest(table))

    def first_requests(self, limit: int) -> pl.Series:
        """Return the ids of the first `limit` requests of a seeded order; fewer are part of more."""
        requests = self.artifact.table("requests")["request_id"]
        drawn = uniform_hash(self.tie_seed, requests, pl.repeat("limit", len(requests), eager=True))
        return requests.gather(pl.Series(drawn).arg_sort()[:limit])

    @property
    def whole_catalogue(self) -> bool:
        """Whether requests have no candidate lists: all items are ranked."""
        return bool(self.artifact.manifest.config["candidates"] == WHOLE)

    @property
    def include_seen(self) -> bool:
        """Whether items of a user's history may be ranked."""
        return bool(self.artifact.manifest.config["include_seen"])

    @property
    def depth(self) -> int | None:
        """How many ranks of a whole catalogue are kept; None: candidate lists are ranked whole."""
        return DEPTH if self.whole_catalogue else None

    @property
    def item_word(self) -> str:
        """What prompts call an item."""
        return str(self.artifact.manifest.config["item_word"])

    @property
    def default_history(self) -> int:
        """How many history items prompts show unless another number is given."""
        return int(self.artifact.manifest.config["history"])


@lru_cache(maxsize=4)  # read for each run of a study
def _rating_scale(place: Path, table: str, digest: str) -> tuple[float, ...]:
    """Return the ratings of a table with this digest of the data at `place`."""
    from llmrs_bench.data.labelled import MOST_VALUES

    known = open_artifact(place, hint="prepare it again.").table(table)["rating"].drop_nulls().unique().sort()
    values = tuple(float(f"{value:.6g}") for value in known)
    return values if len(values) <= MOST_VALUES else (values[0], values[-1])


def prepare_command(reference: str) -> str:
    """Return the hint that says how to prepare a data set, `NAME` or `NAME@VARIANT`."""
    built_in = known_dataset(reference.partition("@")[0]) is not None
    return f"Run: llmrs-bench prepare --dataset {reference}" + ("" if built_in else " --source PATH")


def variants(home: Path, dataset: str) -> list[str]:
    """Return the variants of a data set that were prepared."""
    folder = home / dataset
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if is_complete(path / "data"))


def prepared(home: Path) -> dict[str, list[str]]:
    """Return the prepared data sets below `home` and their variants."""
    names = sorted(path.name for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
    return {name: found for name in names if (found := variants(home, name))}


def open_data(home: Path, text: str) -> Data:
    """Open the data set that `NAME` or `NAME@VARIANT` means; a fingerprint may be cut to its first characters.

    Raises:
        ArtifactError: If it was not prepared, is half-written, or the name fits several variants.
        OptionError: If there is no such data set at all.
    """
    reference = Reference.parse(text)
    found = variants(home, reference.dataset)
    if not found:
        raise _not_prepared(home, reference)
    wanted = reference.variant or ""
    # A name that somebody chose is typed whole: 100 is not 1000.
    cut = [name for name in found if not wanted or (_FINGERPRINT.fullmatch(name) and name.startswith(wanted))]
    fits = [wanted] if wanted in found else cut
    if len(fits) != 1:
        known = ", ".join(f"{reference.dataset}@{name}" for name in found)
        what = "is not a variant" if not fits else f"means {len(fits)} variants"
        raise ArtifactError(
            f"--dataset {text} {what} of the prepared {reference.dataset}",
            hint=f"Prepared: {known}. See `llmrs-bench list data` for their options."
            + ("" if fits else f" To prepare it: {prepare_command(reference.text).removeprefix('Run: ')}"),
        )
    place = Place(home / reference.dataset / fits[0])
    return Data(place, open_artifact(place.data, hint=prepare_command(reference.dataset)))


def is_unprepared(home: Path, text: str) -> bool:
    """Return whether `text` is the plain name of a data set that may be prepared unasked, and nothing of it was yet."""
    reference = Reference.parse(text)
    folder = home / reference.dataset
    known = known_dataset(reference.dataset) if reference.variant is None else None
    return (
        known is not None and known.unasked and not any(folder.glob("*/data"))
    )  # a half-written one has to be looked at first


def _not_prepared(home: Path, reference: Reference) -> ArtifactError | OptionError:
    folder = home / reference.dataset
    if known_dataset(reference.dataset) is None and not folder.is_dir():
        names = sorted({*DATASETS, *prepared(home)})
        return unknown_name(
            "data set",
            reference.dataset,
            names,
            hint="A table of your own (CSV, JSON lines, Parquet) or a folder of RecBole atomic files works, and other "
            f"layouts with --format NAME. {prepare_command(reference.dataset)}",
        )
    half = [path for path in folder.glob("*/data") if not is_complete(path)]
    if half:
        return ArtifactError(
            f"{half[0]} is incomplete: it has no manifest.json",
            hint=f"Delete it. {prepare_command(reference.text)}",
        )
    return ArtifactError(
        f"data set {reference.dataset!r} is not prepared below {home}", hint=prepare_command(reference.text)
    )


def open_runs(data: Data) -> list[Artifact]:
    """Open all runs of a data set, by name.

    One that cannot be opened, or whose folder has the name of another one, is left out with a warning; `unopened`
    names it.

    Raises:
        ArtifactError: If there are none.
    """
    runs = []
    for path in _run_folders(data):
        with leaving_out():
            runs.append(open_placed(path, hint="run `llmrs-bench infer` again."))
    if not runs and (damaged := unopened(data, runs)):
        raise DamagedError(
            f"none of the runs of {data.place.reference} can be read: {', '.join(damaged)}",
            hint="The warnings above say what is wrong with each, and what to do.",
        )
    if not runs:
        raise ArtifactError(
            f"{data.place.reference} has no runs",
            hint=f"Run: llmrs-bench infer --model sasrec --dataset {data.place.reference}",
        )
    return runs


def unopened(data: Data, runs: Sequence[Artifact]) -> list[str]:
    """Return the names of the runs that are not among those that `open_runs` could open."""
    opened = {run.path.name for run in runs}
    return [path.name for path in _run_folders(data) if path.name not in opened]


def _run_folders(data: Data) -> list[Path]:
    """Return the folders of runs; what is hidden is not finished yet."""
    folder = data.place.runs
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if path.is_dir() and not path.name.startswith(".")]


@contextmanager
def leaving_out(failures: type[ArtifactError] = DamagedError, *, named: bool = False) -> Iterator[list[Exception]]:
    """Turn a failure to read one of several artifacts into a warning: the others are sound.

    Args:
        failures: Which.
        named: Whether somebody asked for just this artifact: the failure then passes.

    Yields:
        A list that holds the failure afterwards.
    """
    met = list[Exception]()
    try:
        yield met
    except (failures, PermissionError) as error:
        if named:
            raise
        met.append(error)
        hint = next_step(error) if isinstance(error, OSError) else error.hint
        log.warning("left out: %s. %s", str(error).rstrip("."), hint)


class LeftOutError(DamagedError):
    """Runs could not be evaluated.

    Args:
        runs: Their names.
        made: What was made of the others.
    """

    def __init__(self, runs: Sequence[str], made: Sequence[StageResult]) -> None:
        super().__init__(
            f"not evaluated, since damaged: {', '.join(runs)}",
            hint="The warnings above say what is wrong, and what to do. All other runs were evaluated.",
        )
        self.made = tuple(made)


def pick_runs(runs: Sequence[Artifact], names: Sequence[str]) -> list[Artifact]:
    """Return the runs that were given one of `names` (`infer --name`), or else those whose names begin with it.

    Raises:
        OptionError: If a name fits none.
    """
    for name in names:
        if not any(_fits(run, name) for run in runs):
            known = [known for run in runs for known in (run.path.name, called(run)) if known]
            raise not_inferred(name, known, "@".join(runs[0].path.parts[-4:-2]) if runs else "DATASET")
    given = {name for name in names if any(called(run) == name for run in runs)}
    return [run for run in runs if any(called(run) == n if n in given else _fits(run, n) for n in names)]


def not_inferred(name: str, known: Sequence[str], reference: str, *, where: str = "") -> OptionError:
    """Return the error for a run that is not there, with the command that makes it where a model has that name.

    `known` are the runs of the data set `reference` (empty: no command); `where` is the option that names it, if
    it is not --run.
    """
    error = unknown_name(f"run{where}", name, known)
    models = [*RECOMMENDERS.names(), *CLICK_MODELS.names(), *MODEL_ALIASES, "demo-lm", "mock"]
    meant = [name] if name in models else get_close_matches(name, models, n=1, cutoff=0.8)
    if meant and any(run.startswith(f"{meant[0]}-") for run in known):
        error.hint = error.hint if " mean '" in error.hint else f"Did you mean {meant[0]!r}? {error.hint}"
    elif meant and reference:
        command = f"llmrs-bench infer --model {meant[0]} --dataset {reference}"
        error.hint = f"{meant[0]} is a model that was not run on these data. Infer it first: {command}"
    return error


def _fits(run: Artifact, name: str) -> bool:
    return called(run) == name or run.path.name.startswith(name)


def called(made: Artifact) -> str | None:
    """Return the name that somebody gave to a run or a tuned model, beside its own."""
    given: str | None = made.facts.get("called")
    return given


def check_name(folder: Path, name: str | None, stem: str) -> None:
    """Refuse a name that the next artifact of a folder cannot have, before it is made.

    Args:
        folder: Where it will be.
        name: The name, if one was given.
        stem: What its own name begins with, up to the fingerprint: others of the same may be the one that is asked for.

    Raises:
        OptionError: If the name is no plain one, that of another artifact, or how others are called.
    """
    if name is None:
        return
    if not re.fullmatch(r"\w[\w.-]{0,63}", name):
        raise OptionError(f"--name {name!r} is not a valid name", hint="Use letters, digits, '-', '_' and '.'.")
    for other, given in _names_in(folder):
        if other.manifest.name != stem:
            _check_free(name, other, given)


def check_name_of(place: Path, name: str | None) -> None:
    """Refuse a name for the artifact that is at `place`, or will be, where another one beside it has that name.

    Raises:
        OptionError: If that is so.
    """
    if name is None:
        return
    for other, given in _names_in(place.parent):
        if other.path != place:
            _check_free(name, other, given)


def _names_in(folder: Path) -> Iterator[tuple[Artifact, str | None]]:
    """Yield the artifacts of a folder and the names that they were given; damaged ones are left out."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if is_complete(path) and not path.name.startswith("."):
            with leaving_out():
                made = open_artifact(path, hint="delete it.")
                yield made, called(made)


def _check_free(name: str, other: Artifact, given: str | None) -> None:
    if name in (other.path.name, given):
        raise OptionError(f"--name {name} is the name of {other.path.name}", hint="Choose another one.")
    if other.path.name.startswith(name):
        raise OptionError(
            f"--name {name} is also how {other.path.name} begins, so it would match both", hint="Choose another one."
        )


def call(done: StageResult, name: str | None) -> StageResult:
    """Give an artifact a name; None leaves it as it is called.

    Raises:
        OptionError: If the name is no plain one, that of another artifact beside it, or how others are called.
    """
    before, own = called(done.artifact), done.artifact.path
    if name is None or before == name:
        return done
    check_name(own.parent, name, done.artifact.manifest.name)
    try:
        check_name_of(own, name)
    except OptionError as error:
        error.hint += f" The run is complete, and keeps the name {own.name}."
        raise
    if before is not None:
        log.warning("%s was called %s; its name is now %s", own.name, before, name)
    return replace(done, artifact=restate(done.artifact, called=name))


def latest(runs: Sequence[Artifact]) -> list[Artifact]:
    """Return the runs without those whose prompts were all asked again later (`infer --fresh`)."""
    found: dict[str, Artifact] = {}
    for run in runs:
        made = run.manifest
        inputs = {name: digest for name, digest in made.inputs.items() if name != "answers"}
        series = run.facts.get("series", made.inputs.get("answers"))
        whole = {"name": made.name, "config": made.config, "inputs": inputs, "parts": made.parts}
        own = fingerprint({**whole, "series": series or made.fingerprint})
        if own not in found or run.facts.get("round", "") >= found[own].facts.get("round", ""):
            found[own] = run
    kept = {run.path for run in found.values()}
    return [run for run in runs if run.path in kept]


def limit_of(run: Artifact) -> int | None:
    """Return how many requests a run was asked of where it is not all of them (`infer --limit`)."""
    limit: int | None = run.manifest.config.get("limit")
    return limit


def ranks(run: Artifact) -> bool:
    """Return whether a run ranks candidates, as all do but those whose form writes texts."""
    return run.facts.get("form") not in TEXTS
