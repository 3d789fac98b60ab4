"""Accuracy against trec_eval, by way of ir-measures, on random rankings without ties."""

import ir_measures
import numpy as np
import polars as pl
import pytest

from llmrs_bench.metrics import measure, parse_metrics
from ranked_lists import Lists, ranked, wanted

NAMES = {
    "ndcg@10": "nDCG@10",
    "ndcg@3": "nDCG@3",
    "ndcg": "nDCG",
    "mrr": "RR",
    "mrr@5": "RR@5",
    "recall@5": "R@5",
    "recall@20": "R@20",
    "precision@5": "P@5",
    "precision@20": "P@20",
    "map": "AP",
    "map@5": "AP@5",
    "hit@3": "Success@3",
}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_values_are_those_of_trec_eval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lists: Lists = {}
    targets: dict[str, list[str]] = {}
    for number in range(60):
        items = [f"i{item}" for item in rng.permutation(40)]
        lists[f"r{number}"] = (items[: rng.integers(1, 25)], [])
        targets[f"r{number}"] = [f"i{item}" for item in rng.permutation(40)[: rng.integers(1, 8)]]
    frame = measure(wanted(targets), ranked(lists), parse_metrics(list(NAMES)))
    ours = {(request, metric): value for request, metric, value in frame.iter_rows()}
    measures = [ir_measures.parse_measure(name) for name in NAMES.values()]
    qrels = [ir_measures.Qrel(name, item, 1) for name, items in targets.items() for item in items]
    run = [
        ir_measures.ScoredDoc(name, item, float(-rank))
        for name, (items, _) in lists.items()
        for rank, item in enumerate(items)
    ]
    named = {str(measure): ours for ours, measure in zip(NAMES, measures, strict=True)}
    theirs = {(row.query_id, named[str(row.measure)]): row.value for row in ir_measures.iter_calc(measures, qrels, run)}
    assert len(ours) == 60 * len(NAMES)
    assert ours == {key: pytest.approx(value, abs=1e-6) for key, value in theirs.items()}
    assert frame.group_by("metric").agg(pl.col("value").n_unique() > 2)["value"].sum() >= len(NAMES) - 1
