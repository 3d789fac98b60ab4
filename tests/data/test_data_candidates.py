import gzip
from collections import Counter
from pathlib import Path

import pytest

from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.hashing import generator
from llmrs_bench.data.candidates import CandidatePool, Replay, begins_with_mark, read_lists, sampler_file
from llmrs_bench.stages.prepare import retrievers

IDS = [f"i{at}" for at in range(10)]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_draws_are_distinct_and_never_banned(count: int) -> None:
    for at in range(50):
        drawn = CandidatePool(IDS).draw("u", count, {"i1", "i2", "elsewhere"}, generator(at))
        assert len(set(drawn)) == count
        assert set(drawn) <= set(IDS) - {"i1", "i2"}


def test_what_is_left_is_drawn_where_more_is_asked() -> None:
    assert sorted(CandidatePool(IDS).draw("u", 50, IDS[2:], generator(0))) == ["i0", "i1"]
    assert CandidatePool(IDS).draw("u", 5, IDS, generator(0)) == []
    assert CandidatePool([], {}).draw("u", 5, [], generator(0)) == []


def test_the_order_of_the_catalogue_does_not_matter() -> None:
    big = [f"i{at}" for at in range(200)]
    for count in (5, 150):
        forward = CandidatePool(big).draw("u", count, {"i3"}, generator(1))
        assert CandidatePool([*reversed(big), "i7"]).draw("u", count, {"i3"}, generator(1)) == forward


@pytest.mark.parametrize("count", [1, 5])
def test_uniform_draws_are_uniform_by_either_way(count: int) -> None:
    # One of ten is drawn by rejection, five of ten at once: 4 * 5 > 10.
    pool = CandidatePool(IDS)
    seen = Counter(name for at in range(2000) for name in pool.draw("u", count, (), generator("uniform", at)))
    expected = 2000 * count / 10
    chi_square = sum((seen[name] - expected) ** 2 / expected for name in IDS)
    assert chi_square < 27.9  # 9 degrees of freedom, p = 0.001


@pytest.mark.parametrize("others", [0, 100])
def test_weighted_first_draws_follow_the_weights(others: int) -> None:
    weights = {"a": 60, "b": 30, "c": 10, **{f"x{at}": 1 for at in range(others)}}
    banned = {name for name in weights if name.startswith("x")}
    pool = CandidatePool(weights, weights)
    first = Counter(pool.draw("u", 2, banned, generator("weighted", at))[0] for at in range(3000))
    assert [round(first[name] / 3000, 1) for name in "abc"] == [0.6, 0.3, 0.1]


def test_items_without_weight_are_never_drawn() -> None:
    assert sorted(CandidatePool(IDS, {"i1": 5, "i2": 1, "gone": 9}).draw("u", 9, (), generator(0))) == ["i1", "i2"]


def test_heavy_banned_items_do_not_stall_the_draw() -> None:
    weights = {f"i{at}": 1 for at in range(100)} | {"giant": 10**12}
    drawn = CandidatePool(weights, weights).draw("u", 9, {"giant"}, generator(0))
    assert len(set(drawn)) == 9
    assert "giant" not in drawn


def test_replay_keeps_the_order_and_drops_unknown_banned_and_repeated() -> None:
    replay = Replay({"u": ["i3", "no", "i3", "i1", "i2", "i5"], "v": ["no"]}, IDS)
    assert replay.unknown_dropped == 2
    assert replay.draw("u", 2, {"i1"}, generator(0)) == ["i3", "i2"]
    assert replay.draw("u", 9, {"i1"}, generator(0)) == ["i3", "i2", "i5"]
    assert replay.draw("w", 9, (), generator(0)) == []


def test_sampler_names() -> None:
    for name in ("random", "popularity", "all", "model:sasrec", "model:sasrec+bm25", "model:./folder"):
        assert sampler_file(name) is None
    assert sampler_file("file:some/list.tsv") == Path("some/list.tsv")
    with pytest.raises(OptionError, match="unknown candidate sampler 'popular'") as caught:
        sampler_file("popular")
    assert "'popularity'" in caught.value.hint
    for name in ("file", "file:", "model", "model:", "models:x", ""):
        with pytest.raises(OptionError):
            sampler_file(name)


def test_lists_are_read_plain_and_packed(tmp_path: Path) -> None:
    text = b"u\ta b c\r\n\nv\t\n"
    (tmp_path / "lists.tsv").write_bytes(text)
    (tmp_path / "lists.tsv.gz").write_bytes(gzip.compress(text))
    for name in ("lists.tsv", "lists.tsv.gz"):
        assert read_lists(tmp_path / name) == {"u": ["a", "b", "c"], "v": []}
    (tmp_path / "lists.tsv").write_bytes(b"\xef\xbb\xbf" + text)
    assert list(read_lists(tmp_path / "lists.tsv")) == ["u", "v"]
    assert begins_with_mark(tmp_path / "lists.tsv")
    assert not begins_with_mark(tmp_path / "lists.tsv.gz")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"u\ta\nv a b\n", "line 2: not a list of candidates: 'v a b'"),
        (b"\ta b\n", "line 1: not a list"),
        (b"u\ta\nu\tb\n", "line 2: a second list of user 'u'"),
        (b"u\t\xff\n", "cannot be read"),
    ],
)
def test_malformed_lists_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "lists.tsv").write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_lists(tmp_path / "lists.tsv")
    assert "a tab" in caught.value.hint or "one line per user" in caught.value.hint


def test_missing_and_damaged_lists_are_errors(tmp_path: Path) -> None:
    (tmp_path / "lists.tsv.gz").write_bytes(gzip.compress(b"u\ta b c\n")[:-6])
    for name in ("lists.tsv.gz", "nothing.tsv"):
        with pytest.raises(DataError, match="cannot be read"):
            read_lists(tmp_path / name)


def test_language_models_make_no_lists() -> None:
    for name in ("mock", "llama-2-7b"):
        with pytest.raises(OptionError, match=f"'{name}' is a language model") as caught:
            retrievers(PrepareConfig(dataset="x", candidates=f"model:{name}"))
        assert "itemknn" in caught.value.hint
