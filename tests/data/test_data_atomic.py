import gzip
from pathlib import Path

import pytest

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import check_schema
from llmrs_bench.data.atomic import Atomic
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.rows import NO_ITEMS, NO_TIME, NO_TITLE
from llmrs_bench.data.sources import EVENTS, Raw

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\ta\t4\t100\nu1\tb\t\t99.0\nu2\tz\t2.5\t1e2\n"
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tdirector:token\tvector:float_seq\n"
    "a\tHeat  of\u2028Night\t1995\tCrime Drama\tA. Mann Jr.\t0.1 0.2\n"
    "b\t\tsoon\t\t\t0.3 0.4\n"
    "a\tSecond\t1996\tWar\tX\t0.5 0.6\n"
)


def load(path: Path, **files: str) -> Raw:
    for ending, text in files.items():
        (path / f"set.{ending}").write_text(text, encoding="utf-8", newline="")
    return Atomic().load(SourceFiles.open(path))


def test_events_are_read_in_line_order(tmp_path: Path) -> None:
    raw = load(tmp_path, inter=INTER, item=ITEM)
    assert raw.events.schema == EVENTS
    assert raw.events.rows() == [("u1", "a", 100, 4.0), ("u1", "b", 99, None), ("u2", "z", 100, 2.5)]


def test_items_get_title_year_categories_and_text(tmp_path: Path) -> None:
    raw = load(tmp_path, inter=INTER, item=ITEM)
    check_schema("items", raw.items)
    assert raw.items.rows() == [
        (
            "a",
            "Heat of Night",
            "Release year: 1995. Class: Crime, Drama. Director: A. Mann Jr.",
            1995,
            ["Crime", "Drama"],
        ),
        ("b", "b", "Release year: soon.", None, []),
        ("z", "z", "", None, []),
    ]


def test_every_rule_that_was_applied_is_counted(tmp_path: Path) -> None:
    raw = load(tmp_path, inter=INTER, item=ITEM)
    assert raw.facts == {
        "items_listed": 2,
        "items_without_id_dropped": 0,
        "items_listed_twice_dropped": 1,
        "items_listed_with_other_titles": 1,
        "years_unreadable": 1,
        "items_without_title": 1,
        "items_not_listed": 1,
        "titles_with_markup": 0,
    }
    assert any("vector" in rule for rule in raw.rules)
    assert any("under 1 other titles: the first title" in warning for warning in raw.warnings)
    assert NO_TIME not in raw.rules


def test_categories_split_at_commas_where_there_are_any(tmp_path: Path) -> None:
    item = "item_id:token\tname:token_seq\tgenres:token_seq\na\tA\tScience Fiction, Drama\nb\tB\tHeist Film\n"
    raw = load(tmp_path, inter=INTER, item=item)
    assert raw.items["categories"].to_list() == [["Science Fiction", "Drama"], ["Heist Film"], []]


