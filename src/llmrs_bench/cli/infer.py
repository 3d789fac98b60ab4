"""The command `infer`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrs_bench.cli.console import exit_codes, finish, say, track, warn
from llmrs_bench.cli.options import (
    ENGINE,
    HERE,
    MODEL,
    RECOMMENDER,
    CandidateOrders,
    CheckDeterminism,
    Dataset,
    Fresh,
    FromCache,
    History,
    Home,
    ItemNotes,
    Log,
    LogOption,
    MaxAge,
    Prior,
    TargetPositions,
    TemplateName,
    TemplateOptions,
    UserProfile,
    age,
    pairs,
    template_pairs,
)


def infer(
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="See `list models`; ORG/NAME; a local folder or GGUF file."),
    ],
    dataset: Dataset,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-O", help="KEY=VALUE of the recommender or the engine; repeatable.", rich_help_panel=MODEL
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=MODEL)] = "auto",
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Seed of training and of sampling.", rich_help_panel=MODEL)
    ] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Make so many runs, with SEED, SEED + 1, ...", rich_help_panel=MODEL)
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
            help="auto, transformers, vllm, openai, ray, mock, or that of a plug-in.",
            show_default="auto",
            rich_help_panel=ENGINE,
        ),
    ] = None,
    from_cache: FromCache = False,
    fresh: Fresh = False,
    max_age: MaxAge = None,
    train_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share of the interactions a recommender learns from, above 0; users are taken whole.",
            show_default="1.0",
            rich_help_panel=RECOMMENDER,
        ),
    ] = None,
    max_users: Annotated[
        int | None, typer.Option(min=1, help="Users a recommender learns from at most.", rich_help_panel=RECOMMENDER)
    ] = None,
    event_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share of each user's interactions a recommender learns from, above 0; no user is left out.",
            show_default="1.0",
            rich_help_panel=RECOMMENDER,
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            help="New folder for a copy of the trained recommender; --model takes it.", rich_help_panel=RECOMMENDER
        ),
    ] = None,
    check_determinism: CheckDeterminism = 0,
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
            "train_fraction": train_fraction,
            "max_users": max_users,
            "event_fraction": event_fraction,
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
        }
        refuse_unread(model, [*given, *(name for name, there in beside.items() if there)])
        if from_cache and check_determinism:
            raise OptionError(
                "--check-determinism asks the model, --from-cache asks nothing", hint="Remove one of them."
            )
        if (fresh + (max_age is not None) + from_cache) > 1:
            raise OptionError(
                "--fresh, --max-age and --from-cache exclude each other",
                hint="Remove one of them.",
            )
        if export is not None and seeds > 1:
            raise OptionError("--export takes one model, --seeds makes several", hint="Export each with its --seed.")
        if is_outside(model):
            _run_elsewhere(model, home, dataset, options, seed, seeds)
            return
        oldest = 0.0 if fresh else None if max_age is None else age(max_age)
        _infer(given, home, dataset, seed, seeds, export, from_cache, oldest, prior, check_determinism)


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
) -> None:
    from llmrs_bench.core.config import LanguageModelConfig
    from llmrs_bench.report.words import audit_lines, prior_line, run_lines
    from llmrs_bench.stages.infer import check_model, infer_config
    from llmrs_bench.stages.infer import infer as stage
    from llmrs_bench.stages.infer_language_model import find_priors
    from llmrs_bench.stages.prepare import open_or_prepare
    from llmrs_bench.stages.serving import destination
    from llmrs_bench.stages.workspace import is_unprepared, open_data

    if is_unprepared(home, dataset) and not from_cache:
        check_model(infer_config(given))  # before anything is downloaded
        data = open_or_prepare(home, dataset, track, say)
    else:
        data = open_data(home, dataset)
    for number in range(seed, seed + seeds):
        config = infer_config({**given, "seed": number})
        if isinstance(config, LanguageModelConfig) and not from_cache and config.engine == "openai":
            say(f"prompts that were not answered before are sent to {destination(config)}")
        done = stage(data, config, track, export, from_cache=from_cache, prior=prior, max_age=max_age)
        for line in run_lines(done.artifact.facts):
            say(line)
        if prior:
            say(prior_line(find_priors(data, done.artifact).facts))
        finish(done)
        if not done.fresh and isinstance(config, LanguageModelConfig) and config.engine == "openai" and not from_cache:
            made = done.artifact.manifest.started
            say(f"nothing was asked: its answers are those of {made:%Y-%m-%d %H:%M} UTC; --fresh asks the server again")
        if isinstance(config, LanguageModelConfig) and check_determinism:
            from llmrs_bench.stages.determinism import audit as audit_stage

            for line in audit_lines(audit_stage(data, config, track, requests=check_determinism).artifact.facts):
                say(line)


def _run_elsewhere(model: str, home: Path, dataset: str, options: Mapping[str, str], seed: int, seeds: int) -> None:
    """Do what `fuse` and `import` do, for one version under the old name."""
    from llmrs_bench.cli.fuse import run_fusion
    from llmrs_bench.cli.import_run import run_import
    from llmrs_bench.stages.fuse import FUSION
    from llmrs_bench.stages.import_run import FILE

    path = model.removeprefix(FILE)
    command = "fuse --run A --run B" if model == FUSION else f"import {path}"
    warn(f"--model {model} is now a command of its own: llmrs-bench {command} --dataset {dataset}")
    if model == FUSION:
        run_fusion(home, dataset, options, seed, seeds)
    else:
        run_import(home, dataset, Path(path), options)
