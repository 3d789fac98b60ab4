"""Saved boards: written to one Parquet file, and read back."""

from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import polars as pl
from pyarrow import ArrowException
from pyarrow import parquet as pq

from llmrs_bench.artifacts import versions
from llmrs_bench.config import CompareConfig
from llmrs_bench.errors import ArtifactError
from llmrs_bench.leaderboard.history import History, build_history
from llmrs_bench.leaderboard.saved import Saved, from_parts, to_parts
from llmrs_bench.stages.compare import Comparison
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.locking import data_lock
from llmrs_bench.stages.whole import write_whole

_KEY = b"llmrs-bench board"


def save_board(path: Path, data: Data, comparison: Comparison, config: CompareConfig) -> None:
    """Write a board to a file, in the place of what is there; it appears whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    made = datetime.now(UTC).isoformat(timespec="seconds")
    frame, description = to_parts(
        Saved(comparison.board, comparison.sheet, data_lock(data, config.invalid), made, versions())
    )
    table = frame.to_arrow()
    table = table.replace_schema_metadata({_KEY: description.encode()})
    content = BytesIO()
    pq.write_table(table, content, compression="zstd", compression_level=9)
    write_whole(path, content.getvalue())


def open_board(path: Path) -> Saved:
    """Read a saved board.

    Raises:
        ArtifactError: If it is missing, or no saved board.
    """
    hint = "A board is saved with `llmrs-bench compare --save FILE`."
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist", hint=hint)
    try:
        table = pq.read_table(path)
        frame = pl.DataFrame(table)
    except (OSError, ArrowException, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"{path} cannot be read as a saved board: {error}", hint=hint) from error
    description = (table.schema.metadata or {}).get(_KEY)
    if description is None:
        raise ArtifactError(f"{path} is a Parquet file, but no saved board", hint=hint)
    return from_parts(frame, description.decode(), name=str(path))


def history(paths: Sequence[Path], config: CompareConfig) -> History:
    """Return the trends over saved boards; of the metric that orders the first, unless others are named.

    Raises:
        ArtifactError: If a file is no saved board.
        IncomparableError: If boards differ in a field that is not allowed to.
        OptionError: If a board does not hold a metric.
    """
    boards = [(str(path), open_board(path)) for path in paths]
    return build_history(boards, config.metrics, allowed=config.allow_different, seed=config.seed)
