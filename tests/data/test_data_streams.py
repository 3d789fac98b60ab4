"""Large members of folders and archives are read block by block, and tar archives as zip archives are."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pyarrow
import pytest

from llmrs_bench.core.errors import DataError
from llmrs_bench.data import files
from llmrs_bench.data.files import SourceFiles

TEXT = "".join(f"line {at}\n" for at in range(1000)) + "the last, without an end"


def zstd(data: bytes) -> bytes:
    return bytes(pyarrow.compress(data, codec="zstd", asbytes=True))


def tarred(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK", 600)


def sources(folder: Path) -> list[Path]:
    """Write TEXT as `a.csv` in each way a source may hold it."""
    data = TEXT.encode()
    for name, packed in {"plain": data, "gz": gzip.compress(data), "zst": zstd(data)}.items():
        (folder / name).mkdir()
        (folder / name / ("a.csv" + {"plain": "", "gz": ".gz", "zst": ".zst"}[name])).write_bytes(packed)
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/a.csv.gz", gzip.compress(data))
    tarred(folder / "b.tar.gz", {"set/a.csv": data})
    tarred(folder / "c.tar", {"set/a.csv.gz": gzip.compress(data)}, "w")
    return [folder / name for name in ("plain", "gz", "zst", "a.zip", "b.tar.gz", "c.tar")]


@pytest.mark.usefixtures("small_blocks")
def test_blocks_are_whole_lines_wherever_the_file_lies(tmp_path: Path) -> None:
    for path in sources(tmp_path):
        source = SourceFiles.open(path)
        assert source.names == ("a.csv",)
        blocks = list(source.blocks("a.csv"))
        assert b"".join(blocks).decode() == TEXT
        assert len(blocks) > 10
        assert all(block.endswith(b"\n") for block in blocks[:-1])
        assert max(map(len, blocks)) <= 1200
        assert source.read("a.csv").decode() == TEXT
        assert [text for _, text in source.lines("a.csv")] == TEXT.split("\n")
        assert [at for at, _ in source.lines("a.csv")] == list(range(1, 1002))


@pytest.mark.usefixtures("small_blocks")
def test_lines_lose_marks_and_ends_and_blank_ones_keep_their_number(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\r\n\n" + b"x\n" * 400 + "zw\u00f6lf".encode())
    read = list(SourceFiles.open(tmp_path).lines("a"))
    assert (read[0], read[1], read[-1]) == ((1, "one"), (3, "x"), (403, "zw\u00f6lf"))
    (tmp_path / "a").write_bytes(b"x\n" * 400 + b"\xff\n")
    with pytest.raises(DataError, match="a, line 401: not UTF-8"):
        list(SourceFiles.open(tmp_path).lines("a"))


@pytest.mark.usefixtures("small_blocks")
def test_a_line_without_an_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x\n" + b"y" * 2000)
    with pytest.raises(DataError, match=r"a in .* has a line of more than"):
        list(SourceFiles.open(tmp_path).blocks("a"))


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_a_stream_has_the_limit_of_a_file_that_is_read_whole(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FREE", 1000)
    data = b"0\n" * 1_500_000
    (tmp_path / name).write_bytes(gzip.compress(data) if name == "a.gz" else zstd(data))
    for call in ("read", "blocks", "digest"):
        with pytest.raises(DataError, match="unpacks to more than") as caught:
            list(getattr(SourceFiles.open(tmp_path), call)("a"))
        assert "--max-unpacked" in caught.value.hint
    assert b"".join(SourceFiles.open(tmp_path, limit=3_000_000).blocks("a")) == data


def test_a_packed_file_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    for name, data in {"a.gz": gzip.compress(TEXT.encode()), "b.zst": zstd(TEXT.encode() * 99)}.items():
        (tmp_path / name).write_bytes(data[:-20])
        with pytest.raises(DataError, match="cannot be read"):
            list(SourceFiles.open(tmp_path).blocks(name[0]))


def test_a_tar_archive_is_read_as_a_zip_is(tmp_path: Path) -> None:
    members = {"set/a.tsv": b"1", "set/sub/b.tsv": b"2", "set/._a.tsv": b"x"}
    path = tarred(tmp_path / "set.tar.gz", members)
    source = SourceFiles.open(path)
    assert source.is_archive
    assert source.names == ("a.tsv", "sub/b.tsv")
    assert source.read("sub/b.tsv") == b"2"
    assert source.digest() == hashlib.md5(path.read_bytes()).hexdigest()


def test_links_in_a_tar_archive_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tgz", "w:gz") as archive:
        for name, kind in {"secret": tarfile.SYMTYPE, "pipe": tarfile.FIFOTYPE}.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/hostname"
            archive.addfile(info)
    assert SourceFiles.open(tmp_path / "set.tgz").names == ()


@pytest.mark.parametrize("member", ["../a", "/etc/a", "set/../../a"])
def test_a_tar_archive_that_points_outside_is_refused(tmp_path: Path, member: str) -> None:
    with pytest.raises(DataError, match="points outside"):
        SourceFiles.open(tarred(tmp_path / "set.tar.gz", {"fine": b"1", member: b"2"}))


def test_half_a_tar_archive_is_refused(tmp_path: Path) -> None:
    whole = tarred(tmp_path / "whole.tar.gz", {"a": bytes(range(256)) * 99, "b": b"1"}).read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.tar.gz").write_bytes(b"<html>not found</html>")
    for name in ("half.tar.gz", "page.tar.gz"):
        with pytest.raises(DataError, match="not a complete tar archive"):
            SourceFiles.open(tmp_path / name)


def test_a_tar_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FREE", 1000)
    path = tarred(tmp_path / "a.tar.gz", {"a": bytes(3_000_000), "b": b"1"})
    with pytest.raises(DataError, match="unpacks to"):
        SourceFiles.open(path)
    assert SourceFiles.open(path, 4_000_000).names == ("a", "b")


def test_a_header_of_a_tar_archive_is_never_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK", 100_000)
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))
    with pytest.raises(DataError, match="a header of"):
        SourceFiles.open(tmp_path / "a.tar.gz")
