"""An OpenAI-compatible server for tests: it answers by a hash, and fails as it is told to."""

import gzip
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from string import ascii_uppercase
from typing import Any, TypeAlias

Fault: TypeAlias = int | str | bytes | dict[str, Any] | tuple[int, bytes]


@dataclass
class Script:
    """What the server does, and what it saw.

    `faults` are taken by requests in turn: a status; a status and its body; the JSON of a reply; the reply itself as
    bytes; an address to redirect to; or `drop` to close the connection, `reset` to reset it, `cut` to close it in the
    middle of a reply, `drip` to send a reply without end, `nonsense` for no JSON, `gzip` for a body that is not in the
    encoding of its header, `chunk` for one that is not in chunks as its header says, `length` for a length that is no
    number, `head` for headers without end, `open` for a reply without a length that ends in the middle, `packed` for
    one in gzip, `short` for one in gzip that ends too early, `bomb` for 200 MB in gzip, `twice` for gzip within gzip.
    """

    faults: list[Fault] = field(default_factory=list)
    hold: Callable[[dict[str, Any]], object] = bool  # called with each request before it is answered
    reply: Callable[[dict[str, Any]], Fault | None] | None = None  # answers or fails instead of the hash, unless None
    retry_after: str = "7"
    error: dict[str, Any] = field(default_factory=dict)  # further fields of errors
    content: str | None = "2, 1"
    reasoning: str | None = None
    logprobs: bool = True
    shown: int = 20  # likeliest tokens returned at most
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    paths: list[str] = field(default_factory=list)
    dripping: threading.Event = field(default_factory=threading.Event)  # set: drip without a pause
    running: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class RefusalError(Exception):
    """Raised by a `reply` that refuses a request with a status."""

    def __init__(self, status: int) -> None:
        self.status = status


@contextmanager
def serve(script: Script, port: int = 0) -> Iterator[str]:
    """Run the server, and give its base URL; with a `port`, where another one was before it."""
    handler = type("Handler", (_Handler,), {"script": script})
    server = _Server(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_GARBLED = ("gzip", "chunk", "length", "nonsense", "open", "packed", "short", "bomb", "twice")


@cache
def packed_blanks() -> bytes:
    """Return 200 MB of blanks in gzip."""
    return gzip.compress(b" " * 200_000_000, 1)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Stay silent when a client has hung up."""


class _Handler(BaseHTTPRequestHandler):
    script: Script
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        script = self.script
        with script.lock:
            script.requests.append(body)
            script.paths.append(self.path)
            script.keys.add(self.headers.get("authorization"))
            script.running += 1
            script.most = max(script.most, script.running)
            fault = script.faults.pop(0) if script.faults else None
        script.hold(body)
        with script.lock:
            script.running -= 1
        if fault is None and script.reply is not None:
            try:
                fault = script.reply(body)
            except RefusalError as refusal:
                fault = refusal.status
        if fault == "drop":
            self.close_connection = True
        elif fault == "reset":
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif fault == "cut":
            self.close_connection = True
            self._send(200, b'{"choices": [', length=400)
        elif fault in ("drip", "head"):
            self._drip(b"X-More: 1\r\n" if fault == "head" else b"")
        elif isinstance(fault, bytes | tuple):
            self._send(*(fault if isinstance(fault, tuple) else (200, fault)))
        elif isinstance(fault, str) and fault.startswith(("http://", "/")):
            self._send(307, b"", location=fault)
        elif fault in _GARBLED:
            self._garble(str(fault))
        elif isinstance(fault, int):
            self._refuse(fault)
        elif isinstance(fault, dict):
            self._send(200, json.dumps(fault).encode())
        else:
            self._send(200, json.dumps(_reply(script, body, chat="chat" in self.path)).encode())

    def _refuse(self, status: int) -> None:
        # Some servers repeat the key that they refuse.
        error = {"message": f"fault {status} for {self.headers.get('authorization')}", **self.script.error}
        self._send(status, json.dumps({"error": error}).encode())

    def _drip(self, drop: bytes = b"") -> None:
        self.close_connection = True
        self.send_response(200)
        if drop:
            self.flush_headers()
        else:
            self.end_headers()
        with suppress(OSError):  # the client hangs up
            while True:
                self.wfile.write(drop or b" ")
                self.script.dripping.wait(0.01)

    def _garble(self, how: str) -> None:
        self.close_connection = True
        content = (
            b"<html>hello</html>"
            if how == "nonsense"
            else json.dumps(_reply(self.script, {"prompt": ""}, chat=True)).encode()
        )
        if how == "bomb":
            content = packed_blanks()
        elif how == "open":
            content = content[: len(content) // 2]
        elif how in ("packed", "short", "twice"):
            content = gzip.compress(gzip.compress(content) if how == "twice" else content)
            content = content[:-9] if how == "short" else content
        self.send_response(200)
        self.send_header("Connection", "close")
        if how in ("gzip", "packed", "short", "bomb", "twice"):
            self.send_header("Content-Encoding", "gzip, gzip" if how == "twice" else "gzip")
        if how == "chunk":
            self.send_header("Transfer-Encoding", "chunked")
        elif how != "open":
            self.send_header("Content-Length", "many" if how == "length" else str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send(self, status: int, content: bytes, *, length: int | None = None, location: str = "") -> None:
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", self.script.retry_after)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def label_logprob(text: str, label: str) -> float:
    """Return what the server says of a label as the next token of a text."""
    return -3.5 - int(sha256(f"{text} {label}".encode()).hexdigest()[:4], 16) / 10_000


def text_of(body: dict[str, Any]) -> str:
    """Return all that a request says."""
    return "\n".join(turn["content"] for turn in body["messages"]) if "messages" in body else str(body["prompt"])


def _reply(script: Script, body: dict[str, Any], *, chat: bool) -> dict[str, Any]:
    text = text_of(body)
    found = sorted(((label_logprob(text, label), label) for label in ascii_uppercase), reverse=True)[: script.shown]
    usage = {
        "prompt_tokens": len(text.split()),
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 2 if script.reasoning else 0},
    }
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if chat:
        choice["message"] = {"role": "assistant", "content": script.content, "reasoning_content": script.reasoning}
    else:
        choice["text"] = script.content
    if body.get("logprobs") and script.logprobs:
        tops = [{"token": label, "logprob": value} for value, label in found]
        as_pairs = {entry["token"]: entry["logprob"] for entry in tops}
        choice["logprobs"] = {"content": [{"top_logprobs": tops}]} if chat else {"top_logprobs": [as_pairs]}
    return {"model": "served-7b", "system_fingerprint": "fp_1", "choices": [choice], "usage": usage}
