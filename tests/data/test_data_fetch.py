"""Downloads, against local servers that play what happens to real ones."""

import hashlib
import logging
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from llmrs_bench.core.errors import DamagedError, DataError
from llmrs_bench.core.types import Step, no_progress
from llmrs_bench.data import download as downloading
from llmrs_bench.data.datasets import Dataset, RemoteFile
from llmrs_bench.data.download import Download, ask, download, downloads, fetch

DATA = bytes(range(256)) * 4000
MD5 = hashlib.md5(DATA).hexdigest()
SHA256 = hashlib.sha256(DATA).hexdigest()
HOMEPAGE = "https://example.org/set"
CERTIFICATES = Path(__file__).parent / "certificates"


@dataclass
class Site:
    """A server of `content` under every path but those below, and what it was asked.

    /missing is not there, /page is a notice for people, /other has other bytes, /moved lies elsewhere; /busy is busy
    the first two times.
    """

    url: str = ""
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)  # path, Range, If-Range
    content: bytes = DATA
    honours_ranges: bool = True
    sends: int | None = None  # stop after so many bytes
    breaks: int = 99  # so many times
    content_range: str | None = None  # a wrong one
    tag: str | None = None
    changed: str | None = None

    @property
    def ranges(self) -> list[str | None]:
        return [wanted for _, wanted, _ in self.asked]

    @property
    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted, only_if = handler.headers.get("Range"), handler.headers.get("If-Range")
        self.asked.append((handler.path, wanted, only_if))
        if handler.path == "/missing":
            handler.send_error(404)
        elif handler.path == "/busy" and len(self.asked) < 3:
            handler.send_error(503)
        elif handler.path == "/moved":
            handler.send_response(302)
            handler.send_header("Location", "/set.zip")
            handler.end_headers()
        elif handler.path == "/page":
            self.send(handler, b"\n<!DOCTYPE html><title>We have moved</title>", 0, "text/html")
        elif handler.path == "/other":
            self.send(handler, DATA[:-1] + b"!", 0)
        else:
            ranged = wanted and self.honours_ranges and only_if in (None, self.tag, self.changed)
            self.send(handler, self.content, int((wanted or "").removeprefix("bytes=").rstrip("-")) if ranged else 0)

    def send(self, handler: BaseHTTPRequestHandler, content: bytes, start: int, kind: str = "application/zip") -> None:
        if start >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(content)}")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header(
                "Content-Range", self.content_range or f"bytes {start}-{len(content) - 1}/{len(content)}"
            )
        if self.tag:
            handler.send_header("ETag", self.tag)
        if self.changed:
            handler.send_header("Last-Modified", self.changed)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        cut, self.breaks = self.sends if self.breaks else None, self.breaks - 1
        if handler.command == "GET":
            handler.wfile.write(content[start:cut])


