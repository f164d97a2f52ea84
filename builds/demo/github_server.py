"""A small GitHub on loopback: releases, tags, files and attestations of one repository.

For the demo, the tests and places without network. It speaks what ``attestations.github`` asks, in GitHub's shapes
(docs.github.com/rest, api-version 2022-11-28), and like GitHub it keeps files on another origin than its API.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copyfileobj
from types import TracebackType
from typing import ClassVar, Self

from builds.demo.github_answers import Answers, Page, PublishedRelease, RepositoryDescription, StoredBundle

__all__ = [
    "GitHubServer",
    "Origin",
    "PublishedRelease",
    "Recorded",
    "RepositoryDescription",
    "StoredBundle",
]


type _Connection = socket.socket | tuple[bytes, socket.socket]


class Origin(StrEnum):
    """The server's two addresses."""

    API = "api"
    STORAGE = "storage"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it came: ``path`` with its query, undecoded."""

    origin: Origin
    path: str
    authorized: bool
    if_none_match: str | None
    api_version: str | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    status: int
    headers: Mapping[str, str]
    body: bytes


class _Listener(ThreadingHTTPServer):
    """One origin. ``stop`` returns when every thread has ended, also those of connections kept open."""

    daemon_threads = False

    def __init__(self, handler: type[BaseHTTPRequestHandler], name: str) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self._open: set[socket.socket] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._accept, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for a connection
        self._thread.join()
        for connection in tuple(self._open):
            with suppress(OSError):  # its other side may have gone first
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: _Connection, client_address: object) -> None:
        if isinstance(request, socket.socket):
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: _Connection) -> None:
        if isinstance(request, socket.socket):
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: _Connection, client_address: object) -> None:
        """A client that breaks off is no error here; any other is printed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            self.handle_request()


@dataclass
class GitHubServer:
    """Serves ``description`` while it is entered. ``token``, when given, is the only one accepted.

    ``per_page`` bounds the length of every page. What is served may be changed between requests.
    """

    description: RepositoryDescription
    token: str | None = None
    per_page: int = 100
    requests: list[Recorded] = field(default_factory=list)
    _prepared: dict[Origin, deque[_Prepared]] = field(default_factory=lambda: {origin: deque() for origin in Origin})
    _listeners: dict[Origin, _Listener] = field(default_factory=dict)

    def __enter__(self) -> Self:
        for origin in Origin:
            handler = type("Handler", (_Handler,), {"serves": (self, origin)})
            self._listeners[origin] = _Listener(handler, f"github-{origin}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in self._listeners.values():
            listener.stop()
        self._listeners.clear()

    def url(self, origin: Origin = Origin.API) -> str:
        """``http://127.0.0.1:<port>``; the API's is what a client is configured with."""
        return f"http://127.0.0.1:{self._listeners[origin].server_port}"

    def fail_next(
        self,
        status: int,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
        *,
        body: bytes = b'{"message": "prepared"}',
        origin: Origin = Origin.API,
    ) -> None:
        """Answer the next ``times`` requests with this instead. ``headers`` may contradict ``body``'s length."""
        self._prepared[origin].extend([_Prepared(status, headers or {}, body)] * times)

    def limit_rate(self, reset_at: float, times: int = 1) -> None:
        """Answer as GitHub does when the primary limit is used up until ``reset_at`` (seconds since 1970)."""
        headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(reset_at))}
        self.fail_next(HTTPStatus.FORBIDDEN, headers, times)

    def asked(self, origin: Origin) -> list[Recorded]:
        """The requests that came to one origin, oldest first."""
        return [request for request in self.requests if request.origin is origin]

    def prepared(self, origin: Origin) -> _Prepared | None:
        """The prepared answer that is due, if there is one."""
        waiting = self._prepared[origin]
        return waiting.popleft() if waiting else None

    def answers(self) -> Answers:
        """What the description says, in GitHub's shapes."""
        return Answers(self.description, self.url(), self.url(Origin.STORAGE), self.per_page)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    # Head and body leave together: apart, the second one waits 40 ms for the first one's acknowledgement.
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True
    serves: ClassVar[tuple[GitHubServer, Origin]]

    def do_GET(self) -> None:
        server, origin = self.serves
        authorization = self.headers.get("Authorization")
        server.requests.append(
            Recorded(
                origin,
                self.path,
                authorization is not None,
                self.headers.get("If-None-Match"),
                self.headers.get("X-GitHub-Api-Version"),
            )
        )
        prepared = server.prepared(origin)
        if prepared is not None:
            self._send(prepared.status, prepared.headers, prepared.body)
        elif origin is Origin.STORAGE:
            self._send_stored(server.answers().stored(self.path))
        elif server.token is not None and authorization not in {None, f"Bearer {server.token}"}:
            self._send(HTTPStatus.UNAUTHORIZED, {}, b'{"message": "Bad credentials"}')
        else:
            self._send_page(server.answers().api(self.path, self.headers.get("Accept", "")))

    def _send_page(self, page: Page) -> None:
        if page.etag is not None and page.etag == self.headers.get("If-None-Match"):
            # Without Link, which HTTP does not require here (RFC 9110, section 15.4.5).
            self._send(HTTPStatus.NOT_MODIFIED, {"ETag": page.etag}, b"")
            return
        self._send(page.status, page.headers, page.body)

    def _send_stored(self, stored: Path | bytes | None) -> None:
        if isinstance(stored, Path) and stored.is_file():
            with stored.open("rb") as file:
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Length", str(stored.stat().st_size))
                self.end_headers()
                copyfileobj(file, self.wfile)
        elif isinstance(stored, bytes):
            self._send(HTTPStatus.OK, {"Content-Type": "application/x-snappy"}, stored)
        else:
            self._send(HTTPStatus.NOT_FOUND, {}, b"BlobNotFound")

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        names = {name.lower() for name in headers}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not names & {"content-length", "transfer-encoding"}:
            self.send_header("Content-Length", str(len(body)))
        if "content-length" in names:
            # It may be a lie: the end of the connection shows how much there was.
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name for it
        """Say nothing: ``requests`` tells."""
