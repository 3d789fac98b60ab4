"""The HTML report of a board: gathered, and written to one file."""

from pathlib import Path

from llmrs_bench.config import CompareConfig
from llmrs_bench.leaderboard import Board
from llmrs_bench.report.html import to_html
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.samples import gather
from llmrs_bench.stages.whole import write_whole


def save_page(path: Path, data: Data, board: Board, config: CompareConfig, *, requests: int) -> int:
    """Write the board and a sample of requests as a web page, in the place of what is there, and return its bytes.

    Args:
        path: The file; it appears whole or not at all.
        data: The prepared data set.
        board: The board of its runs.
        config: How the board was made; its seed draws the sample.
        requests: The size of the sample.

    Raises:
        ArtifactError: If a table is damaged.
        OSError: If the file cannot be written.
    """
    extra = gather(data, board, count=requests, seed=config.seed, invalid=config.invalid)
    page = to_html(board, extra).encode()
    write_whole(path, page)
    return len(page)
