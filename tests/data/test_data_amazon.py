from pathlib import Path

import pytest

from layout_files import AMAZON_2014, AMAZON_2018, AMAZON_2023, load
from llmrs_bench.core.errors import DataError
from llmrs_bench.data.sources import EVENTS


def test_2023_joins_ratings_in_milliseconds_with_titles(tmp_path: Path) -> None:
    raw = load("amazon-2023", tmp_path, AMAZON_2023)
    assert raw.events.schema == EVENTS
    assert raw.events.rows() == [
        ("AHUSERONE", "B000000001", 1546297654.677, 5.0),
        ("AHUSERTWO", "0000000042", 1546297654.678, 1.0),
        ("AHUSERTWO", "B000000001", 1546297654.5, 3.0),
    ]
    assert raw.items.rows() == [
        (
            "B000000001",
            "R&B Kite",
            "Store: Fl\u00fcgel. Categories: Toys, Kites. Price: 27.99.",
            None,
            ["Toys", "Kites"],
        ),
        ("0000000042", "0000000042", "", None, []),
    ]
    assert raw.facts["items_listed"] == 2
    assert raw.facts["items_listed_twice_dropped"] == 1
    assert raw.facts["items_without_events_dropped"] == 1
    assert "times are milliseconds" in raw.rules


def test_2023_without_metadata_goes_by_ids(tmp_path: Path) -> None:
    raw = load("amazon-2023", tmp_path, {"Kites.csv.gz": AMAZON_2023["Kites.csv.gz"]})
    assert raw.items["title"].to_list() == ["B000000001", "0000000042"]
    assert any("known by their id alone" in rule for rule in raw.rules)


def test_2018_has_the_item_first_and_metadata_in_json(tmp_path: Path) -> None:
    raw = load("amazon-2018", tmp_path, AMAZON_2018)
    assert raw.events.rows()[0] == ("A1USERNUMBER1", "B000000001", 1546297654, 5.0)
    assert raw.items.rows() == [
        (
            *("B000000001", "A kite"),
            *("Brand: Acme. Categories: Toys, Kites & More. Price: $12.99.", None, ["Toys", "Kites & More"]),
        ),
        ("0000000042", "0000000042", "", None, []),
    ]
    assert raw.facts["titles_unreadable"] == 1
    assert any("getTime" in rule for rule in raw.rules)
    assert any(rule.startswith("2 of the first 2 rows begin with the ids of item and user") for rule in raw.rules)


def test_2014_has_the_user_first_and_literals_of_python(tmp_path: Path) -> None:
    raw = load("amazon-2014", tmp_path, AMAZON_2014)
    assert raw.events.rows()[0] == ("A1USERNUMBER1", "B000000001", 1366675200, 5.0)
    assert raw.items.rows()[0] == (
        *("B000000001", "The Pilot's kite"),
        *("Brand: Acme. Categories: Toys, Kites, Outdoors. Price: 12.99.", None, ["Toys", "Kites", "Outdoors"]),
    )
    assert raw.items["title"][1] == "0000000042"


@pytest.mark.parametrize("layout", ["amazon-2014", "amazon-2018"])
def test_reviews_in_json_lines_are_read_too(layout: str, tmp_path: Path) -> None:
    review = '{"reviewerID": "A1USERNUMBER1", "asin": "B000000001", "overall": 4.0, "unixReviewTime": 1366675200}\n'
    raw = load(layout, tmp_path, {"Kites_5.json.gz": review})
    assert raw.events.rows() == [("A1USERNUMBER1", "B000000001", 1366675200, 4.0)]
    with pytest.raises(DataError, match=r"Kites_5.json, line 2: unixReviewTime and overall are"):
        load(layout, tmp_path, {"Kites_5.json.gz": review + review.replace("4.0", '"4"')})


@pytest.mark.parametrize(
    ("layout", "files", "other"),
    [("amazon-2018", AMAZON_2014, "amazon-2014"), ("amazon-2014", AMAZON_2018, "amazon-2018")],
)
def test_the_ids_say_which_year_it_is(layout: str, files: dict[str, str], other: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0 of the first 2 rows .* 2 the other way round") as caught:
        load(layout, tmp_path, files)
    assert f"--format {other}" in caught.value.hint


@pytest.mark.parametrize(
    "rows", ["u1,i1,5.0,9\nu2,i2,1.0,9\n", "A1USERNUMBER1,B000000001,5,9\nB000000001,A1USERNUMBER1,5,9\n"]
)
def test_ids_that_do_not_say_it_are_refused(rows: str, tmp_path: Path) -> None:
    for layout in ("amazon-2014", "amazon-2018"):
        with pytest.raises(DataError, match="so it is unclear which are the users"):
            load(layout, tmp_path, {"ratings_Kites.csv": rows})


RATED = "user_id,parent_asin,rating,timestamp\nAHUSERONE,B000000001,5.0,1546297654677\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("Kites.csv.gz", "", "Kites.csv holds no data"),
        ("Kites.csv.gz", "user_id,parent_asin,rating,timestamp\n", "Kites.csv holds no data"),
        ("Kites.csv.gz", "user,item\n", "Kites.csv, line 1: the header is 'user,item', not 'user_id,parent_asin"),
        ("Kites.csv.gz", RATED + "AHUSERTWO,B000000001,5.0\n", "Kites.csv, line 3: 3 fields, expected 4"),
        ("Kites.csv.gz", RATED + ",B000000001,5.0,1546297654677\n", "Kites.csv, line 3: user_id is empty"),
        ("Kites.csv.gz", RATED + "u,i,five,1546297654677\n", "Kites.csv, line 3: rating is 'five', not a number"),
        ("Kites.csv.gz", RATED + "u,i,5,1546297654\n", "line 3: timestamp is '1546297654', in this .* milliseconds"),
        ("Kites.csv.gz", RATED.encode() + b"\xff,i,5,1546297654677\n", "Kites.csv, line 3: not UTF-8"),
        ("meta_Kites.jsonl.gz", '\n{"parent_asin": "B000000001"', "meta_Kites.jsonl, line 2: .* is not JSON"),
        ("meta_Kites.jsonl.gz", "[1]\n", "meta_Kites.jsonl, line 1: .* is not a record"),
        ("meta_Kites.jsonl.gz", '{"asin": "B000000001"}\n', "line 1: parent_asin is None, not a text"),
        ("meta_Kites.jsonl.gz", '{"parent_asin": "B1"}\n', "none of the 2 items .* '0000000042' there, and 'B1' here"),
        ("meta_Kites.jsonl.gz", "[" * 100_000, "meta_Kites.jsonl, line 1: .* is not JSON"),
        ("Others.csv", RATED, "one file of ratings, but there is more than one: Kites.csv, Others.csv"),
    ],
)
def test_malformed_files_of_2023_are_named(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load("amazon-2023", tmp_path, {**AMAZON_2023, name: content})
    assert caught.value.hint


@pytest.mark.parametrize(
    "line",
    [
        "__import__('os').system('touch run')",
        "{'asin': print('run')}",
        "{'asin': 'B000000001', 'title': 'x' * 2_000_000_000}",
        "{'asin': '" + "x" * (1 << 20) + "'}",
        "(" * 10_000,
        "{'asin': {}}",
    ],
)
def test_literals_are_parsed_and_never_run(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {**AMAZON_2014, "meta_Kites.json.gz": f"{{'asin': 'B000000001'}}\n{line}\n"}
    with pytest.raises(DataError, match=r"meta_Kites\.json, line 2: "):
        load("amazon-2014", tmp_path, files)
    assert not Path("run").exists()
    assert capsys.readouterr().out == ""
