"""What the rows of a study will ask, and what has to be done first for that to be known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmrs_bench.core.types import Progress, no_progress
from llmrs_bench.explanations import most_prompts
from llmrs_bench.stages.forecast import Forecast, forecast
from llmrs_bench.stages.recipe_checks import check_board, check_rows, check_unread, known_data
from llmrs_bench.stages.study import RowPlan, Study
from llmrs_bench.stages.workspace import Data

UNPREPARED = "not counted: the data set is not prepared"


@dataclass(frozen=True, slots=True)
class RowForecast:
    """What a row will ask.

    Args:
        row: The row.
        asked: What it asks; None where that is not known yet.
        why: Why it is not.
        command: What to run first, and it will be.
    """

    row: RowPlan
    asked: Forecast | None
    why: str = ""
    command: str = ""

    @property
    def later(self) -> bool:
        """Whether it asks prompts that can be counted only when other rows, or its tuning, are done."""
        return self.asked is None and not self.command and self.row.served is not None


def forecast_study(
    home: Path, study: Study, rows: Sequence[RowPlan], progress: Progress = no_progress
) -> Iterator[RowForecast]:
    """Yield what each row will ask; nothing is downloaded, loaded or asked.

    Args:
        home: The home.
        study: The study.
        rows: Those of its rows that are meant.
        progress: Shows how many rows were looked at.

    Raises:
        BenchError: As `run_study`; of data that are not prepared the first rows of the source are looked at.
    """
    check_rows(rows, looked_up=False)
    check_board(home, study, rows)
    data = {plan.name: known_data(home, plan) for plan in study.data}
    for plan in study.data:
        if data[plan.name] is None:
            check_unread(plan)
    commands = {plan.name: plan.command for plan in study.data}
    with progress("rows looked at", len(rows)) as step:
        for number, row in enumerate(rows):
            step(number, row.name)
            yield _row_forecast(row, data, commands)
        step(len(rows))


def _row_forecast(row: RowPlan, data: Mapping[str, Data | None], commands: Mapping[str, str]) -> RowForecast:
    """Return what a row will ask of data that may not be there yet."""
    there = data[row.data]
    if why := _asks_nothing_known(row, there):
        return RowForecast(row, None, why)
    for name in (row.data, *row.sources):
        if data[name] is None:
            return RowForecast(row, None, UNPREPARED, commands[name])
    references = {name: found.place.reference for name, found in data.items() if found is not None}
    asked = replace(row, values=row.with_runs({}, references)).served
    assert there is not None
    assert asked is not None
    return RowForecast(row, forecast(there, asked))


def _asks_nothing_known(row: RowPlan, there: Data | None) -> str:
    """Return why what a row asks cannot be counted, wherever its data are; an empty text if it can."""
    if row.fused is not None:
        return f"made of {' and '.join(row.fused.runs)}; no prompts"
    if row.judging is not None:
        judged = f"judges what {' and '.join(row.judging.runs)} wrote"
        if there is None:
            return judged
        return f"{judged}: {most_prompts(_requests(there, row), len(row.judging.runs)):,} prompts at most"
    if row.served is None:
        return "trained here; no prompts"
    if row.tune is not None:
        return f"tuned first, on {row.tune.samples} samples"
    return f"shows what {' and '.join(name for _, name in row.needs)} wrote" if row.needs else ""


def _requests(data: Data, row: RowPlan) -> int:
    """Return how many requests a row asks about."""
    count, limit = data.artifact.manifest.tables["requests"].rows, row.values.get("limit")
    return count if limit is None else min(count, int(limit))