def test_gz_windows_lines_and_a_byte_order_mark_make_no_difference(tmp_path: Path) -> None:
    plain = load(tmp_path, inter=INTER, item=ITEM)
    (tmp_path / "set.inter").unlink()
    (tmp_path / "set.inter.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + INTER.replace("\n", "\r\n").encode()))
    packed = Atomic().load(SourceFiles.open(tmp_path))
    assert packed.events.equals(plain.events)


def test_without_timestamps_items_or_titles_the_rules_say_so(tmp_path: Path) -> None:
    bare = "user_id:token\titem_id:token\nu1\tb\nu1\ta\n"
    raw = load(tmp_path, inter=bare)
    assert raw.events.rows() == [("u1", "b", 0, None), ("u1", "a", 0, None)]
    assert raw.items.rows() == [("b", "b", "", None, []), ("a", "a", "", None, [])]
    assert {NO_TIME, NO_ITEMS} <= set(raw.rules)
    assert raw.facts["items_not_listed"] == 2
    raw = load(tmp_path, inter=bare, item="item_id:token\tbrand:token\na\tAcme\nb\t\n")
    assert raw.items.rows() == [("a", "a", "Brand: Acme.", None, []), ("b", "b", "", None, [])]
    assert NO_TITLE in raw.rules


def test_columns_of_ids_may_have_a_prefix(tmp_path: Path) -> None:
    raw = load(tmp_path, inter="session_user_id:token\tnews_item_id:token\nu\ta\n")
    assert raw.events.select("user_id", "item_id").rows() == [("u", "a")]


def test_quotes_and_null_ids_are_kept_as_they_are(tmp_path: Path) -> None:
    raw = load(tmp_path, inter='user_id:token\titem_id:token\nu\t"a\n\tb\n')
    assert raw.events.select("user_id", "item_id").rows() == [("u", '"a'), (None, "b")]


@pytest.mark.parametrize(
    ("inter", "message"),
    [
        ("user_id\titem_id\nu\ta\n", "line 1: 'user_id' is not name:type"),
        ("user_id:token\titem_id:text\nu\ta\n", "line 1: 'item_id:text' is not name:type"),
        ("user_id:token\tuser_id:token\nu\ta\n", "column 'user_id' appears twice"),
        ("user_id:token\tthing:token\nu\ta\n", "set.inter has no column item_id; it has user_id, thing"),
        ("user_id:token\titem_id:token\nu\ta\nu\n", "set.inter, line 3: 1 fields, expected 2"),
        ("user_id:token\titem_id:token\ttimestamp:float\nu\ta\tnow\n", "line 2: timestamp is 'now', not a time"),
        ("user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\nu\tb\t\n", "line 3: timestamp is empty"),
        ("user_id:token\titem_id:token\trating:float\nu\ta\tinf\n", "line 2: rating is 'inf', not a number"),
        ("user_id:token\titem_id:token\n", "set.inter holds no data"),
        ("", "line 1: '' is not name:type"),
    ],
)
def test_malformed_files_are_refused_with_the_line(tmp_path: Path, inter: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, inter=inter)
    assert caught.value.hint


def test_several_inter_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "set.train.inter").write_text(INTER)
    with pytest.raises(DataError, match=r"more than one \.inter file: set\.inter, set\.train\.inter"):
        load(tmp_path, inter=INTER)


def test_the_item_file_of_the_same_name_is_taken(tmp_path: Path) -> None:
    (tmp_path / "other.item").write_text("item_id:token\ttitle:token_seq\na\tOther\n")
    files = SourceFiles.open(tmp_path)
    assert not Atomic().accepts(files)
    with pytest.raises(DataError, match=r"there is no \.inter file"):
        Atomic().uses(files)
    raw = load(tmp_path, inter=INTER, item="item_id:token\ttitle:token_seq\na\tOwn\n")
    assert raw.items["title"][0] == "Own"
    (tmp_path / "set.item").rename(tmp_path / "third.item")
    files = SourceFiles.open(tmp_path)
    assert Atomic().accepts(files)
    with pytest.raises(DataError, match=r"none of other\.item, third\.item belongs to set\.inter"):
        Atomic().load(files)


def test_quotes_of_csv_are_dropped_and_quotes_of_a_title_stay(tmp_path: Path) -> None:
    def titles(*written: str) -> tuple[list[str], str, str]:
        rows = "".join(f"s{at}\t{title}\n" for at, title in enumerate(written))
        (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\nu\ts0\n", encoding="utf-8")
        (tmp_path / "x.item").write_text("item_id:token\ttitle:token_seq\n" + rows, encoding="utf-8")
        raw = Atomic().load(SourceFiles.open(tmp_path))
        return raw.items["title"].to_list(), " ".join(raw.rules), " ".join(raw.warnings)

    found, rules, _ = titles('"The ""Big"" Night"', "Heat", '"Hello, ""Dolly"""')
    assert found == ['The "Big" Night', "Heat", 'Hello, "Dolly"']
    assert "x.item: 2 values of title are in quotes as in CSV, which are dropped" in rules
    assert titles('"Low"', '"Lodger"')[0] == ["Low", "Lodger"]
    for own in (['"Weird Al" Yankovic', "Heat"], ['"Heroes"', "Low"], ['12" Mix', "Low"], ['"Heroes"']):
        assert titles(*own)[0] == own
    found, _, warnings = titles('"The ""Big"" Night"', '"Heroes"')
    assert found == ['The "Big" Night', "Heroes"]
    found, _, warnings = titles('"The ""Big"" Night"', '"Heroes"', "Low")
    assert found == ['"The ""Big"" Night"', '"Heroes"', "Low"]
    assert "x.item: 2 values of title have quotes, not all as in CSV: they stay" in warnings
