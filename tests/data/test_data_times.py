"""Times of any unit and form keep their order, and become seconds."""

import polars as pl
import pytest

from llmrs_bench.core.errors import DataError
from llmrs_bench.data.fields import times
from llmrs_bench.data.split import leave_one_out

DAY = 86_400


def read(*texts: str | None) -> tuple[list[float], tuple[str, ...]]:
    seconds, rules = times(pl.DataFrame({"when": texts}, schema={"when": pl.String}), "when", name="x.tsv")
    return seconds.to_list(), rules


@pytest.mark.parametrize(
    ("texts", "seconds"),
    [
        (["0.25", "0.5"], [0.25, 0.5]),
        (["3", "978300760.0", " 1e9 "], [3, 978300760, 1e9]),
        (["1650000000.125", "1650000000.5"], [1650000000.125, 1650000000.5]),
        (["1650000000500", "0"], [1650000000.5, 0]),
        (["1650000000500000"], [1650000000.5]),
        (["1650000000500000000"], [1650000000.5]),
        (["1970-01-02", "1970-01-01T12:00:00"], [DAY, DAY / 2]),
        (["1970/01/02 00:00", "1970-01-02 01:00:00+01:00", "1970-01-02T00:00:00.5Z"], [DAY, DAY, DAY + 0.5]),
        (["19700102", "19700103"], [DAY, 2 * DAY]),
        (["19700101120000", "19700102000000"], [DAY / 2, DAY]),
        (["0", "19700101120000", "-1"], [0, DAY / 2, -1]),
        (["0", "1970-01-02"], [0, DAY]),
        (["-1", "0"], [-1, 0]),
        (["1650000000500", "-1", "0"], [1650000000.5, -1, 0]),
        (["20000000", "19700103"], [20_000_000, 19_700_103]),
    ],
)
def test_times_become_seconds(texts: list[str], seconds: list[float]) -> None:
    assert read(*texts)[0] == seconds


def test_ticks_of_dotnet_are_no_nanoseconds_of_1990() -> None:
    """`new DateTime(2010, 7, 5).Ticks` of .NET is 634138848000000000: 100 ns since the year 1."""
    seconds, rules = read("634138848000000000", "0", "634138848010000000")
    assert seconds == [pytest.approx(1278288000), 0, pytest.approx(1278288001)]
    assert rules == (
        "times are ticks of .NET, 100 ns each since the year 1; if they are nanoseconds of 1990, add --time-unit ns",
    )
    frame = pl.DataFrame({"when": ["634138848000000000"]})
    assert times(frame, "when", name="x.tsv", scale="ns")[0].to_list() == [634138848.0]
    assert times(frame, "when", name="x.tsv", scale="ticks")[0].to_list() == [pytest.approx(1278288000)]
    # As ticks one of these would be of 1973, or of the future.
    assert read("634138848000000000", "622500000000000000")[1] == ("times are nanoseconds",)
    assert read("634138848000000000", "690000000000000000")[1] == ("times are nanoseconds",)


def test_the_unit_is_said_where_it_is_not_seconds() -> None:
    assert read("1650000000")[1] == ()
    assert read("1650000000000")[1] == ("times are milliseconds",)
    assert "ISO 8601" in read("1999-12-31")[1][0]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["5", "soon"], "line 2: when is 'soon', not a number"),
        (["1999-12-31", "31.12.1999"], "line 2: when is '31.12.1999', not a time"),
        (["03/01/2018"], "line 1: when is '03/01/2018', not a time"),
        (["1999-12-31", "946598400"], "line 2: when is '946598400', not a time"),
        (["7", "nan"], "line 2: when is 'nan', not a number"),
        (["7", None], "line 2: when is empty"),
        (["20180301120000", "20180399120000"], "line 2: when is '20180399120000', not a time"),
        (["1650000000", "7", "1650000000000"], "'1650000000' in line 1 and '1650000000000' in line 3"),
        (["1650000000000000", "1650000000000"], "not of one unit"),
    ],
)
def test_what_is_no_time_is_refused_with_its_line(texts: list[str | None], words: str) -> None:
    with pytest.raises(DataError, match=words.replace(".", r"\.")) as caught:
        read(*texts)
    assert "line" not in caught.value.hint or "empty" in words


def test_fractions_decide_what_comes_last() -> None:
    rows = [("u", item, moment, None) for item, moment in (("a", 5.9), ("b", 5.1), ("c", 5.5), ("d", 5.3))]
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Float64, "rating": pl.Float32}
    split = leave_one_out(pl.DataFrame(rows, schema=schema, orient="row"))
    assert split.held.rows() == [("u", "a", 5)]
    assert split.interactions.select("item_id", "timestamp").rows() == [("b", 5), ("d", 5), ("c", 5)]
    assert split.facts["users_with_tied_target"] == 0
