"""The command `list`."""

import json
import shutil
from typing import Annotated

import typer

from llmrs_bench.cli.console import exit_codes, show
from llmrs_bench.cli.options import HERE, Home, Listing, Log, LogOption
from llmrs_bench.cli.storage import Anywhere, AsJson, OlderThan, before, run_table


def list_(
    what: Annotated[Listing, typer.Argument(help="What to list.")],
    dataset: Anywhere = None,
    check: Annotated[
        bool, typer.Option("--check", help="With data: check that the files of the data sets can be downloaded.")
    ] = False,
    run: Annotated[
        list[str] | None, typer.Option("--run", help="With runs: only runs whose names begin with this; repeatable.")
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            help="With runs: only runs in this state: evaluated, not evaluated, texts, damaged or in the making."
        ),
    ] = None,
    older_than: OlderThan = None,
    as_json: AsJson = False,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """List data sets, models, templates, template parts, runs, or built-in recipes."""
    with exit_codes():
        from llmrs_bench.core.errors import DataError, OptionError
        from llmrs_bench.stages.listing import check_data, list_data, list_models, list_parts, list_templates

        if check and what is not Listing.data:
            raise OptionError(
                f"--check has no effect on list {what}",
                hint="It checks downloads: write `llmrs-bench list data --check`.",
            )
        of_runs = {"--run": run, "--state": state, "--older-than": older_than, "--json": as_json}
        if what is not Listing.runs and (idle := [option for option, value in of_runs.items() if value]):
            raise OptionError(
                f"{idle[0]} has no effect on list {what}", hint="It selects runs: write `llmrs-bench list runs`."
            )
        lost: list[str] = []
        if check:
            lines, lost = check_data(dataset)
        elif what is Listing.data:
            lines = list_data(home, shutil.get_terminal_size((120, 24)).columns, dataset)
        elif what is Listing.runs:
            from llmrs_bench.stages.storage import find_runs

            found = find_runs(home, dataset, run or [], state=state, before=before(older_than))
            lines = run_table(found) or ["no runs"]
            if as_json:
                lines = [json.dumps([entry.values for entry in found], indent=2, ensure_ascii=False)]
        elif what is Listing.recipes:
            from llmrs_bench.stages.recipe_files import recipe_lines

            lines = recipe_lines()
        else:
            listing = {Listing.models: list_models, Listing.templates: list_templates, Listing.parts: list_parts}[what]
            lines = listing()
        show(lines)
        if lost:
            raise DataError(
                f"no server has the files of {', '.join(lost)}",
                hint="Try later, or get them elsewhere and pass them to prepare with --source PATH.",
            )
