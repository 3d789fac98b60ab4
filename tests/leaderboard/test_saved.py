"""Saved boards come back as they were, are small, and are told apart by their locks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pyarrow import compute as pc
from pyarrow import parquet as pq

from board_cases import board, entry
from llmrs_bench.core.errors import ArtifactError, IncomparableError
from llmrs_bench.leaderboard.comparability import (
    FIELDS,
    EvaluationProtocol,
    differences,
    refuse_differences,
    request_protocol,
)
from llmrs_bench.leaderboard.saved import Saved, from_parts, read_board, to_parts
from llmrs_bench.leaderboard.trends import build_history

WORDS: dict[str, str] = {name: f"the {name}" for name in FIELDS}


def requests(users: range, *, lists: str = "a", history: str = "h") -> pl.DataFrame:
    rows = [
        {"request_id": f"r{n:04d}", "cutoff": n, "history": [history, str(n)], "candidates": [lists, "x", str(n)]}
        for n in users
    ]
    return pl.DataFrame(rows)


def protocol(users: range = range(300), **more: str) -> EvaluationProtocol:
    return request_protocol(requests(users, **more), WORDS)


def saved(shift: float = 0.0, made: str = "2026-01-01", users: int = 300, seed: int = 0) -> Saved:
    noise = np.random.default_rng(seed).normal(0, 0.2, (3, users))
    entries = [entry("moving", 0.5 + shift + noise[0] + 0.01 * noise[2]), entry("steady", 0.3 + noise[1])]
    versions = {"llmrs-bench": "1.0", "vllm": "9"}
    entries[0] = replace(entries[0], about={"engine": "vllm", "versions": versions, "kinds": {"complete": 2}})
    shown, matrix = board(entries)
    return Saved(shown, matrix, protocol(range(users)), made, versions)


def test_a_saved_board_comes_back_as_it_was() -> None:
    before = saved()
    after = from_parts(*to_parts(before), name="x")
    assert after.board == replace(before.board, differences=())
    assert after.matrix.requests == before.matrix.requests
    assert np.array_equal(after.matrix.values["ndcg@10"], before.matrix.values["ndcg@10"])
    assert [line.label for line in after.matrix.lines] == ["moving", "steady"]
    assert not differences(before.protocol, after.protocol)


def test_whose_requests_are_is_saved_and_steps_are_of_users() -> None:
    owners = {f"r{number:04d}": f"u{number // 30}" for number in range(300)}
    own = np.random.default_rng(3).normal(0, 0.2, 10).repeat(30)
    boards = []
    for day in (0, 1):
        shown, matrix = board([entry("moving", 0.5 + day * own), entry("steady", own)], users=owners, unit="requests")
        made = Saved(shown, matrix, protocol(), f"2026-01-0{1 + day}", {})
        boards.append((f"{day}", from_parts(*to_parts(made), name="x")))
        assert boards[-1][1].matrix.n_users == 10
    assert boards[0][1].matrix.users is not None
    trend = next(each for each in build_history(boards, None, allowed=(), seed=0).trends if each.row == "moving")
    # 300 requests would tell the second day from the first; ten users whose values go up and down do not.
    assert (trend.points[1].p or 0) > 0.05


def test_twenty_runs_of_a_thousand_users_fit_into_two_megabytes(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    metrics = ("a", "b", "c", "ndcg@10")
    entries = [entry(f"run{n}", {m: generator.random(1000) for m in metrics}) for n in range(20)]
    shown, matrix = board(entries, metrics, samples=100, permutations=100)
    table, description = to_parts(Saved(shown, matrix, protocol(range(1000)), "2026-01-01", {}))
    arrow = table.to_arrow().replace_schema_metadata({b"x": description.encode()})
    pq.write_table(arrow, tmp_path / "board.parquet", compression="zstd")
    assert (tmp_path / "board.parquet").stat().st_size < 2_000_000  # of values that are all different


def test_what_is_no_board_is_refused() -> None:
    table, description = to_parts(saved())
    for text in ("{}", "nothing", description.replace('"format":1', '"format":99')):
        with pytest.raises(ArtifactError, match=r"is not a saved board of format 1|a board of format 99"):
            from_parts(table, text, name="board.parquet")
    with pytest.raises(ArtifactError, match="or damaged"):
        from_parts(table.drop("0:ndcg@10"), description, name="board.parquet")


def test_a_saved_board_whose_values_or_words_were_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "board.parquet"
    saved().write(path)
    table = pq.read_table(path)
    assert read_board(path).made == saved().made
    place = table.schema.get_field_index("0:ndcg@10")
    moved = table.set_column(place, "0:ndcg@10", pc.add(table["0:ndcg@10"], 0.01))
    said = table.schema.metadata[b"llmrs-bench board"]
    kept = {**table.schema.metadata, b"llmrs-bench board": said.replace(b"steady", b"steadx")}
    for changed in (moved, table.replace_schema_metadata(kept)):
        pq.write_table(changed, path)
        with pytest.raises(ArtifactError, match="do not match its digest"):
            read_board(path)


def test_no_flipped_byte_of_a_saved_board_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "board.parquet"
    saved().write(path)
    whole, (values, description) = path.read_bytes(), to_parts(read_board(path))
    met = set[str]()
    for place in range(900, len(whole), 3701):
        for flip in (1, 128):  # 128: no UTF-8
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            try:
                found = to_parts(read_board(path))
                assert (found[0].equals(values), found[1]) == (True, description)
                met.add("same")
            except ArtifactError as error:
                met.add("digest" if "its digest" in error.message else "read")
    assert {"digest", "read"} <= met <= {"same", "digest", "read"}  # some bytes of a file hold nothing


def test_locks_name_the_field_that_differs() -> None:
    assert list(differences(protocol(), protocol(lists="b"))) == ["candidates"]
    assert list(differences(protocol(), protocol(history="other"))) == ["split"]
    assert list(differences(protocol(), protocol(range(200)))) == ["users"]  # the same lists for those who are in both
    for name in ("data", "tie-rule", "metric-definition"):
        other = request_protocol(requests(range(300)), {**WORDS, name: "another"})
        assert differences(protocol(), other) == {name: (f"the {name}", "another")}
    found = differences(protocol(), protocol(range(200), lists="b"))
    assert list(found) == ["users", "candidates"]
    assert "200 of 200 lists differ" in found["candidates"][1]


def test_differences_are_refused_unless_allowed() -> None:
    found = differences(protocol(), protocol(range(200), lists="b"))
    with pytest.raises(IncomparableError, match="candidates: the candidates for A") as caught:
        refuse_differences(found, ["users"], one="A", other="B")
    assert caught.value.exit_code == 4
    assert "--allow-different candidates" in caught.value.hint
    notes = refuse_differences(found, ["users", "candidates"], one="A", other="B")
    assert [note.partition(", as allowed")[0] for note in notes] == ["B differs in users", "B differs in candidates"]


def test_history_flags_the_jump_and_nothing_else() -> None:
    boards = [("c", saved(0.1, "2026-03-01")), ("a", saved(0.0, "2026-01-01")), ("b", saved(0.0, "2026-02-01"))]
    found = build_history(boards, None, allowed=(), seed=0)
    assert found.boards == ("a", "b", "c")
    trends = {trend.row: trend.points for trend in found.trends}
    assert [point.jump for point in trends["moving"]] == [False, False, True]
    assert [point.p for point in trends["moving"]][:2] == [None, 1.0]
    assert trends["moving"][2].difference == pytest.approx(0.1)
    assert trends["moving"][0].versions == "llmrs-bench 1.0, vllm 9"
    assert not any(point.jump for point in trends["steady"])


def test_history_refuses_other_data_and_falls_back_on_intervals_without_common_requests() -> None:
    first, second = saved(), saved(0.4, "2026-02-01")
    others = tuple(f"x{n}" for n in range(300))
    second = replace(
        second, protocol=replace(second.protocol, requests=others), matrix=replace(second.matrix, requests=others)
    )
    with pytest.raises(IncomparableError, match=r"users: the users for a, the users \(0 in common\) for b"):
        build_history([("a", first), ("b", second)], None, allowed=(), seed=0)
    found = build_history([("a", first), ("b", second)], None, allowed=("users",), seed=0)
    point = found.trends[0].points[1]
    assert (point.p, point.difference, point.jump) == (None, None, True)
    assert not found.trends[1].points[1].jump
