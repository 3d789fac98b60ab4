"""Boards that are kept: saved, read back, held against new ones by the gate, and followed over time."""

from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import polars as pl

from llmrs_bench.core.artifacts import versions
from llmrs_bench.core.config import CompareConfig
from llmrs_bench.core.errors import ArtifactError, OptionError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.tables import atomic_write
from llmrs_bench.leaderboard import RunScores
from llmrs_bench.leaderboard.comparability import differences, refuse_differences
from llmrs_bench.leaderboard.gate import (
    Baseline,
    Counterpart,
    Gate,
    check_rules,
    judge,
    judged_lines,
    parse_rule,
    saved_baseline,
)
from llmrs_bench.leaderboard.saved import Saved, from_parts, to_parts
from llmrs_bench.leaderboard.trends import History, build_history
from llmrs_bench.stages.compare import Comparison, compare, data_protocol
from llmrs_bench.stages.evaluate import CHANCE
from llmrs_bench.stages.workspace import Data

_KEY = b"llmrs-bench board"


def save_board(path: Path, data: Data, comparison: Comparison, config: CompareConfig) -> None:
    """Write a board to a file, in the place of what is there; it appears whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    from pyarrow import parquet as pq

    made = datetime.now(UTC).isoformat(timespec="seconds")
    frame, description = to_parts(
        Saved(comparison.board, comparison.matrix, data_protocol(data, config.invalid), made, versions())
    )
    table = frame.to_arrow()
    table = table.replace_schema_metadata({_KEY: description.encode()})
    content = BytesIO()
    pq.write_table(table, content, compression="zstd", compression_level=9)
    atomic_write(path, content.getvalue())


def open_board(path: Path) -> Saved:
    """Read a saved board.

    Raises:
        ArtifactError: If it is missing, or no saved board.
    """
    from pyarrow import ArrowException
    from pyarrow import parquet as pq

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


def gated(
    data: Data,
    names: Sequence[str],
    config: CompareConfig,
    *,
    baseline: str | None,
    rules: Sequence[str],
    allow_missing: bool = False,
) -> tuple[Comparison, Gate]:
    """Build the board, and hold its rows against a baseline and against rules, where there are any.

    Judged are the runs that were named; without names all rows but chance, popularity and random. The baseline is a run
    of the same data set, the same for all, or a saved board, in which every row meets its namesake.

    Args:
        data: The prepared data set.
        names: Names of runs, or their first characters; none means all.
        config: Metrics, bootstrap, tests.
        baseline: A run, or the path of a saved board.
        rules: When the gate fails, as typed.
        allow_missing: Whether rows may be on one of both boards alone.

    Raises:
        OptionError: If a rule cannot be read or judged, or the baseline is unknown.
        ArtifactError: If the file is no saved board.
        IncomparableError: If the saved board measures something else.
    """
    parsed = [parse_rule(rule) for rule in rules]
    saved = open_board(Path(baseline)) if baseline is not None and is_file(baseline) else None
    run = baseline if saved is None else None
    more = [run] if names and run and run != CHANCE else []
    comparison = compare(data, [*names, *more], config)
    if baseline is None and not rules:
        return comparison, Gate()
    board, matrix = comparison.board, comparison.matrix
    check_rules(parsed, board.metrics, tested=matrix.values, baseline=baseline is not None)
    base = None if run is None else _line(run, matrix.lines)
    judged = [line for line in judged_lines(matrix.lines, names) if line is not base]
    if not judged:
        raise OptionError("the gate has no row to judge", hint="Name one with --run.")
    against = Baseline()
    if saved is not None:
        found = differences(saved.protocol, data_protocol(data, config.invalid))
        notes = refuse_differences(found, config.allow_different, one=str(baseline), other=data.place.reference)
        comparison = comparison.noted(notes)
        against = saved_baseline(str(baseline), saved, judged, matrix, names)
    elif base is not None:
        at = matrix.lines.index(base)
        own = Counterpart(board.rows[at], {m: matrix.values[m][at] for m in board.metrics if m in matrix.values})
        against = Baseline(str(baseline), {line.run: own for line in judged})
    runs = [line.run for line in judged]
    return comparison, judge(board, matrix, runs, parsed, against, seed=config.seed, allow_missing=allow_missing)


def is_file(baseline: str) -> bool:
    """Tell whether a baseline is meant as the path of a saved board."""
    return baseline.endswith(".parquet") or Path(baseline).is_file()


def _line(name: str, lines: Sequence[RunScores]) -> RunScores:
    fits = [line for line in lines if any(run.startswith(name) for run in line.runs)]
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise unknown_name("run in --baseline", name, [run for line in lines for run in line.runs])
    raise OptionError(
        f"--baseline {name} means {len(fits)} rows", hint=f"Name one of {', '.join(line.run for line in fits)}."
    )
