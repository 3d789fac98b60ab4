"""A study: the data sets, rows and board that a recipe comes to."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from llmrs_bench.core.config import CompareConfig, LanguageModelConfig, Options, PrepareConfig, RecommenderConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.core.option_faults import flag
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.stages.fuse import FUSION, FusionOptions
from llmrs_bench.stages.infer import infer_config
from llmrs_bench.stages.judge import JudgeConfig
from llmrs_bench.stages.source import Origin
from llmrs_bench.stages.workspace import Reference

if TYPE_CHECKING:
    from llmrs_bench.stages.tune import TuneConfig

Values = Mapping[str, Any]
Key = tuple[str, str]  # names of a data set and of a row
ROW = "row:"  # before the name of another row, whose run is meant


@dataclass(frozen=True, slots=True)
class DataPlan:
    """A data set of a recipe.

    Args:
        name: What rows call it.
        reference: `NAME`, or `NAME@VARIANT` where the recipe or its user names one.
        config: How it is prepared; None: as it was, or by default.
        origin: Where it comes from.
    """

    name: str
    reference: str
    config: PrepareConfig | None
    origin: Origin

    @property
    def command(self) -> str:
        """The command that prepares it."""
        options = (
            {}
            if self.config is None
            else {
                name: getattr(self.config, name)
                for name in type(self.config).model_fields  # in the same order each time
                if name in self.config.model_fields_set
            }
        )
        places = {"source": self.origin.path, "items": self.origin.items, "format": self.origin.format_name}
        typed = [f"--dataset={self.reference}"]
        for name, value in {**places, **options}.items():
            typed += _typed(name, value) if name != "dataset" and value is not None else []
        return f"llmrs-bench prepare {shlex.join(typed)}".replace("--dataset=", "--dataset ", 1)


def _typed(name: str, value: Any) -> list[str]:
    """Return an option of `prepare` as it is typed."""
    if isinstance(value, bool):
        off = ["--exclude-seen"] if name == "include_seen" else []
        return [flag(name)] if value else off
    if isinstance(value, Mapping):
        option = "-O" if name == "retriever_options" else flag(name)
        return [word for key, each in value.items() for word in (option, f"{key}={each}")]
    return [flag(name), ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]


@dataclass(frozen=True, slots=True)
class RowPlan:
    """A row of a recipe: one run.

    Args:
        name: Its name, that of no other row; with what was chosen from the lists of the recipe.
        data: The name of its data set.
        values: Options of `infer`, where the name of another row is `row:NAME`; or those of `fuse` or of `judge`.
        tune: How its model is tuned first; None: it is not.
        printed: What a paper calls it.
        servers: The addresses of the servers that may answer it, as it names them; none: it needs no server.
        fused: What is fused, and how, with the names of rows as runs; None: it is the run of a model.
        judging: Which explanations are judged, with the names of rows as runs, and by whom; None: it is no judge.
        learned_on: The data set of the recipe that a fusion learns on, if it is one of these.
        tuned_on: The data set of the recipe that its model is tuned on; None: its own.
        examples_of: The data set of the recipe that the examples of its prompts are of; None: its own, or one that the
            recipe does not have.
    """

    name: str
    data: str
    values: Values
    tune: "TuneConfig | None" = None
    printed: str = ""
    servers: tuple[str, ...] = ()
    fused: FusionOptions | None = None
    judging: JudgeConfig | None = None
    learned_on: str | None = None
    tuned_on: str | None = None
    examples_of: str | None = None

    @property
    def tuning(self) -> Values | None:
        """What decides how its model is tuned; None: it is not."""
        return None if self.tune is None else {"data": self.tuned_on or self.data, **self.tune.model_dump(mode="json")}

    @property
    def sources(self) -> tuple[str, ...]:
        """The other data sets of the recipe that its model is tuned on, or that its prompts show examples of."""
        return tuple(name for name in (self.tuned_on, self.examples_of) if name is not None)

    @property
    def needs(self) -> list[Key]:
        """The rows whose runs it shows, fuses or judges."""
        if self.judging is not None:
            return [(self.data, name) for name in self.judging.runs]
        if self.fused is None:
            return [(self.data, text.removeprefix(ROW)) for text in self._texts() if text.startswith(ROW)]
        learning = () if self.learned_on is None else self.fused.learning_runs
        return [
            *((self.data, name) for name in self.fused.runs),
            *((str(self.learned_on), name) for name in learning),
        ]

    @property
    def config(self) -> RecommenderConfig | LanguageModelConfig | FusionOptions | JudgeConfig:
        """Its options, checked."""
        return self.fused or self.judging or infer_config(self.values)

    @property
    def served(self) -> LanguageModelConfig | None:
        """The language model that it asks; None: it asks none."""
        config = self.config
        if isinstance(config, JudgeConfig):
            return config.served
        return config if isinstance(config, LanguageModelConfig) else None

    @property
    def stem(self) -> str:
        """Its model as typed, or how the run of a fusion is called."""
        return str(self.values["model"]) if self.fused is None else self.fused.stem

    def with_runs(self, runs: Mapping[str, str], references: Mapping[str, str]) -> Values:
        """Return its options with runs in the place of rows, and a reference in that of a data set of the recipe."""
        options = dict(self.values.get("template_options", {}))
        options = {key: runs[text.removeprefix(ROW)] if text.startswith(ROW) else text for key, text in options.items()}
        if self.examples_of is not None:
            options["shots_from"] = references[self.examples_of]
        return {**self.values, "template_options": options} if options else self.values

    @property
    def model(self) -> str:
        """What has to be loaded for it: rows that share it are run one after the other."""
        if self.fused is not None:
            return FUSION
        parts = (self.served or self.config).model_dump(
            mode="json", include={"model", "engine", "options", "device", "seed"}
        )
        return fingerprint({**parts, "tune": self.tuning})

    def _texts(self) -> Iterator[str]:
        yield from self.values.get("template_options", {}).values()


class StudyRequest(Options):
    """How a recipe is run: `servers` that all serve the models of its rows, and answer them side by side."""

    servers: tuple[str, ...] = ()

    @field_validator("servers", mode="before")
    @classmethod
    def listed(cls, servers: Any) -> Any:
        """Read one address as a list of it."""
        return (servers,) if isinstance(servers, str) else servers

    @field_validator("servers")
    @classmethod
    def addresses(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse what is no address of a server, or is there twice."""
        for server in servers:
            if not server.startswith(("http://", "https://")):
                raise ValueError(f"servers={server!r} is not an address: write http://HOST:PORT/v1")
        if len(set(servers)) < len(servers):
            raise ValueError("servers names one twice")
        return servers


