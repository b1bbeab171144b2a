"""A local HTTP server that misbehaves on demand, and manifests of small data sets."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image


@dataclass
class Reply:
    """How to answer one request."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = None
    ranges: bool = True  # honour Range (and If-Range against `etag`)
    cut_after: int | None = None  # close the connection after this many bytes of this response
    declared_length: int | None = None  # lie in Content-Length
    no_length: bool = False  # leave Content-Length out
    other_range: bool = False  # answer 206 with a range that was not asked for


class Server:
    """`route(path, first, second, ...)`: the n-th request gets the n-th reply, the last one stays."""

    def __init__(self) -> None:
        self.routes: dict[str, list[Reply]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _answer(self, outer.next_reply(self.path, {k.lower(): v for k, v in self.headers.items()}))

            def log_message(self, *_: object) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True).start()

    def route(self, path: str, *replies: Reply) -> str:
        self.routes[path] = list(replies)
        return self.url + path

    def next_reply(self, path: str, headers: dict[str, str]) -> Reply:
        with self._lock:
            self.requests.append((path, headers))
            replies = self.routes.get(path)
            if not replies:
                return Reply(b"not found", status=404)
            return replies.pop(0) if len(replies) > 1 else replies[0]

    def asked(self, path: str) -> list[dict[str, str]]:
        """Headers of the requests for a path, in order."""
        return [headers for p, headers in self.requests if p == path]


def _answer(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    body, status, headers = reply.body, reply.status, dict(reply.headers)
    wanted = handler.headers.get("Range")
    condition = handler.headers.get("If-Range")
    if status == 200 and reply.ranges and wanted and (condition is None or condition == reply.etag):
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, len(body) - int(last))
        stop = min(int(last) + 1, len(body)) if first and last else len(body)
        if start >= len(body):
            status, headers["Content-Range"], body = 416, f"bytes */{len(body)}", b""
        else:
            start = start + 1 if reply.other_range else start
            status, headers["Content-Range"] = 206, f"bytes {start}-{stop - 1}/{len(body)}"
            body = body[start:stop]
    if reply.etag:
        headers["ETag"] = reply.etag
    handler.send_response(status)
    for key, value in headers.items():
        handler.send_header(key, value)
    if not reply.no_length:
        handler.send_header(
            "Content-Length", str(len(body) if reply.declared_length is None else reply.declared_length)
        )
    handler.end_headers()
    try:
        handler.wfile.write(body if reply.cut_after is None else body[: reply.cut_after])
        handler.wfile.flush()
    except (BrokenPipeError, ConnectionResetError):
        pass
    handler.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.httpd.shutdown()
    running.httpd.server_close()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees or touches the user's cache; SPLATBENCH_DATA is given back to the tests that ask for it."""
    monkeypatch.setenv("SPLATBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("SPLATBENCH_DATASETS", raising=False)


@pytest.fixture
def unused_url() -> str:
    """An address on this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/a.bin"


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes a manifest that `get_dataset` finds, of pictures with known hashes unless told otherwise."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    monkeypatch.setenv("SPLATBENCH_DATASETS", str(folder))
    monkeypatch.delenv("SPLATBENCH_DATA", raising=False)

    def write(name: str, **changes: object) -> None:
        content = {
            "name": name,
            "title": name.title(),
            "licence": "CC0-1.0",
            "homepage": "https://example.org/",
            "citation": "none",
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content | changes))

    return write


@dataclass(frozen=True)
class Picture:
    """A small random picture as the PNG file that a data set would publish."""

    name: str
    pixels: np.ndarray
    content: bytes

    @property
    def entry(self) -> dict[str, object]:
        """Everything that a manifest can say of it."""
        height, width = self.pixels.shape[:2]
        return {
            "name": self.name,
            "width": width,
            "height": height,
            "bytes": len(self.content),
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "pixel_sha256": hashlib.sha256(self.pixels.tobytes()).hexdigest(),
        }


@pytest.fixture
def pictures() -> list[Picture]:
    made = []
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 36, 3), dtype=np.uint8)
        with io.BytesIO() as file:
            Image.fromarray(pixels).save(file, "PNG")
            made.append(Picture(f"p{number}.png", pixels, file.getvalue()))
    return made
