"""The agent's side of HTTP, against a real server on loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from builds.rebuilder.portal_client import PortalClient


class _Portal(ThreadingHTTPServer):
    """Lists no release, keeps connections open, and counts them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.connections = 0

    def get_request(self):
        self.connections += 1
        return super().get_request()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b'{"releases": [], "next": null}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class names it
        """Nothing: the test's output is the test's."""


@pytest.fixture
def portal() -> Iterator[_Portal]:
    with _Portal() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_connection_is_used_again_at_once_but_not_when_a_server_may_be_closing_it(portal: _Portal) -> None:
    with PortalClient(f"http://127.0.0.1:{portal.server_address[1]}") as client:
        for _ in range(2):
            assert list(client.releases()) == []
        assert portal.connections == 1
        time.sleep(1.2)
        assert list(client.releases()) == []
        assert portal.connections == 2
