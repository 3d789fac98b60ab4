"""The command `infer`."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrs_bench.cli.console import exit_codes, finish, say, say_made, show, show_json, track, warn
from llmrs_bench.cli.options import (
    DATA,
    ENGINE,
    HERE,
    MODEL,
    OUTPUT,
    PROMPT,
    RECOMMENDER,
    CandidateOrders,
    CheckDeterminism,
    Dataset,
    Device,
    Fresh,
    FromCache,
    History,
    Home,
    ItemNotes,
    Log,
    LogOption,
    Look,
    MaxAge,
    MaxPrice,
    MaxSeconds,
    Prior,
    TargetPositions,
    TemplateName,
    TemplateOptions,
    UserProfile,
    age,
    budget,
    pairs,
    template_pairs,
)

if TYPE_CHECKING:
    from llmrs_bench.llm.cost import Budget


def infer(
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="Name from `list models`, ORG/NAME of Hugging Face, a local folder or a GGUF file."
        ),
    ],
    dataset: Dataset,
    source: Annotated[
        Path | None,
        typer.Option(
            help="Prepare the data set from this first, with the defaults of `prepare`.", rich_help_panel=DATA
        ),
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="Table of items and titles, if the source has none.", rich_help_panel=DATA)
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            help="Read the source as this file says; `prepare --save-mapping` writes one.", rich_help_panel=DATA
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-O",
            help="KEY=VALUE, an option of the recommender or the engine; repeatable.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    device: Device = "auto",
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Seed of training and of sampling.", rich_help_panel=MODEL)
    ] = 0,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="Make this many runs, with the seeds SEED, SEED + 1, ...", rich_help_panel=MODEL
        ),
    ] = 1,
    template: TemplateName = None,
    history: History = None,
    template_option: TemplateOptions = None,
    candidate_orders: CandidateOrders = None,
    target_positions: TargetPositions = None,
    user_profile: UserProfile = None,
    item_notes: ItemNotes = None,
    prior: Prior = False,
    engine: Annotated[
        str | None,
        typer.Option(
            help="auto, transformers, vllm, openai, ray, mock, or the engine of a plug-in.",
            show_default="auto",
            rich_help_panel=ENGINE,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Only ask the first N requests of a seeded order. A later run of all requests reuses their answers.",
            rich_help_panel=PROMPT,
        ),
    ] = None,
    from_cache: FromCache = False,
    fresh: Fresh = False,
    max_age: MaxAge = None,
    max_seconds: MaxSeconds = None,
    max_price: MaxPrice = None,
    train_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share of the training events to learn from, greater than 0.",
            show_default="1.0",
            rich_help_panel=RECOMMENDER,
        ),
    ] = None,
    train_by: Annotated[
        str | None,
        typer.Option(
            help="How the share is chosen: whole users, the earliest events (time), random events, or random "
            "events of each user (each-user).",
            metavar="users|time|events|each-user",
            show_default="users",
            rich_help_panel=RECOMMENDER,
        ),
    ] = None,
    max_users: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of users to learn from.", rich_help_panel=RECOMMENDER)
    ] = None,
    train_samples: Annotated[
        int | None,
        typer.Option(
            min=1, help="Learn only from the N samples that `tune --samples N` uses.", rich_help_panel=RECOMMENDER
        ),
    ] = None,
    retrain: Annotated[
        str | None,
        typer.Option(
            help="Retrain the recommender before each window of `prepare --windows`, on everything up to its start; "
            "or never, after the cut.",
            metavar="each|never",
            show_default="never",
            rich_help_panel=RECOMMENDER,
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Copy the trained recommender to this new folder, which --model accepts.", rich_help_panel=RECOMMENDER
        ),
    ] = None,
    check_determinism: CheckDeterminism = 0,
    name: Annotated[
        str | None, typer.Option(help="Give the run a name, for --run, --baseline and show.", rich_help_panel=OUTPUT)
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only print the number of prompts and tokens, the price, and how much is cached.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    output: Annotated[
        Look | None,
        typer.Option("--format", help="How to print --dry-run.", show_default="table", rich_help_panel=OUTPUT),
    ] = None,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Rank every request with a language model or a recommender."""
    with exit_codes():
        from llmrs_bench.core.errors import OptionError
        from llmrs_bench.stages.infer import is_outside, refuse_unread

        options = pairs(option or [])
        values = {
            "model": model,
            "options": options,
            "device": None if device == "auto" else device,
            "seed": seed or None,
            "template": template,
            "template_options": template_pairs(
                template_option,
                orders=candidate_orders,
                slots=target_positions,
                interest_run=user_profile,
                notes_run=item_notes,
            )
            or None,
            "history": history,
            "engine": engine,
            "limit": limit,
            "train_fraction": train_fraction,
            "train_by": train_by,
            "max_users": max_users,
            "train_samples": train_samples,
            "retrain": retrain,
        }
        given = {name: value for name, value in values.items() if value is not None}
        beside = {
            "export": export is not None,
            "from_cache": from_cache,
            "fresh": fresh,
            "max_age": max_age is not None,
            "prior": prior,
            "check_determinism": check_determinism > 0,
            "seeds": seeds > 1,
            "name": name is not None,
            "dry_run": dry_run,
            "max_seconds": max_seconds is not None,
            "max_price": max_price is not None,
        }
        refuse_unread(model, [*given, *(name for name, there in beside.items() if there)])
        if from_cache and check_determinism:
            raise OptionError(
                "--check-determinism sends prompts to the model, --from-cache sends none", hint="Remove one of them."
            )
        if (fresh + (max_age is not None) + from_cache) > 1:
            raise OptionError(
                "--fresh, --max-age and --from-cache exclude each other",
                hint="Remove one of them.",
            )
        if export is not None and seeds > 1:
            raise OptionError(
                "--export copies one model, --seeds trains several", hint="Export one at a time, with --seed."
            )
        if name is not None and seeds > 1:
            raise OptionError(
                f"--name {name} names one run, --seeds makes several", hint="Name one at a time, with --seed."
            )
        if items is not None and source is None and mapping is None:
            raise OptionError(f"--items {items} has no effect without a source", hint="Add --source PATH.")
        if is_outside(model):
            if source is not None or mapping is not None:
                raise OptionError(
                    f"--source and --mapping have no effect with --model {model}",
                    hint="Run `llmrs-bench prepare` first.",
                )
            _run_elsewhere(model, home, dataset, options)
            return
        if dry_run and (source is not None or mapping is not None):
            raise OptionError(
                "--dry-run prepares no data set, so --source and --mapping have no effect",
                hint="Run `llmrs-bench prepare` first.",
            )
        if dry_run:
            _forecast(given, home, dataset, output or Look.table)
            return
        if output is not None:
            raise OptionError("--format has no effect without --dry-run", hint="Add --dry-run, or leave out --format.")
        oldest = 0.0 if fresh else None if max_age is None else age(max_age)
        if source is not None or mapping is not None:
            dataset = _prepare(given, home, dataset, source, items, mapping)
        spending = budget(max_seconds, max_price)
        _infer(given, home, dataset, seed, seeds, export, from_cache, oldest, prior, check_determinism, spending, name)


