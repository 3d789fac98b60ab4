"""The board of a data set, of rankings or of labelled requests, and the board as it is saved."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from llmrs_bench.core.artifacts import versions
from llmrs_bench.core.config import CLICK, CompareConfig, Invalid
from llmrs_bench.core.errors import OptionError
from llmrs_bench.resampling import draw_ahead
from llmrs_bench.stages.workspace import Data

if TYPE_CHECKING:
    from llmrs_bench.leaderboard.comparability import EvaluationProtocol
    from llmrs_bench.leaderboard.saved import Saved
    from llmrs_bench.stages.compare import Comparison


def build(data: Data, names: Sequence[str], config: CompareConfig) -> "Comparison":
    """Build the board of a data set, of rankings or of labelled requests.

    Raises:
        OptionError: If labels are to be permuted, and it is no click data.
    """
    if config.null and data.task != CLICK:
        raise OptionError(
            f"--null {config.null} permutes labels of click data, and {data.place.reference} holds {data.task}s",
            hint="Leave it out.",
        )
    if data.labelled:
        from llmrs_bench.stages.compare_labelled import compare_labelled

        made = compare_labelled(data, names, config)
    else:
        draw_ahead(data.artifact.manifest.tables["requests"].rows, config.samples, config.seed)
        from llmrs_bench.stages.compare import compare

        made = compare(data, names, config)
    if made.missing or any(row.kind != "baseline" for row in made.board.rows):
        return made
    return made.noted(
        [f"this board has only baselines so far: llmrs-bench infer --model NAME --dataset {data.place.reference}"]
    )


def to_save(data: Data, comparison: "Comparison", config: CompareConfig, recipe: str | None = None) -> "Saved":
    """Return a board as it is saved; `recipe` is the TOML text that made it."""
    from llmrs_bench.leaderboard.saved import Saved

    made = datetime.now(UTC).isoformat(timespec="seconds")
    return Saved(comparison.board, comparison.matrix, protocol_of(data, config.invalid), made, versions(), recipe)


def protocol_of(data: Data, invalid: Invalid) -> "EvaluationProtocol":
    """Return what boards of a data set that are compared have in common."""
    if not data.labelled:
        from llmrs_bench.stages.compare import data_protocol

        return data_protocol(data, invalid)
    from llmrs_bench.stages.compare_labelled import labelled_protocol

    return labelled_protocol(data, invalid)
