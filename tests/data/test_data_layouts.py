"""Steam, Goodreads, Book-Crossing and KuaiRec, in tiny files in the exact layout of their owners."""

from pathlib import Path

import pytest

from layout_files import BOOK_CROSSING, GOODREADS, KUAIREC, LAYOUTS, STEAM, load
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.registry import SOURCES
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.goodreads import Goodreads


def test_steam_has_literals_days_and_names_of_games(tmp_path: Path) -> None:
    raw = load("steam", tmp_path, STEAM)
    assert raw.events.rows() == [
        ("Chaos 'Syren'", "725280", 1513468800, None),
        ("Ariman1", "761140", 1501632000, None),
        (None, "761140", 1501632000, None),
    ]
    assert raw.items.rows() == [
        (
            *("761140", "Lost & Found"),
            *("Genres: Action, Indie. Tags: Action, Casual. Developer: Kotoshiro. Year: 2018.", 2018),
            ["Action", "Indie"],
        ),
        ("725280", "The title alone", "", None, []),
    ]
    assert raw.facts["items_without_events_dropped"] == 2
    assert any("days" in rule for rule in raw.rules)


def test_goodreads_counts_what_was_read_and_remembers_the_shelf(tmp_path: Path) -> None:
    raw = load("goodreads", tmp_path, GOODREADS)
    assert raw.events.rows() == [("a", "1384", 1342287192, 4), ("a", "007", 1178703224, None)]
    assert raw.unchosen.rows() == [("b", "9", 1178703224, None)]
    assert raw.items.rows() == [
        ("1384", "The Iliad", "Publisher: Penguin. Year: 1990.", 1990, []),
        ("007", "007", "", None, []),
    ]
    assert raw.rules[0] == "books on a shelf that were not read are known to the user, but no events"
    assert raw.facts["events_not_chosen"] == 1


@pytest.mark.parametrize(("label", "books"), [("rating", ["1384"]), ("date_added", ["1384", "007", "9"])])
def test_which_entries_of_a_shelf_are_events_is_declared(label: str, books: list[str], tmp_path: Path) -> None:
    load("goodreads", tmp_path, GOODREADS)
    raw = Goodreads({"label": label}).load(SourceFiles.open(tmp_path))
    assert raw.events["item_id"].to_list() == books
    assert raw.unchosen.height == 3 - len(books)


def test_goodreads_refuses_roles_and_labels_it_does_not_read() -> None:
    with pytest.raises(OptionError, match="unknown role of a column 'item'"):
        Goodreads({"item": "asin"})
    with pytest.raises(OptionError, match="unknown label of goodreads 'read'"):
        Goodreads({"label": "read"})
    with pytest.raises(OptionError, match="--unrated has no effect"):
        Goodreads({}, ["0"])


def test_book_crossing_has_broken_quotes_and_no_times(tmp_path: Path) -> None:
    raw = load("book-crossing", tmp_path, BOOK_CROSSING)
    assert raw.timeless
    assert raw.events.rows() == [
        ("276725", "034545104X", 0, None),
        ("276726", "0155061224", 0, 5),
        ("276726", "unlisted", 0, 10),
    ]
    assert raw.items.rows() == [
        (
            *("034545104X", 'Flesh Tones; the "true" story & more'),
            *("Author: M. J. R\u00f6se. Year: 2002. Publisher: Bal.", 2002, []),
        ),
        ("0155061224", "Running On (Level 4)", "Author: Judy Run. Publisher: Heinle.", None, []),
        ("unlisted", "unlisted", "", None, []),
    ]
    assert (raw.facts["items_listed_twice_dropped"], raw.facts["events_unrated"]) == (1, 1)


def test_kuairec_has_fractions_watch_ratios_and_captions_across_lines(tmp_path: Path) -> None:
    raw = load("kuairec", tmp_path, KUAIREC)
    first, second = raw.events.rows()
    assert first[:3] == ("0", "3649", 1593878903.438)
    assert first[3] == pytest.approx(1.273397)
    assert second == ("0", "9598", 1593878903.297, 0.5)
    assert raw.items.rows() == [
        (
            "3649",
            '\u7cbe\u795e, "\u5c0f" \u4f19',
            "Categories: \u989c\u503c. Topics: \u642d\u914d.",
            None,
            ["\u989c\u503c"],
        ),
        ("9598", "\u5c01\u9762", "Categories: \u9ad8\u65b0.", None, ["\u9ad8\u65b0"]),
    ]


