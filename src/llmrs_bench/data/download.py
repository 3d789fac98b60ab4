"""Downloads of the files of a data set: one address after the other, checked, and resumed where they broke off."""

import hashlib
import http.client
import json
import logging
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmrs_bench import __version__
from llmrs_bench.core.errors import DamagedError, DataError, is_damage, next_step
from llmrs_bench.core.locks import locked
from llmrs_bench.core.tables import atomic_write
from llmrs_bench.core.types import Progress
from llmrs_bench.data.datasets import Dataset, RemoteFile
from llmrs_bench.data.files import GB, require_file

log = logging.getLogger(__name__)

CHUNK = 1 << 18
TIMEOUT = 60.0  # seconds without a byte
ATTEMPTS, PAUSE = 3, 2.0  # at the owner's address, with so many seconds between the first two, twice as many then
PARTIAL, BAD_RANGE = 206, 416
PASSING = (408, 425, 429)  # refusals that are of the moment, as are all from 500 on
NO_HEAD = (405, 501)
RECORD = "downloads.json"


@dataclass(frozen=True, slots=True)
class Download:
    """A downloaded file.

    Args:
        name: Of the file.
        url: Where it came from; empty where it was put there by hand.
        size: Its bytes.
        checksum: `md5:` and the digits where one is published, else `sha256:` and those that were found.
    """

    name: str
    url: str
    size: int
    checksum: str


class _AttemptError(Exception):
    """One address did not give the file; `passing` tells whether it may in a moment."""

    def __init__(self, words: str, *, passing: bool = False) -> None:
        super().__init__(words)
        self.passing = passing


def download(
    dataset: Dataset, folder: Path, *, progress: Progress, pause: float = PAUSE, accept_new: bool = False
) -> tuple[Download, ...]:
    """Download all files of a data set that are not there, check those that are, and return what is there.

    What was found is kept beside `folder`, in `downloads.json`: a file without a published checksum has to be the same
    ever after. Optional files may fail, with a warning.

    Args:
        dataset: Which.
        folder: Where its files go.
        progress: Shown in bytes.
        pause: Seconds before an address is asked a second time.
        accept_new: Take a file that differs from what it was, where no checksum is published.

    Raises:
        DataError: If a file that is needed cannot be downloaded, or is not what it has to be.
        DamagedError: If the record of earlier downloads cannot be read.
    """
    found = []
    with locked(folder.parent / f".{RECORD}.lock", f"the download of {dataset.name}"):
        record = downloads(folder.parent)
        if any(not (folder / file.name).exists() for file in dataset.files):
            log.info("licence of %s: %s. See %s", dataset.name, dataset.licence or "unknown", dataset.homepage)
        for file in dataset.files:
            try:
                known = record.get(file.name)
                made = fetch(file, folder, dataset, known, progress=progress, pause=pause, accept_new=accept_new)
            except DataError as error:
                if not file.optional:
                    raise
                log.warning("left out: %s. %s", error, error.hint)
                continue
            found.append(made)
            if record.get(file.name) != made:
                record[file.name] = made
                text = json.dumps([asdict(record[name]) for name in sorted(record)], indent=2)
                with _writing(folder.parent / RECORD):
                    atomic_write(folder.parent / RECORD, text.encode() + b"\n")
    return tuple(found)


