"""The command `prompt`."""

from typing import Annotated

import typer

from llmrs_bench.cli.console import exit_codes, finish, say, track
from llmrs_bench.cli.options import (
    HERE,
    OUTPUT,
    CandidateOrders,
    History,
    Home,
    ItemNotes,
    Log,
    LogOption,
    TargetPositions,
    TemplateName,
    TemplateOptions,
    UserProfile,
    template_pairs,
)


def prompt(
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="NAME, or NAME@VARIANT; not needed with --check.")
    ] = None,
    template: TemplateName = None,
    history: History = None,
    template_option: TemplateOptions = None,
    candidate_orders: CandidateOrders = None,
    target_positions: TargetPositions = None,
    user_profile: UserProfile = None,
    item_notes: ItemNotes = None,
    show: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Print the first N prompts.", rich_help_panel=OUTPUT)
    ] = 0,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="With --show: print the prompts in this model's chat template.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            help="Try a template (PATH or name) on made-up items and do nothing else.", rich_help_panel=OUTPUT
        ),
    ] = None,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Render a prompt template over the requests of a data set."""
    with exit_codes():
        from llmrs_bench.core.config import PromptConfig, with_own_tokens
        from llmrs_bench.core.errors import OptionError
        from llmrs_bench.llm.identity import find_files
        from llmrs_bench.report.words import example_lines, prompt_lines, rendered_lines
        from llmrs_bench.stages.prepare import open_or_prepare
        from llmrs_bench.stages.prompt import prompt as stage
        from llmrs_bench.stages.prompt_preview import check_template, rendered_prompts

        typed = template_pairs(
            template_option,
            orders=candidate_orders,
            slots=target_positions,
            interest_run=user_profile,
            notes_run=item_notes,
        )
        options = typed if model is None else with_own_tokens(typed, model)
        config = PromptConfig(template=check or template or "listwise", options=options, history=history)
        if check is not None:
            if dataset is not None or show or model is not None:
                raise OptionError(
                    "--check renders made-up items, so --dataset, --show and --model have no effect",
                    hint="Leave them out.",
                )
            for line in check_template(config):
                say(line)
            typer.echo(check)
            return
        if dataset is None:
            raise OptionError("prompt needs a data set", hint="Add --dataset NAME, or --check.")
        if model is not None and not show:
            raise OptionError("--model has no effect without --show", hint="Add --show N.")
        if model is not None:
            find_files(model)  # before anything is downloaded, rendered or imported for it
        done = stage(open_or_prepare(home, dataset, track, say), config)
        if show:
            shown = next(done.artifact.parts("prompts", show)).head(show)
            names = shown["prompt_id"].to_list()
            rendered = None if model is None else rendered_prompts(shown, model)
            for line in prompt_lines(shown) if rendered is None else rendered_lines(names, rendered):
                say(line)
        if words := done.artifact.facts.get("title_words"):
            say(words)
        for line in example_lines(done.artifact.facts):
            say(line)
        finish(done)
