"""Reviews of games on Steam in the layout of their owner, the McAuley Lab: literals of Python, of which nothing is run.

W.-C. Kang and J. McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.files import MEND, SourceFiles
from llmrs_bench.data.records import (
    NO_ITEMS,
    ItemRow,
    Record,
    framed,
    given,
    named,
    needed_items,
    only,
    records,
    sentences,
    text_field,
    word_list,
    year_of,
)
from llmrs_bench.data.sources import EVENTS, Raw, complete_items

REVIEWS, GAMES = r"steam_reviews\.json", r"steam_games\.json"
RULES = (
    "users are known by their names",
    "times are days: of a user's reviews of one day, the order of lines decides",
    "every review is an event; there are no ratings",
)


class Steam:
    """Reads `steam_reviews.json`, and titles of reviewed games from `steam_games.json` if it is there."""

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether the reviews are there."""
        return bool(named(files, REVIEWS))

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the name of the reviews, and that of the games if they are there.

        Raises:
            DataError: If there are no reviews, or more than one file of a kind.
        """
        reviews = only(files, REVIEWS, "reviews")
        return (reviews, only(files, GAMES, "games")) if named(files, GAMES) else (reviews,)

    def load(self, files: SourceFiles | None) -> Raw:
        """Read reviews and games line by line.

        Raises:
            DataError: If a file is missing or malformed, naming the file and the line, or the two do not join.
        """
        reviews, *games = self.uses(files)
        files = given(files)
        events = framed(_reviews(files, reviews), EVENTS, name=reviews)
        if not games:
            return complete_items(Raw(ITEMS.to_frame(), events, (*RULES, NO_ITEMS), {"items_listed": 0}))
        items, facts = needed_items(_games(files, games[0]), _row, events, name=games[0], events_name=reviews)
        return complete_items(Raw(items, events, RULES, facts))


def _reviews(files: SourceFiles, name: str) -> Iterator[tuple[str | None, str, float, None]]:
    days: dict[str, float] = {}
    for at, record in records(files, name, literals=True):
        item, day = (text_field(record, key, name=name, at=at) for key in ("product_id", "date"))
        user = record.get("username")
        if not isinstance(user, str):
            raise DataError(f"{name}, line {at}: username is {user!r}, not a text", hint=MEND)
        if day not in days:
            try:
                days[day] = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
            except ValueError as error:
                raise DataError(f"{name}, line {at}: date is {day!r}, not as 2017-12-17", hint=MEND) from error
        yield user.strip() or None, item, days[day], None  # blank names are dropped, and counted


def _games(files: SourceFiles, name: str) -> Iterator[tuple[str, Record]]:
    for _, record in records(files, name, literals=True):
        yield str(record.get("id") or ""), record  # a game without an id has no reviews


def _row(item: str, record: Record) -> ItemRow:
    title, year = record.get("app_name") or record.get("title"), year_of(record.get("release_date"))
    genres = word_list(record.get("genres"))
    text = {"Genres": genres, "Tags": record.get("tags"), "Developer": record.get("developer"), "Year": year}
    return item, title if isinstance(title, str) else None, sentences(text), year, genres
