"""A git server over HTTP that a test writes the answers of (gitprotocol-http(5), gitprotocol-pack(5))."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def _packet(data: bytes) -> bytes:
    return b"%04x" % (len(data) + 4) + data


class _GitServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, commit: str, tag: str, says: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.commit, self.tag, self.says = commit, tag, says

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Answer(BaseHTTPRequestHandler):
    """Below ``/moved/`` everything is redirected to what lies beside it."""

    server: _GitServer

    def do_GET(self) -> None:
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", f"{self.server.address}{self.path.removeprefix('/moved/')}")
            self.end_headers()
            return
        commit = self.server.commit
        abilities = "side-band-64k allow-reachable-sha1-in-want allow-tip-sha1-in-want shallow"
        lines = [f"{commit} HEAD\0{abilities}\n", f"{commit} refs/tags/{self.server.tag}\n"]
        listed = b"".join(_packet(line.encode()) for line in lines)
        self._send("advertisement", _packet(b"# service=git-upload-pack\n") + b"0000" + listed + b"0000")

    def do_POST(self) -> None:
        """The commit is shallow; instead of a pack, the server says something and that it failed."""
        asked = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = _packet(f"shallow {self.server.commit}".encode()) + b"0000"
        if b"done" in asked:
            said = (_packet(b"\x02" + self.server.says + b"\n"), _packet(b"\x03" + self.server.says))
            answer += _packet(b"NAK\n") + b"".join(said)
        self._send("result", answer)

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"application/x-git-upload-pack-{kind}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class names it
        """Nothing: the test's output is the test's."""


@contextmanager
def git_server(commit: str, tag: str, *, says: bytes = b"no") -> Iterator[str]:
    """The address of a repository whose one tag names a commit that nobody gets."""
    with _GitServer(commit, tag, says) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.address
        finally:
            server.shutdown()
            thread.join()
