"""What identifies a model: a folder's bytes, a commit of the hub, or of its cache."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import HfApi, constants

from llmrs_bench.core.errors import ModelError
from llmrs_bench.llm.identity import find_files, identify, local_gguf
from llmrs_bench.llm.model_aliases import ModelSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GGUF = b"GGUF of the hub"


class Hub(BaseHTTPRequestHandler):
    """Knows one model, one gated one, and one that makes it stumble."""

    def do_GET(self) -> None:
        model = {"id": "owner/known", "sha": COMMIT, "tags": [], "downloads": 0, "siblings": []}
        files = {"ggufs": ["a.Q4_0.gguf", "b.Q8_0.gguf", "README.md"], "adapter": ["adapter_config.json"]}
        kind = self.path.removeprefix("/api/models/owner/").split("/")[0].split("?")[0]
        if self.path.startswith("/api/models/owner/known/revision/absent"):
            self._send(404, {"error": "Invalid rev id"}, "RevisionNotFound")
        elif self.path.startswith("/api/models/owner/known"):
            self._send(200, model)
        elif kind in files:
            self._send(200, {**model, "siblings": [{"rfilename": name} for name in files[kind]]})
        elif self.path.startswith(f"/owner/ggufs/resolve/{COMMIT}/a.Q4_0.gguf"):
            self._send(200, None, content=GGUF)
        elif self.path.startswith("/api/models/owner/gated"):
            self._send(403, {"error": "Access is restricted"}, "GatedRepo")
        elif self.path.startswith("/api/models/owner/cached"):
            self._send(501, {"error": "not today"})
        else:
            self._send(401, {"error": "Repository not found"}, "RepoNotFound")

    def log_message(self, *_: object) -> None:
        return None

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send(self, status: int, body: object, code: str | None = None, content: bytes | None = None) -> None:
        content = json.dumps(body).encode() if content is None else content
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if code is not None:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", '"0123456789abcdef"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        _use(monkeypatch, f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub that holds `owner/cached`."""
    root = tmp_path / "models--owner--cached"
    snapshot = root / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def _use(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: HfApi(endpoint=endpoint, token=False))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def folder(root: Path) -> Path:
    root.mkdir()
    (root / "config.json").write_text("{}")
    (root / "model.safetensors").write_bytes(b"\x00" * 64)
    (root / "tokenizer.json").write_text("{}")
    return root


def test_a_folder_is_its_bytes_and_not_its_name(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "one"), folder(tmp_path / "other")
    known = identify(ModelSpec("tiny", str(one)))
    assert set(known) == {"content"}
    assert known == identify(ModelSpec("renamed", str(other)))
    (other / "README.md").write_text("hello")
    assert known == identify(ModelSpec("tiny", str(other)))
    (other / "model.safetensors").write_bytes(b"\x00" * 63 + b"\x01")
    assert known != identify(ModelSpec("tiny", str(other)))
    (one / "chat_template.jinja").write_text("{{ messages }}")
    assert known != identify(ModelSpec("tiny", str(one)))


@pytest.mark.parametrize("source", ["/no/such", "./no", "~/no-such-model", "a/b/c"])
def test_a_path_without_a_folder_is_not_asked_of_the_hub(source: str) -> None:
    with pytest.raises(ModelError, match="no folder"):
        identify(ModelSpec("tiny", source))


@pytest.mark.usefixtures("hub")
def test_a_model_of_the_hub_is_its_commit() -> None:
    assert identify(ModelSpec("known", "owner/known")) == {"source": "owner/known", "commit": COMMIT}


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        (ModelSpec("m", "owner/gated"), "gated", "HF_TOKEN"),
        (ModelSpec("m", "owner/unknown"), "no model", "local folder"),
        (ModelSpec("m", "not an id"), "no model", "owner/name"),
        (ModelSpec("m", "owner/known", "absent"), "no revision 'absent'", "commits"),
    ],
)
def test_what_the_hub_refuses_is_a_model_error(model: ModelSpec, message: str, hint: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        identify(model)
    assert hint in caught.value.hint


@pytest.mark.usefixtures("hub")
def test_a_gguf_file_of_the_hub_is_its_commit_and_its_name() -> None:
    model = ModelSpec("m", "owner/ggufs")
    known = identify(model, gguf_file="a.Q4_0.gguf")
    assert known == {"source": "owner/ggufs", "commit": COMMIT, "gguf_file": "a.Q4_0.gguf"}
    assert known != identify(model, gguf_file="b.Q8_0.gguf")
    with pytest.raises(ModelError, match="holds GGUF files: a") as unchosen:
        identify(model)
    assert "-O gguf_file=a.Q4_0.gguf" in unchosen.value.hint
    with pytest.raises(ModelError, match=r"no file 'c\.gguf'") as absent:
        identify(model, gguf_file="c.gguf")
    assert "b.Q8_0.gguf" in absent.value.hint


@pytest.mark.usefixtures("hub")
def test_a_gguf_file_of_the_hub_is_downloaded(cache: Path) -> None:
    path = local_gguf(find_files("owner/ggufs", gguf_file="a.Q4_0.gguf"), COMMIT)
    assert path.read_bytes() == GGUF
    assert path.is_relative_to(cache)
    assert identify(ModelSpec("m", "owner/ggufs"), gguf_file="a.Q4_0.gguf")["commit"] == COMMIT


@pytest.mark.usefixtures("hub", "cache")
def test_a_gguf_file_that_does_not_arrive_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="cannot be downloaded") as caught:
        local_gguf(find_files("owner/ggufs", gguf_file="b.Q8_0.gguf"), COMMIT)
    assert "hf download owner/ggufs b.Q8_0.gguf" in caught.value.hint


@pytest.mark.usefixtures("hub")
def test_an_adapter_of_the_hub_is_not_taken_for_a_model() -> None:
    with pytest.raises(ModelError, match="LoRA adapter") as caught:
        identify(ModelSpec("m", "owner/adapter"))
    assert "--local-dir" in caught.value.hint


@pytest.mark.usefixtures("hub", "cache")
def test_a_hub_in_trouble_leaves_the_cached_commit() -> None:
    assert identify(ModelSpec("cached", "owner/cached"))["commit"] == COMMIT


@pytest.mark.usefixtures("cache")
def test_without_a_connection_the_cached_commit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, "http://127.0.0.1:9")
    assert identify(ModelSpec("cached", "owner/cached"))["commit"] == COMMIT
    assert identify(ModelSpec("cached", "owner/cached", COMMIT))["commit"] == COMMIT
    with pytest.raises(ModelError, match="not in the local cache") as caught:
        identify(ModelSpec("m", "owner/elsewhere"))
    assert "HF_HUB_OFFLINE" in caught.value.hint
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert identify(ModelSpec("cached", "owner/cached"))["commit"] == COMMIT


def test_identity_imports_neither_torch_nor_transformers() -> None:
    code = "import sys, llmrs_bench.llm.identity as _; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
