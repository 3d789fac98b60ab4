"""Primary comparisons are corrected by themselves, whether they are declared or those of the headline."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from board_cases import board, entry
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard import BOUND, Board, EvaluatedRun
from llmrs_bench.leaderboard.family import Family
from llmrs_bench.report.headline import headline
from llmrs_bench.report.table import tables
from llmrs_bench.stats import CORRECTIONS

USERS = 120
RNG = np.random.default_rng(0)
COMMON = RNG.normal(0, 0.2, USERS)
LM = "language model"


def row(name: str, level: float, kind: str = "recommender") -> EvaluatedRun:
    noise = np.random.default_rng([*name.encode()]).normal(0, 0.1, (2, USERS))
    values = {"ndcg@10": level + COMMON + noise[0], "mrr": level + COMMON + noise[1]}
    return entry(f"{name}-run", values, model=name, kind=kind, about={})


ROWS = (
    row("lm-a", 0.50, LM),
    row("lm-b", 0.45, LM),
    row("sasrec", 0.52),
    row("itemknn", 0.42),
    row("mix", 0.53, "fusion"),
    row("top", 0.9, BOUND),
    replace(row("chance", 0.1), exact=True),
)


def made(**plan: object) -> Board:
    return board(ROWS, ("ndcg@10", "mrr"), **plan)[0]


def family(found: Board) -> Family:
    assert found.family is not None
    return found.family


def test_undeclared_they_are_language_models_against_other_models_in_the_main_metric() -> None:
    found = family(made())
    assert found == Family(
        ("ndcg@10",), ("lm-a-run", "lm-b-run"), ("sasrec-run", "itemknn-run"), pairs=4, declared=False
    )
    assert found.holds("ndcg@10", "sasrec-run", "lm-b-run")
    assert not found.holds("mrr", "sasrec-run", "lm-b-run")
    assert not found.holds("ndcg@10", "sasrec-run", "itemknn-run")


def test_both_families_are_corrected_apart() -> None:
    shown = made()
    for primary in (True, False):
        pairs = [each for each in shown.differences if each.primary is primary]
        corrected = CORRECTIONS["holm"](np.array([each.p for each in pairs]))
        assert [each.corrected for each in pairs] == pytest.approx(corrected)
    assert sum(each.primary for each in shown.differences) == 4
    assert len(shown.differences) == shown.tests == 15 * 2
    plain = made(correction="none")
    assert all(each.p == each.corrected for each in plain.differences)


def test_a_declared_family_is_what_was_named() -> None:
    shown = made(primary=("mrr",), main=("lm-a",), against=("sasrec", "itemknn-r"))
    assert family(shown) == Family(("mrr",), ("lm-a-run",), ("sasrec-run", "itemknn-run"), pairs=2, declared=True)
    assert shown.key == "mrr"
    assert [(pair.run, pair.metric, pair.contrast.against) for pair in shown.primary] == [
        ("lm-a-run", "mrr", "sasrec-run"),
        ("lm-a-run", "mrr", "itemknn-run"),
    ]
    one = made(main=("lm-b",), against=("itemknn",))
    assert family(one).pairs == 1
    assert one.primary[0].contrast.corrected == one.primary[0].contrast.p
    both = made(primary=("ndcg@10", "mrr"), against=("sasrec",))
    assert family(both).pairs == 4
    assert both.key == "ndcg@10"


def test_the_headline_and_the_tables_name_the_family_of_each_p() -> None:
    text = "\n".join(headline(made(main=("lm-a",), against=("itemknn",))))
    assert "The language model is better than itemknn" in text
    assert "(one primary pair)" in text
    assert "sasrec" in text
    assert "(Holm over 29 exploratory pairs)" in text
    titles = [table.title for table in tables(made()) if table.kind == "tests"]
    assert titles == [
        "primary: against sasrec in ndcg@10, on the same users (Holm over 4 primary pairs)",
        "exploratory: against the best in ndcg@10, mix, on the same users (Holm over 26 exploratory pairs)",
    ]
    assert (
        "primary comparisons: declared, in mrr; Holm over 2 pairs"
        in made(primary=("mrr",), against=("sasrec",)).protocol
    )


def test_where_a_language_model_is_best_the_others_are_shown_against_it() -> None:
    shown = board([row("lm", 0.9, LM), row("sasrec", 0.5), row("itemknn", 0.4)], ("ndcg@10",))[0]
    assert [(pair.run, pair.contrast.against) for pair in shown.primary] == [
        ("sasrec-run", "lm-run"),
        ("itemknn-run", "lm-run"),
    ]
    assert [cell.versus for cell in (each.cells["ndcg@10"] for each in shown.rows[1:])] == [
        pair.contrast for pair in shown.primary
    ]


def test_without_a_language_model_all_pairs_are_one_family_unless_rows_are_named() -> None:
    rows = [row("sasrec", 0.5), row("itemknn", 0.4), row("bpr", 0.3)]
    alone = board(rows)[0]
    assert alone.family is None
    assert any("Holm over all 3 pairs, p" in line for line in alone.protocol)
    named = board(rows, against=("itemknn",))[0]
    assert (family(named).main, family(named).pairs) == (("sasrec-run", "bpr-run"), 2)


def test_groups_of_requests_are_exploratory() -> None:
    names = [f"r{number:04d}" for number in range(USERS)]
    groups = pl.DataFrame({"request_id": names, "group": ["a", "b"] * (USERS // 2), "order": [0, 1] * (USERS // 2)})
    shown = made(groups=groups, by="thing")
    cells = [each.cells["ndcg@10"] for section in shown.sections for each in section.rows]
    assert not any(cell.versus.primary for cell in cells if cell.versus is not None)
    assert "exploratory comparisons: all others (pairs of rows, metrics, groups), Holm over 86 pairs" in shown.protocol


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"primary": ("ndcg@10", "hit@1")}, "--primary hit@1: the leaderboard has no tests of this metric"),
        ({"against": ("bert",)}, "--against bert: no row has this name"),
        ({"main": ("top",)}, "--main top: no row has this name"),
        ({"main": ("lm-a",), "against": ("lm-a",)}, "no pair of rows is left as a primary comparison"),
    ],
)
def test_what_is_not_on_the_board_is_an_error(plan: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        made(**plan)
