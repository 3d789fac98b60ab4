"""The Python interface: a function for each command of the main path, with the same options, artifacts and errors.

`home` is everywhere the folder of all artifacts; None means that of `LLMRS_BENCH_HOME`, or `./bench`. A data set is
named as on the command line, or given as `prepare` returned it. Nothing is printed unless `progress` is set; what a
command says beside its result goes to the logger `llmrs_bench`. All functions raise `BenchError`s.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from llmrs_bench.arguments import (
    check_names,
    data_of,
    model_name,
    name_of,
    path_of,
    run_name,
    run_names,
    several,
    typed,
)
from llmrs_bench.core.config import (
    PROTOCOLS,
    CompareConfig,
    EvaluateConfig,
    Invalid,
    Normalize,
    PrepareConfig,
)
from llmrs_bench.core.errors import BenchError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.types import Progress, no_progress
from llmrs_bench.results import Fairness, Judgement, Leaderboard, Prepared, Probe, Run, Study, Tuned
from llmrs_bench.stages.workspace import Data, Reference, call, check_name, is_unprepared, open_data

if TYPE_CHECKING:
    from llmrs_bench.core.artifacts import StageResult

log = logging.getLogger(__name__)
logging.getLogger("llmrs_bench").addHandler(logging.NullHandler())

Place = str | Path | None


def prepare(
    dataset: str,
    *,
    source: str | Path | None = None,
    items: str | Path | None = None,
    mapping: str | Path | None = None,
    format: str | None = None,
    protocol: str = "default",
    accept_new: bool = False,
    home: Place = None,
    progress: bool = False,
    **options: Any,
) -> Prepared:
    """Prepare a data set, or open it if it exists.

    Args:
        dataset: NAME, or NAME@VARIANT.
        source: Read this instead of a download.
        items: Table of items and titles, if the source has none.
        mapping: File that says how to read the source.
        format: Layout of the source; None detects it.
        protocol: default or paper; for clicks collm, tallrec or paper-ctr.
        accept_new: Accept a download that has changed since the last time.
        home: Folder of all artifacts.
        progress: Show bars on stderr.
        options: Fields of `PrepareConfig`, such as `users=200`, `columns={"user": "client"}`.
    """
    from llmrs_bench.stages.mapping import read_mapping
    from llmrs_bench.stages.prepare import prepare as stage
    from llmrs_bench.stages.source import Origin

    check_names(prepare, PrepareConfig, options)
    dataset = name_of("dataset", dataset, "Choose a name, such as 'films', or one of `llmrs-bench list data`.")
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, list(PROTOCOLS))
    known = read_mapping(path_of("mapping", mapping)) if mapping is not None else None
    given = {"path": source, "items": items}
    places = {
        **(known.places() if known else {}),
        **{
            name: path_of("items" if name == "items" else "source", path)
            for name, path in given.items()
            if path is not None
        },
        **({} if format is None else {"format_name": format}),
    }
    values = {**(known.policies if known else {}), **PROTOCOLS[protocol], **options}
    config = PrepareConfig.parse_flags({"dataset": Reference.parse(dataset).dataset, **values}, command="prepare")
    done = stage(_home(home), dataset, config, Origin(**places, accept_new=accept_new), _bars(progress))
    _warn(done)
    return Prepared(open_data(_home(home), done.name))


def infer(
    model: str,
    dataset: str | Prepared,
    *,
    options: Mapping[str, object] | None = None,
    template_options: Mapping[str, object] | None = None,
    export: str | Path | None = None,
    from_cache: bool = False,
    prior: bool = False,
    max_age: float | None = None,
    name: str | None = None,
    home: Place = None,
    progress: bool = False,
    **more: Any,
) -> Run:
    """Rank the candidates of every request with a model, or open the run if it exists.

    Args:
        model: See `llmrs-bench list models`; ORG/NAME; a local folder or GGUF file.
        dataset: A data set; `ml1m`, `ml100k` and `demo` are prepared with the defaults if needed.
        options: Options of the recommender or the engine, as with -O.
        template_options: Options of the template, as with -T.
        export: New folder for a copy of a trained recommender.
        from_cache: Use cached answers only, and load no model.
        prior: Also score each title without a history.
        max_age: Ask again if cached answers are older than this many seconds; 0 always does.
        name: An additional name for the run.
        home: Folder of all artifacts.
        progress: Show bars on stderr.
        more: Fields of `LanguageModelConfig` or `RecommenderConfig`, such as `template="likelihood"`, `seed=1` or
            `limit=20`.
    """
    from llmrs_bench.stages.infer import check_model, infer_config, run_stem
    from llmrs_bench.stages.infer import infer as stage
    from llmrs_bench.stages.prepare import open_or_prepare

    given: dict[str, Any] = {"model": model_name(model), **more}
    for key, pairs in (("options", options), ("template_options", template_options)):
        if pairs:
            given[key] = typed(pairs)
    config, bars = infer_config(given), _bars(progress)
    if isinstance(dataset, str) and is_unprepared(_home(home), dataset):
        check_model(config)  # before anything is downloaded
        data = open_or_prepare(_home(home), dataset, bars, log.info)
    else:
        data = _open(dataset, home)
    check_name(data.place.runs, name, run_stem(config))
    copy = None if export is None else Path(export)
    done = stage(data, config, bars, copy, from_cache=from_cache, prior=prior, max_age=max_age, name=name)
    done = call(done, name)
    _warn(done)
    return Run(data, done.artifact)


def evaluate(
    dataset: str | Prepared,
    *,
    runs: Sequence[str | Run] | None = None,
    metrics: Sequence[str] = (),
    invalid: Invalid = "expected",
    normalize: Normalize | None = None,
    home: Place = None,
    progress: bool = False,
) -> pl.DataFrame:
    """Compute the metrics of runs; `board` and `Run.metrics` do so by themselves.

    Args:
        dataset: The data set.
        runs: Names of runs, or how they begin; None: all.
        metrics: Metrics in addition to the usual ones.
        invalid: How unranked items count.
        normalize: Score titles in this way, which makes new runs.
        home: Folder of all artifacts.
        progress: Show bars on stderr.

    Returns:
        Rows (evaluation, metric, mean).
    """
    from llmrs_bench.stages.evaluate import evaluate as stage

    values = {"metrics": tuple(several(metrics)), "invalid": invalid, "normalize": normalize}
    config = EvaluateConfig.parse_flags(values, command="evaluate")
    made = stage(_open(dataset, home), run_names(runs), config, _bars(progress))
    rows = [
        (done.name, metric, float(mean))
        for done in made
        for metric, mean in {**done.artifact.facts["means"], **done.artifact.facts["catalogue"]}.items()
    ]
    return pl.DataFrame(rows, {"evaluation": pl.String(), "metric": pl.String(), "mean": pl.Float64()}, orient="row")


def board(
    dataset: str | Prepared,
    *,
    runs: Sequence[str | Run] | None = None,
    metrics: Sequence[str] | None = None,
    baseline: str | Path | Run | None = None,
    fail_if: Sequence[str] = (),
    allow_missing: bool = False,
    over: str | None = None,
    home: Place = None,
    **options: Any,
) -> Leaderboard:
    """Build the leaderboard of a data set; runs that were not evaluated are evaluated first.

    Args:
        dataset: The data set.
        runs: Names of runs, or how they begin; None: all.
        metrics: Metrics to show; None: the usual ones.
        baseline: A run or a saved leaderboard with which rows are compared; the `gate` of the result has the changes.
        fail_if: Rules such as `ndcg@10 drops > 0.01`; the `gate` has the verdicts, and nothing is raised.
        allow_missing: Accept rows that are only in one of the two leaderboards.
        over: Show curves over this number, such as "history" or "samples".
        home: Folder of all artifacts.
        options: Fields of `CompareConfig`, such as `by="history"`, `samples=1000`.
    """
    from llmrs_bench.stages.boards import build
    from llmrs_bench.stages.compare import draw_curves
    from llmrs_bench.stages.evaluate_labelled import has_runs
    from llmrs_bench.stages.gate import gated
    from llmrs_bench.stages.workspace import limit_of, open_runs

    check_names(board, CompareConfig, options)
    given = {"metrics": None if metrics is None else tuple(several(metrics)), **options}
    config = CompareConfig.parse_flags(given, command="compare")
    data, gate = _open(dataset, home), None
    if baseline is None and not fail_if:
        made = build(data, run_names(runs), config)
    else:
        against = None if baseline is None else str(run_name(baseline))
        made, gate = gated(
            data, run_names(runs), config, baseline=against, rules=several(fail_if), allow_missing=allow_missing
        )
    shown = {name for line in made.matrix.lines for name in line.runs}
    for found in open_runs(data) if runs is None and has_runs(data) else ():
        if limit_of(found) is not None and found.path.name not in shown:
            log.warning("%s has a limit: a board shows it with allow_different=['users'] alone", found.path.name)
    return Leaderboard(made, data, config, gate, None if over is None else draw_curves(made, over, config))


def tune(
    model: str,
    dataset: str | Prepared,
    *,
    template: str,
    samples: int | Literal["all"] = 256,
    options: Mapping[str, object] | None = None,
    template_options: Mapping[str, object] | None = None,
    home: Place = None,
    progress: bool = False,
    **more: Any,
) -> Tuned:
    """Fine-tune a language model on prompts made from the training data, or open the tuned model if it exists.

    Args:
        model: See `llmrs-bench list models`; ORG/NAME; a folder; an adapter.
        dataset: The data set.
        template: label, likelihood, listwise, paper, yes-no; like for clicks.
        samples: Number of training samples.
        options: Options of tuning, as with -O.
        template_options: Options of the template, as with -T.
        home: Folder of all artifacts.
        progress: Show bars on stderr.
        more: Fields of `TuneConfig`, such as `method="full"`, `seed=1`.
    """
    from llmrs_bench.stages.tune import TuneConfig
    from llmrs_bench.stages.tune import tune as stage

    check_names(tune, TuneConfig, more)
    given = {"model": model_name(model), "template": template, "samples": samples, **more}
    given |= {name: typed(pairs) for name, pairs in (("options", options), ("template_options", template_options))}
    done = stage(_open(dataset, home), TuneConfig.parse_flags(given, command="tune"), _bars(progress))
    if done is None:
        raise BenchError(
            "another process of the same launcher made the model", hint="Let the first process go on alone."
        )
    _warn(done)
    return Tuned(done.artifact)


def probe(
    model: str,
    dataset: str | Prepared,
    *,
    options: Mapping[str, object] | None = None,
    home: Place = None,
    progress: bool = False,
    **more: Any,
) -> Probe:
    """Test whether a language model has memorised a data set, or open the result if it exists.

    Args:
        model: See `llmrs-bench list models`; ORG/NAME; a local folder or GGUF file.
        dataset: The data set.
        options: Options of the engine, as with -O.
        home: Folder of all artifacts.
        progress: Show bars on stderr.
        more: Fields of `ProbeConfig`, such as `items=100`, `users=50`, `lines="generic"`, `seed=1`.
    """
    from llmrs_bench.stages.infer import check_model
    from llmrs_bench.stages.probe import ProbeConfig
    from llmrs_bench.stages.probe import probe as stage

    check_names(probe, ProbeConfig, more)
    config = ProbeConfig.parse_flags({"model": model_name(model), "options": typed(options), **more}, command="probe")
    check_model(config.served)
    done = stage(_open(dataset, home), config, _bars(progress))
    _warn(done)
    return Probe(done.artifact)


def fairness(
    dataset: str | Prepared, neutral: str | Run, runs: Sequence[str | Run], *, home: Place = None, **more: Any
) -> Fairness:
    """Test whether recommendations change when prompts state another age, gender or origin.

    Args:
        dataset: The data set.
        neutral: Run that states nothing, with which the others are compared: its name, or its beginning.
        runs: Two or more runs that state the values of one attribute.
        home: Folder of all artifacts.
        more: Fields of `FairnessConfig`, such as `control=RUN`, `k=5`, `samples=1000`, `seed=1`.
    """
    from llmrs_bench.stages.fairness import FairnessConfig
    from llmrs_bench.stages.fairness import fairness as stage

    check_names(fairness, FairnessConfig, more)
    given = {name: run_name(value) for name, value in {"neutral": neutral, **more}.items()}
    config = FairnessConfig.parse_flags({**given, "runs": tuple(run_names(runs))}, command="fairness")
    return Fairness(stage(_open(dataset, home), config))


def judge(
    model: str,
    dataset: str | Prepared,
    runs: Sequence[str | Run] | None = None,
    *,
    options: Mapping[str, object] | None = None,
    home: Place = None,
    progress: bool = False,
    **more: Any,
) -> Judgement:
    """Let a language model compare explanations in pairs, each pair in both orders, or open the result.

    Args:
        model: The judge: see `llmrs-bench list models`; ORG/NAME; a local folder or GGUF file.
        dataset: The data set.
        runs: Runs of the template `explanation`, or how their names begin; None: all.
        options: Options of the engine, as with -O.
        home: Folder of all artifacts.
        progress: Show bars on stderr.
        more: Fields of `JudgeConfig`, such as `limit=100`, `reading="text"`, `question="..."`, `seed=1`.
    """
    import llmrs_bench.stages.judge as stage
    from llmrs_bench.stages.infer import check_model

    check_names(judge, stage.JudgeConfig, more)
    given = {"model": model_name(model), "options": typed(options), "runs": tuple(run_names(runs)), **more}
    config, data = stage.JudgeConfig.parse_flags(given, command="judge"), _open(dataset, home)
    check_model(config.served)
    done = stage.judge(data, config, _bars(progress))
    _warn(done)
    return Judgement(done.artifact, stage.judgement(data, done.artifact, config))


def fuse(
    dataset: str | Prepared,
    runs: Sequence[str | Run],
    *,
    method: str = "rrf",
    options: Mapping[str, object] | None = None,
    home: Place = None,
) -> Run:
    """Fuse several runs into one, or rerank a single one.

    Args:
        dataset: The data set.
        runs: Two or more runs, or how their names begin; `mmr` and `novelty` take one.
        method: rrf, zscore, learned, cascade, mmr, novelty, or oracle.
        options: Options of the method, as with -O; also `learn_on`, `budget` and `top`.
        home: Folder of all artifacts.
    """
    from llmrs_bench.stages.fuse import fuse as stage

    data, names = _open(dataset, home), [run_name(run) for run in several(runs)]
    done = stage(data, {**typed(options), "runs": ",".join(names), "method": method})
    _warn(done)
    return Run(data, done.artifact)


def export(
    dataset: str | Prepared,
    to: str | Path,
    *,
    format: Literal["trec", "recbole", "ranx", "csv"],
    runs: Sequence[str | Run] | None = None,
    home: Place = None,
) -> list[Path]:
    """Write runs, truth or prepared data to a new folder for another tool, and return the files.

    Args:
        dataset: The data set.
        to: The folder.
        format: Format of the tool.
        runs: Names of runs, or how they begin; None: all.
        home: Folder of all artifacts.
    """
    from llmrs_bench.stages.export import export as stage

    return stage(_open(dataset, home), run_names(runs), format, Path(to))


def run(
    recipe: str | Path | Mapping[str, Any],
    *,
    changes: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    continue_on_error: bool = False,
    max_seconds: float | None = None,
    max_price: float | None = None,
    home: Place = None,
    progress: bool = False,
) -> Study:
    """Run a study from a recipe. Nothing that exists is made again.

    Args:
        recipe: A file, the name of a built-in recipe, or its tables.
        changes: Overrides of the recipe, such as `{"defaults": {"model": "mock"}, "data": {"users": 50}}`.
        only: Rows to run, by name or pattern.
        continue_on_error: Run the other rows if one fails.
        max_seconds: Stop after this many seconds of answering, not counting the time to load models.
        max_price: Stop once new answers have cost this many USD.
        home: Folder of all artifacts.
        progress: Show bars on stderr.
    """
    from llmrs_bench.llm.cost import Budget
    from llmrs_bench.stages.recipe import open_recipe
    from llmrs_bench.stages.run import boards, judgements, run_study
    from llmrs_bench.stages.study import chosen_rows

    if not isinstance(recipe, (str, Path, Mapping)):
        raise BenchError(
            f"recipe is {recipe!r:.60}, no recipe", hint="Pass a file, the name of a recipe, or its tables."
        )
    study = open_recipe(str(recipe) if isinstance(recipe, Path) else recipe, changes)
    rows = chosen_rows(study, several(only))
    made = run_study(
        _home(home),
        study,
        rows,
        _bars(progress, several=len({server for row in rows for server in row.servers}) > 1),
        log.info,
        continue_on_error=continue_on_error,
        budget=Budget(max_seconds, max_price),
    )
    many = len(made.data) > 1
    named = {key: f"{key[0]}/{key[1]}" if many else key[1] for key in (*made.runs, *made.judgements, *made.failed)}
    return Study(
        {named[key]: Run(made.data[key[0]], found) for key, found in made.runs.items()},
        [Leaderboard(each.comparison, each.data, study.board.config, each.gate) for each in boards(study, made)],
        {named[key]: Judgement(found, facts) for key, found, facts in judgements(study, made)},
        {named[key]: error for key, error in made.failed.items()},
        made.stopped,
    )


def runs(dataset: str | None = None, *, home: Place = None) -> pl.DataFrame:
    """Return the runs of all data sets, or of one: dataset, run, state, made, model, requests, costs, path and more."""
    from llmrs_bench.stages.storage import find_runs

    return pl.DataFrame([entry.values for entry in find_runs(_home(home), dataset)], infer_schema_length=None)


def _home(home: Place) -> Path:
    return Path(os.environ.get("LLMRS_BENCH_HOME", "bench") if home is None else home)


def _open(dataset: str | Prepared, home: Place) -> Data:
    return data_of(dataset, _home(home))


def _bars(wanted: bool, *, several: bool = False) -> Progress:
    if not wanted:
        return no_progress
    from llmrs_bench.cli.console import track, track_lines

    return track_lines if several else track


def _warn(done: "StageResult") -> None:
    for warning in done.warnings:
        log.warning("%s", warning)


__all__ = [
    "BenchError", "Fairness", "Judgement", "Leaderboard", "Prepared", "Probe", "Run", "Study", "Tuned",
    "board", "evaluate", "export", "fairness", "fuse", "infer", "judge", "prepare", "probe", "run", "runs", "tune",
]  # fmt: skip