@contextmanager
def served(state: Site, certificate: Path | None = None) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def do_HEAD(self) -> None:
            state.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing: clients go away."""

    server = Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    state.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)


@pytest.fixture
def site() -> Iterator[Site]:
    with served(Site()) as state:
        yield state


@pytest.fixture
def mirror() -> Iterator[Site]:
    with served(Site()) as state:
        yield state


def record(*urls: str, md5: str | None = MD5, **more: object) -> Dataset:
    file = replace(RemoteFile("set.zip", urls, md5), **more)  # type: ignore[arg-type]
    return Dataset("set", ("atomic",), files=(file,), homepage=HOMEPAGE, licence="research: ask first")


def get(dataset: Dataset, folder: Path, known: Download | None = None, *, accept_new: bool = False) -> Path:
    made = fetch(dataset.files[0], folder, dataset, known, progress=no_progress, pause=0, accept_new=accept_new)
    return folder / made.name


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_whole_file_arrives_with_progress_in_bytes(site: Site, tmp_path: Path) -> None:
    steps: list[int] = []
    totals: list[int] = []

    @contextmanager
    def progress(label: str, total: int) -> Iterator[Step]:
        totals.append(total)

        def step(done: int, note: str = "", total: int | None = None) -> None:
            steps.append(done)

        yield step

    dataset = record(f"{site.url}/set.zip")
    made = fetch(dataset.files[0], tmp_path / "deep", dataset, progress=progress)
    assert made == Download("set.zip", f"{site.url}/set.zip", len(DATA), f"md5:{MD5}")
    assert (tmp_path / "deep" / "set.zip").read_bytes() == DATA
    assert names(tmp_path / "deep") == ["set.zip"]
    assert totals == [len(DATA)]
    assert steps == sorted(steps)
    assert steps[-1] == len(DATA)


def test_a_file_that_is_there_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(DATA)
    get(record(site.url), tmp_path)
    assert site.asked == []


def test_another_file_in_its_place_is_left_alone(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(b"mine")
    with pytest.raises(DataError, match=f"expected {MD5}") as caught:
        get(record(site.url), tmp_path)
    assert "Delete it" in caught.value.hint
    assert path.read_bytes() == b"mine"


# ---------------------------------------------------------------- one address after the other


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/missing", "404"),
        ("/page", "web page (HTML) in place of the file"),
        ("/other", f"has md5 {hashlib.md5(DATA[:-1] + b'!').hexdigest()}, expected {MD5}"),
    ],
)
def test_a_mirror_gives_what_the_owner_does_not(
    site: Site, mirror: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str, words: str
) -> None:
    assert get(record(site.url + path, f"{mirror.url}/set.zip"), tmp_path).read_bytes() == DATA
    assert (site.paths, mirror.paths) == ([path], ["/set.zip"])
    [said] = caplog.messages
    assert said.startswith(f"{site.url}{path}: ")
    assert words in said
    assert said.endswith(f"now from {mirror.url}/set.zip")
    assert names(tmp_path) == ["set.zip"]


def test_without_a_checksum_no_mirror_is_trusted(site: Site, mirror: Site, tmp_path: Path) -> None:
    dataset = record(f"{site.url}/missing", f"{mirror.url}/set.zip", md5=None)
    with pytest.raises(DataError, match="404"):
        get(dataset, tmp_path)
    assert mirror.asked == []
    known = Download("set.zip", "", len(DATA), f"sha256:{SHA256}")
    assert get(dataset, tmp_path, known).read_bytes() == DATA


def test_the_owner_is_asked_three_times_and_a_mirror_once(
    site: Site, mirror: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    site.sends = mirror.sends = 0
    dataset = record(f"{site.url}/set.zip", f"{mirror.url}/set.zip")
    with pytest.raises(DataError, match=r"set\.zip cannot be downloaded") as caught:
        fetch(dataset.files[0], tmp_path, dataset, progress=no_progress, pause=1)
    assert (len(site.asked), len(mirror.asked)) == (3, 1)
    assert pauses == [1, 2]
    assert caught.value.message.count("ended after 0 of 1,024,000 bytes") == 2
    assert caught.value.hint.endswith(
        f"get it by hand from {HOMEPAGE} or {site.url}/set.zip or {mirror.url}/set.zip and pass it with --source PATH."
    )


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    assert get(record(f"{site.url}/busy"), tmp_path).read_bytes() == DATA
    assert site.paths == ["/busy"] * 3


def test_a_redirect_is_followed(site: Site, tmp_path: Path) -> None:
    assert get(record(f"{site.url}/moved"), tmp_path).read_bytes() == DATA
    assert site.paths == ["/moved", "/set.zip"]


def test_an_expired_certificate_is_the_end_of_that_address_alone(
    mirror: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The same server is good with a certificate that is valid, so it is the date that is refused."""
    for name in ("valid", "expired"):
        certificate = CERTIFICATES / f"{name}.pem"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with served(Site(), certificate) as owner:
            get(record(f"{owner.url}/set.zip", f"{mirror.url}/set.zip"), tmp_path / name)
            assert len(owner.asked) == (name == "valid")
            with pytest.raises(DataError, match="its certificate is not valid") if name == "expired" else _nothing():
                get(record(f"{owner.url}/set.zip"), tmp_path / f"{name}-alone")
    assert mirror.paths == ["/set.zip"]
    [said] = [message for message in caplog.messages if "now from" in message]
    assert "its certificate is not valid (certificate has expired)" in said
    assert "\n" not in said


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def test_a_proxy_of_the_environment_is_used_and_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", site.url)
    assert get(record("http://owner.invalid/set.zip"), tmp_path).read_bytes() == DATA
    assert site.paths == ["http://owner.invalid/set.zip"]
    monkeypatch.setenv("http_proxy", f"{site.url.replace('://', '://me:secret@')}")
    with pytest.raises(DataError) as caught:
        get(record("http://owner.invalid/set.zip", md5="0" * 32), tmp_path / "again")
    assert "http_proxy" in caught.value.hint
    assert "secret" not in caught.value.hint + caught.value.message


# ---------------------------------------------------------------- what broke off