def _prepare(
    given: Mapping[str, Any], home: Path, dataset: str, source: Path | None, items: Path | None, mapping: Path | None
) -> str:
    """Prepare a data set from files, unless that was done before, and return what to type for it."""
    from llmrs_bench.core.config import PrepareConfig
    from llmrs_bench.core.errors import BenchError
    from llmrs_bench.report.words import data_lines
    from llmrs_bench.stages.infer import check_model, infer_config, reads_titles
    from llmrs_bench.stages.mapping import read_mapping
    from llmrs_bench.stages.prepare import prepare
    from llmrs_bench.stages.source import Origin
    from llmrs_bench.stages.workspace import Reference, variants

    check_model(infer_config(given))  # before anything is read
    known = read_mapping(mapping) if mapping else None
    typed = {key: path for key, path in {"path": source, "items": items}.items() if path is not None}
    values = {"dataset": Reference.parse(dataset).dataset, **(known.policies if known else {})}
    if not reads_titles(given["model"]):
        values["allow_untitled"] = True
    origin = Origin(**{**(known.places() if known else {}), **typed})
    config = PrepareConfig.parse_flags(values, command="prepare")
    try:
        done = prepare(home, dataset, config, origin, track)
    except BenchError as error:
        error.hint += (
            f" infer prepares with the defaults; for other options use `llmrs-bench prepare --dataset {dataset}`."
        )
        raise
    for line in data_lines(done.artifact.facts) if done.fresh else ():
        say(line)
    say_made(done)
    if dataset == config.dataset and len(variants(home, dataset)) > 1:
        warn(f"{dataset} was already prepared from another source or with other options; this run uses {done.name}")
    return done.name


