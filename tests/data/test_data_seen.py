"""What a user has seen and did not like is no candidate; a list without a choice is no request."""

from pathlib import Path

import polars as pl
import pytest

from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import DataError
from llmrs_bench.data.candidates import Requests, Retrieve, make_requests, read_lists
from llmrs_bench.data.sources import EVENTS
from llmrs_bench.data.split import filter_events, leave_one_out

# A reader likes books 1 to 4 and 11 to 14; 5 to 8 were seen before the target and disliked, 9 and 10 after it.
ROWS = [
    *[("u", f"b{at}", float(at), 5.0) for at in (1, 2, 3)],
    *[("u", f"b{at}", 4.0, 1.0) for at in (5, 6, 7, 8)],
    ("u", "b4", 4.5, 5.0),
    *[("u", f"b{at}", 9.0, 1.0) for at in (9, 10)],
    *[("v", f"b{at}", float(at), 5.0) for at in range(1, 15)],
]


def make(retrieve: Retrieve | None = None, *, size: int = 20, **options: object) -> Requests:
    kept = filter_events(pl.DataFrame(ROWS, schema=EVENTS, orient="row"), min_rating=3, k_core=0)
    sizes = {} if options.get("candidates") == "all" else {"n_candidates": size}
    config = PrepareConfig.model_validate({"dataset": "x", "users": "all", **sizes, **options})
    catalogue = kept.events["item_id"].unique().to_list()
    return make_requests(leave_one_out(kept.events), config, catalogue=catalogue, retrieve=retrieve, seen=kept.disliked)


def shown(made: Requests) -> list[str]:
    return sorted(made.requests.filter(user_id="u")["candidates"].to_list()[0], key=lambda name: int(name[1:]))


def test_what_was_disliked_up_to_the_target_is_no_negative() -> None:
    assert shown(make()) == [f"b{at}" for at in (4, 9, 10, 11, 12, 13, 14)]
    assert "items the user has seen are left out" in make().rules
    assert len(shown(make(include_seen=True))) == 14


def test_a_model_finds_as_many_more_items_as_it_may_not_list() -> None:
    def best(requests: pl.DataFrame, depth: int) -> dict[str, list[str]]:
        return {name: [f"b{at}" for at in range(4, 15)][:depth] for name in requests["request_id"]}

    assert shown(make(best, size=4, candidates="model:x")) == ["b4", "b9", "b10", "b11"]


def test_where_the_whole_catalogue_is_ranked_the_rule_says_what_is_left_out() -> None:
    assert any("those rated low" in rule and "are ranked" in rule for rule in make(candidates="all").rules)


def test_lists_that_hold_their_target_alone_are_no_requests(tmp_path: Path) -> None:
    lists = tmp_path / "lists.tsv"
    lists.write_text("u\tb1 b2 b5\nv\tx1 x2\n")
    with pytest.raises(DataError, match=r"nothing to choose from; 2 of 5 candidates in .* are no items"):
        make(candidates=f"file:{lists}")
    lists.write_text("u\tb11 b12 b13\nv\tx1 x2\n")
    made = make(candidates=f"file:{lists}")
    assert made.requests["user_id"].to_list() == made.truth["request_id"].str.strip_prefix("test-").to_list() == ["u"]
    assert (made.facts["requests"], made.facts["lists_without_choice_dropped"]) == (1, 1)
    assert any("1 of 2 lists hold the target alone" in warning for warning in made.warnings)


def test_tabs_part_the_items_of_lists_whose_ids_hold_spaces(tmp_path: Path) -> None:
    lists = tmp_path / "lists.tsv"
    lists.write_text("u\tbook one\tbook two\nv\tbook three\n")
    assert read_lists(lists) == {"u": ["book one", "book two"], "v": ["book three"]}
    lists.write_text("u\tone two\nv\tthree\n")
    assert read_lists(lists) == {"u": ["one", "two"], "v": ["three"]}


def test_candidates_that_cannot_be_named_are_counted_with_the_reason(tmp_path: Path) -> None:
    rows = [("u", f"book {at}", float(at), None) for at in range(4)] + [("v", "plain", 1.0, None)]
    split = leave_one_out(pl.DataFrame(rows, schema=EVENTS, orient="row"))
    lists = tmp_path / "lists.tsv"
    lists.write_text("u\tbook 1 plain\n")
    config = PrepareConfig(dataset="x", candidates=f"file:{lists}")
    made = make_requests(split, config, catalogue=[*(f"book {at}" for at in range(4)), "plain"])
    assert any("2 of 3 candidates" in warning and "hold spaces" in warning for warning in made.warnings)


def test_data_in_which_nothing_counts_says_so() -> None:
    rows = [("u", f"b{at}", float(at), 1.0 if at else 5.0) for at in range(9)]
    kept = filter_events(pl.DataFrame(rows, schema=EVENTS, orient="row"), min_rating=3, k_core=0)
    with pytest.raises(DataError, match="8 events do not count: rated low, or shown and not chosen"):
        make_requests(leave_one_out(kept.events), PrepareConfig(dataset="x"), catalogue=["b0"], seen=kept.disliked)