def downloads(folder: Path) -> dict[str, Download]:
    """Return what was downloaded of the data set whose folder this is, by name.

    Raises:
        DamagedError: If the record of it cannot be read.
    """
    path = folder / RECORD
    if not path.exists():
        return {}
    try:
        found = [Download(**entry) for entry in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise DamagedError(
            f"{path} cannot be read: {error}",
            hint="Delete it; the next download is then not compared with an earlier one.",
        ) from error
    return {entry.name: entry for entry in found}


def fetch(
    file: RemoteFile,
    folder: Path,
    dataset: Dataset,
    known: Download | None = None,
    *,
    progress: Progress,
    pause: float = PAUSE,
    accept_new: bool = False,
) -> Download:
    """Download one file into `folder`, and return it once its checksum is the right one.

    The owner's address is asked three times, each other one once; a mirror is asked only if the checksum is known.
    What has come so far stays in a file that ends in `.part`, and a next attempt asks for the rest alone. A file that
    is there with the right checksum is returned at once.

    Args:
        file: Which.
        folder: Where it goes; it is made.
        dataset: The data set it belongs to, for messages.
        known: What it was when it was downloaded before.
        progress: Shown in bytes; a total of 0 where the server does not say.
        pause: Seconds before the second attempt; twice as many before the third.
        accept_new: Do not compare it with `known`.

    Raises:
        DataError: If it is there with another checksum, no address gives it, or it cannot be written.
    """
    path, part = folder / file.name, folder / f"{file.name}.part"
    before = known.checksum if known is not None and not accept_new else None
    expected = f"md5:{file.md5}" if file.md5 else before
    if path.exists():
        found = _checksum(path, expected)
        if expected and found != expected:
            raise DataError(
                f"{path} {_other(found, expected, file)}",
                hint=_next(file, dataset, "Delete it and run again.", before=before),
            )
        return Download(file.name, known.url if known else "", path.stat().st_size, found)
    made = not folder.exists()
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    for place, url in enumerate(file.urls if expected else file.urls[:1]):
        if failures:
            log.warning("%s; now from %s", failures[-1], url)
        for attempt in range(ATTEMPTS if place == 0 else 1):
            if attempt:
                seconds = pause * 2 ** (attempt - 1)
                log.info("%s; asked again in %g s", failures.pop(), seconds)
                time.sleep(seconds)
            try:
                found = _take(url, part, file, expected, progress)
            except _AttemptError as failure:
                failures.append(f"{url}: {failure}")
                if not failure.passing:
                    break
            else:
                with _writing(path):
                    size = part.stat().st_size
                    os.replace(part, path)
                    _origin(part).unlink(missing_ok=True)
                if not file.md5:
                    log.info(
                        "%s has no published checksum: %s is kept, and a later one has to be the same", file.name, found
                    )
                return Download(file.name, url, size, found)
    if made:
        with suppress(OSError):  # it holds what has come so far
            folder.rmdir()
    raise DataError(
        f"{file.name} cannot be downloaded: {'; '.join(failures)}",
        hint=_next(
            file,
            dataset,
            "Run again: the download resumes where it stopped." if part.exists() else "Run again later.",
            before=before,
        ),
    )


def _next(file: RemoteFile, dataset: Dataset, first: str, *, before: str | None) -> str:
    """Say how to go on without a download."""
    proxies = sorted(name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy"))
    words = [first]
    if proxies:
        words.append(f"Requests go through the proxy that {' and '.join(proxies)} names.")
    if before and not file.md5:
        words.append("If its owner replaced it, --accept-new accepts the new one.")
    others = " and ".join(other.name for other in dataset.files if other != file)
    words.append(f"Or get it by hand from {dataset.homepage} or {' or '.join(file.urls)}")
    words.append(
        f"into a folder with {others}, and pass that with --source PATH."
        if others
        else "and pass it with --source PATH."
    )
    return " ".join(words)


def _other(found: str, expected: str, file: RemoteFile) -> str:
    """Say that a checksum is not the one it has to be."""
    kind, _, digits = expected.partition(":")
    wanted = f"expected {digits}" if file.md5 else f"and had {digits} when it was first downloaded"
    return f"has {kind} {found.partition(':')[2]}, {wanted}"


def _checksum(path: Path, expected: str | None) -> str:
    """Return the kind of checksum that is expected, else the sha256, of a file.

    Raises:
        DataError: If it is no regular file, or cannot be read.
    """
    require_file(path)
    kind = expected.partition(":")[0] if expected else "sha256"
    try:
        with path.open("rb") as stream:
            return f"{kind}:{hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()}"
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}", hint="Check the path and its permissions.") from error


def _take(url: str, part: Path, file: RemoteFile, expected: str | None, progress: Progress) -> str:
    """Download `url` to `part`, and return its checksum, which is the expected one.

    Raises:
        _AttemptError: If that does not happen.
        DataError: If `part` cannot be written.
    """
    resumed = _download(url, part, file, expected, progress)
    found = _checksum(part, expected)
    if expected and found != expected and resumed:  # other bytes were behind: once more, from its start
        _drop(part)
        _download(url, part, file, expected, progress)
        found = _checksum(part, expected)
    if expected and found != expected:
        _drop(part)
        raise _AttemptError(_other(found, expected, file) + ": it is damaged, or was replaced")
    return found


def _download(url: str, part: Path, file: RemoteFile, expected: str | None, progress: Progress) -> bool:
    """Write what `url` gives to `part`, behind what it holds already; return whether it held some of it."""
    start, validator = _begun(part, url, expected)
    headers = {"User-Agent": f"llmrs-bench/{__version__}"}
    if start:
        headers |= {"Range": f"bytes={start}-", **({"If-Range": validator} if validator else {})}
    with _reading():
        try:
            answer = _open(urllib.request.Request(url, headers=headers), TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            if start and error.code == BAD_RANGE:
                if expected or error.headers.get("Content-Range", "").endswith(f"/{start}"):
                    return True  # nothing is left to send: the checksum decides
                _drop(part)
                raise OSError("it is shorter than the part that was already there") from error
            raise
        with answer:
            resumed = bool(answer.status == PARTIAL)
            if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise OSError(f"the server sent another range: {answer.headers.get('Content-Range')!r}")
            start = start if resumed else 0
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length else 0
            if file.size and total and total != file.size:
                raise _AttemptError(f"is of {total:,} bytes, not {file.size:,}: it was replaced")
            _require_room(part, total - start)
            if not resumed:
                with _writing(part):
                    _origin(part).write_text(f"{url}\n{_validator(answer.headers)}\n", "utf-8")
            done = _copy(answer, part, start, total, progress)
        if total and done != total:
            raise OSError(f"the connection ended after {done:,} of {total:,} bytes")
    return resumed


def _copy(answer: http.client.HTTPResponse, part: Path, start: int, total: int, progress: Progress) -> int:
    """Write the answer to `part`, behind `start` bytes; return how many there are then."""
    done, chunk = start, answer.read(CHUNK)
    if not start and chunk.lstrip()[:1] == b"<":
        _drop(part)
        raise _AttemptError("sent a web page (HTML) in place of the file")
    with _writing(part):
        out = part.open("ab" if start else "wb")
    with out, progress(f"download {part.name.removesuffix('.part')}", total) as step:
        while chunk:
            with _writing(part):
                out.write(chunk)
                out.flush()
            done += len(chunk)
            step(done)
            chunk = answer.read(CHUNK)
    return done


def _open(request: urllib.request.Request, timeout: float) -> Any:
    """Send a request, through the proxies that the environment names now; certificates are always verified."""
    return urllib.request.build_opener().open(request, timeout=timeout)


@contextmanager
def _reading() -> Iterator[None]:
    """Turn what the network does into failures."""
    try:
        yield
    except urllib.error.HTTPError as error:
        raise _AttemptError(
            str(error), passing=error.code in PASSING or error.code >= http.client.INTERNAL_SERVER_ERROR
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise _AttemptError(f"its certificate is not valid ({reason.verify_message})") from error
        words = reason.strerror if isinstance(reason, OSError) else ""
        raise _AttemptError(words or str(reason) or type(reason).__name__, passing=True) from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the disk does into an error: no other address helps against it."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}", hint=next_step(error)) from error


def _require_room(part: Path, size: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if size > free:
        raise DataError(
            f"{part.name.removesuffix('.part')} needs {size / GB:.1f} GB, {part.parent} has {free / GB:.1f} GB left",
            hint="Make room on that disk, or choose another folder with --home, and run the same command again.",
        )


def _origin(part: Path) -> Path:
    """Return the file that says where a part came from, and of which version of the file it is."""
    return part.with_name(f"{part.name}.from")


def _begun(part: Path, url: str, expected: str | None) -> tuple[int, str]:
    """Return how many bytes of `url` are there already, and the version they are of, if the server names versions.

    Bytes of another address do not count, nor, without a checksum that would tell, those of an unknown version.
    """
    try:
        origin, validator = _origin(part).read_text("utf-8").split("\n")[:2]
    except (OSError, ValueError):
        origin, validator = url, ""
    usable = origin == url and (validator or expected)
    return (part.stat().st_size, validator) if usable and part.exists() else (0, "")


def _validator(headers: Mapping[str, str]) -> str:
    """Return what names the version of a file for `If-Range`: a strong ETag, else the time of its last change."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    _origin(part).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an address says when it is asked whether it has a file."""

    url: str
    fits: bool
    words: str


def ask(files: Sequence[RemoteFile], *, timeout: float, workers: int = 16) -> dict[RemoteFile, list[Answer]]:
    """Ask every address of some files at once (HEAD), and return the answers of each file, in the order of its urls.

    Args:
        files: Which.
        timeout: Seconds without a byte after which an address is given up.
        workers: How many addresses are asked at a time.
    """
    with ThreadPoolExecutor(workers) as pool:
        asked = {file: [pool.submit(_ask, url, file.size, timeout) for url in file.urls] for file in files}
        return {file: [answer.result() for answer in answers] for file, answers in asked.items()}


def _ask(url: str, size: int | None, timeout: float) -> Answer:
    request = urllib.request.Request(url, headers={"User-Agent": f"llmrs-bench/{__version__}"}, method="HEAD")
    try:
        with _reading():
            try:
                answer = _open(request, timeout)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code in NO_HEAD:
                    return Answer(url, True, f"does not say ({error.code})")
                raise
            with answer:
                length, kind = answer.headers.get("Content-Length"), answer.headers.get_content_type()
    except _AttemptError as failure:
        return Answer(url, False, str(failure))
    if kind == "text/html":
        return Answer(url, False, "a web page (HTML) in place of the file")
    if length and size and int(length) != size:
        return Answer(url, False, f"{int(length):,} bytes, not {size:,}")
    return Answer(url, True, f"{int(length):,} bytes" if length else "there")
