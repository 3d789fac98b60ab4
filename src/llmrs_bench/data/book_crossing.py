"""Book-Crossing in the layout of its owner: fields in quotes, with semicolons between, in Latin-1.

C.-N. Ziegler et al., "Improving Recommendation Lists Through Topic Diversification", WWW 2005.
"""

from collections.abc import Iterator

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.files import MEND, SourceFiles
from llmrs_bench.data.raw_lines import RawLines
from llmrs_bench.data.records import ItemRow, framed, given, named, only, sentences, year_of
from llmrs_bench.data.sources import EVENTS, Raw, complete_items

RATINGS, BOOKS = r"BX-Book-Ratings\.csv", r"BX-Books\.csv"
BETWEEN = '";"'  # quotes inside of fields are broken, so these three letters alone part two fields
RUN_ON = '\\";'  # what is between a title and its author where even these are


class BookCrossing:
    """Reads `BX-Book-Ratings.csv` and `BX-Books.csv`; no time of a rating is known, and users are not read."""

    raw_lines = RawLines(
        "Book-Crossing, BX-Books.csv and BX-Book-Ratings.csv",
        *('"ISBN";"Book-Title";"Book-Author"', '"User-ID";"ISBN";"Book-Rating"', ";", ";"),
        quoted=True,
    )

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether both files are there."""
        return bool(named(files, RATINGS) and named(files, BOOKS))

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the two names.

        Raises:
            DataError: If one is missing, or there is more than one.
        """
        return only(files, BOOKS, "books"), only(files, RATINGS, "ratings")

    def load(self, files: SourceFiles | None) -> Raw:
        """Read ratings and books.

        Raises:
            DataError: If a file is missing or malformed, naming the file and the line.
        """
        books, ratings = self.uses(files)
        files = given(files)
        events = framed(_ratings(files, ratings), EVENTS, name=ratings)
        items = framed(_books(files, books), ITEMS, name=books)
        kept = items.unique("item_id", keep="first", maintain_order=True)
        rules = ("there are no times of ratings", "a rating of 0 is none: the user has the book")
        facts = {
            "items_listed": kept.height,
            "items_listed_twice_dropped": items.height - kept.height,
            "events_unrated": events["rating"].null_count(),
        }
        return complete_items(Raw(kept, events, rules, facts, timeless=True))


def _fields(files: SourceFiles, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each line after the header."""
    above, empty = 0, True
    for block in files.blocks(name):
        lines = block.decode("latin-1").split("\n")
        for at, line in enumerate(lines, above + 1):
            text = line.strip()
            if at > 1 and text:
                if not (len(text) > 1 and text[0] == text[-1] == '"'):
                    raise DataError(f"{name}, line {at}: {text[:60]!r} is not in quotes", hint=MEND)
                empty = False
                yield at, text[1:-1].split(BETWEEN)
        above += len(lines) - 1
    if empty:
        raise DataError(f"{name} holds no data", hint="Check that the file is complete.")


def _ratings(files: SourceFiles, name: str) -> Iterator[tuple[str, str, float, float | None]]:
    for at, fields in _fields(files, name):
        if len(fields) != 3 or not all(fields):
            raise DataError(f'{name}, line {at}: {fields} are not "user";"ISBN";"rating"', hint=MEND)
        user, book, rating = fields
        if not (rating.isdecimal() and rating.isascii()):
            raise DataError(f"{name}, line {at}: rating is {rating!r}, not a number", hint=MEND)
        yield user.strip(), book.strip(), 0.0, float(rating) or None


def _books(files: SourceFiles, name: str) -> Iterator[ItemRow]:
    for at, fields in _fields(files, name):
        if len(fields) == 7 and RUN_ON in fields[1]:
            title, _, author = fields[1].partition(RUN_ON)
            fields[1:2] = [title, author]
        if len(fields) != 8 or not fields[0].strip():
            raise DataError(f"{name}, line {at}: {len(fields)} fields, expected 8: {fields[:2]}", hint=MEND)
        isbn, title, author, published, publisher = (field.replace('\\"', '"').strip() for field in fields[:5])
        year = year_of(published)
        yield isbn, title, sentences({"Author": author, "Year": year, "Publisher": publisher}), year, []
