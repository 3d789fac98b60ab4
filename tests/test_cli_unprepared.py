"""A known data set that was never prepared is prepared with its defaults by whoever needs it to ask a model."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from command_line import Bench
from llmrs_bench.core.errors import ModelError
from llmrs_bench.data.datasets import DATASETS, RemoteFile
from llmrs_bench.llm.model_aliases import ModelSpec

USERS, FILMS = 12, 30


def archive() -> bytes:
    """Return a made-up data set in the layout of the archive that is downloaded."""
    ratings = [
        f"{u}::{(u * 5 + step * 7) % FILMS}::{3 + step % 3}::{1000 + step}" for u in range(USERS) for step in range(8)
    ]
    films = [f"{number}::The Road of {number} Bends ({1950 + number})::Drama" for number in range(FILMS)]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as files:
        files.writestr("ml-1m/ratings.dat", "\n".join(ratings) + "\n")
        files.writestr("ml-1m/movies.dat", "\n".join(films) + "\n")
    return content.getvalue()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serve the archive as the source of `ml1m`, and say what was asked for."""
    data, paths = archive(), list[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    monkeypatch.setenv("no_proxy", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}/ml-1m.zip"
    file = RemoteFile("ml-1m.zip", (url,), hashlib.md5(data).hexdigest())
    known = replace(DATASETS["ml1m"], files=(file,), published=None)
    monkeypatch.setitem(DATASETS, "ml1m", known)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield paths
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def empty(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "home", tmp_path)


def variants(bench: Bench) -> list[str]:
    return [path.parent.name for path in bench.home.glob("ml1m/*/data")]


def test_the_first_command_prepares_and_those_after_it_use_that(empty: Bench, asked: list[str]) -> None:
    said = empty.run("infer", "--model", "mock", "--dataset", "ml1m")
    assert "not prepared yet" in said.stderr
    assert "prepare --help" in said.stderr
    assert asked == ["/ml-1m.zip"]
    (made,) = variants(empty)
    again = empty.run("infer", "--model", "mock", "--dataset", "ml1m")
    assert "already there" in again.stderr
    assert "not prepared" not in again.stderr
    assert again.stdout == said.stdout
    assert empty.name("prepare", "--dataset", "ml1m") == f"ml1m@{made}"  # the defaults, as anybody would type them
    assert asked == ["/ml-1m.zip"]
    empty.run("compare", "--dataset", "ml1m")


def test_an_interrupted_run_goes_on_with_what_was_prepared(
    empty: Bench, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrs_bench.llm.backends.mock import MockEngine

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MockEngine, "answer", stop)
        empty.run("infer", "--model", "mock", "--dataset", "ml1m", code=130)
    before = variants(empty)
    empty.run("infer", "--model", "mock", "--dataset", "ml1m")
    assert variants(empty) == before
    assert len(asked) == len(before) == 1


def test_prompts_are_written_for_it_as_well(empty: Bench, asked: list[str]) -> None:
    assert "The Road of" in empty.run("prompt", "--dataset", "ml1m", "--show", "1").stderr
    assert len(asked) == len(variants(empty)) == 1


@pytest.mark.usefixtures("asked")
def test_the_made_up_data_set_is_prepared_too(empty: Bench) -> None:
    said = empty.run("infer", "--model", "popularity", "--dataset", "demo")
    assert "demo is not prepared yet" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("infer", "-m", "lama-2-7b", "-d", "ml1m"), 2, ("lama-2-7b", "llama-2-7b")),
        (("infer", "-m", "mock", "-d", "ml1m", "-O", "temperatur=1"), 2, ("temperatur",)),
        (("infer", "-m", "owner/gone", "-d", "ml1m"), 1, ("no model 'owner/gone'",)),
        (("infer", "-m", "mock", "-d", "ml1m@mine"), 1, ("not prepared", "prepare --dataset ml1m")),
        (("infer", "-m", "mock", "-d", "movies"), 2, ("movies", "--source")),
        (("infer", "-m", "mock", "-d", "ml32m"), 1, ("not prepared", "prepare --dataset ml32m")),
        (("infer", "-m", "mock", "-d", "amazon-2023:Books@x"), 1, ("prepare --dataset amazon-2023-books",)),
        (("prepare", "-d", "amazon-2023:Bokks"), 2, ("Did you mean 'Books'",)),
        (("infer", "-m", "mock", "-d", "ml1m", "--from-cache"), 1, ("not prepared",)),
        (("evaluate", "-d", "ml1m"), 1, ("not prepared", "prepare --dataset ml1m")),
        (("compare", "-d", "ml1m"), 1, ("not prepared", "prepare --dataset ml1m")),
    ],
)
def test_nothing_is_downloaded_where_it_would_not_help(
    empty: Bench,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    words: tuple[str, ...],
) -> None:
    def gone(model: ModelSpec) -> str:
        raise ModelError(f"no model {model.source!r}")

    monkeypatch.setattr("llmrs_bench.llm.identity._commit", gone)
    said = empty.run(*arguments, code=code).stderr
    assert all(word in said for word in words)
    assert said.count("error:") == 1
    assert asked == []


def test_a_download_that_fails_is_one_message_and_leaves_nothing(
    empty: Bench, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = DATASETS["ml1m"]
    monkeypatch.setitem(DATASETS, "ml1m", replace(known, files=(replace(known.files[0], md5="0" * 32),)))
    said = empty.run("infer", "--model", "mock", "--dataset", "ml1m", code=1).stderr
    assert said.count("error:") == 1
    assert "--source" in said
    assert variants(empty) == []
    assert len(asked) == 1
