"""Printed rows beside rows of the same models: which belong together, and what the protocols differ in."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from board_cases import board, entry
from llmrs_bench.leaderboard import PublishedRow, PublishedTable
from llmrs_bench.report.table import tables
from llmrs_bench.report.terminal import to_table
from llmrs_bench.stages.printed import _matches, known_as, published_tables

OURS = {
    **{"users": 200, "split": "leave-one-out", "candidates": "random", "n_candidates": 20, "include_seen": False},
    **{"interactions": 1_000_209, "items": 3706, "min_rating": None, "k_core": 0},
}


def text(made: Any, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(made)
    file: Any = console.file
    return str(file.getvalue())


def printed(*rows: tuple[str, str], stated: dict[str, Any] | None = None) -> PublishedTable:
    made = tuple(PublishedRow(model, setting, (0.5, 0.25)) for model, setting in rows)
    return PublishedTable("ranking", "a paper, Table 1", "", ("ndcg@1", "ndcg@10"), made, stated or {})


def found(table: PublishedTable, *models: str, ours: dict[str, Any] | None = None) -> list[tuple[str, str, list[str]]]:
    kinds = {"sasrec": "recommender", "bprmf": "recommender"}
    values = np.random.default_rng(0).random((len(models), 30))
    rows = [
        entry(name, values[at], model=name, kind=kinds.get(name, "language model"), about={"history": 20})
        for at, name in enumerate(models)
    ]
    made = _matches(table, board(rows)[0], {**OURS, **(ours or {})})
    return sorted((each.run, each.printed.setting, [name for name, _, _ in each.differences]) for each in made)


def test_models_are_the_same_by_name_and_by_how_they_were_tuned() -> None:
    table = printed(
        ("SASRec", "a"), ("SASRec", "b"), ("SASRec+", "c"), ("LLaMA3-8B", "zero-shot"), ("LLaMA3-8B", "LoRA")
    )
    assert found(table, "sasrec", "bprmf", "llama-3-8b", "llama-3-8b+lora-256", "llama-3-8b+full-256") == [
        ("llama-3-8b", "zero-shot", []),
        ("llama-3-8b+lora-256", "LoRA", []),
        ("sasrec", "a", []),
        ("sasrec", "b", []),
    ]
    tuned = printed(("LLaMA3-8B", "ratings"), stated={"method": "lora"})
    assert [run for run, *_ in found(tuned, "llama-3-8b", "llama-3-8b+lora-256")] == ["llama-3-8b+lora-256"]


def test_what_differs_is_what_the_source_says_of_itself() -> None:
    stated = {"users": 6040, "include_seen": True, "n_candidates": 20, "history": 10}
    table = printed(("SASRec", ""), ("LLaMA3-8B", ""), stated=stated)
    assert found(table, "sasrec", "llama-3-8b") == [
        ("llama-3-8b", "", ["users", "seen items", "history"]),
        ("sasrec", "", ["users", "seen items"]),  # it reads what it was fitted on
    ]
    shown = found(printed(("LLaMA3-8B", "history 20"), ("LLaMA3-8B", "history 5")), "llama-3-8b")
    assert shown == [("llama-3-8b", "history 20", []), ("llama-3-8b", "history 5", ["history"])]
    whole = printed(("SASRec", ""), stated={"candidates": "all", "n_candidates": 20, "k_core": 10, "min_rating": 3})
    assert found(whole, "sasrec") == [("sasrec", "", ["candidates", "k-core", "least rating"])]
    assert found(whole, "sasrec", ours={"candidates": "all", "k_core": 10, "min_rating": 3.0}) == [("sasrec", "", [])]


def test_a_board_shows_both_beside_each_other() -> None:
    made, _ = board(
        [entry("r", {"hit@1": np.full(9, 0.5), "ndcg@10": np.full(9, 0.75)}, model="sasrec")], ("hit@1", "ndcg@10")
    )
    table = printed(("SASRec", "<1M"), ("GPT-4", ""), stated={"users": 6040})
    matched = replace(table, matches=tuple(_matches(table, made, OURS)))
    (shown,) = [each for each in tables(replace(made, published=(matched,))) if each.kind == "matched"]
    assert shown.note == "Differences: users 200, printed 6,040."
    assert {column.line: column.fields for column in shown.columns} == {
        "ndcg@10 (printed)": ("0.7500 (0.2500)",),
        "ndcg@1 (printed)": ("0.5000 (0.5000)",),  # the same as hit@1
        "differs in": ("users",),
        "printed as": ("SASRec (<1M)",),
    }
    assert not [each for each in tables(replace(made, published=(table,))) if each.kind == "matched"]
    twice = printed(("SASRec", "first"), ("SASRec", "second"))
    twice = replace(twice, matches=tuple(_matches(twice, made, OURS)))
    said = text(to_table(replace(made, published=(twice,)), 60), 60)
    assert "SASRec (second)" in said  # which is which
    assert "left out: ndcg@1 (printed)" in said


@pytest.mark.parametrize("dataset", ["ml1m", "books"])
def test_what_tables_state_is_what_can_be_compared(dataset: str) -> None:
    known = {*OURS, "history", "method"}
    for table in [*published_tables(dataset), *published_tables(dataset, "paper-ctr")]:
        assert set(table.stated) <= known
        assert table.stated.get("candidates") in (None, "random", "popularity", "all", "found by a model")
    assert known_as(PublishedRow("LLaMA2-chat", "context 4K, 70B", ())) == "llama-2-70b-chat"
    assert known_as(PublishedRow("GPT-4", "context 8K", ())) is None
