"""Tables written and read part by part are the tables written and read whole."""

import io
import os
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from errno import EINVAL
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from llmrs_bench.core.artifacts import Artifact, Recipe, new_artifact, open_artifact
from llmrs_bench.core.errors import ArtifactError, next_step
from llmrs_bench.core.schemas import ANSWERS, METRICS, PROMPTS, from_rows
from llmrs_bench.core.tables import TooLargeError, atomic_write, parts_digest, read_foreign

ROWS = [{"request_id": f"r{number}", "metric": "mrr", "value": number / 7} for number in range(10)]
FRAME = pl.DataFrame(ROWS, schema=METRICS)


def made(path: Path, *parts: pl.DataFrame) -> Artifact:
    with new_artifact(path, Recipe("evaluate", "run", {})) as draft:
        for part in parts:
            draft.write("metrics", part)
    return open_artifact(path, hint="")


def test_parts_make_the_same_table_as_the_whole(tmp_path: Path) -> None:
    whole = made(tmp_path / "whole", FRAME)
    parts = made(tmp_path / "parts", FRAME[:3], FRAME[3:3], FRAME[3:])
    assert parts.table("metrics").equals(FRAME)
    assert parts.digest("metrics") == whole.digest("metrics") == parts_digest([FRAME], "metrics")
    assert parts.manifest.tables["metrics"].rows == 10


@pytest.mark.parametrize("rows", [1, 3, 10, 99])
def test_a_table_is_read_in_parts_of_any_size(tmp_path: Path, rows: int) -> None:
    parts = list(made(tmp_path / "x", FRAME[:4], FRAME[4:]).parts("metrics", rows))
    assert pl.concat(parts).equals(FRAME)
    assert max(part.height for part in parts) <= rows


def test_parts_are_checked_before_the_first_one(tmp_path: Path) -> None:
    artifact = made(tmp_path / "x", FRAME)
    FRAME.with_columns(value=pl.lit(1.0)).write_parquet(artifact.path / "metrics.parquet")
    with pytest.raises(ArtifactError, match="digests differ"):
        next(artifact.parts("metrics", 5))
    (artifact.path / "metrics.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match="cannot be read"):
        next(artifact.parts("metrics", 5))


def test_an_empty_table_is_a_table(tmp_path: Path) -> None:
    artifact = made(tmp_path / "x", FRAME[:0])
    assert artifact.table("metrics").schema == METRICS
    assert sum(part.height for part in artifact.parts("metrics", 5)) == 0


def test_rows_become_frames_of_their_schema() -> None:
    prompt = {"prompt_id": "p", "request_id": "r", "shown": ["a"], "labels": False, "grammar": None, "listed": None}
    prompt |= {"sample": 1}
    messages = [{"role": "user", "content": "é\n"}]
    rows = [{**prompt, "messages": messages, "choices": None}, {**prompt, "messages": [], "choices": [" x"]}]
    assert from_rows("prompts", rows).equals(pl.DataFrame(rows, schema=PROMPTS))
    assert from_rows("prompts", []).schema == PROMPTS
    answer = dict.fromkeys(ANSWERS, None) | {"key": "k", "choice_logprobs": [[-0.1, -2.0], []]}
    assert from_rows("answers", [answer]).equals(pl.DataFrame([answer], schema=ANSWERS))


def test_a_link_is_followed_and_its_target_replaced_with_the_same_permissions(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "board", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to(target)
    atomic_write(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in target.parent.iterdir()] == ["board"]


def test_a_file_system_without_permissions_and_flushing_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    def cannot(_: int) -> None:
        raise OSError(EINVAL, "Invalid argument")

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(os, "fsync", cannot)
    atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_pipe_is_written_into_and_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="No such device") as caught:
        atomic_write(pipe, b"nobody reads")
    assert "name a file" in next_step(caught.value)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    atomic_write(pipe, b"somebody does")
    assert os.read(reader, 100) == b"somebody does"
    os.close(reader)
    assert pipe.is_fifo()
    atomic_write(Path("/dev/null"), b"gone")
    assert Path("/dev/null").is_char_device()


def test_a_folder_and_a_circle_of_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for path in (tmp_path, tmp_path / "a"):
        with pytest.raises(OSError, match=r"Is a directory|levels of symbolic links"):
            atomic_write(path, b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def foreign(values: list[Any], kind: pa.DataType) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table({"of": pa.array(values, kind)}), content, compression="none")
    return content.getvalue()


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([datetime(2024, 5, 1)], pa.timestamp("ms", "Moon/Base"), [datetime(2024, 5, 1, tzinfo=UTC)]),
        ([Decimal("1.50"), None], pa.decimal256(50, 2), ["1.50", None]),
        (["b", "a", "b"], pa.dictionary(pa.int8(), pa.string()), ["b", "a", "b"]),
        ([["a"], None], pa.list_(pa.string()), [["a"], None]),
        ([], pa.string(), []),
    ],
)
def test_a_foreign_table_is_read_in_types_that_polars_has(
    values: list[Any], kind: pa.DataType, read: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    assert read_foreign(foreign(values, kind), 1000)["of"].to_list() == read
    assert capfd.readouterr().err == ""


def test_no_damage_of_a_foreign_table_writes_a_line_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="not supported"):
        read_foreign(foreign([["a"]], pa.list_view(pa.string())), 1000)
    whole, read = foreign(["a", "bc"], pa.string()), 0
    for at in range(4, len(whole), 4):
        with suppress(OSError):
            read += read_foreign(whole[:at] + bytes([whole[at] ^ 8]) + whole[at + 1 :], 1000).height
    assert 0 < read < len(whole) // 4
    assert capfd.readouterr().err == ""


def test_a_foreign_table_takes_no_more_than_is_allowed() -> None:
    content = foreign(["a" * 500] * 1000, pa.dictionary(pa.int8(), pa.string()))
    assert len(content) < 3000
    assert read_foreign(content, 600_000).height == 1000
    with pytest.raises(TooLargeError):
        read_foreign(content, 5000)