@pytest.mark.parametrize(
    ("tag", "changed", "only_if"),
    [
        (None, None, None),
        ('"one"', None, '"one"'),
        ('"one"', "Thu, 26 Nov 2026 05:00:00 GMT", '"one"'),
        ('W/"one"', "Thu, 26 Nov 2026 05:00:00 GMT", "Thu, 26 Nov 2026 05:00:00 GMT"),
        ('W/"one"', None, None),  # means as good as the same, not the same
    ],
)
def test_a_transfer_that_broke_goes_on_where_it_stopped(
    site: Site, tmp_path: Path, tag: str | None, changed: str | None, only_if: str | None
) -> None:
    site.sends, site.tag, site.changed = 300_000, tag, changed
    dataset = record(f"{site.url}/set.zip")
    with pytest.raises(DataError, match=r"ended after 300,000 of 1,024,000 bytes") as caught:
        get(dataset, tmp_path)
    assert "resumes where it stopped" in caught.value.hint
    assert not (tmp_path / "set.zip").exists()
    assert (tmp_path / "set.zip.part").read_bytes() == DATA[:300_000]
    site.sends = None
    assert get(dataset, tmp_path).read_bytes() == DATA
    assert site.asked[0] == ("/set.zip", None, None)
    assert set(site.asked[1:]) == {("/set.zip", "bytes=300000-", only_if)}
    assert names(tmp_path) == ["set.zip"]


def test_a_transfer_that_broke_once_goes_on_by_itself(site: Site, tmp_path: Path) -> None:
    site.sends, site.breaks = 300_000, 1
    assert get(record(f"{site.url}/set.zip"), tmp_path).read_bytes() == DATA
    assert site.ranges == [None, "bytes=300000-"]


@pytest.mark.parametrize("md5", [None, MD5])
def test_another_version_is_not_appended(site: Site, tmp_path: Path, md5: str | None) -> None:
    old = b"a".join([DATA[:400_000], DATA[400_000:]])
    site.content, site.tag, site.sends, site.breaks = old, '"old"', 500_000, 3
    dataset = record(f"{site.url}/set.zip", md5=md5)
    with pytest.raises(DataError, match="ended after"):
        get(dataset, tmp_path)
    site.content, site.tag = DATA, '"new"'
    assert get(dataset, tmp_path).read_bytes() == DATA
    assert site.asked[-1] == ("/set.zip", "bytes=500000-", '"old"')


def test_without_checksum_and_version_nothing_is_resumed(site: Site, tmp_path: Path) -> None:
    site.sends, site.breaks = 300_000, 2
    assert get(record(f"{site.url}/set.zip", md5=None), tmp_path).read_bytes() == DATA
    assert site.ranges == [None, None, None]


def test_a_part_of_one_address_is_not_continued_at_another(site: Site, mirror: Site, tmp_path: Path) -> None:
    site.sends = 300_000
    assert get(record(f"{site.url}/set.zip", f"{mirror.url}/set.zip"), tmp_path).read_bytes() == DATA
    assert mirror.ranges == [None]


