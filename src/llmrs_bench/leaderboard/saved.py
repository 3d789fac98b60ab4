"""A board in one small Parquet file, with its description, so that later boards can be compared with it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import TypeAdapter, ValidationError

from llmrs_bench.core.errors import ArtifactError, is_damage
from llmrs_bench.core.tables import atomic_write, to_frame
from llmrs_bench.leaderboard.board import Board
from llmrs_bench.leaderboard.comparability import EvaluationProtocol
from llmrs_bench.leaderboard.matrix import RunScores, ScoreMatrix

FORMAT = 1
_KEY = b"llmrs-bench board"
_DIGEST = b"llmrs-bench digest"  # of the values and the description
_KEYS = ("request_id", "candidates", "history")
_USER = "user"
_AGAIN = "Save it again with `llmrs-bench compare --save FILE`."


@dataclass(frozen=True, slots=True)
class Saved:
    """A board with the values behind it.

    Args:
        board: Its rows, cells and intervals; printed tables and the differences of all pairs are left out.
        matrix: Values of its metrics for every row and request, rows in the order of the board.
        protocol: What a board must share to be compared with it.
        made: When it was saved, ISO 8601.
        versions: Of the tool and its libraries when it was saved.
        recipe: The recipe that made it, as TOML; None: a command did.
    """

    board: Board
    matrix: ScoreMatrix
    protocol: EvaluationProtocol
    made: str
    versions: Mapping[str, str]
    recipe: str | None = None

    def write(self, path: Path) -> None:
        """Write the board to a file, in the place of what is there; it appears whole or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        from pyarrow import parquet as pq

        frame, description = to_parts(self)
        content = BytesIO()
        kept = {_KEY: description.encode(), _DIGEST: _digest(frame, description).encode()}
        table = frame.to_arrow().replace_schema_metadata(kept)
        pq.write_table(table, content, compression="zstd", compression_level=9)
        atomic_write(path, content.getvalue())


def read_board(path: Path) -> Saved:
    """Read a saved board.

    Raises:
        ArtifactError: If it is missing, damaged, or no saved board.
        OSError: If the machine does not let it be read: a permission, a limit.
    """
    from pyarrow import ArrowException
    from pyarrow import parquet as pq

    hint = "A board is saved with `llmrs-bench compare --save FILE`."
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist", hint=hint)
    try:
        table = pq.read_table(path)
        frame = to_frame(table)
    except (OSError, ArrowException, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise ArtifactError(f"{path} cannot be read as a saved board: {error}", hint=hint) from error
    kept = table.schema.metadata or {}
    if _KEY not in kept:
        raise ArtifactError(f"{path} is a Parquet file, but not a saved board", hint=hint)
    description = kept[_KEY].decode("utf-8", "replace")
    # Boards of earlier versions have no digest.
    if kept.get(_DIGEST, b"") not in (b"", _digest(frame, description).encode()):
        raise ArtifactError(f"{path} is damaged: its contents do not match its digest", hint=_AGAIN)
    return from_parts(frame, description, name=str(path))


def _digest(frame: pl.DataFrame, description: str) -> str:
    total = sha256(description.encode())
    for column in frame.iter_columns():
        total.update(f"{column.name} {column.dtype}\n".encode())
        text = column.dtype == pl.String
        total.update("\n".join(column.to_list()).encode() if text else column.to_numpy().tobytes())
    return total.hexdigest()


@dataclass(frozen=True, slots=True)
class _Description:
    format: int
    board: Board
    fields: Mapping[str, str]
    made: str
    versions: Mapping[str, str]
    recipe: str | None = None


def to_parts(saved: Saved) -> tuple[pl.DataFrame, str]:
    """Return one row per request, and the description as JSON.

    The columns are request_id, the digests `candidates` and `history`, `user` where some have several requests, and
    `N:METRIC` for row N of the board, from 0.
    """
    columns = {
        f"{place}:{metric}": saved.matrix.values[metric][place]
        for metric in saved.board.metrics
        if metric in saved.matrix.values
        for place in range(len(saved.board.rows))
    }
    keys = dict(
        zip(_KEYS, (list(saved.protocol.requests), saved.protocol.lists, saved.protocol.histories), strict=True)
    )
    places = {name: at for at, name in enumerate(saved.matrix.requests)}
    order = np.array([places.get(name, -1) for name in saved.protocol.requests])
    spread = {name: np.where(order < 0, np.nan, values[order]) for name, values in columns.items()}
    users = saved.matrix.users
    owners = {} if users is None else {_USER: np.where(order < 0, -1, users[order])}
    frame = pl.DataFrame({**keys, **owners, **spread})
    board = replace(saved.board, published=(), differences=())
    description = _Description(FORMAT, board, saved.protocol.fields, saved.made, saved.versions, saved.recipe)
    return frame, TypeAdapter(_Description).dump_json(description).decode()


def from_parts(frame: pl.DataFrame, description: str, *, name: str) -> Saved:
    """Return what `to_parts` split.

    Raises:
        ArtifactError: If they are no board of this format.
    """
    try:
        found = TypeAdapter(_Description).validate_json(description)
    except ValidationError as error:
        raise ArtifactError(f"{name} is not a saved board of format {FORMAT}", hint=_AGAIN) from error
    rows = found.board.rows
    metrics = [metric for metric in found.board.metrics if f"0:{metric}" in frame.columns]
    owned = [_USER] if _USER in frame.columns else []
    wanted = [*_KEYS, *owned, *(f"{place}:{metric}" for metric in metrics for place in range(len(rows)))]
    if found.format != FORMAT or frame.columns != wanted or found.board.key not in metrics:
        raise ArtifactError(f"{name} is a board of format {found.format}, or damaged", hint=_AGAIN)
    requests = tuple(frame["request_id"])
    values = {
        metric: np.stack([frame[f"{place}:{metric}"].to_numpy().astype(np.float64) for place in range(len(rows))])
        for metric in metrics
    }
    lines = tuple(
        RunScores(row.run, (row.run,), row.model, row.kind, row.setting, row.exact, row.about, {}) for row in rows
    )
    protocol = EvaluationProtocol(
        found.fields,
        requests,
        frame["candidates"].to_numpy().astype(np.uint64),
        frame["history"].to_numpy().astype(np.uint64),
    )
    users = frame[_USER].to_numpy().astype(np.intp) if owned else None
    matrix = ScoreMatrix(requests, lines, values, users)
    return Saved(found.board, matrix, protocol, found.made, found.versions, found.recipe)
