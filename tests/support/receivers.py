"""Receivers of webhooks on loopback, which behave as they are told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

type Behaviour = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def told(self) -> Any:
        return json.loads(self.body)

    def is_signed_with(self, secret: str) -> bool:
        """By the specification's words, without any of the portal's code."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        return f"v1,{expected}" in self.headers["webhook-signature"].split(" ")


@dataclass
class Receiver:
    """``behaviours`` are used one after the other, the last one for ever."""

    port: int
    behaviours: list[Behaviour]
    received: list[Received] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/hook?of=tests"

    def take(self, request: Received) -> Behaviour:
        with self._lock:
            self.received.append(request)
            return self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]


def answers(status: int, body: bytes = b"thanks", **headers: str) -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        with suppress(ConnectionError):
            handler.wfile.write(body)

    return behave


def hangs(handler: BaseHTTPRequestHandler) -> None:
    """Takes the message and says nothing."""
    with suppress(OSError):
        handler.connection.settimeout(30)
        handler.connection.recv(1)


def drips(handler: BaseHTTPRequestHandler) -> None:
    """Sends a byte of a header now and then, so that no single read takes long."""
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            handler.wfile.write(b"a")
            handler.wfile.flush()
            time.sleep(0.05)


def floods(handler: BaseHTTPRequestHandler) -> None:
    """An answer without an end."""
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            handler.wfile.write(b"x" * 65536)


def talks(raw: bytes) -> Behaviour:
    """Sends these bytes and hangs up."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(raw)
        handler.close_connection = True

    return behave


def by_path(behaviours: Mapping[str, Behaviour]) -> Behaviour:
    """As the path says, without its query; 404 for any other."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        behaviours.get(handler.path.partition("?")[0], answers(404, b""))(handler)

    return behave


@contextmanager
def receiver(*behaviours: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver that behaves so; without any it accepts everything."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            it.take(Received(self.path, headers, body, time.monotonic()))(self)
            self.close_connection = True

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            it.take(Received(self.path, headers, b"", time.monotonic()))(self)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing is told."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """A client that hangs up is expected here."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    it = Receiver(server.server_address[1], list(behaviours) or [answers(204, b"")])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes connections and never a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
