"""Answers on disk: shards that are whole or absent, found by what was asked, and of one served model alone."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from llmrs_bench.core.errors import ArtifactError, DamagedError
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.core.types import Message, Prompt
from llmrs_bench.llm import cache
from llmrs_bench.llm.cache import ResponseCache, _read_shard, cache_key
from llmrs_bench.stages import serving

SERVED = {"model": {"content": "d1"}, "options": {"dtype": "float32"}}
PROMPT = Prompt("p", "r", (Message("user", "Which?"),), ("a", "b"), (" A", " B"))


def row(key: str, text: str = "1, 2") -> dict[str, Any]:
    return {
        "key": key,
        "text": text,
        "choice_logprobs": [[-0.1], [-2.0, -0.3]],
        "prompt_tokens": 3,
        "cached_tokens": 0,
        "completion_tokens": 2,
        "thinking_tokens": 0,
        "finish_reason": "stop",
        "n_truncated": 0,
        "without_attributes": False,
        "seconds": 0.5,
        "joules": None,
        "least_shown": None,
    }


def test_answers_are_found_by_another_process_as_they_were_returned(tmp_path: Path) -> None:
    store = ResponseCache(tmp_path, SERVED)
    kept = store.keep([row("k1"), row("k2", "2")], {"note": 1})
    again = ResponseCache(tmp_path, SERVED)
    assert again.find(["k2", "k1", "k3"]) == store.find(["k1", "k2"]) == kept
    assert kept["k1"]["choice_logprobs"] == pl.Series([[-0.1], [-2.0, -0.3]], dtype=pl.List(pl.Float32)).to_list()
    assert len(again) == 2
    assert again.sessions({kept["k1"]["session"]}) == {store.session: {"note": 1}}


def test_answers_that_were_kept_under_the_former_names_of_columns_are_still_read(tmp_path: Path) -> None:
    kept = ResponseCache(tmp_path, SERVED).keep([row("k1") | {"n_truncated": 3, "without_attributes": True}], {})
    shard = next((tmp_path / "shards").glob("*.parquet"))
    content = BytesIO()
    former = {"n_truncated": "clipped", "without_attributes": "bare"}
    pl.read_parquet(shard).drop("least_shown").rename(former).write_parquet(content)
    name, _, _ = shard.stem.rpartition("-")
    shard.unlink()
    shard.with_name(f"{name}-{sha256(content.getvalue()).hexdigest()[:16]}.parquet").write_bytes(content.getvalue())
    assert ResponseCache(tmp_path, SERVED).find(["k1"]) == kept


def test_shards_are_read_once_however_their_answers_are_scattered_while_they_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ResponseCache(tmp_path, SERVED)
    keys = [f"k{number}" for number in range(60)]
    for start in range(0, 60, 2):
        store.keep([row(key, f"answer to {key}") for key in keys[start : start + 2]], {})
    read: list[Path] = []

    def counted(path: Path) -> pl.DataFrame:
        read.append(path)
        return _read_shard(path)

    monkeypatch.setattr(cache, "_read_shard", counted)
    for start in (0, 1, 0, 1):
        found = store.find(keys[start::2])
        assert {key: found[key]["text"] for key in found} == {key: f"answer to {key}" for key in keys[start::2]}
    assert len(read) == len(set(read)) == 30
    size = sum(frame.estimated_size() for frame in store._frames.values())
    assert size == store._open
    monkeypatch.setattr(cache, "_OPEN", size / 3)
    assert len(store.find([*keys, "k60"])) == 60
    assert sum(frame.estimated_size() for frame in store._frames.values()) == store._open <= size / 3


def test_a_store_that_is_opened_again_reads_shards_that_are_new_or_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ResponseCache(tmp_path, SERVED).keep([row("k1")], {})
    read: list[Path] = []

    def counted(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
        read.append(path)
        return _read_shard(path, columns)

    monkeypatch.setattr(cache, "_read_shard", counted)
    assert len(ResponseCache(tmp_path, SERVED)) == 1
    assert not read
    shard = next((tmp_path / "shards").glob("*.parquet"))
    content = shard.read_bytes()
    shard.write_bytes(content)
    assert len(ResponseCache(tmp_path, SERVED)) == len(read) == 1
    shard.write_bytes(content[:-1])
    with pytest.raises(ArtifactError, match="damaged"):
        ResponseCache(tmp_path, SERVED)


def test_a_shard_that_was_not_finished_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    store = ResponseCache(tmp_path, SERVED)
    store.keep([row("k1")], {})
    whole = next((tmp_path / "shards").glob("*.parquet")).read_bytes()
    (tmp_path / "shards" / ".000002-abc.parquet.partial").write_bytes(whole[: len(whole) // 2])
    assert set(ResponseCache(tmp_path, SERVED).find(["k1", "k2"])) == {"k1"}


def test_two_processes_may_answer_the_same_and_all_readers_see_the_same_answer(tmp_path: Path) -> None:
    one, other = ResponseCache(tmp_path, SERVED), ResponseCache(tmp_path, SERVED)
    one.keep([row("k1", "one")], {})
    other.keep([row("k1", "other"), row("k2")], {})
    first = ResponseCache(tmp_path, SERVED).find(["k1"])
    assert first == ResponseCache(tmp_path, SERVED).find(["k1"])
    assert len(ResponseCache(tmp_path, SERVED)) == 2


@pytest.mark.parametrize(
    "other",
    [
        {**SERVED, "model": {"content": "d2"}},
        {**SERVED, "options": {"dtype": "bfloat16"}},
        {**SERVED, "chat": True},
    ],
)
def test_a_store_serves_no_other_model(tmp_path: Path, other: dict[str, Any]) -> None:
    ResponseCache(tmp_path, SERVED)
    with pytest.raises(ArtifactError, match="another model"):
        ResponseCache(tmp_path, other)
    assert ResponseCache(tmp_path / "x", other).fingerprint != ResponseCache(tmp_path, SERVED).fingerprint


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    ResponseCache(tmp_path, SERVED).keep([row("k1")], {})
    path = next((tmp_path / "shards").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match=path.name) as caught:
        ResponseCache(tmp_path, SERVED)
    assert str(path) in caught.value.hint


def test_every_flipped_byte_of_a_shard_is_found_and_only_its_answers_are_lost(tmp_path: Path) -> None:
    store = ResponseCache(tmp_path, SERVED)
    store.keep([row("k1")], {})
    store.keep([row("k2")], {})
    path = sorted((tmp_path / "shards").glob("*.parquet"))[0]
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ArtifactError, match=path.name) as caught:
            ResponseCache(tmp_path, SERVED)
        assert "are then asked for again" in caught.value.hint
    path.unlink()
    assert set(ResponseCache(tmp_path, SERVED).find(["k1", "k2"])) == {"k2"}


def test_a_missing_record_of_a_session_is_named(tmp_path: Path) -> None:
    store = ResponseCache(tmp_path, SERVED)
    store.keep([row("k1")], {})
    (tmp_path / "sessions" / f"{store.session}.json").unlink()
    with pytest.raises(ArtifactError, match=store.session) as caught:
        store.sessions({store.session})
    assert f"-{store.session}-" in caught.value.hint


@pytest.mark.parametrize("text", ['{"started": "2027', "[" * 9999, "7", '{"started": 7}', ""])
def test_a_changed_record_of_a_session_is_named(tmp_path: Path, text: str) -> None:
    store = ResponseCache(tmp_path, SERVED)
    store.keep([row("k1")], {"started": "2026-01-01T00:00:00+00:00"})
    path = tmp_path / "sessions" / f"{store.session}.json"
    path.write_text(path.read_text().replace('{\n  "started": "2026', text) if "2027" in text else text)
    with pytest.raises(DamagedError, match=path.name):
        store.began()


def test_answers_are_found_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmrs_bench.llm.cache._LATE", 3)
    store = ResponseCache(tmp_path, SERVED)
    for shard in range(6):
        store.keep([row(f"k{shard}{number}", f"{shard}.{number}") for number in range(2)], {})
    names = [f"k{shard}{number}" for shard in (5, 0, 3) for number in range(2)]
    for reader in (store, ResponseCache(tmp_path, SERVED)):
        found = reader.find([*names, "k", "k9", "zz"])
        assert {key: value["text"] for key, value in found.items()} == {name: f"{name[1]}.{name[2]}" for name in names}
        assert len(reader) == 12


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    ResponseCache(tmp_path, SERVED)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"store\.json"):
        ResponseCache(tmp_path, SERVED)
    named = tmp_path / f"mock-{fingerprint(SERVED)[:8]}"
    ResponseCache(named, SERVED)
    (named / "store.json").write_text(json.dumps({**SERVED, "seed": 77}))
    with pytest.raises(DamagedError, match=r"store\.json .* was changed"):
        ResponseCache(named, SERVED)


def test_a_failed_write_leaves_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResponseCache(tmp_path, SERVED)
    store.keep([row("k1")], {})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.keep([row("k2")], {})
    monkeypatch.undo()
    assert set(ResponseCache(tmp_path, SERVED).find(["k1", "k2"])) == {"k1"}


def test_a_key_is_that_of_everything_that_is_asked_and_of_nothing_else() -> None:
    changed = [
        replace(PROMPT, messages=(Message("user", "What?"),)),
        replace(PROMPT, messages=(Message("assistant", "Which?"),)),
        replace(PROMPT, messages=(Message("user", "Which"), Message("user", "?"))),
        replace(PROMPT, choices=(" A", " C")),
        replace(PROMPT, choices=(" B", " A")),
        replace(PROMPT, choices=None),
        replace(PROMPT, labels=True),
        replace(PROMPT, sample=1),
        replace(PROMPT, sample=2),
        replace(PROMPT, choices=None, grammar="permutation"),
        replace(PROMPT, choices=None, grammar="permutation", shown=("a", "b", "c")),
    ]
    keys = {cache_key(prompt) for prompt in [PROMPT, *changed]}
    assert len(keys) == len(changed) + 1
    assert cache_key(replace(PROMPT, prompt_id="q", request_id="s", shown=("c", "d"))) == cache_key(PROMPT)


def test_what_a_server_never_answered_is_found_on_request_alone_and_gives_way_to_an_answer(tmp_path: Path) -> None:
    store = ResponseCache(tmp_path, SERVED)
    store.keep([row("k1"), {**row("k2", ""), "finish_reason": "unanswered"}], {})
    for reader in (store, ResponseCache(tmp_path, SERVED)):
        assert set(reader.find(["k1", "k2"])) == {"k1"}
        assert set(reader.find(["k1", "k2"], unanswered=True)) == {"k1", "k2"}
    store.keep([row("k2", "2, 1")], {})
    for reader in (store, ResponseCache(tmp_path, SERVED)):
        assert {reader.find(["k2"], unanswered=known)["k2"]["text"] for known in (True, False)} == {"2, 1"}


def test_the_latest_round_of_answers_counts_also_after_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data: Any = SimpleNamespace(place=SimpleNamespace(answers=tmp_path))
    served: Any = SimpleNamespace(identity={"name": "m"})
    clock = datetime(2027, 3, 28, 12, tzinfo=UTC)

    def ask(**age: float) -> ResponseCache:
        monkeypatch.setattr(
            serving, "datetime", SimpleNamespace(now=lambda zone: clock, fromisoformat=datetime.fromisoformat)
        )
        store = serving.open_store(data, served, **age)
        if not len(store):
            store.keep([row("k1")], {"started": clock.isoformat()})
        return store

    first, second = ask(), ask(max_age=0.0)
    clock -= timedelta(days=1)
    third = ask(max_age=0.0)
    assert len({first.folder, second.folder, third.folder}) == 3
    assert ask().folder == ask(max_age=3600.0).folder == third.folder
    clock -= timedelta(days=7)  # answers of next week are as old as those of last week
    assert ask(max_age=3600.0).folder not in (second.folder, third.folder)
