"""A static site of all boards of a home: a page for each, and an index with trends."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmrs_bench.core.config import CLICK, RATING, CompareConfig
from llmrs_bench.core.errors import ArtifactError, BenchError, IncomparableError
from llmrs_bench.core.tables import atomic_write
from llmrs_bench.leaderboard.saved import Saved, read_board
from llmrs_bench.leaderboard.trends import build_history
from llmrs_bench.report.html import SiteBoard, site_html
from llmrs_bench.stages.boards import build, to_save
from llmrs_bench.stages.compare import scope_words
from llmrs_bench.stages.pages import page_made, save_page
from llmrs_bench.stages.workspace import Data, open_data, prepared

log = logging.getLogger(__name__)

BOARDS, TIMES = "boards", "times"


@dataclass(frozen=True, slots=True)
class Site:
    """What was written: the index, how many boards it has, and why others are missing."""

    index: Path
    boards: int
    notes: tuple[str, ...]


def save_site(home: Path, folder: Path, config: CompareConfig, *, requests: int) -> Site:
    """Write the boards of all prepared data sets with runs as a site that any web server can show.

    `index.html` lists them, `boards/` has their pages, and `times/` keeps each board whenever its results are others
    than before, so that a site that is made again into the same folder shows trends.

    Args:
        home: Folder of all artifacts.
        folder: Where the site is; pages in it are replaced.
        config: How boards are made, but for their metrics.
        requests: How many requests of each data set are sampled for its page.

    Raises:
        ArtifactError: If no data set has a board.
        OSError: If a file cannot be written.
    """
    made, notes, found = list[SiteBoard](), list[str](), list(_with_runs(home))
    for name in (BOARDS, TIMES) if found else ():
        (folder / name).mkdir(parents=True, exist_ok=True)
    for reference in found:
        log.info("making the board of %s", reference)
        try:
            made.append(_save_board(open_data(home, reference), folder, config, requests, notes))
        except BenchError as error:
            log.warning("%s is not on the site: %s", reference, error)
            notes.append(f"{reference} is not here: {error}")
    if not made:
        raise ArtifactError(
            f"no data set in {home} has a board" + "".join(f"; {note}" for note in notes),
            hint="Make a run first: llmrs-bench infer --model NAME --dataset NAME",
        )
    index = folder / "index.html"
    atomic_write(index, site_html(made, made=page_made(), notes=notes).encode())
    return Site(index, len(made), tuple(notes))


def _with_runs(home: Path) -> Iterator[str]:
    """Yield the prepared data sets that have runs."""
    for name, variants in prepared(home).items():
        for variant in variants:
            runs = home / name / variant / "runs"
            if runs.is_dir() and any(path.is_dir() and not path.name.startswith(".") for path in runs.iterdir()):
                yield f"{name}@{variant}"


def _save_board(data: Data, folder: Path, config: CompareConfig, requests: int, notes: list[str]) -> SiteBoard:
    comparison = build(data, [], config)
    name = data.place.reference
    save_page(
        folder / BOARDS / f"{name}.html", data, comparison.board, config, requests=requests, index="../index.html"
    )
    times = _kept(folder / TIMES / name, to_save(data, comparison, config))
    history = None
    if len(times) > 1:
        try:
            history = build_history([(each.made, each) for each in times], None, allowed=(), seed=config.seed)
        except IncomparableError as error:
            notes.append(f"{name}: no changes are shown, as its boards differ in more than results: {error}")
    runs = [str(row.about.get("made") or "") for row in comparison.board.rows]
    return SiteBoard(
        board=comparison.board,
        link=f"{BOARDS}/{name}.html",
        task={CLICK: "clicks", RATING: "ratings"}.get(data.task, "rankings"),
        size=scope_words(data),
        made=max(runs, default="") or times[-1].made,
        times=times,
        history=history,
    )


def _kept(folder: Path, saved: Saved) -> list[Saved]:
    """Return the boards of all times, and keep this one if its results are others than the last."""
    folder.mkdir(exist_ok=True)
    times = sorted((read_board(path) for path in folder.glob("*.parquet")), key=lambda each: each.made)
    if times and _results(times[-1]) == _results(saved):
        return times
    saved.write(folder / f"{saved.made.replace(':', '')}.parquet")
    return [*times, saved]


def _results(saved: Saved) -> Sequence[tuple[str, tuple[tuple[str, float], ...]]]:
    return [
        (row.run, tuple((metric, round(cell.mean, 9)) for metric, cell in row.cells.items()))
        for row in saved.board.rows
    ]