@pytest.mark.parametrize(
    ("layout", "name", "content", "message"),
    [
        ("steam", "steam_reviews.json.gz", "", r"steam_reviews\.json holds no data"),
        ("steam", "steam_reviews.json.gz", '{"username": true}', r"reviews\.json, line 1: .* is not a literal"),
        ("steam", "steam_reviews.json.gz", "{'username': 'a', 'date': '2017-12-17'}", "line 1: product_id is None"),
        ("steam", "steam_reviews.json.gz", "{'product_id': '1', 'date': '2017-12-17'}", "line 1: username is None"),
        (
            "steam",
            "steam_reviews.json.gz",
            "{'username': 'a', 'product_id': '1', 'date': 'May'}",
            "line 1: date is 'May'",
        ),
        ("steam", "steam_games.json.gz", "{'id': '1', 'app_name': 'x'}", "none of the 2 items in steam_reviews"),
        ("goodreads", "goodreads_books_poetry.json.gz", "{'a': 1}", r"books_poetry\.json, line 1: .* is not JSON"),
        (
            "goodreads",
            "goodreads_books_all.json.gz",
            "{}",
            "this layout needs one file of books, but there is more than",
        ),
        ("goodreads", "goodreads_interactions_poetry.json.gz", '{"user_id": "a"}', "line 1: book_id is None"),
        (
            *("goodreads", "goodreads_interactions_poetry.json.gz"),
            '\n{"user_id": "a", "book_id": "1", "date_added": "2012-07-14", "rating": 1, "is_read": true}',
            r"line 2: date_added is '2012-07-14', not as 'Sat Jul 14",
        ),
        (
            *("goodreads", "goodreads_interactions_poetry.json.gz"),
            '{"user_id": "a", "book_id": "1", "date_added": "", "rating": "5", "is_read": true}',
            "line 1: date_added is ''",
        ),
        ("book-crossing", "BX-Book-Ratings.csv", '"User-ID";"ISBN"\n', r"BX-Book-Ratings\.csv holds no data"),
        ("book-crossing", "BX-Book-Ratings.csv", '"U"\n"1";"2"\n', r"Ratings\.csv, line 2: \['1', '2'\] are not"),
        ("book-crossing", "BX-Book-Ratings.csv", '"U"\n"1";"2";"five"\n', "line 2: rating is 'five', not a number"),
        ("book-crossing", "BX-Book-Ratings.csv", '"U"\n1,2,3\n', "line 2: '1,2,3' is not in quotes"),
        ("book-crossing", "BX-Books.csv", '"ISBN"\n"1";"A";"B"\n', r"BX-Books\.csv, line 2: 3 fields, expected 8"),
        ("kuairec", "big_matrix.csv", "user_id,video_id\n", r"big_matrix\.csv, line 1: the header is"),
        ("kuairec", "kuairec_caption_category.csv", "video_id,caption\n", "has no column manual_cover_text"),
    ],
)
def test_malformed_files_are_named(layout: str, name: str, content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(layout, tmp_path, {**LAYOUTS[layout], name: content})
    assert caught.value.hint


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_layouts_need_files(layout: str) -> None:
    source = SOURCES.load(layout)()
    assert not source.accepts(None)
    with pytest.raises(DataError, match="none") as caught:
        source.load(None)
    assert caught.value.hint


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_binary_files_are_refused(layout: str, tmp_path: Path) -> None:
    """Every file of a layout in turn is not what its name says: an error names it, whatever it holds."""
    for name in LAYOUTS[layout]:
        files = {**LAYOUTS[layout], name: bytes(range(256)) * 4}
        try:
            load(layout, tmp_path, files)
        except DataError as error:
            assert name.removesuffix(".gz").rpartition("/")[2] in error.message  # noqa: PT017
