"""A data source: `prepare --dataset NAME --source FOLDER --format csv`."""

import io

import polars as pl

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.sources import EVENTS, Raw, complete_items


class Csv:
    """Reads `events.csv` with user_id, item_id, timestamp and rating, and `items.csv` with item_id and title."""

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether both files are there; `files` is None where none were given."""
        return files is not None and {"events.csv", "items.csv"} <= set(files.names)

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Name the files that are read: their contents identify the data set."""
        return ("events.csv", "items.csv")

    def load(self, files: SourceFiles | None) -> Raw:
        """Return items and events as frames of the schemas ITEMS and EVENTS, events in the order of their lines."""
        assert files is not None
        return complete_items(Raw(_read(files, "items.csv", ITEMS), _read(files, "events.csv", EVENTS)))


def _read(files: SourceFiles, name: str, schema: pl.Schema) -> pl.DataFrame:
    """Read a table; columns that it lacks, such as a rating, are null."""
    try:
        frame = pl.read_csv(io.BytesIO(files.read(name)), infer_schema=False)
        known = [pl.col(column).cast(schema[column]) for column in frame.columns if column in schema]
        empty = pl.DataFrame(schema=schema)
        return pl.concat([empty, frame.select(known)], how="diagonal")
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{name} cannot be read: {error}", hint="It needs a header, and numbers as times.") from error