class BoardRequest(Options):
    """The board that ends a recipe: its options, and where it is written.

    `table` is the printed one that rows are held against, and `remarks` are what a reader should know of it. With
    `transfer` the matrix of what models were tuned on and asked on comes last.
    """

    config: CompareConfig = CompareConfig()
    baseline: str | None = None
    fail_if: tuple[str, ...] = ()
    allow_missing: bool = False
    save: Path | None = None
    html: Path | None = None
    over: str | None = None
    transfer: bool = False
    table: str | None = None
    remarks: tuple[str, ...] = ()

    @field_validator("fail_if", mode="before")
    @classmethod
    def listed(cls, rules: Any) -> Any:
        """Read one rule as a list of it."""
        return (rules,) if isinstance(rules, str) else rules


@dataclass(frozen=True, slots=True)
class Study:
    """A recipe as it is run.

    Args:
        name: Where it was read.
        about: What it is for.
        data: Its data sets.
        rows: Its rows, in the order in which they share most.
        board: How it ends.
        repeated: Names of rows left out since they are the same as another one, which is named, too.
        limited: Names of fusions left out since a run that they join has a part of the requests alone.
        text: The recipe with all that was set from outside, as TOML.
    """

    name: str
    about: str
    data: tuple[DataPlan, ...]
    rows: tuple[RowPlan, ...]
    board: BoardRequest
    repeated: tuple[tuple[str, str], ...]
    limited: tuple[str, ...]
    text: str

    @property
    def judged(self) -> tuple[DataPlan, ...]:
        """The data sets with a board: all but those that fusions learn on, or that are sources of transfer alone."""
        learned_on, asked = {row.learned_on for row in self.rows}, {row.data for row in self.rows}
        sources = {name for row in self.rows for name in row.sources} - asked
        return tuple(plan for plan in self.data if plan.name not in learned_on | sources)

    @property
    def digest(self) -> str:
        """The head of the fingerprint of the recipe."""
        return fingerprint({"recipe": self.text})[:8]


def same_domains(plans: Sequence[DataPlan], rows: Sequence[RowPlan], *, transfer: bool) -> list[OptionError]:
    """Return what is wrong where another domain is the data that are asked about.

    Another split of the same data is none: its training part may hold what is tested.

    Args:
        plans: The data sets of the recipe.
        rows: Its rows, whose prompts may show examples of another data set.
        transfer: Whether it ends with the matrix of what models were tuned on and asked on.
    """
    sets = {plan.name: Reference.parse(plan.reference).dataset for plan in plans}
    found: dict[frozenset[str], None] = {}
    for row in rows:
        for source in (row.examples_of, row.tuned_on if transfer else None):
            if source not in (None, row.data) and sets.get(str(source)) == sets.get(row.data):
                found.setdefault(frozenset((str(source), row.data)))
    faults = []
    for pair in found:
        one, other = (name for name in sets if name in pair)
        faults.append(
            OptionError(
                f"{one} and {other} are the same data, {sets[one]}, so neither is another domain",
                hint=f"Name both, without --dataset: --set data.{one}.dataset={sets[one]} "
                f"--set data.{other}.dataset=OTHER.",
            )
        )
    return faults


