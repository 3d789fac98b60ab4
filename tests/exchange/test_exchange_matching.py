"""Rankings from elsewhere against requests: what becomes of good rows, and every fault in one message."""

import polars as pl
import pytest

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.schemas import REQUESTS
from llmrs_bench.exchange.reading import Field, Matched, match, read_rankings

ITEMS = pl.Series(["a", "b", "c", "d"])
USERS = pl.Series(["1", "1", "2", "3"])


def requests(candidates: list[str] | None = None) -> pl.DataFrame:
    rows = [
        {"request_id": f"test-{user}", "user_id": user, "part": "test", "cutoff": 0, "history": ["d"]} for user in "12"
    ]
    return pl.DataFrame([{**row, "candidates": candidates} for row in rows], schema=REQUESTS)


def matched(lines: str, *, lists: list[str] | None = ["a", "b", "c"], include_seen: bool = False) -> Matched:  # noqa: B006
    return match(read_rankings(lines.encode(), name="x.csv"), Field(requests(lists), ITEMS, USERS, include_seen))


def scores(found: Matched) -> list[tuple[str, str, float]]:
    return found.scores.rows()


def test_ranks_become_scores_the_smaller_the_better() -> None:
    found = matched("user_id,item_id,rank\n1,a,2\n1,b,1\n")
    assert scores(found) == [("test-1", "a", -2.0), ("test-1", "b", -1.0)]
    assert (found.unanswered, found.untested) == (1, 0)


def test_scores_decide_and_empty_ones_are_silent() -> None:
    found = matched("request_id,item_id,rank,score\ntest-1,a,1,5\ntest-1,b,2,\ntest-2,c,1,1e-3\n")
    assert scores(found) == [("test-1", "a", 5.0), ("test-2", "c", 0.001)]
    assert found.unanswered == 0


def test_a_request_without_any_score_is_silent() -> None:
    assert matched("request_id,item_id,score\ntest-1,a,\ntest-2,c,1\n").unanswered == 1


def test_equal_ranks_beside_scores_contradict_nothing() -> None:
    assert len(scores(matched("user_id,item_id,rank,score\n1,a,0,1\n1,b,0,2\n1,c,0,2\n"))) == 3


@pytest.mark.parametrize("key", ["1", "test-1"])
def test_a_trec_run_may_name_users_or_requests(key: str) -> None:
    assert scores(matched(f"{key} Q0 a 1 2.5 tag\n")) == [("test-1", "a", 2.5)]


def test_users_of_the_data_who_are_not_tested_are_left_out_and_counted() -> None:
    found = matched("user_id,item_id,rank\n3,a,1\n3,zzz,1\n1,b,1\n")
    assert scores(found) == [("test-1", "b", -1.0)]
    assert found.untested == 1


def test_without_lists_any_unseen_item_may_be_ranked() -> None:
    lines = "user_id,item_id,rank\n1,a,1\n1,d,2\n"
    with pytest.raises(DataError, match="not candidates of their request: 1 \\('d' of '1'\\)"):
        matched(lines, lists=None)
    assert len(scores(matched(lines, lists=None, include_seen=True))) == 2


FAULTS = {
    "user_id,item_id,rank\nzed,a,1\nzoe,a,1\n": "rows of unknown users: 2 ('zed', 'zoe'; a known one is '1')",
    "request_id,item_id,rank\n1,a,1\n": "rows of unknown requests: 1 ('1'; a known one is 'test-1')",
    "9 Q0 a 1 1 t\n": "rows of unknown users: 1 ('9'",
    "user_id,item_id,rank\n,a,1\n1,,1\n": "rows without a request, user or item: 2",
    "user_id,item_id,rank\n1,q,1\n": "items that are not in the data set: 1 ('q')",
    "user_id,item_id,rank\n1,d,1\n2,d,1\n": "not candidates of their request: 2 ('d' of '1', 'd' of '2')",
    "user_id,item_id,rank\n1,a,1\n1,a,2\n1,a,3\n": "ranked again in one request: 2 ('a' of '1')",
    "user_id,item_id,score\n1,a,NaN\n1,b,-inf\n": "values of score that are NaN or infinite: 2",
    "user_id,item_id,score\n1,a,top\n": "values of score that are not numbers: 1 ('top')",
    "user_id,item_id,rank\n1,a,first\n": "values of rank that are not numbers: 1 ('first')",
    "user_id,item_id,rank\n1,a,\n": "rows without a rank: 1 ('a' of '1')",
    "user_id,item_id,rank,score\n1,a,1,0.1\n1,b,2,0.2\n": "rank and score contradict each other: 1 (",
    "user_id,item_id,rank,score\n1,a,1,\n1,b,2,0.2\n": "rank and score contradict each other: 1 (",
    "user_id,item_id,score\n1,a,\n1,b,\n": "score is empty in all 2 rows",
    "request_id,user_id,item_id,rank\ntest-1,2,a,1\ntest-2,2,a,1\n": "is not that of their request_id: 1 ('2' in",
    "user_id,item_id,rank\n3,a,1\n": "has no ranking for any test user",
}


@pytest.mark.parametrize(("lines", "words"), FAULTS.items(), ids=FAULTS.values())
def test_every_fault_has_its_count_and_examples(lines: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        matched(lines)
    assert words in caught.value.message
    assert caught.value.message.startswith("x.csv")


def test_a_contradiction_names_the_item_and_not_its_equals() -> None:
    with pytest.raises(DataError) as caught:
        matched("user_id,item_id,rank,score\n1,a,3,3\n1,b,1,2\n1,c,2,2\n2,a,1,9\n2,b,2,9\n")
    assert "contradict each other: 1 (" in caught.value.message
    assert "'b' of '1', 'c' of '1'" in caught.value.message
    assert "of '2'" not in caught.value.message


def test_all_faults_stand_in_one_message() -> None:
    with pytest.raises(DataError) as caught:
        matched("user_id,item_id,rank,score\nzed,a,1,1\n1,q,1,1\n1,a,1,nan\n1,a,1,x\n")
    for words in ("unknown users", "not in the data set", "ranked again", "NaN", "not numbers"):
        assert words in caught.value.message


def test_examples_stop_at_three() -> None:
    with pytest.raises(DataError) as caught:
        matched("user_id,item_id,rank\n" + "".join(f"z{number},a,1\n" for number in range(9)))
    assert "'z0', 'z1', 'z2', ...;" in caught.value.message
