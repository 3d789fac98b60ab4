"""MovieLens in the layouts of its owner, GroupLens: 100K, 1M, 10M, and CSV (20M, 25M, 32M, latest).

F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.files import MEND, SourceFiles, normal_lines
from llmrs_bench.data.raw_lines import RawLines
from llmrs_bench.data.records import ItemRow, csv_rows, framed, given, named, only, read_events
from llmrs_bench.data.sources import Raw, complete_items
from llmrs_bench.data.titles import split_year

# The flags at the end of a line of u.item, in this order (README of MovieLens-100K).
GENRES_100K = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
EVENT_FIELDS = ["user_id", "item_id", "rating", "timestamp"]
UTF8_RULE = "titles are UTF-8, not Latin-1 as in the owner's copy"
NO_GENRE = ("unknown", "(no genres listed)")


class MovieLens1M:
    """Reads `ratings.dat` and `movies.dat`; the ages and jobs of `users.dat` are not read."""

    raw_lines = RawLines(
        "MovieLens-1M, movies.dat and ratings.dat",
        *("ml-1m/movies.dat", "ml-1m/ratings.dat", "::", "::"),
        articles_last=True,
    )

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether both files are there."""
        return _holds(files, self.uses(files))

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the two names."""
        return ("movies.dat", "ratings.dat")

    def load(self, files: SourceFiles | None) -> Raw:
        """Read ratings and films.

        Raises:
            DataError: If a file is missing or malformed, naming the file and the line.
        """
        files = given(files)
        text, rules = self._titles(files.read("movies.dat"))
        rows = [_film_1m(line, at) for at, line in enumerate(text, 1)]
        return _raw(rows, read_events(files, "ratings.dat", EVENT_FIELDS, separator="::"), rules, "movies.dat")

    def _titles(self, data: bytes) -> tuple[list[str], tuple[str, ...]]:
        return _lines(data)


class MovieLens10M(MovieLens1M):
    """Reads `ratings.dat`, with half stars, and `movies.dat`, which is UTF-8 here; `tags.dat` is not read."""

    raw_lines = RawLines(
        "MovieLens-10M, movies.dat and ratings.dat",
        *("ml-10M100K/movies.dat", "ml-10M100K/ratings.dat", "::", "::"),
        articles_last=True,
    )

    def _titles(self, data: bytes) -> tuple[list[str], tuple[str, ...]]:
        return normal_lines(data, name="movies.dat").decode().split("\n"), ()


class MovieLensCSV:
    """Reads `ratings.csv` and `movies.csv` of MovieLens-20M, 25M, 32M and latest; tags and links are not read."""

    raw_lines = RawLines(
        "MovieLens CSV, movies.csv and ratings.csv",
        *("movieId,title,genres", "userId,movieId,rating,timestamp", ",", ","),
        csv=True,
        articles_last=True,
        rating=".1f",
    )

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether both files are there."""
        return bool(named(files, r"ratings\.csv") and named(files, r"movies\.csv"))

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the two names.

        Raises:
            DataError: If one of the files is missing, or there is more than one.
        """
        return only(files, r"movies\.csv", "films"), only(files, r"ratings\.csv", "ratings")

    def load(self, files: SourceFiles | None) -> Raw:
        """Read ratings and films.

        Raises:
            DataError: If a file is missing or malformed, naming the file and the line.
        """
        movies, ratings = self.uses(files)
        files = given(files)
        rows = [
            _film(item, title, genres.split("|") if genres else [])
            for _, (item, title, genres) in csv_rows(files, movies, ["movieId", "title", "genres"])
        ]
        header = "userId,movieId,rating,timestamp"
        return _raw(rows, read_events(files, ratings, EVENT_FIELDS, separator=",", header=header), (), movies)


class MovieLens100K:
    """Reads `u.data` and `u.item`."""

    raw_lines = RawLines(
        "MovieLens-100K, u.item and u.data",
        *("ml-100k/u.item", "ml-100k/u.data", "|", "\t"),
        articles_last=True,
    )

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether both files are there."""
        return _holds(files, self.uses(files))

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the two names."""
        return ("u.data", "u.item")

    def load(self, files: SourceFiles | None) -> Raw:
        """Read ratings and films; the genre "unknown" counts as none.

        Raises:
            DataError: If a file is missing or malformed, naming the file and the line.
        """
        files = given(files)
        text, rules = _lines(files.read("u.item"))
        rows = [_film_100k(line, at) for at, line in enumerate(text, 1)]
        return _raw(rows, read_events(files, "u.data", EVENT_FIELDS), rules, "u.item")


def _holds(files: SourceFiles | None, names: tuple[str, ...]) -> bool:
    return files is not None and set(names) <= set(files.names)


def _lines(data: bytes) -> tuple[list[str], tuple[str, ...]]:
    """Decode titles: the owner's files are Latin-1, copies in UTF-8 are about. Return the rule for those."""
    rules: tuple[str, ...] = ()
    try:
        text = data.decode("utf-8-sig")
        if not data.isascii():
            rules = (UTF8_RULE,)
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    # Not splitlines(): it would also split at control characters inside a title.
    return text.replace("\r\n", "\n").rstrip("\n").split("\n"), rules


def _film_1m(line: str, at: int) -> ItemRow:
    fields = line.split("::")
    if len(fields) != 3 or not fields[0]:
        raise DataError(f"movies.dat, line {at}: {len(fields)} fields, expected id::title::genres", hint=MEND)
    return _film(fields[0], fields[1], [genre for genre in fields[2].strip().split("|") if genre])


def _film_100k(line: str, at: int) -> ItemRow:
    fields = line.split("|")
    flags = fields[5:]
    if len(flags) != len(GENRES_100K) or not fields[0] or not set(flags) <= {"0", "1"}:
        raise DataError(f"u.item, line {at}: expected id|title|3 fields|19 flags of 0 or 1", hint=MEND)
    chosen = [genre for genre, flag in zip(GENRES_100K, flags, strict=True) if flag == "1"]
    return _film(fields[0], fields[1], chosen)


def _film(item_id: str, stored: str, genres: list[str]) -> ItemRow:
    title, year = split_year(stored)
    genres = [genre for genre in genres if genre not in NO_GENRE]
    sentences = [f"Genres: {', '.join(genres)}."] if genres else []
    if year is not None:
        sentences.append(f"Year: {year}.")
    return item_id, title, " ".join(sentences), year, genres


def _raw(rows: list[ItemRow], events: pl.DataFrame, rules: tuple[str, ...], name: str) -> Raw:
    items = framed(rows, ITEMS, name=name)
    if items["item_id"].is_duplicated().any():
        twice = items.filter(pl.col("item_id").is_duplicated())["item_id"][0]
        raise DataError(f"{name} lists item {twice!r} more than once", hint="Get a fresh copy of the file.")
    return complete_items(Raw(items, events, rules, {"items_listed": items.height}))
