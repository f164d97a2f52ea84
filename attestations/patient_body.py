"""Reads the body of a request for as long as it comes fast enough.

A read waits in the web server until it has all bytes that were asked for, so that no bound can be held to between two
reads alone: a sender of one byte every few seconds would keep it waiting for hours. Another thread looks every second
how it goes, and ends the reading by shutting the socket for what still comes; the answer can be sent all the same.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from django.http import HttpRequest

from attestations.asset_http import USUAL, Patience
from attestations.domain.publication_errors import UploadTooSlow

_PIECE = 64 * 1024
"""Bytes; what is known of a body while one more is waited for."""


class PatientBody:
    """A stream. Only the seconds that it waits for the sender count, not those in which the portal writes.

    Without gunicorn's socket in the request's environment, slowness is seen once the next piece has come.
    """

    def __init__(self, request: HttpRequest, patience: Patience = USUAL, *, looked_every: float = 1.0) -> None:
        self._request = request
        self._patience = patience
        self._looked_every = looked_every
        self._received = 0
        self._waited = 0.0
        self._waits_since: float | None = None
        self._is_over = threading.Event()
        self._is_hung_up = False

    @contextmanager
    def held_to_it(self) -> Iterator[Self]:
        """Within this, ``read`` raises ``UploadTooSlow`` for a sender that tries the patience."""
        watching = threading.Thread(target=self._watch, name="patient-body", daemon=True)
        watching.start()
        try:
            yield self
        finally:
            # Joined: once this is left, the socket is of the next request.
            self._is_over.set()
            watching.join()

    def read(self, size: int | None = None) -> bytes:
        """``size`` bytes, fewer only at the end; all of them when it is not given."""
        pieces: list[bytes] = []
        left = size
        while left is None or left > 0:
            wanted = _PIECE if left is None else min(left, _PIECE)
            piece = self._piece(wanted)
            pieces.append(piece)
            left = left - len(piece) if left is not None else None
            if len(piece) < wanted:
                break
        return b"".join(pieces)

    def _piece(self, wanted: int) -> bytes:
        self._waits_since = began = time.monotonic()
        try:
            piece = self._request.read(wanted)
        finally:
            self._waits_since = None
            self._waited += time.monotonic() - began
        self._received += len(piece)
        if self._is_hung_up or (piece and self._patience.slowness(self._received, self._waited)):
            raise UploadTooSlow(self._how_slow(self._waited), where="the body")
        return piece

    def _watch(self) -> None:
        while not self._is_over.wait(self._looked_every):
            since = self._waits_since
            if since is not None and self._is_tried(time.monotonic() - since):
                self._is_hung_up = True
                hang_up(self._request)
                return

    def _is_tried(self, waits: float) -> bool:
        return waits > self._patience.idle or bool(self._patience.slowness(self._received, self._waited + waits))

    def _how_slow(self, seconds: float) -> str:
        stated = self._patience.slowness(self._received, seconds)
        return stated or f"fewer than {_PIECE} bytes came in {self._patience.idle:.0f} seconds"


def hang_up(request: HttpRequest) -> None:
    """Take no byte more of the request; whoever waits for one is told that it ended.

    Without it the web server waits some seconds for the rest of a body that nobody wants, in the thread of the request.
    """
    connection = request.META.get("gunicorn.socket")
    if isinstance(connection, socket.socket):
        with suppress(OSError):
            # Of the class itself: that of a TLS socket would forget its keys, and with them the answer.
            socket.socket.shutdown(connection, socket.SHUT_RD)
