"""A look before a run knows how fast its model was, on this data set or another one, and advises what was not typed."""

from pathlib import Path

import pytest

from llmrs_bench.core.config import LanguageModelConfig, PrepareConfig
from llmrs_bench.core.types import no_progress
from llmrs_bench.report.words import forecast_lines
from llmrs_bench.stages.forecast import forecast
from llmrs_bench.stages.infer import infer
from llmrs_bench.stages.prepare import prepare
from llmrs_bench.stages.source import Origin
from llmrs_bench.stages.workspace import Data, open_data

MOCK = LanguageModelConfig(model="mock", limit=2)


@pytest.fixture
def both(tmp_path: Path, raw: Path) -> tuple[Data, Data]:
    """Two data sets of one home."""
    for name in ("films", "books"):
        prepare(tmp_path, name, PrepareConfig(dataset=name, n_candidates=5), Origin(raw), no_progress)
    return open_data(tmp_path, "films"), open_data(tmp_path, "books")


def time_line(data: Data, config: LanguageModelConfig) -> str:
    [line] = [line for line in forecast_lines(forecast(data, config).json()) if line.startswith("time ")]
    return line


def test_a_speed_that_was_measured_on_another_data_set_says_how_long_a_run_takes(both: tuple[Data, Data]) -> None:
    films, books = both
    infer(films, MOCK, no_progress)
    look = forecast(books, MOCK)
    assert (look.speed_of, look.kept_answers, look.kept) == ("films", 2, 0)
    assert look.seconds is not None
    assert time_line(books, MOCK).endswith("ms a token of 2 kept answers on films, where 5 are written an answer")
    infer(books, MOCK.model_copy(update={"limit": 1}), no_progress)
    assert forecast(books, MOCK).speed_of == ""
    assert forecast(books, MOCK).kept_answers == 1  # its own, though they are fewer
    scores = forecast(books, MOCK.model_copy(update={"template": "likelihood"}))
    assert (scores.speed_of, scores.seconds, scores.others_kept) == ("", None, True)


def test_a_small_limit_is_not_advised_where_one_was_typed(both: tuple[Data, Data]) -> None:
    films, _ = both
    assert time_line(films, MOCK).endswith("no answer of this model is kept; its answers will say it")
    for more in (None, 25):
        line = time_line(films, MOCK.model_copy(update={"limit": more}))
        assert line.endswith("no answer of this model is kept; --limit 20 asks a few")
