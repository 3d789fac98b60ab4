"""The command `infer`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmrs_bench.cli.console import exit_codes, finish, say, track
from llmrs_bench.cli.options import (
    HERE,
    Audit,
    Dataset,
    Deterministic,
    History,
    Home,
    Log,
    LogOption,
    Orders,
    Prior,
    Reparse,
    Slots,
    TemplateName,
    TemplateOptions,
    With,
    as_typed,
    pairs,
    template_pairs,
)


def infer(
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="See `list models`; ORG/NAME; a local folder; file:PATH with a ranking; fusion."
        ),
    ],
    dataset: Dataset,
    template: TemplateName = "listwise",
    history: History = None,
    template_option: TemplateOptions = None,
    orders: Orders = None,
    slots: Slots = None,
    texts: With = None,
    engine: Annotated[str, typer.Option(help="auto, transformers, vllm, openai, ray, mock.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of training and of sampling.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Make so many runs, with SEED, SEED + 1, ...")] = 1,
    max_history: Annotated[
        int | None, typer.Option(min=1, help="Newest items a recommender looks at; -O max_history.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="What a recommender minimises; -O loss.")] = None,
    fit_on: Annotated[
        str | None, typer.Option(help="train, or train+valid: what a recommender learns from; -O fit_on.")
    ] = None,
    train_fraction: Annotated[
        float, typer.Option(help="Share of the interactions a recommender learns from, above 0.")
    ] = 1.0,
    max_users: Annotated[int | None, typer.Option(min=1, help="Users a recommender learns from at most.")] = None,
    runs: Annotated[
        str | None, typer.Option(help="With --model fusion: the runs to join, as A,B or A,B,C; -O runs.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="With --model fusion: rrf (reciprocal ranks, -O k=60), zscore (mean of standardised scores), learned "
            "(weights from other users' targets, -O folds=5), oracle (no model: the better run of each request); "
            "-O method.",
            show_default="rrf",
        ),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="New folder for a copy of the trained recommender; --model takes it.")
    ] = None,
    deterministic: Deterministic = False,
    reparse: Reparse = False,
    prior: Prior = False,
    audit: Audit = 0,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-O", help="KEY=VALUE of the recommender or engine; repeatable.")
    ] = None,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Rank every request with a recommender, a language model, a ranking made elsewhere, or runs joined into one."""
    with exit_codes():
        from llmrs_bench.core.config import InferConfig
        from llmrs_bench.core.errors import OptionError
        from llmrs_bench.report.words import audit_lines, outside_lines, prior_line, run_lines
        from llmrs_bench.stages.fuse import FUSION
        from llmrs_bench.stages.infer import check_model, is_outside
        from llmrs_bench.stages.infer import infer as stage
        from llmrs_bench.stages.infer_language_model import find_priors
        from llmrs_bench.stages.prepare import open_or_prepare
        from llmrs_bench.stages.serving import destination
        from llmrs_bench.stages.workspace import is_unprepared, open_data

        named = {"max_history": max_history, "loss": loss, "fit_on": fit_on, "runs": runs, "method": method}
        values: dict[str, Any] = {
            "model": model,
            "template": template,
            "history": history,
            "template_options": template_pairs(template_option, orders, slots, texts),
            "engine": engine,
            "device": device,
            "train_fraction": train_fraction,
            "max_users": max_users,
            "options": pairs([*(option or []), *as_typed(**named, deterministic=deterministic or None)]),
        }
        if reparse and audit:
            raise OptionError("--audit asks the model, --reparse asks nothing", hint="Leave out one of them.")
        if export is not None and seeds > 1:
            raise OptionError("--export takes one model, --seeds makes several", hint="Export each with its --seed.")
        outside = is_outside(model)
        if outside and (audit or (seeds > 1 and values["options"].get("method") != "learned")):
            idle = "--audit" if audit else "--seeds"
            raise OptionError(f"{idle} means nothing to --model {model}", hint="Leave it out.")
        if is_unprepared(home, dataset) and not reparse and model != FUSION:
            check_model(InferConfig.parse({**values, "seed": seed}, owner="infer"))  # before anything is downloaded
            data = open_or_prepare(home, dataset, track, say)
        else:
            data = open_data(home, dataset)
        for number in range(seed, seed + seeds):
            config = InferConfig.parse({**values, "seed": number}, owner="infer")
            if not reparse and config.engine == "openai":
                say(f"prompts that were not answered before are sent to {destination(config)}")
            done = stage(data, config, track, export, reparse=reparse, prior=prior)
            for line in (outside_lines if outside else run_lines)(done.artifact.facts):
                say(line)
            if prior:
                say(prior_line(find_priors(data, done.artifact).facts))
            finish(done)
            if audit:
                from llmrs_bench.stages.determinism import audit as audit_stage

                for line in audit_lines(audit_stage(data, config, track, requests=audit).artifact.facts):
                    say(line)
