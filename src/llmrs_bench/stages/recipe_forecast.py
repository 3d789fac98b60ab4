"""What the rows of a study will ask, and what has to be done first for that to be known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmrs_bench.core.config import LanguageModelConfig
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


def forecast_study(home: Path, study: Study, rows: Sequence[RowPlan]) -> Iterator[RowForecast]:
    """Yield what each row will ask; nothing is downloaded, loaded or asked.

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
    for row in rows:
        config, there = row.config, data[row.data]
        if row.fused is not None:
            yield RowForecast(row, None, f"made of {' and '.join(row.fused.runs)}; no prompts")
        elif row.judging is not None:
            most = (
                ""
                if there is None
                else f": {most_prompts(_requests(there, row), len(row.judging.runs)):,} prompts at most"
            )
            yield RowForecast(row, None, f"judges what {' and '.join(row.judging.runs)} wrote{most}")
        elif not isinstance(config, LanguageModelConfig):
            yield RowForecast(row, None, "trained here; no prompts")
        elif row.tune is not None:
            yield RowForecast(row, None, f"tuned first, on {row.tune.samples} samples")
        elif row.needs:
            yield RowForecast(row, None, f"shows what {' and '.join(name for _, name in row.needs)} wrote")
        elif there is None:
            yield RowForecast(row, None, UNPREPARED, commands[row.data])
        else:
            yield RowForecast(row, forecast(there, config))


def _requests(data: Data, row: RowPlan) -> int:
    """Return how many requests a row asks about."""
    count, limit = data.artifact.manifest.tables["requests"].rows, row.values.get("limit")
    return count if limit is None else min(count, int(limit))