def test_other_bytes_before_the_rest_are_asked_for_once_more(site: Site, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(b"old bytes")
    assert get(record(f"{site.url}/set.zip"), tmp_path).read_bytes() == DATA
    assert site.ranges == ["bytes=9-", None]


def test_a_server_without_ranges_makes_it_start_over(site: Site, tmp_path: Path) -> None:
    site.honours_ranges = False
    (tmp_path / "set.zip.part").write_bytes(b"old bytes")
    assert get(record(f"{site.url}/set.zip"), tmp_path).read_bytes() == DATA
    assert site.ranges == ["bytes=9-"]


def test_a_complete_part_needs_its_name_alone(site: Site, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(DATA)
    assert get(record(f"{site.url}/set.zip"), tmp_path).read_bytes() == DATA
    assert site.ranges == [f"bytes={len(DATA)}-"]


def test_another_range_than_asked_for_is_refused(site: Site, tmp_path: Path) -> None:
    site.content_range = f"bytes 5-{len(DATA) - 1}/{len(DATA)}"
    (tmp_path / "set.zip.part").write_bytes(DATA[:100])
    with pytest.raises(DataError, match="another range"):
        get(record(f"{site.url}/set.zip"), tmp_path)
    assert (tmp_path / "set.zip.part").read_bytes() == DATA[:100]


# ---------------------------------------------------------------- what cannot be had


def test_a_wrong_checksum_leaves_nothing_behind(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"has md5 {MD5}, expected 0000") as caught:
        get(record(f"{site.url}/set.zip", md5="0" * 32), tmp_path)
    assert HOMEPAGE in caught.value.hint
    assert names(tmp_path) == []
    assert len(site.asked) == 1


def test_another_size_is_refused_before_it_is_read(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is of 1,024,000 bytes, not 7: it was replaced"):
        get(record(f"{site.url}/set.zip", size=7), tmp_path)
    assert names(tmp_path) == []


def test_no_connection_is_an_error_with_the_same_hint(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/set.zip"
    with pytest.raises(DataError, match="cannot be downloaded") as caught:
        get(record(url), tmp_path / "raw")
    assert "--source PATH" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_stalls_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(DataError, match="timed out"):
        get(record(f"http://127.0.0.1:{mute.getsockname()[1]}/set.zip"), tmp_path)


def test_a_full_disk_is_one_message(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set.zip.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"set\.zip\.part cannot be written: .*No space left") as caught:
        get(record(f"{site.url}/set.zip"), tmp_path)
    assert "Make room on that disk" in caught.value.hint
    assert len(site.asked) == 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=9))
    with pytest.raises(DataError, match=r"needs 0\.0 GB, .* has 0\.0 GB left"):
        get(record(f"{site.url}/set.zip"), tmp_path / "other")


# ---------------------------------------------------------------- several files, and what is kept of them


@pytest.fixture
def several(site: Site) -> Dataset:
    files = (
        RemoteFile("ratings.csv.gz", (f"{site.url}/ratings",), MD5),
        RemoteFile("titles.json.gz", (f"{site.url}/titles",)),
        RemoteFile("extra.json.gz", (f"{site.url}/missing",), optional=True),
    )
    return replace(record(), files=files)


def get_all(dataset: Dataset, home: Path, *, accept_new: bool = False) -> list[str]:
    made = download(dataset, home / "source", progress=no_progress, pause=0, accept_new=accept_new)
    return [f"{entry.name} {entry.checksum[:10]}" for entry in made]


def test_all_files_come_and_an_optional_one_may_be_missing(
    site: Site, several: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    expected = [f"ratings.csv.gz md5:{MD5[:6]}", f"titles.json.gz sha256:{SHA256[:3]}"]
    assert get_all(several, tmp_path) == expected
    assert names(tmp_path / "source") == ["ratings.csv.gz", "titles.json.gz"]
    said = "\n".join(caplog.messages)
    assert said.count(f"licence of set: research: ask first. See {HOMEPAGE}") == 1
    assert "left out: extra.json.gz" in said
    assert f"sha256:{SHA256} is kept" in said
    assert downloads(tmp_path)["titles.json.gz"] == Download(
        "titles.json.gz", f"{site.url}/titles", len(DATA), f"sha256:{SHA256}"
    )
    whole = replace(several, files=several.files[:2])
    caplog.clear()
    assert get_all(whole, tmp_path) == expected
    assert caplog.messages == []
    assert names(tmp_path) == ["downloads.json", "source"]


@pytest.mark.parametrize("deleted", [True, False])
def test_a_file_without_a_published_checksum_has_to_stay_the_same(
    site: Site, several: Dataset, tmp_path: Path, *, deleted: bool
) -> None:
    several = replace(several, files=several.files[1:2])
    get_all(several, tmp_path)
    if deleted:
        shutil.rmtree(tmp_path / "source")
        site.content = b"newer"
    else:
        (tmp_path / "source" / "titles.json.gz").write_bytes(b"newer")
    newer = hashlib.sha256(b"newer").hexdigest()
    with pytest.raises(DataError, match=f"has sha256 {newer}, and had {SHA256} when it was first") as caught:
        get_all(several, tmp_path)
    assert "--accept-new" in caught.value.hint
    assert get_all(several, tmp_path, accept_new=True) == [f"titles.json.gz sha256:{newer[:3]}"]
    assert get_all(several, tmp_path) == [f"titles.json.gz sha256:{newer[:3]}"]


def test_a_published_checksum_is_never_given_up(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 0000") as caught:
        get_all(record(f"{site.url}/set.zip", md5="0" * 32), tmp_path, accept_new=True)
    assert "--accept-new" not in caught.value.hint


def test_one_of_several_files_is_got_by_hand_into_a_folder_with_the_others(several: Dataset, tmp_path: Path) -> None:
    needed = replace(several, files=(several.files[0], replace(several.files[2], optional=False)))
    with pytest.raises(DataError, match=r"extra.json.gz cannot be downloaded") as caught:
        get_all(needed, tmp_path)
    assert caught.value.hint.endswith("into a folder with ratings.csv.gz, and pass that with --source PATH.")


def test_a_damaged_record_of_downloads_is_said(several: Dataset, tmp_path: Path) -> None:
    (tmp_path / "downloads.json").write_text("[1]")
    with pytest.raises(DamagedError, match=r"downloads.json cannot be read"):
        get_all(several, tmp_path)


# ---------------------------------------------------------------- asking alone


def test_addresses_are_asked_without_a_download(site: Site) -> None:
    paths = ("/set.zip", "/missing", "/page", "/moved")
    file = RemoteFile("set.zip", tuple(site.url + path for path in paths), MD5)
    small = replace(file, urls=file.urls[:1], size=7)  # of the same name
    answers = ask([file, small], timeout=5)
    assert [(answer.fits, answer.words) for answer in answers[file]] == [
        (True, "1,024,000 bytes"),
        (False, "HTTP Error 404: Not Found"),
        (False, "a web page (HTML) in place of the file"),
        (True, "1,024,000 bytes"),
    ]
    assert [answer.words for answer in answers[small]] == ["1,024,000 bytes, not 7"]
