from pathlib import Path

import pytest

from layout_files import MOVIELENS_10M, MOVIELENS_CSV, load
from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import check_schema
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.movielens import MovieLens1M, MovieLens100K
from llmrs_bench.data.sources import EVENTS, Raw

RATINGS = b"1::10::5::978300760\n1::20::3::978300700\n2::10::4::978300800\n"
MOVIES = "10::Misérables, Les (1995)::Drama|Musical\n20::Heat\x85 \t(1995)::Action\n30::Nameless::\n".encode("latin-1")
FLAGS = "|".join(["0"] * 5 + ["1"] + ["0"] * 12 + ["1"])
UNKNOWN = "|".join(["1"] + ["0"] * 18)
ITEM = f"1|Toy Story (1995)|01-Jan-1995||http://x|{FLAGS}\n2|unknown||||{UNKNOWN}\n".encode("latin-1")


def folder(path: Path, files: dict[str, bytes]) -> SourceFiles:
    for name, data in files.items():
        (path / name).write_bytes(data)
    return SourceFiles.open(path)


def load_1m(path: Path, ratings: bytes = RATINGS, movies: bytes = MOVIES) -> Raw:
    return MovieLens1M().load(folder(path, {"ratings.dat": ratings, "movies.dat": movies}))


def test_ratings_keep_the_order_of_lines(tmp_path: Path) -> None:
    raw = load_1m(tmp_path)
    assert raw.events.schema == EVENTS
    assert raw.events.rows() == [
        ("1", "10", 978300760, 5.0),
        ("1", "20", 978300700, 3.0),
        ("2", "10", 978300800, 4.0),
    ]


def test_films_are_latin_1_with_year_genres_and_text(tmp_path: Path) -> None:
    raw = load_1m(tmp_path)
    check_schema("items", raw.items)
    assert raw.items.rows() == [
        ("10", "Misérables, Les", "Genres: Drama, Musical. Year: 1995.", 1995, ["Drama", "Musical"]),
        ("20", "Heat", "Genres: Action. Year: 1995.", 1995, ["Action"]),
        ("30", "Nameless", "", None, []),
    ]
    assert raw.facts == {"items_listed": 3, "items_without_title": 0, "items_not_listed": 0, "titles_with_markup": 0}
    assert raw.rules == ()


def test_a_copy_in_utf_8_is_read_and_recorded(tmp_path: Path) -> None:
    raw = load_1m(tmp_path, movies="10::Misérables (1995)::Drama\r\n20::Heat (1995)::Action\r\n".encode())
    assert raw.items["title"].to_list() == ["Misérables", "Heat"]
    assert raw.items["categories"].to_list() == [["Drama"], ["Action"]]
    assert any("UTF-8" in rule for rule in raw.rules)


