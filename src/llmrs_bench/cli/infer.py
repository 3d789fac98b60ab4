"""The command `infer`."""

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
    FromCache,
    History,
    Home,
    ItemNotes,
    Log,
    LogOption,
    Prior,
    TargetPositions,
    TemplateName,
    TemplateOptions,
    UserProfile,
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
    seed: Annotated[int, typer.Option(min=0, help="Seed of training and of sampling.", rich_help_panel=MODEL)] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="Make so many runs, with SEED, SEED + 1, ...", rich_help_panel=MODEL)
    ] = 1,
    template: TemplateName = "listwise",
    history: History = None,
    template_option: TemplateOptions = None,
    candidate_orders: CandidateOrders = None,
    target_positions: TargetPositions = None,
    user_profile: UserProfile = None,
    item_notes: ItemNotes = None,
    prior: Prior = False,
    engine: Annotated[
        str,
        typer.Option(help="auto, transformers, vllm, openai, ray, mock, or that of a plug-in.", rich_help_panel=ENGINE),
    ] = "auto",
    from_cache: FromCache = False,
    train_fraction: Annotated[
        float,
        typer.Option(help="Share of the interactions a recommender learns from, above 0.", rich_help_panel=RECOMMENDER),
    ] = 1.0,
    max_users: Annotated[
        int | None, typer.Option(min=1, help="Users a recommender learns from at most.", rich_help_panel=RECOMMENDER)
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
        from llmrs_bench.core.config import InferConfig
        from llmrs_bench.core.errors import OptionError
        from llmrs_bench.report.words import audit_lines, outside_lines, prior_line, run_lines
        from llmrs_bench.stages.fuse import FUSION
        from llmrs_bench.stages.import_run import FILE
        from llmrs_bench.stages.infer import check_model, is_outside
        from llmrs_bench.stages.infer import infer as stage
        from llmrs_bench.stages.infer_language_model import find_priors
        from llmrs_bench.stages.prepare import open_or_prepare
        from llmrs_bench.stages.serving import destination
        from llmrs_bench.stages.workspace import is_unprepared, open_data

        values: dict[str, Any] = {
            "model": model,
            "template": template,
            "history": history,
            "template_options": template_pairs(
                template_option,
                orders=candidate_orders,
                slots=target_positions,
                interest_run=user_profile,
                notes_run=item_notes,
            ),
            "engine": engine,
            "device": device,
            "train_fraction": train_fraction,
            "max_users": max_users,
            "options": pairs(option or []),
        }
        if from_cache and check_determinism:
            raise OptionError(
                "--check-determinism asks the model, --from-cache asks nothing", hint="Leave out one of them."
            )
        if export is not None and seeds > 1:
            raise OptionError("--export takes one model, --seeds makes several", hint="Export each with its --seed.")
        outside = is_outside(model)
        if outside:
            command = "fuse --run A --run B" if model == FUSION else f"import {model.removeprefix(FILE)}"
            warn(f"--model {model} is now a command of its own: llmrs-bench {command} --dataset {dataset}")
        if outside and (check_determinism or (seeds > 1 and values["options"].get("method") != "learned")):
            idle = "--check-determinism" if check_determinism else "--seeds"
            raise OptionError(f"{idle} means nothing to --model {model}", hint="Leave it out.")
        if is_unprepared(home, dataset) and not from_cache and model != FUSION:
            check_model(InferConfig.parse({**values, "seed": seed}, owner="infer"))  # before anything is downloaded
            data = open_or_prepare(home, dataset, track, say)
        else:
            data = open_data(home, dataset)
        for number in range(seed, seed + seeds):
            config = InferConfig.parse({**values, "seed": number}, owner="infer")
            if not from_cache and config.engine == "openai":
                say(f"prompts that were not answered before are sent to {destination(config)}")
            done = stage(data, config, track, export, from_cache=from_cache, prior=prior)
            for line in (outside_lines if outside else run_lines)(done.artifact.facts):
                say(line)
            if prior:
                say(prior_line(find_priors(data, done.artifact).facts))
            finish(done)
            if check_determinism:
                from llmrs_bench.stages.determinism import audit as audit_stage

                for line in audit_lines(audit_stage(data, config, track, requests=check_determinism).artifact.facts):
                    say(line)