def named_apart(rows: Sequence[RowPlan], given: Iterable[str]) -> list[RowPlan]:
    """Return rows in which those that would be called alike have what differs in their names, as `mock order=shuffled`.

    Args:
        rows: The rows.
        given: Names that the recipe gives: two rows with one of these stay as they are.
    """
    alike: dict[Key, list[dict[str, str]]] = {}
    for row in rows:
        alike.setdefault((row.data, row.name), []).append(_said(row))
    names, found = set(given), []
    for row in rows:
        others = alike[row.data, row.name]
        differing = [key for key in sorted({key for each in others for key in each}) if _differs(key, others)]
        own = _said(row)
        parts = [f"{key.rpartition('.')[2]}={own[key]}" for key in differing if key in own]
        is_given = any(f"{row.name} ".startswith(f"{name} ") for name in names)
        found.append(row if is_given else replace(row, name=" ".join([row.name, *parts])))
    return found


def _said(row: RowPlan) -> dict[str, str]:
    """Return what a row says beside its model, by dotted key."""
    tables = {**row.values, "tune": {} if row.tune is None else row.tune.model_dump(mode="json", exclude_unset=True)}
    found = {key: str(value) for key, value in tables.items() if not isinstance(value, Mapping) and key != "model"}
    for name, table in tables.items():
        if isinstance(table, Mapping):
            found |= {f"{name}.{key}": str(value) for key, value in table.items() if key not in tables}
    return found


def _differs(key: str, tables: Sequence[Mapping[str, str]]) -> bool:
    return len({table.get(key) for table in tables}) > 1


def without_repeats(rows: Sequence[RowPlan]) -> tuple[list[RowPlan], tuple[tuple[str, str], ...]]:
    """Return the rows without those that are the same as an earlier one, and the names of such pairs."""
    found: dict[str, RowPlan] = {}
    repeated: list[tuple[str, str]] = []
    for row in rows:
        what = fingerprint({"data": row.data, "config": row.config.model_dump(mode="json"), "tune": row.tuning})
        if what in found:
            repeated.append((row.name, found[what].name))
        found.setdefault(what, row)
    return list(found.values()), tuple(repeated)


def without_limited(rows: Sequence[RowPlan]) -> tuple[list[RowPlan], tuple[str, ...]]:
    """Return the rows without fusions of runs that have a part of the requests alone, and the names of those."""
    limited = {(row.data, row.name) for row in rows if row.values.get("limit") is not None}
    fusions = [row for row in rows if row.fused is not None]
    while more := {(row.data, row.name) for row in fusions if not limited.isdisjoint(row.needs)} - limited:
        limited |= more
    left_out = [row for row in fusions if (row.data, row.name) in limited]
    return [row for row in rows if row not in left_out], tuple(dict.fromkeys(row.name for row in left_out))


def ordered(rows: Sequence[RowPlan]) -> Iterator[RowPlan]:
    """Yield rows after those that they need, and those of one model one after the other."""
    waiting, done, model = list(rows), set[Key](), ""
    names = {(row.data, row.name) for row in rows}
    while waiting:
        ready = [row for row in waiting if all(key in done or key not in names for key in row.needs)]
        if not ready:
            raise OptionError(
                f"rows need each other: {', '.join(row.name for row in waiting)}",
                hint="Remove one of the row:NAME, or one name from fuse.",
            )
        row = next((row for row in ready if row.model == model), ready[0])
        waiting.remove(row)
        done.add((row.data, row.name))
        model = row.model
        yield row


def chosen_rows(study: Study, patterns: Sequence[str]) -> tuple[RowPlan, ...]:
    """Return the rows whose names fit one of the patterns, with the baseline and what they need; all, without patterns.

    A pattern is a whole name, a part of it, or has `*` and `?`.

    Raises:
        OptionError: If one fits no row.
    """
    if not patterns:
        return study.rows
    names = [row.name for row in study.rows]
    wanted: set[Key] = set()
    for pattern in patterns:
        fits = [name for name in names if name == pattern] or [
            name for name in names if fnmatchcase(name, pattern) or pattern in name
        ]
        if not fits:
            raise unknown_name("row", pattern, names)
        wanted |= {(row.data, row.name) for row in study.rows if row.name in fits}
    wanted |= {(row.data, row.name) for row in study.rows if row.name == study.board.baseline}
    kept: list[RowPlan] = []
    for row in reversed(study.rows):
        if (row.data, row.name) in wanted:
            wanted |= set(row.needs)
            kept.append(row)
    return tuple(reversed(kept))