def _forecast(given: Mapping[str, Any], home: Path, dataset: str, output: Look) -> None:
    """Print what would be asked."""
    from llmrs_bench.core.config import LanguageModelConfig
    from llmrs_bench.report.words import forecast_lines
    from llmrs_bench.stages.forecast import forecast
    from llmrs_bench.stages.infer import infer_config
    from llmrs_bench.stages.workspace import open_data

    config = LanguageModelConfig.model_validate(infer_config(given))
    found = forecast(open_data(home, dataset), config, track)
    if output is Look.json:
        show_json(found.json())
    else:
        show(forecast_lines(found.json()))


def _infer(
    given: Mapping[str, Any],
    home: Path,
    dataset: str,
    seed: int,
    seeds: int,
    export: Path | None,
    from_cache: bool,
    max_age: float | None,
    prior: bool,
    check_determinism: int,
    spending: "Budget | None",
    name: str | None,
) -> None:
    from llmrs_bench.core.config import LanguageModelConfig
    from llmrs_bench.report.words import audit_lines, prior_line, run_lines
    from llmrs_bench.stages.infer import check_model, infer_config, run_stem
    from llmrs_bench.stages.infer import infer as stage
    from llmrs_bench.stages.infer_language_model import find_priors
    from llmrs_bench.stages.prepare import open_or_prepare
    from llmrs_bench.stages.serving import OpenEngine, destination
    from llmrs_bench.stages.workspace import call, check_name, is_unprepared, open_data

    if is_unprepared(home, dataset) and not from_cache:
        check_model(infer_config(given))  # before anything is downloaded
        data = open_or_prepare(home, dataset, track, say)
    else:
        data = open_data(home, dataset)
    check_name(data.place.runs, name, run_stem(infer_config(given)))
    for number in range(seed, seed + seeds):
        config = infer_config({**given, "seed": number})
        if isinstance(config, LanguageModelConfig) and not from_cache and config.engine == "openai":
            say(f"prompts without a cached answer are sent to {destination(config)}")
        with closing(OpenEngine(spending)) as engines:
            done = stage(
                data,
                config,
                track,
                export,
                from_cache=from_cache,
                prior=prior,
                max_age=max_age,
                engines=engines,
                name=name,
            )
        done = call(done, name)
        for line in run_lines(done.artifact.facts):
            say(line)
        if prior:
            say(prior_line(find_priors(data, done.artifact).facts))
        finish(done)
        if not done.fresh and isinstance(config, LanguageModelConfig) and config.engine == "openai" and not from_cache:
            made = done.artifact.manifest.started
            say(
                f"no prompt was sent: all answers are cached, of {made:%Y-%m-%d %H:%M} UTC; "
                "--fresh asks the server again"
            )
        if isinstance(config, LanguageModelConfig) and check_determinism:
            from llmrs_bench.stages.determinism import audit as audit_stage

            for line in audit_lines(audit_stage(data, config, track, requests=check_determinism).artifact.facts):
                say(line)


def _run_elsewhere(model: str, home: Path, dataset: str, options: Mapping[str, str]) -> None:
    """Do what `fuse` and `import` do, for one version under the old name."""
    from llmrs_bench.cli.fuse import run_fusion
    from llmrs_bench.cli.import_run import run_import
    from llmrs_bench.stages.fuse import FUSION
    from llmrs_bench.stages.import_run import FILE

    path = model.removeprefix(FILE)
    command = "fuse --run A --run B" if model == FUSION else f"import {path}"
    warn(f"--model {model} is now a command of its own: llmrs-bench {command} --dataset {dataset}")
    if model == FUSION:
        run_fusion(home, dataset, options)
    else:
        run_import(home, dataset, Path(path), options)
