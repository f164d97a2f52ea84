"""A portal that answers whatever a test wants, honest or not, on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler

from tests.support.loopback import LoopbackServer

_DRIP_SECONDS = 0.1


class FalsePortal(LoopbackServer):
    """Answers each path with what ``body`` gives for it (None: 404); counts connections, keeps what it was asked."""

    def __init__(
        self,
        body: Callable[[str], bytes | None],
        status: int,
        drips: bool,
        drips_headers: bool,
        headers: dict[str, str],
    ) -> None:
        super().__init__(_Answer)
        self.body = body
        self.status = status
        self.drips = drips
        self.drips_headers = drips_headers
        self.sent_headers = headers
        self.connections = 0
        self.asked: list[str] = []
        self.headers: list[Message] = []
        self.ended = threading.Event()

    def get_request(self):
        self.connections += 1
        return super().get_request()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FalsePortal

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.headers.append(self.headers)
        given = self.server.body(self.path)
        body = given or b""
        self.send_response(self.server.status if given is not None else 404)
        for name, value in {"Content_Length": str(len(body)), **self.server.sent_headers}.items():
            self.send_header(name.replace("_", "-"), value)
        if self.server.drips_headers:
            self._drip_headers()
            return
        self.end_headers()
        # Whoever had enough of the answer hangs up.
        with suppress(OSError):
            if not self.server.drips:
                self.wfile.write(body)
                return
            for byte in body:
                self.wfile.write(bytes([byte]))
                if self.server.ended.wait(_DRIP_SECONDS):
                    return

    def _drip_headers(self) -> None:
        self.flush_headers()
        with suppress(OSError):
            while not self.server.ended.wait(_DRIP_SECONDS):
                self.wfile.write(b"X-Wait: a moment\r\n")

    do_POST = do_GET  # noqa: N815 - the base class names it

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class names it
        """Nothing: the test's output is the test's."""


@contextmanager
def false_portal(
    body: Callable[[str], bytes | None],
    *,
    status: int = 200,
    drips: bool = False,
    drips_headers: bool = False,
    **headers: str,
) -> Iterator[FalsePortal]:
    """A header's name is given with ``_`` for each ``-``. ``drips_headers``: they never end."""
    with FalsePortal(body, status, drips, drips_headers, headers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()
