"""The command line: options to config, one stage, one result; imports of weight happen inside the commands."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from llmrs_bench import __version__
from llmrs_bench.cli_compare import compare
from llmrs_bench.cli_options import (
    HERE,
    Audit,
    Dataset,
    Deterministic,
    History,
    Home,
    Listing,
    Log,
    LogOption,
    Names,
    Orders,
    Reparse,
    Slots,
    TemplateName,
    TemplateOptions,
    With,
    as_typed,
    pairs,
    template_pairs,
)
from llmrs_bench.cli_prompt import prompt
from llmrs_bench.console import exit_codes, finish, say, track

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="How good is a language model as a recommender, next to a properly trained SASRec, and what does it cost?",
    epilog="Start: llmrs-bench prepare --dataset demo, then infer, evaluate, compare.",
)


@app.callback(invoke_without_command=True)
def llmrs_bench(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Answer to options that belong to no command."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def prepare(
    dataset: Dataset,
    source: Annotated[Path | None, typer.Option(help="Zip archive or folder to read instead of a download.")] = None,
    protocol: Annotated[
        str, typer.Option(help="default (1,000 users), or paper: 200 users, seen items may be candidates.")
    ] = "default",
    users: Annotated[str | None, typer.Option(help="Number of test users, or 'all'.", show_default="1000")] = None,
    candidates: Annotated[
        str | None,
        typer.Option(
            help="random, popularity, file:PATH, all (the whole catalogue), or model:NAME[+NAME] (its best items).",
            show_default="random",
        ),
    ] = None,
    n_candidates: Annotated[
        int | None, typer.Option(help="Candidates of a request, the target included.", show_default="20")
    ] = None,
    include_seen: Annotated[
        bool | None, typer.Option("--include-seen/--exclude-seen", help="May a user's past items be candidates?")
    ] = None,
    force_target: Annotated[
        bool, typer.Option("--force-target", help="Put the target into lists of a model that did not find it.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-O", help="NAME.KEY=VALUE of a model that finds candidates; repeatable."),
    ] = None,
    history: Annotated[
        int | None, typer.Option(help="Items of history in prompts, unless prompt says more.", show_default="10")
    ] = None,
    min_rating: Annotated[float | None, typer.Option(help="Drop events rated lower.")] = None,
    k_core: Annotated[
        int | None, typer.Option(help="Drop users and items with fewer events, again and again.", show_default="0")
    ] = None,
    item_word: Annotated[str | None, typer.Option(help="What prompts call an item.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the user sample, the lists and the tie rule.", show_default="0")
    ] = None,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Get, verify and normalise a data set; split it; sample users and candidate lists."""
    with exit_codes():
        from llmrs_bench.config import PROTOCOLS, PrepareConfig
        from llmrs_bench.registry import unknown_name
        from llmrs_bench.report.words import data_lines
        from llmrs_bench.stages.home import Reference
        from llmrs_bench.stages.prepare import prepare as stage

        if protocol not in PROTOCOLS:
            raise unknown_name("protocol", protocol, list(PROTOCOLS))
        typed = {
            "users": users,
            "candidates": candidates,
            "n_candidates": n_candidates,
            "include_seen": include_seen,
            "force_target": force_target or None,
            "retriever_options": pairs(option or []) or None,
            "history": history,
            "min_rating": min_rating,
            "k_core": k_core,
            "item_word": item_word,
            "seed": seed,
        }
        options = {**PROTOCOLS[protocol], **{key: value for key, value in typed.items() if value is not None}}
        config = PrepareConfig.parse({"dataset": Reference.parse(dataset).dataset, **options}, owner="prepare")
        done = stage(home, dataset, config, source, track)
        for line in data_lines(done.artifact.facts):
            say(line)
        finish(done)


app.command()(prompt)


@app.command()
def infer(
    model: Annotated[str, typer.Option("--model", "-m", help="See `list models`; or ORG/NAME, or a local folder.")],
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
    export: Annotated[
        Path | None, typer.Option(help="New folder for a copy of the trained recommender; --model takes it.")
    ] = None,
    deterministic: Deterministic = False,
    reparse: Reparse = False,
    audit: Audit = 0,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-O", help="KEY=VALUE of the recommender or engine; repeatable.")
    ] = None,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Rank every request with a recommender, or with a language model over prompts."""
    with exit_codes():
        from llmrs_bench.config import InferConfig
        from llmrs_bench.errors import OptionError
        from llmrs_bench.report.words import audit_lines, run_lines
        from llmrs_bench.stages.home import open_data
        from llmrs_bench.stages.infer import infer as stage

        named = {"max_history": max_history, "loss": loss, "fit_on": fit_on}
        values = {
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
        data = open_data(home, dataset)
        if reparse and audit:
            raise OptionError("--audit asks the model, --reparse asks nothing", hint="Leave out one of them.")
        if export is not None and seeds > 1:
            raise OptionError("--export takes one model, --seeds makes several", hint="Export each with its --seed.")
        for number in range(seed, seed + seeds):
            config = InferConfig.parse({**values, "seed": number}, owner="infer")
            done = stage(data, config, track, export, reparse=reparse)
            for line in run_lines(done.artifact.facts):
                say(line)
            finish(done)
            if audit:
                from llmrs_bench.stages.audit import audit as audit_stage

                for line in audit_lines(audit_stage(data, config, track, requests=audit).artifact.facts):
                    say(line)


@app.command()
def evaluate(
    dataset: Dataset,
    run: Names = None,
    normalize: Annotated[
        str | None, typer.Option(help="Weigh the tokens of titles: sum, token (mean), byte, or pmi (less their prior).")
    ] = None,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Join truth with rankings; keep a value for every request and metric."""
    with exit_codes():
        from llmrs_bench.config import EvaluateConfig
        from llmrs_bench.report.bias import bias_lines
        from llmrs_bench.stages.evaluate import evaluate as stage
        from llmrs_bench.stages.home import open_data

        config = EvaluateConfig.parse({"normalize": normalize}, owner="evaluate")
        for done in stage(open_data(home, dataset), run or [], config, track):
            means = done.artifact.facts["means"]
            finish(done, "".join(f"  {name} {means[name]:.4f}" for name in ("hit@1", "ndcg@10", "mrr@10")))
            bias = done.artifact.facts.get("bias")
            if bias is not None and bias["views"] > bias["requests"]:
                for line in bias_lines(bias):
                    say(line)


app.command()(compare)


@app.command("list")
def list_(
    what: Annotated[Listing, typer.Argument(help="data, models, templates, parts or runs.")],
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Whose runs; needed for runs.")] = None,
    home: Home = HERE,
) -> None:
    """List data sets, models, templates, or the runs of a data set."""
    with exit_codes():
        from llmrs_bench.errors import OptionError
        from llmrs_bench.stages.listing import list_data, list_models, list_parts, list_runs, list_templates

        if what is Listing.runs and dataset is None:
            raise OptionError("list runs needs a data set", hint="Add --dataset NAME.")
        if what in (Listing.data, Listing.runs):
            lines = list_data(home) if what is Listing.data else list_runs(home, dataset or "")
        else:
            listing = {Listing.models: list_models, Listing.templates: list_templates, Listing.parts: list_parts}[what]
            lines = listing()
        typer.echo("\n".join(lines))


def main() -> None:
    """Run the command line; the exit code is 0, 1, 2, 3, 4 or 130."""
    app(prog_name="llmrs-bench", args=sys.argv[1:])
