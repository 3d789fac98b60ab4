"""The matrix of what models were tuned on and tested on: sources, differences, rows to beat."""

from typing import Any

import numpy as np
import pytest

from board_cases import entry
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard import BoardPlan, EvaluatedRun
from llmrs_bench.leaderboard.board import Factors
from llmrs_bench.leaderboard.transfer import NO_SOURCE, Target, Transfer, build_transfer

USERS = 200
WORDS = {"template": "label"}


def values(mean: float, seed: int = 0) -> Any:
    noise = np.random.default_rng(seed).normal(0, 0.1, USERS)
    return mean + noise - noise.mean()


def untuned(mean: float, **words: str) -> EvaluatedRun:
    factors = Factors("smol", {**WORDS, **words}, {"history": 10.0})
    return entry(f"smol{words}", values(mean), model="smol", kind="language model", factors=factors)


def tuned(mean: float, source: str = "", *, seed: int = 0, samples: int = 64) -> EvaluatedRun:
    words = {**WORDS, "rank": "rank=4"} | ({"tuned_on": f"tuned_on={source}"} if source else {})
    tuning = frozenset({"rank", "tuned_on"})
    factors = Factors("smol+lora", words, {"samples": float(samples)}, seed=str(seed), tuning=tuning)
    run = f"tuned-{source}-{seed}-{samples}"
    return entry(run, values(mean, seed + 1), model=f"smol+lora-{samples}", kind="language model", factors=factors)


def matrix(films: list[EvaluatedRun], books: list[EvaluatedRun], **plan: Any) -> Transfer:
    made = BoardPlan(("ndcg@10",), **({"samples": 400, "permutations": 2000} | plan))
    return build_transfer([Target("films", tuple(films), made), Target("books", tuple(books), made)], "ndcg@10", ["n"])


def test_rows_are_sources_and_columns_targets() -> None:
    made = matrix(
        [untuned(0.3), tuned(0.4), entry("popularity", values(0.35), kind="baseline")],
        [untuned(0.2), tuned(0.25, "films"), entry("bm25", values(0.3)), entry("itemknn", values(0.5))],
    )
    rows = {(row.model, row.source): row.cells for row in made.rows}
    assert list(rows) == [("smol (label)", NO_SOURCE), ("smol (label)", "films"), ("bm25", ""), ("popularity", "")]
    assert rows["smol (label)", NO_SOURCE]["films"].cell.mean == pytest.approx(0.3)
    inside, outside = rows["smol (label)", "films"]["films"], rows["smol (label)", "films"]["books"]
    assert inside.difference == pytest.approx(0.1)
    assert outside.difference == pytest.approx(0.05)
    assert outside.corrected is not None
    assert outside.p is not None
    assert 0.01 > outside.corrected >= outside.p
    assert rows["bm25", ""].keys() == {"books"}
    assert made.targets == ("films", "books")
    assert made.notes == ("n",)


def test_the_untuned_model_has_the_same_template() -> None:
    made = matrix([untuned(0.3)], [untuned(0.2, template="likelihood"), tuned(0.25, "films")])
    [cell] = [row.cells["books"] for row in made.rows if row.source == "films"]
    assert (cell.difference, cell.p, cell.corrected) == (None, None, None)


def test_prompted_sources_stand_beside_tuned_ones() -> None:
    """Examples of another domain are a source; those of similar users are the target's own; one's own past is none."""

    def prompted(mean: float, whose: str, shots: int = 2) -> EvaluatedRun:
        return untuned(mean, shots=f"shots={shots}", **({"shots_from": f"shots_from={whose}"} if whose else {}))

    books = [untuned(0.2), tuned(0.25, "films"), prompted(0.3, "films@a"), prompted(0.35, "similar", 1)]
    found = matrix([untuned(0.3)], [*books, prompted(0.1, "")])
    rows = {(row.model, row.source, row.method): row.cells["books"] for row in found.rows if "books" in row.cells}
    assert {key: cell.difference for key, cell in rows.items()} == pytest.approx(
        {
            ("smol (label)", NO_SOURCE, ""): None,
            ("smol (label)", "films", "lora-64"): 0.05,
            ("smol (label)", "films", "2 examples in the prompt"): 0.1,
            ("smol (label)", "books", "1 example of similar users in the prompt"): 0.15,
            ("smol (label, shots=2)", NO_SOURCE, ""): None,
        }
    )


def test_what_was_asked_otherwise_is_no_seed() -> None:
    found = matrix([untuned(0.3)], [untuned(0.2), untuned(0.4, goal="goal=novelty"), tuned(0.25, "films")])
    means = {row.model: row.cells["books"].cell.mean for row in found.rows if row.source == NO_SOURCE}
    assert means == pytest.approx({"smol (label)": 0.2, "smol (label, goal=novelty)": 0.4})


def test_seeds_are_averaged() -> None:
    made = matrix([untuned(0.3)], [untuned(0.2), tuned(0.2, "films"), tuned(0.4, "films", seed=7)])
    [cell] = [row.cells["books"] for row in made.rows if row.source == "films"]
    assert cell.cell.mean == pytest.approx(0.3)


def test_other_numbers_of_samples_are_rows_of_their_own() -> None:
    made = matrix([untuned(0.3)], [untuned(0.2), tuned(0.2, "films"), tuned(0.4, "films", samples=256)])
    found = {row.method: row.cells["books"].cell.mean for row in made.rows if row.source == "films"}
    assert found == pytest.approx({"lora-64": 0.2, "lora-256": 0.4})


def test_without_a_model_asked_elsewhere_there_is_no_matrix() -> None:
    with pytest.raises(OptionError, match="no model that learned from one of films, books was asked on another"):
        matrix([untuned(0.3), tuned(0.4)], [untuned(0.2)])