def test_a_rated_film_that_is_not_listed_is_added_and_counted(tmp_path: Path) -> None:
    raw = load_1m(tmp_path, movies=b"10::Heat (1995)::Action\n")
    assert raw.items.rows()[1] == ("20", "20", "", None, [])
    assert raw.facts["items_not_listed"] == 1
    assert any("called by their id" in rule for rule in raw.rules)


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        (b"1::10::5::978300760\n1::20::3\n", r"ratings.dat, line 2: 3 fields, expected 4"),
        (b"1::10::5::978300760\n\n1::20::3::9\n", r"ratings.dat, line 2: 1 fields, expected 4"),
        (b"1::10::5::9::9\n1::20::3\n", r"ratings.dat, line 1: 5 fields, expected 4"),
        (b"1::10::5::978300760\n1::20::x::978300761\n", r"ratings.dat, line 2: rating is 'x', not a number"),
        (b"1::10::nan::978300760\n", r"ratings.dat, line 1: rating is 'nan', not a number"),
        (b"1::10::5::978300760\n::20::3::978300761\n", r"ratings.dat, line 2: user_id is empty"),
        (b"", r"ratings.dat holds no data"),
        (b"1::10::5::978300760\n1::\xff::3::978300761\n", r"ratings.dat, line 2: not UTF-8"),
    ],
)
def test_malformed_ratings_name_file_and_line(tmp_path: Path, ratings: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_1m(tmp_path, ratings=ratings)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("movies", "message"),
    [
        (b"10::Heat (1995)::Action\n20::Fan\n", r"movies.dat, line 2: 2 fields"),
        (b"10::Heat (1995)::Action\n10::Fan (1996)::Drama\n", "lists item '10' more than once"),
    ],
)
def test_malformed_films_are_refused(tmp_path: Path, movies: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_1m(tmp_path, movies=movies)


def test_movielens_100k_reads_the_flags(tmp_path: Path) -> None:
    files = folder(tmp_path, {"u.data": b"1\t1\t3\t881250949\n1\t2\t1\t881250950\n", "u.item": ITEM})
    raw = MovieLens100K().load(files)
    assert raw.items.rows() == [
        ("1", "Toy Story", "Genres: Comedy, Western. Year: 1995.", 1995, ["Comedy", "Western"]),
        ("2", "unknown", "", None, []),
    ]
    assert raw.events.row(1) == ("1", "2", 881250950, 1.0)


@pytest.mark.parametrize("line", [b"1|Toy Story (1995)|01-Jan-1995||u|0|1\n", ITEM.replace(b"|1|", b"|2|", 1)])
def test_movielens_100k_refuses_other_flags(tmp_path: Path, line: bytes) -> None:
    files = folder(tmp_path, {"u.data": b"1\t1\t3\t881250949\n", "u.item": line})
    with pytest.raises(DataError, match=r"u\.item, line 1: expected"):
        MovieLens100K().load(files)


def test_layouts_are_told_apart_by_names(tmp_path: Path) -> None:
    files = folder(tmp_path, {"ratings.dat": RATINGS, "movies.dat": MOVIES})
    assert MovieLens1M().accepts(files)
    assert MovieLens1M().uses(files) == ("movies.dat", "ratings.dat")
    assert not MovieLens100K().accepts(files)
    assert not MovieLens1M().accepts(None)
    with pytest.raises(DataError, match="none were given"):
        MovieLens1M().load(None)


def test_movielens_10m_has_half_stars_and_titles_in_utf_8(tmp_path: Path) -> None:
    raw = load("movielens-10m", tmp_path, MOVIELENS_10M)
    assert raw.events.rows()[:2] == [("1", "122", 838985046, 4.5), ("1", "9", 838983525, 0.5)]
    assert raw.items.rows() == [
        ("122", "Mis\u00e9rables, Les", "Genres: Drama, IMAX. Year: 1995.", 1995, ["Drama", "IMAX"]),
        ("9", "Pull My Daisy", "Year: 1958.", 1958, []),
    ]
    assert raw.rules == ()
    latin = {"ml-10M100K/movies.dat": "9::Caf\u00e9 (1999)::Drama\n".encode("latin-1")}
    with pytest.raises(DataError, match=r"movies\.dat, line 1: not UTF-8"):
        load("movielens-10m", tmp_path, {**MOVIELENS_10M, **latin})


def test_movielens_csv_has_headers_and_quoted_titles(tmp_path: Path) -> None:
    raw = load("movielens-csv", tmp_path, MOVIELENS_CSV)
    assert raw.events.rows() == [("1", "307", 1256677221, 3.5), ("2", "9", 1256677222, 4.0)]
    title = 'Trois couleurs: Bleu, The "Blue" One'
    assert raw.items.rows() == [
        ("307", title, "Genres: Drama, Music. Year: 1993.", 1993, ["Drama", "Music"]),
        ("9", "Caf\u00e9 (2009\u2013 )", "", None, []),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ratings.csv", "userId,movieId,rating\n1,9,4\n", r"ratings\.csv, line 1: the header is"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,9,4,5\n1,9\n", r"ratings\.csv, line 3: 2 fields"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n", r"ratings\.csv holds no data"),
        ("movies.csv", "", r"movies\.csv has no column movieId, title, genres; it has none"),
        ("movies.csv", "movieId,title\n9,Heat\n", r"movies\.csv has no column genres; it has movieId, title"),
        ("movies.csv", "movieId,title,genres\n9,Lock, Stock,x\n", r"movies\.csv, line 2: 4 fields, expected 3"),
        ("movies.csv", 'movieId,title,genres\n9,"Heat,x\n8,Fan,y\n', r"movies\.csv, line 3: unexpected end of data"),
        ("movies.csv", "movieId,title,genres\n9,Heat,x\n9,Fan,y\n", "lists item '9' more than once"),
    ],
)
def test_malformed_csv_is_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load("movielens-csv", tmp_path, {**MOVIELENS_CSV, name: content})
    assert caught.value.hint


def test_a_mark_and_windows_ends_of_lines_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "windows").mkdir()
    windows = {name: b"\xef\xbb\xbf" + str(text).replace("\n", "\r\n").encode() for name, text in MOVIELENS_CSV.items()}
    plain, other = (
        load("movielens-csv", tmp_path / "plain", MOVIELENS_CSV),
        load("movielens-csv", tmp_path / "windows", windows),
    )
    assert plain.events.equals(other.events)
    assert plain.items.equals(other.items)
