"""Downloads of the files of a data set."""

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.types import Progress
from llmrs_bench.data.files import file_md5

CHUNK = 1 << 18
TIMEOUT = 60.0  # seconds without a byte
PARTIAL, BAD_RANGE = 206, 416


def fetch(url: str, md5: str, path: Path, *, progress: Progress, homepage: str) -> Path:
    """Download `url` to `path`, and return `path` once its md5 is the one given.

    What has come so far stays in `path` + ".part", and a next call asks for the rest alone. A `path`
    that is already there with the right md5 is returned at once.

    Args:
        url: Where the file is.
        md5: Its checksum, hexadecimal.
        path: Where it goes; folders are made.
        progress: Shown in bytes; a total of 0 where the server does not say.
        homepage: For the hint on how to get the file by hand.

    Raises:
        DataError: If the file is there with another md5, cannot be downloaded, or arrives with another md5.
    """
    by_hand = f"Or get it by hand from {homepage} or {url}, and pass it with --source PATH."
    if path.exists():
        if (found := file_md5(path)) != md5:
            raise DataError(f"{path} has md5 {found}, expected {md5}", hint=f"Delete it and run again. {by_hand}")
        return path
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part, progress)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(
            f"{url} cannot be downloaded: {error}", hint=f"Run again: it goes on where it stopped. {by_hand}"
        ) from error
    if (found := file_md5(part)) != md5:
        part.unlink()
        raise DataError(
            f"{url} has md5 {found}, expected {md5}: the download is damaged, or the file was replaced",
            hint=f"Run again. {by_hand}",
        )
    os.replace(part, path)
    return path


def _download(url: str, part: Path, progress: Progress) -> None:
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == BAD_RANGE:  # nothing is left to send: the checksum decides
            return
        raise
    with answer:
        resumed = answer.status == PARTIAL
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise OSError(f"the server sent another range: {answer.headers.get('Content-Range')!r}")
        start = start if resumed else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else 0
        with part.open("ab" if resumed else "wb") as out:
            done = _copy(answer, out, start, total, progress)
    if total and done != total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")


def _copy(answer: IO[bytes], out: IO[bytes], start: int, total: int, progress: Progress) -> int:
    """Append the answer to `out`; return the bytes there are now."""
    done = start
    with progress("download", total) as step:
        while chunk := answer.read(CHUNK):
            out.write(chunk)
            done += len(chunk)
            step(done)
    return done
