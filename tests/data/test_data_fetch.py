import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.types import Step, no_progress
from llmrs_bench.data.download import fetch

DATA = bytes(range(256)) * 4000
MD5 = hashlib.md5(DATA).hexdigest()
HOMEPAGE = "https://example.org/set"


@dataclass
class Site:
    """A server of DATA under every path but /missing, and what it was asked."""

    url: str = ""
    ranges: list[str | None] = field(default_factory=list)
    honours_ranges: bool = True
    sends: int | None = None  # stop after so many bytes
    content_range: str | None = None  # a wrong one

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.ranges.append(wanted)
        if handler.path == "/missing":
            handler.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.honours_ranges else 0
        if start >= len(DATA):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", self.content_range or f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")
        handler.send_header("Content-Length", str(len(DATA) - start))
        handler.end_headers()
        handler.wfile.write(DATA[start : self.sends])


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def get(site: Site, path: Path, md5: str = MD5, name: str = "/set.zip") -> Path:
    return fetch(site.url + name, md5, path, progress=no_progress, homepage=HOMEPAGE)


def test_a_whole_file_arrives_with_progress_in_bytes(site: Site, tmp_path: Path) -> None:
    steps: list[int] = []
    totals: list[int] = []

    @contextmanager
    def progress(label: str, total: int) -> Iterator[Step]:
        totals.append(total)

        def step(done: int, note: str = "", total: int | None = None) -> None:
            steps.append(done)

        yield step

    path = tmp_path / "deep" / "set.zip"
    assert fetch(f"{site.url}/set.zip", MD5, path, progress=progress, homepage=HOMEPAGE) == path
    assert path.read_bytes() == DATA
    assert [entry.name for entry in path.parent.iterdir()] == ["set.zip"]
    assert totals == [len(DATA)]
    assert steps == sorted(steps)
    assert steps[-1] == len(DATA)


def test_a_file_that_is_there_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(DATA)
    assert get(site, path) == path
    assert site.ranges == []


def test_another_file_in_its_place_is_left_alone(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(b"mine")
    with pytest.raises(DataError, match=f"expected {MD5}") as caught:
        get(site, path)
    assert "Delete it" in caught.value.hint
    assert path.read_bytes() == b"mine"


def test_a_transfer_that_broke_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    site.sends = 300_000
    with pytest.raises(DataError, match=r"ended after 300,000 of 1,024,000 bytes") as caught:
        get(site, path)
    assert "Run again" in caught.value.hint
    assert not path.exists()
    assert (tmp_path / "set.zip.part").read_bytes() == DATA[:300_000]
    site.sends = None
    assert get(site, path).read_bytes() == DATA
    assert site.ranges == [None, "bytes=300000-"]
    assert not (tmp_path / "set.zip.part").exists()


def test_a_server_without_ranges_makes_it_start_over(site: Site, tmp_path: Path) -> None:
    site.honours_ranges = False
    (tmp_path / "set.zip.part").write_bytes(b"old bytes")
    assert get(site, tmp_path / "set.zip").read_bytes() == DATA
    assert site.ranges == ["bytes=9-"]


def test_a_complete_part_needs_its_name_alone(site: Site, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(DATA)
    assert get(site, tmp_path / "set.zip").read_bytes() == DATA
    assert site.ranges == [f"bytes={len(DATA)}-"]


def test_another_range_than_asked_for_is_refused(site: Site, tmp_path: Path) -> None:
    site.content_range = f"bytes 5-{len(DATA) - 1}/{len(DATA)}"
    (tmp_path / "set.zip.part").write_bytes(DATA[:100])
    with pytest.raises(DataError, match="another range"):
        get(site, tmp_path / "set.zip")
    assert (tmp_path / "set.zip.part").read_bytes() == DATA[:100]


def test_a_wrong_checksum_leaves_nothing_behind(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"has md5 {MD5}, expected 0000") as caught:
        get(site, tmp_path / "set.zip", md5="0" * 32)
    assert HOMEPAGE in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_missing_page_says_how_to_get_the_file_by_hand(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="404") as caught:
        get(site, tmp_path / "set.zip", name="/missing")
    assert HOMEPAGE in caught.value.hint
    assert f"{site.url}/missing" in caught.value.hint
    assert "--source PATH" in caught.value.hint


def test_no_connection_is_an_error_with_the_same_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/set.zip"
    with pytest.raises(DataError, match="cannot be downloaded") as caught:
        fetch(url, MD5, tmp_path / "set.zip", progress=no_progress, homepage=HOMEPAGE)
    assert "--source PATH" in caught.value.hint


def test_a_server_that_stalls_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("llmrs_bench.data.download.TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/set.zip"
        with pytest.raises(DataError, match="timed out"):
            fetch(url, MD5, tmp_path / "set.zip", progress=no_progress, homepage=HOMEPAGE)
