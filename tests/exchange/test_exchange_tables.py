"""Files for other tools: what is in them, and what cannot be."""

import json
from pathlib import Path

import polars as pl
import pytest

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import RANKINGS, TRUTH
from llmrs_bench.exchange.writing import write_ranx_qrels, write_ranx_run, write_trec_qrels, write_trec_run


def rankings(*, request: str = "r1") -> pl.DataFrame:
    rows = [(request, "b", 1, 0.5), (request, "a", 2, 0.5), (request, "c", 3, None), ("r2", "c", 1, 9.0)]
    return pl.DataFrame(rows, schema=RANKINGS, orient="row")


def truth(label: float = 1.0) -> pl.DataFrame:
    return pl.DataFrame([("r1", "a", label), ("r2", "c", 2.0)], schema=TRUTH, orient="row")


def test_a_trec_run_has_scores_that_fall_with_the_rank_ties_and_silence_or_not(tmp_path: Path) -> None:
    write_trec_run(rankings(), tmp_path / "x", tag="mine")
    assert (tmp_path / "x").read_text("utf-8") == (
        "r1 Q0 b 1 3 mine\nr1 Q0 a 2 2 mine\nr1 Q0 c 3 1 mine\nr2 Q0 c 1 1 mine\n"
    )


def test_qrels_have_whole_labels(tmp_path: Path) -> None:
    write_trec_qrels(truth(), tmp_path / "x")
    assert (tmp_path / "x").read_text("utf-8") == "r1 0 a 1\nr2 0 c 2\n"
    write_ranx_qrels(truth(), tmp_path / "y")
    assert json.loads((tmp_path / "y").read_text("utf-8")) == {"r1": {"a": 1}, "r2": {"c": 2}}
    for write in (write_trec_qrels, write_ranx_qrels):
        with pytest.raises(DataError, match=r"not whole numbers, the first is 0\.5"):
            write(truth(0.5), tmp_path / "z")


def test_blanks_in_ids_stop_trec_and_not_ranx(tmp_path: Path) -> None:
    odd = rankings(request="r\t1")
    with pytest.raises(DataError, match=r"1 values of request_id hold blanks, the first is 'r\\t1'"):
        write_trec_run(odd, tmp_path / "x", tag="mine")
    write_ranx_run(odd, tmp_path / "y")
    assert json.loads((tmp_path / "y").read_text("utf-8")) == {"r\t1": {"b": 3, "a": 2, "c": 1}, "r2": {"c": 1}}
