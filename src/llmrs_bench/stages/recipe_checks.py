"""What can be known to be wrong with a study before anything is asked: models, templates, the board, prices."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmrs_bench.core.config import BOARD_METRICS, CATALOGUE_METRICS, WHOLE, LanguageModelConfig
from llmrs_bench.core.errors import BenchError, OptionError, listed
from llmrs_bench.core.registry import ENGINES, unknown_name
from llmrs_bench.core.types import no_progress
from llmrs_bench.leaderboard.gate import check_rules, parse_rule
from llmrs_bench.leaderboard.saved import read_board
from llmrs_bench.llm.cost import Budget
from llmrs_bench.metrics import parse_metrics
from llmrs_bench.stages.evaluate import CHANCE, POPULARITY
from llmrs_bench.stages.evaluate_labelled import METRICS_OF, has_runs
from llmrs_bench.stages.fuse import FusionOptions
from llmrs_bench.stages.infer import check_known, check_model, check_trained
from llmrs_bench.stages.judge import JudgeConfig
from llmrs_bench.stages.prompt import open_plan
from llmrs_bench.stages.serving import choose_engine
from llmrs_bench.stages.source import check_source, find
from llmrs_bench.stages.study import DataPlan, RowPlan, Study
from llmrs_bench.stages.workspace import Data, Reference, called, open_data, open_runs, variants


def check_rows(rows: Sequence[RowPlan], *, looked_up: bool = True) -> None:
    """Look whether all models and templates of a study can be had, before the first of them is asked anything.

    Args:
        rows: The rows.
        looked_up: Whether models are looked up on the Hugging Face hub, too; else their names alone have to be known.

    Raises:
        BenchError: Naming all rows for which that is not so.
    """
    found: dict[str, tuple[BenchError, list[str]]] = {}
    for row, error in row_faults(rows, looked_up=looked_up):
        found.setdefault(f"{error.message}{error.hint}", (error, []))[1].append(row.name)
    if not found:
        return
    faults = [type(error)(f"{_rows_words(names)}: {error.message}", hint=error.hint) for error, names in found.values()]
    failure = type(faults[0]) if len({type(error) for error in faults}) == 1 else OptionError
    said, hint = listed(faults)
    raise failure(f"nothing was run: {said}", hint=hint)


def row_faults(rows: Sequence[RowPlan], *, looked_up: bool = True) -> Iterator[tuple[RowPlan, BenchError]]:
    """Yield the rows whose model or template cannot be had, and why, as `check_rows` looks for them."""
    for row in rows:
        try:
            config = row.config
            if isinstance(config, FusionOptions):
                continue
            asked = config.served if isinstance(config, JudgeConfig) else config
            if looked_up:
                check_model(asked)
            if isinstance(asked, LanguageModelConfig):
                check_known(asked)
                open_plan(asked.prompt)
            else:
                check_trained(asked)
        except BenchError as error:
            yield row, error


def _rows_words(names: Sequence[str]) -> str:
    shown = [*names[:3], *([f"{len(names) - 3} more"] if len(names) > 3 else [])]
    return f"row{'s' if len(names) > 1 else ''} {', '.join(shown)}"


def check_prices(rows: Sequence[RowPlan], budget: Budget | None) -> None:
    """Refuse a budget of money where what a row costs is not known.

    Raises:
        OptionError: If that is so.
    """
    if budget is None or budget.usd is None:
        return
    for row in rows:
        if (asked := row.served) is not None:
            engine = choose_engine(asked)
            options = ENGINES.options_of(engine).parse(asked.options, owner=engine)
            budget.check_prices(asked.options, type(options).model_fields)


def check_board(home: Path, study: Study, rows: Sequence[RowPlan]) -> None:
    """Refuse metrics, rules and a baseline that the board of a study cannot have.

    A baseline that names a run is looked for where the data set is there already; `check_baseline` does it for others.

    Raises:
        OptionError: If a name is unknown, or a rule cannot be judged.
        ArtifactError: If the baseline is a file, and no saved board.
    """
    asked = study.board
    plans = [plan for plan in study.judged if any(row.data == plan.name for row in rows)]
    rules = [parse_rule(rule) for rule in asked.fail_if]
    for plan in plans:
        config = plan.config
        own = METRICS_OF.get(config.task) if config else None
        if own is not None:
            names = list(own.parse(asked.config.metrics or own.names))
        else:
            usual = CATALOGUE_METRICS if config and config.candidates == WHOLE else BOARD_METRICS
            names = list(map(str, parse_metrics(asked.config.metrics or usual)))
        if config is not None:  # else it is not known yet what the data set asks
            check_rules(rules, names, tested=names, baseline=asked.baseline is not None)
    if asked.baseline is None:
        return
    if _is_file(asked.baseline):
        read_board(Path(asked.baseline))
        return
    for plan in plans:
        data = known_data(home, plan)
        if data is not None or not variants(home, Reference.parse(plan.reference).dataset):
            check_baseline(study, plan.name, data)


def check_baseline(study: Study, name: str, data: Data | None) -> None:
    """Refuse a baseline that will not be on the board of a data set: neither a row, nor a run.

    Args:
        study: The recipe.
        name: What it calls the data set.
        data: The data set; None: it is not prepared, so that it has no runs.

    Raises:
        OptionError: If that is so.
    """
    base = study.board.baseline
    if base is None or _is_file(base):
        return
    rows = [row for row in study.rows if row.data == name and row.judging is None]
    runs = open_runs(data) if data is not None and has_runs(data) else []
    made = [*(run.path.name for run in runs), *(row.stem for row in rows), CHANCE, POPULARITY]
    named = [*(row.name for row in rows), *(given for run in runs if (given := called(run)))]
    if base in named or any(known.startswith(base) for known in made):
        return
    where = f" on {name}" if len(study.data) > 1 else ""
    raise unknown_name(
        f"baseline of [board]{where}",
        base,
        [*named, CHANCE, POPULARITY],
        hint="A run of the data set or the file of a saved board will do, too.",
    )


def _is_file(baseline: str) -> bool:
    return baseline.endswith(".parquet") or Path(baseline).is_file()


def check_unread(plan: DataPlan) -> None:
    """Look at the beginning of the source of data that are not prepared, for what `prepare` would refuse.

    Raises:
        BenchError: Saying how a recipe names columns, if that is wrong.
    """
    if plan.config is not None:
        with naming_keys():
            check_source(plan.origin.dataset(plan.config.dataset), plan.origin, plan.config)


@contextmanager
def naming_keys() -> Iterator[None]:
    """Add to what is wrong with a source how a recipe writes the options that its hint names."""
    try:
        yield
    except BenchError as error:
        if "--columns" in error.hint:
            role = next((role for role in ("time", "title") if f"{role}=" in error.hint), "user")
            guesses = getattr(error, "guesses", None) or {role: "NAME"}
            columns = ", ".join(f'{role} = "{name}"' for role, name in guesses.items())
            error.hint += f" In a recipe, options of prepare stand below [data]: columns = {{ {columns} }}."
        raise


def known_data(home: Path, plan: DataPlan) -> Data | None:
    """Return the data set as it was prepared before; None: it was not."""
    asked = Reference.parse(plan.reference)
    found = [
        open_data(home, f"{asked.dataset}@{name}")
        for name in variants(home, asked.dataset)
        if asked.variant is None or name.startswith(asked.variant)
    ]
    if plan.config is None:
        return found[0] if len(found) == 1 else None
    wanted = _chosen(plan.config.result_options)
    fits = [data for data in found if _chosen(data.artifact.manifest.config) == wanted]
    if plan.origin.path is not None and fits:  # the same options, but of which file?
        source = find(home, plan.origin.dataset(asked.dataset), plan.origin, plan.config, no_progress)
        files = (source.digest, source.items)
        inputs = ((data, data.artifact.manifest.inputs) for data in fits)
        fits = [data for data, read in inputs if (read["source"], read.get("items")) == files]
    if asked.variant is None and len(fits) > 1:  # some have a name as well: what `prepare` finds has none
        fits = [data for data in fits if data.artifact.manifest.fingerprint.startswith(data.place.root.name)]
    return fits[0] if len(fits) == 1 else None


def _chosen(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options without what `prepare` writes otherwise: the word for an item, and the file of lists."""
    return {
        key: value
        for key, value in options.items()
        if key != "item_word" and not (key == "candidates" and str(value).startswith("file:"))
    }
