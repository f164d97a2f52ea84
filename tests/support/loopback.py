"""What servers of tests have in common: on loopback, one thread for each client, none of which is waited for."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol


class Handler(Protocol):
    def __call__(self, request: object, client_address: object, server: object, /) -> BaseHTTPRequestHandler: ...


class LoopbackServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, handler: Handler) -> None:
        super().__init__(("127.0.0.1", 0), handler)  # type: ignore[arg-type] # any callable will do

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever had enough of an answer hangs up; anything else is told as usual."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]
