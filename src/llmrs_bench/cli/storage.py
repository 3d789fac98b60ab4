"""The commands `show`, `rm` and `du`, and how runs are listed."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrs_bench.cli.console import confirmed, exit_codes, say, show
from llmrs_bench.cli.options import HERE, Home, Log, LogOption, age
from llmrs_bench.core.errors import BenchError, OptionError
from llmrs_bench.core.formatting import size_words

if TYPE_CHECKING:
    from llmrs_bench.stages.storage import RunEntry, RunReport
    from llmrs_bench.stages.usage import Usage

Anywhere = Annotated[
    str | None,
    typer.Option("--dataset", "-d", help="Only this data set: NAME for all its variants, or NAME@VARIANT."),
]
OlderThan = Annotated[str | None, typer.Option(help="Only runs made longer ago than this: 30d, 12h.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def before(text: str | None) -> datetime | None:
    """Return the moment that `--older-than` means, in UTC."""
    return None if text is None else datetime.now(UTC) - timedelta(seconds=age(text, option="--older-than"))


def run_table(entries: Sequence["RunEntry"]) -> list[str]:
    """Lay out runs, one a line below the name of their data set."""
    lines, dataset = [], ""
    if entries:
        lines.append(f"  {'made (UTC)':16} {'requests':>8} {'seconds':>9} {'USD':>7} {'size':>7}  state")
    for entry in entries:
        if entry.dataset != dataset:
            lines.append(dataset := entry.dataset)
        told = entry.values
        made = "-" if entry.made is None else f"{entry.made:%Y-%m-%d %H:%M}"
        requests = "-" if told["requests"] is None else f"{told['requests']:,}"
        seconds = "-" if told["seconds"] is None else f"{told['seconds']:,.1f}"
        price = "-" if told["price_usd"] is None else f"{told['price_usd']:.2f}"
        size = size_words(entry.size)
        named = entry.run if entry.called is None else f"{entry.called} = {entry.run}"
        lines.append(f"  {made:16} {requests:>8} {seconds:>9} {price:>7} {size:>7}  {entry.state:13}  {named}")
        lines += [f"  {'':16} {entry.options}"] if entry.options else []
    return lines


def show_command(
    run: Annotated[str, typer.Argument(help="Name of a run, or its beginning.", show_default=False)],
    dataset: Anywhere = None,
    as_json: AsJson = False,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Print how a run was made, its cost, its metrics and its files."""
    with exit_codes():
        from llmrs_bench.stages.storage import show_run

        found = show_run(home, run, dataset)
        if not as_json:
            show(list(_report(found)))
            return
        values = {
            **found.entry.values,
            "options": found.options,
            "protocol": found.protocol,
            "costs": found.costs,
            "kinds": found.kinds,
            "metrics": found.metrics,
            "warnings": found.warnings,
            "files": {str(path): words for path, words in found.files.items()},
        }
        typer.echo(json.dumps(values, indent=2, ensure_ascii=False, default=str))


def _report(found: "RunReport") -> Iterator[str]:
    told = found.entry.values
    yield f"{found.entry.run}: {told['kind'] or 'run'} on {found.entry.dataset}, {found.entry.state}"
    yield f"made      {told['made']}"
    yield f"command   {told['command']}"
    yield f"options   {', '.join(f'{name}={value}' for name, value in found.options.items())}"
    yield "protocol"
    yield from (f"  {name:18}{words}" for name, words in found.protocol.items())
    yield "cost"
    yield from (f"  {name:20}{value:,}" for name, value in found.costs.items())
    if found.kinds:
        yield "answers"
        total = sum(found.kinds.values())
        yield from (f"  {kind:20}{count:,} ({100 * count / total:.1f} %)" for kind, count in found.kinds.items())
    if found.metrics:
        yield "metrics, means"
        width = max(20, 2 + max(map(len, found.metrics)))
        yield from (f"  {name:{width}}{value:.4f}" for name, value in found.metrics.items())
    yield from (f"warning   {warning}" for warning in found.warnings)
    folder = None
    for path, words in found.files.items():
        if path.parent != folder:
            folder = path.parent
            yield f"files in {folder}"
        yield f"  {path.name:22}{size_words(path.stat().st_size):>7}  {words}"
    yield "a table is read by polars.read_parquet(PATH), or pandas.read_parquet(PATH)"


def rm(
    run: Annotated[
        list[str] | None, typer.Argument(help="Names of runs, or their beginnings.", show_default=False)
    ] = None,
    older_than: OlderThan = None,
    unused: Annotated[
        bool,
        typer.Option(
            "--unused",
            help="Delete everything that no run needs: evaluations, prompts, trained recommenders, drafts of "
            "killed runs.",
        ),
    ] = False,
    dataset: Anywhere = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Delete runs with their evaluations, or everything that no run needs, after asking.

    Kept answers, tuned models, downloads and prepared data are never deleted.
    """
    with exit_codes():
        from llmrs_bench.stages import storage

        if not run and older_than is None and not unused:
            raise OptionError("no run to delete is named", hint="Name runs, or add --older-than 30d or --unused.")
        if run and unused:
            raise OptionError(
                "--unused takes no names of runs: it deletes what no run needs", hint="Leave one of them out."
            )
        if unused:
            found = storage.unused(home, dataset, before=before(older_than))
        else:
            several = older_than is not None or not run  # else each name means one run, as for `show`
            chosen = (
                storage.find_runs(home, dataset, run or [], before=before(older_than), wanted=False)
                if several
                else [storage.find_run(home, name, dataset, wanted=False) for name in dict.fromkeys(run or [])]
            )
            found = storage.runs_to_remove(home, chosen)
        if not found:
            say("nothing to delete")
            return
        for removal in found:
            say(f"{size_words(removal.size):>7}  {removal.paths[0].name}  {removal.why}")
        total = size_words(sum(removal.size for removal in found))
        if not yes:
            say(f"{total:>7}  in all")
            if not confirmed(f"Delete this and free {total}?"):
                raise BenchError("nothing was deleted: it was not confirmed", hint="Add --yes.")
        freed = storage.remove(home, found, lambda removal: typer.echo(removal.paths[0].name))
        say(f"freed: {size_words(freed)}")


def du(
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Only this data set.")] = None,
    as_json: AsJson = False,
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Print the sizes of everything that is stored."""
    with exit_codes():
        from llmrs_bench.stages.usage import usage

        found = usage(home, dataset)
        if as_json:
            values = [{"dataset": u.dataset, "part": u.part, "count": u.count, "bytes": u.size} for u in found]
            typer.echo(json.dumps(values, indent=2, ensure_ascii=False))
        else:
            show(list(_sizes(found, home)))


def _sizes(found: Sequence["Usage"], home: Path) -> Iterator[str]:
    for dataset in dict.fromkeys(each.dataset for each in found):
        own = [each for each in found if each.dataset == dataset]
        yield f"{size_words(sum(each.size for each in own)):>8}  {dataset}"
        for each in sorted(own, key=lambda each: -each.size):
            yield f"{size_words(each.size):>8}    {each.part}" + (f" ({each.count:,})" if each.count != 1 else "")
    yield f"{size_words(sum(each.size for each in found)):>8}  {home}"
