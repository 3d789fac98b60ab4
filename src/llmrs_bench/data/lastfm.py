"""Plays of artists on Last.fm: HetRec 2011, which counts them, and 1K, which lists each with its time.

I. Cantador, P. Brusilovsky and T. Kuflik, "2nd Workshop on Information Heterogeneity and Fusion in Recommender
Systems", RecSys 2011 (HetRec); O. Celma, "Music Recommendation and Discovery", Springer 2010 (1K).
"""

from collections.abc import Iterator

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.fields import number, read_delimited, require_filled
from llmrs_bench.data.files import MEND, SourceFiles
from llmrs_bench.data.raw_lines import RawLines
from llmrs_bench.data.records import ItemRow, framed, given, named, only, sentences, tables
from llmrs_bench.data.sources import Raw, complete_items

PLAYS, ARTISTS, TAGGED, TAGS = "user_artists.dat", "artists.dat", "user_taggedartists.dat", "tags.dat"
N_TAGS = 5
LISTENED = r"userid-timestamp-artid-artname-traid-traname\.tsv"
FIELDS = ["user_id", "time", "artist_id", "artist", "track_id", "track"]


class LastFMHetRec:
    """Reads play counts of `user_artists.dat`, names of `artists.dat`, and tags of artists if they are there."""

    raw_lines = RawLines(
        f"HetRec 2011 Last.fm, {ARTISTS} and {PLAYS}",
        *("id\tname\turl\tpictureURL", "userID\tartistID\tweight", "\t", "\t"),
    )

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether play counts and names are there."""
        return files is not None and {PLAYS, ARTISTS} <= set(files.names)

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the two names, and those of the two files of tags if both are there."""
        tags = files is not None and {TAGGED, TAGS} <= set(files.names)
        return (ARTISTS, PLAYS, TAGS, TAGGED) if tags else (ARTISTS, PLAYS)

    def load(self, files: SourceFiles | None) -> Raw:
        """Read play counts, as ratings, and artists; no time of a play is known.

        Raises:
            DataError: If a file is missing or malformed, naming the file and the line.
        """
        files = given(files)
        plays = _table(files, PLAYS, ["userID", "artistID", "weight"])
        artists = _table(files, ARTISTS, ["id", "name", "url", "pictureURL"])
        require_filled(plays, ["userID", "artistID", "weight"], name=PLAYS, header_lines=1)
        require_filled(artists, ["id"], name=ARTISTS, header_lines=1)
        events = plays.select(
            pl.col("userID").alias("user_id"),
            pl.col("artistID").alias("item_id"),
            pl.lit(0.0).alias("timestamp"),
            number(plays, "weight", pl.Float32, name=PLAYS, header_lines=1).alias("rating"),
        )
        rules = ["there are no times of plays", "ratings are counts of plays"]
        tags: dict[str, list[str]] = {}
        if TAGS in self.uses(files):
            tags = _tags(files)
            rules.append(f"the {N_TAGS} tags that most users gave an artist are its categories")
        rows: Iterator[ItemRow] = (
            (artist, title, sentences({"Tags": tags.get(artist)}), None, tags.get(artist, []))
            for artist, title in artists.select("id", "name").iter_rows()
        )
        items = framed(rows, ITEMS, name=ARTISTS)
        if items["item_id"].is_duplicated().any():
            twice = items.filter(pl.col("item_id").is_duplicated())["item_id"][0]
            raise DataError(f"{ARTISTS} lists artist {twice!r} more than once", hint="Get a fresh copy of the file.")
        return complete_items(Raw(items, events, tuple(rules), {"items_listed": items.height}, timeless=True))


def _table(files: SourceFiles, name: str, columns: list[str]) -> pl.DataFrame:
    return pl.concat([rows for _, rows in tables(files, name, columns, header="\t".join(columns))])


