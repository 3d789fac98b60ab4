"""Files that never end, or unpack to far more than they take, are refused before they fill the memory."""

import gzip
import os
import zipfile
from pathlib import Path

import pytest

from llmrs_bench.core.errors import DataError
from llmrs_bench.data import files
from llmrs_bench.data.candidates import read_lists
from llmrs_bench.data.files import SourceFiles, file_md5


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a bomb be small: what unpacks to 1 kB is read whatever it takes."""
    monkeypatch.setattr(files, "FREE", 1000)


def packed(path: Path, member: str, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, data)
    return path


def test_a_file_that_unpacks_to_far_more_than_it_takes_is_refused(tmp_path: Path) -> None:
    zeros = bytes(3_000_000)
    archive = packed(tmp_path / "a.zip", "a.inter", zeros)
    inner = packed(tmp_path / "b.zip", "a.inter.gz", gzip.compress(zeros))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.inter.gz").write_bytes(gzip.compress(zeros))
    for path in (archive, inner, folder):
        with pytest.raises(DataError, match=r"unpacks to .* GB, and takes 0\.0 MB packed") as caught:
            SourceFiles.open(path).read("a.inter")
        assert "--max-unpacked" in caught.value.hint
        assert SourceFiles.open(path, limit=3_000_000).read("a.inter") == zeros


def test_an_ordinary_table_is_read_whole(tmp_path: Path) -> None:
    table = "".join(f"{at}\t{at * at}\n" for at in range(9000)).encode()
    assert SourceFiles.open(packed(tmp_path / "a.zip", "a.inter", table)).read("a.inter") == table
    with pytest.raises(DataError, match="unpacks"):
        SourceFiles.open(tmp_path / "a.zip", limit=1000).read("a.inter")


def test_packed_candidate_lists_have_the_same_limit(tmp_path: Path) -> None:
    path = tmp_path / "lists.tsv.gz"
    path.write_bytes(gzip.compress(b"u\t" + b"a " * 1_000_000))
    with pytest.raises(DataError, match="unpacks to more than"):
        read_lists(path)
    assert len(read_lists(path, 3_000_000)["u"]) == 1_000_000


@pytest.mark.parametrize("read", [SourceFiles.open, file_md5, read_lists])
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, read: object) -> None:
    assert callable(read)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", Path(os.devnull)):
        with pytest.raises(DataError, match="is a pipe, a device or a socket, not a file") as caught:
            read(path)
        assert caught.value.hint


def test_a_pipe_in_a_folder_is_not_listed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.inter")
    (tmp_path / "b.inter").write_text("x")
    assert SourceFiles.open(tmp_path).names == ("b.inter",)


def test_a_file_takes_the_memory_it_needs_and_not_what_it_may_take(tmp_path: Path) -> None:
    """Python sets aside what is asked for at once: a file of 1.6 GB, which may unpack to 160 GB, could not be read."""
    (tmp_path / "a.inter").write_bytes(b"one line\n")
    (tmp_path / "b.inter.gz").write_bytes(gzip.compress(b"one line\n"))
    source = SourceFiles.open(tmp_path, limit=10**15)
    assert source.read("a.inter") == source.read("b.inter") == b"one line\n"
