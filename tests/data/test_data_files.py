import gzip
import hashlib
import zipfile
from pathlib import Path

import pytest

from llmrs_bench.core.errors import DataError
from llmrs_bench.data.files import SourceFiles


def zipped(path: Path, members: dict[str, str], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_a_zip_is_read_without_its_common_folder_and_clutter(tmp_path: Path) -> None:
    members = {"set/a.dat": "1", "set/sub/b.dat": "2", "set/.DS_Store": "x", "__MACOSX/set/._a.dat": "x"}
    files = SourceFiles.open(zipped(tmp_path / "set.zip", members))
    assert files.is_archive
    assert files.names == ("a.dat", "sub/b.dat")
    assert files.read("sub/b.dat") == b"2"
    assert [entry.name for entry in tmp_path.iterdir()] == ["set.zip"]


def test_the_digest_of_a_zip_is_its_md5(tmp_path: Path) -> None:
    path = zipped(tmp_path / "set.zip", {"a": "1"})
    assert SourceFiles.open(path).digest(["a"]) == hashlib.md5(path.read_bytes()).hexdigest()


def test_a_folder_offers_gz_files_under_their_plain_name(tmp_path: Path) -> None:
    (tmp_path / "a.inter.gz").write_bytes(gzip.compress(b"text"))
    (tmp_path / ".hidden").write_text("x")
    files = SourceFiles.open(tmp_path)
    assert not files.is_archive
    assert files.names == ("a.inter",)
    assert files.read("a.inter") == b"text"


def test_a_lone_sub_folder_stands_for_the_folder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_text("1")
    assert SourceFiles.open(tmp_path).names == ("a",)
    (tmp_path / "b").write_text("2")
    files = SourceFiles.open(tmp_path)
    assert files.names == ("b",)
    assert files.unread_folders == ("inner",)
    (tmp_path / "b").unlink()
    (tmp_path / "empty").mkdir()
    files = SourceFiles.open(tmp_path)
    assert files.names == ("inner/a",)
    assert files.unread_folders == ("empty",)


def test_the_digest_of_a_folder_is_over_the_content_of_the_files_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    files = SourceFiles.open(tmp_path)
    before, whole = files.digest(["a"]), files.digest()
    (tmp_path / "b").write_text("3")
    assert files.digest(["a"]) == before
    assert files.digest() != whole
    (tmp_path / "a").unlink()
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"1"))
    assert SourceFiles.open(tmp_path).digest(["a"]) == before


def test_a_file_that_is_there_plain_and_packed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"2"))
    with pytest.raises(DataError, match="holds a twice") as caught:
        SourceFiles.open(tmp_path).read("a")
    assert caught.value.hint


def test_a_missing_path_and_a_missing_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no"):
        SourceFiles.open(tmp_path / "nothing.zip")
    (tmp_path / "a").write_text("1")
    with pytest.raises(DataError, match=r"holds no b\.dat") as caught:
        SourceFiles.open(tmp_path).read("b.dat")
    assert "It holds: a." in caught.value.hint


def test_what_is_no_zip_or_half_a_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.zip").write_text("<html>not found</html>")
    whole = zipped(tmp_path / "whole.zip", {"a": "text " * 100}).read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])
    for name in ("page.zip", "half.zip"):
        with pytest.raises(DataError, match="not a complete zip archive") as caught:
            SourceFiles.open(tmp_path / name)
        assert "download it again" in caught.value.hint


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_an_error(tmp_path: Path, compression: int) -> None:
    path = zipped(tmp_path / "set.zip", {"a": "0123456789" * 10}, compression)
    data = bytearray(path.read_bytes())
    data[34] ^= 0xFF  # a byte of the member's content
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a in .* cannot be read"):
        SourceFiles.open(path).read("a")


@pytest.mark.parametrize("data", [b"not gzip", gzip.compress(b"text" * 99, mtime=0)[:-9]])
def test_a_damaged_gz_is_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.gz").write_bytes(data)
    with pytest.raises(DataError, match=r"a in .* cannot be read"):
        SourceFiles.open(tmp_path).read("a")


@pytest.mark.parametrize("member", ["/etc/a", "../a", "set/../../a", "C:\\a", "..\\a"])
def test_an_archive_that_points_outside_is_refused_as_a_whole(tmp_path: Path, member: str) -> None:
    path = zipped(tmp_path / "set.zip", {"fine": "1", member: "2"})
    with pytest.raises(DataError, match="points outside"):
        SourceFiles.open(path)
