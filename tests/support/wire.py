"""The network between an agent and its portal, as one that can be cut, and that can keep an answer back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE = 65536


class Wire:
    """Forwards TCP connections of the loopback interface to a port, until it is cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self._kept = b""
        self.kept_back = threading.Event()
        """Set once the portal has answered a request whose answer is kept back."""
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        with self._lock:
            self._is_cut = True
            for side in self._open:
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        with self._lock:
            self._is_cut = False
            self._kept = b""

    def keep_answers_to(self, request: bytes) -> None:
        """From now on nobody sees what is answered to requests that begin so, as in ``b"POST /api/v1/claims"``."""
        self._kept = request

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(near,), daemon=True).start()

    def _forward(self, near: socket.socket) -> None:
        with near, suppress(OSError), socket.create_connection(("127.0.0.1", self._target), timeout=60) as far:
            with self._lock:
                if self._is_cut:
                    return
                self._open |= {near, far}
            mute = threading.Event()
            back = threading.Thread(target=self._answers, args=(far, near, mute), daemon=True)
            back.start()
            try:
                while piece := near.recv(_PIECE):
                    if self._kept and piece.startswith(self._kept):
                        mute.set()
                    far.sendall(piece)
                far.shutdown(socket.SHUT_WR)
                back.join()
            finally:
                with self._lock:
                    self._open -= {near, far}

    def _answers(self, far: socket.socket, near: socket.socket, mute: threading.Event) -> None:
        with suppress(OSError):
            while piece := far.recv(_PIECE):
                if mute.is_set():
                    self.kept_back.set()
                else:
                    near.sendall(piece)
        # Also when the far side was reset: whoever waits for an answer must hear that there is none.
        with suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)


@contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.close()