def _tags(files: SourceFiles) -> dict[str, list[str]]:
    """Return the most frequent tags of each artist, the most frequent first."""
    lines = files.read(TAGS).decode("latin-1").replace("\r\n", "\n").rstrip("\n").split("\n")
    words: dict[str, str] = {}
    for at, line in enumerate(lines[1:], 2):
        tag, tab, word = line.partition("\t")
        if not (tag and tab):
            raise DataError(f"{TAGS}, line {at}: {line[:60]!r} is not an id and a tag", hint=MEND)
        words[tag] = word
    given_tags = _table(files, TAGGED, ["userID", "artistID", "tagID", "day", "month", "year"])
    counts = given_tags.group_by("artistID", "tagID", maintain_order=True).len()
    counts = counts.sort("len", descending=True, maintain_order=True)
    found: dict[str, list[str]] = {}
    for artist, tag in counts.group_by("artistID", maintain_order=True).head(N_TAGS).select("artistID", "tagID").rows():
        if tag in words:
            found.setdefault(artist, []).append(words[tag])
    return found


class LastFM1K:
    """Reads each play with its time; the item is the artist. Names of tracks and profiles of users are not read."""

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether the file of plays is there."""
        return bool(named(files, LISTENED))

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return the name of the file of plays.

        Raises:
            DataError: If there is none, or more than one.
        """
        return (only(files, LISTENED, "plays"),)

    def load(self, files: SourceFiles | None) -> Raw:
        """Read plays from the last line to the first, since the file lists the newest first.

        Raises:
            DataError: If the file is malformed, naming the line.
        """
        [name] = self.uses(files)
        above, events, artists = 0, [], []
        facts = {"fields_too_many_dropped": 0, "events_of_artists_without_id": 0}
        for block in given(files).blocks(name):
            body, extra = _six_fields(block, name, above)
            rows = read_delimited(body, name=name, columns=FIELDS, above=above)
            require_filled(rows, ["user_id", "time"], name=name, header_lines=above)
            plays = rows.select(
                "user_id",
                pl.coalesce("artist_id", "artist").alias("item_id"),
                _seconds(rows["time"], name, above),
                pl.lit(None, dtype=pl.Float32).alias("rating"),
            )
            events.append(plays)
            artists.append(plays.select("item_id", rows["artist"]).unique("item_id", keep="first", maintain_order=True))
            facts["fields_too_many_dropped"] += extra
            facts["events_of_artists_without_id"] += rows.select((pl.col("artist_id").is_null()).sum()).item()
            above += block.count(b"\n")
        if not events:
            raise DataError(f"{name} holds no data", hint="Check that the file is complete.")
        titles = pl.concat(artists).drop_nulls("item_id").unique("item_id", keep="first", maintain_order=True)
        items = framed(((item, title, "", None, []) for item, title in titles.iter_rows()), ITEMS, name=name)
        rules = (
            "the newest plays stand first, so lines are read from the last to the first",
            "an item is an artist: its MusicBrainz id, or its name where it has none",
        )
        return complete_items(Raw(items, pl.concat(events).reverse(), rules, {"items_listed": items.height, **facts}))


def _six_fields(block: bytes, name: str, above: int) -> tuple[bytes, int]:
    """Return lines without what follows the sixth field, and how many fields that were: tracks have tabs in them.

    Raises:
        DataError: Naming a line with fewer fields.
    """
    tabs, body = len(FIELDS) - 1, block.rstrip(b"\r\n")
    if block.count(b"\t") == tabs * (body.count(b"\n") + 1):
        return block, 0
    lines = []
    for at, line in enumerate(body.split(b"\n"), above + 1):
        if (count := line.count(b"\t")) < tabs:
            raise DataError(f"{name}, line {at}: {count + 1} fields, expected {len(FIELDS)}", hint=MEND)
        lines.append(b"\t".join(line.split(b"\t")[: len(FIELDS)]))
    return b"\n".join(lines), block.count(b"\t") - tabs * len(lines)


def _seconds(text: pl.Series, name: str, above: int) -> pl.Series:
    moments = text.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", strict=False)
    if moments.null_count():
        row = moments.is_null().arg_max() or 0
        raise DataError(
            f"{name}, line {row + 1 + above}: time is {text[row]!r}, not as 2009-05-04T23:08:57Z", hint=MEND
        )
    return moments.dt.epoch("s").cast(pl.Float64).alias("timestamp")
