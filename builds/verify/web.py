"""Bytes from a portal or a mirror: the only module of this program that speaks HTTP.

Nothing is believed here: bytes are bounded in size and time, no redirect is followed, and who asks judges them.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import ClassVar, Final
from urllib.parse import urlsplit

import httpx

from builds.domain.errors import LimitExceeded, MalformedInput, PortalError
from builds.domain.printable import one_line

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_OK, _NOT_FOUND = 200, 404
_STEP_SECONDS = 30.0
# A server that sends a byte now and then, of headers too, keeps every single read within its time.
_ALL_SECONDS = 120.0


class PortalUnreachable(PortalError):
    """The portal does not answer, or not with what was asked for."""

    code: ClassVar[str] = "portal-unreachable"
    default_todo: ClassVar[str] = "Check the portal's address, the network, and that it knows this release."


class NotThere(PortalUnreachable):
    """The portal answers that it has no such release or file."""


class NotAPortal(MalformedInput):
    """An address that cannot be asked safely, or answers that are no portal's."""

    code: ClassVar[str] = "not-a-portal"
    default_todo: ClassVar[str] = (
        "Check the address, of a portal or a mirror: https://, or http:// of this machine alone."
    )


class TooLarge(LimitExceeded):
    """More than this program takes of an answer or of all evidence; nothing here raises the limit."""

    default_todo: ClassVar[str] = "Ask another mirror or the portal, and tell who serves this: no evidence is so large."


class Web:
    """One server, asked for paths of itself, within one time for all of it.

    ``option`` is how the address was given. Raises ``NotAPortal``, ``PortalUnreachable`` and ``TooLarge``.
    """

    def __init__(self, address: str, *, option: str) -> None:
        host = _asked_host(address, option)
        self.address = address.rstrip("/")
        self._is_given_up = False
        self._deadline = time.monotonic() + _ALL_SECONDS
        self._http = httpx.Client(
            timeout=_STEP_SECONDS,
            follow_redirects=False,
            trust_env=host not in _LOOPBACK,
            headers={"Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        # A thread that is still asking keeps its connection, whose number could be another file's otherwise.
        if not self._is_given_up:
            self._http.close()

    def get(self, path: str, most_bytes: int) -> bytes:
        """The bytes at a path of the server, which begins with a slash."""
        where = f"{self.address}{path}"
        answer: Future[bytes] = Future()

        def ask() -> None:
            try:
                answer.set_result(self._ask(where, most_bytes))
            except BaseException as error:  # noqa: BLE001 - it is raised again by who waits
                answer.set_exception(error)

        # In a thread, which ends with the program: neither the system's resolver nor headers know a deadline.
        threading.Thread(target=ask, daemon=True, name="asking").start()
        try:
            return answer.result(max(self._deadline - time.monotonic(), 0))
        except TimeoutError as error:
            self._is_given_up = True
            raise PortalUnreachable(f"collecting took longer than {_ALL_SECONDS:g} seconds", where=where) from error

    def _ask(self, where: str, most_bytes: int) -> bytes:
        try:
            with self._http.stream("GET", where) as answer:
                if answer.status_code == _NOT_FOUND:
                    raise NotThere("the answer is 404: it has no such release or file", where=where)
                if answer.status_code != _OK:
                    raise PortalUnreachable(f"the answer is {answer.status_code}", where=where)
                return self._read(answer, most_bytes, where)
        except httpx.HTTPError as error:
            reason = one_line(f"{type(error).__name__}: {error}")
            raise PortalUnreachable(f"no answer: {reason}", where=where) from error

    def _read(self, answer: httpx.Response, most_bytes: int, where: str) -> bytes:
        if answer.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            todo = "Ask another mirror or the portal, or have this one's server heed Accept-Encoding: identity."
            raise NotAPortal("the answer is compressed, though it was asked for as it is", where=where, todo=todo)
        held = bytearray()
        # Raw: a decoded piece could be larger than memory before anybody counts.
        for chunk in answer.iter_raw():
            held += chunk
            if len(held) > most_bytes:
                raise TooLarge(f"the answer is larger than {most_bytes} bytes", where=where)
        return bytes(held)


def _asked_host(address: str, option: str) -> str:
    """The host of an address that can be asked safely; ``NotAPortal`` for any other address."""
    # The address stands in the evidence and in messages.
    shown = "what was given" if "@" in address else repr(address[:200])
    try:
        parts, url = urlsplit(address), httpx.URL(address)
        if parts.port == 0:
            raise ValueError("nothing listens on port 0")
        # As it is encoded and decoded when it is asked, which knows no error of its own.
        url.host.encode("idna")
        url.raw_host.decode("ascii").encode("idna")
    except (ValueError, httpx.InvalidURL) as error:
        raise NotAPortal(f"{shown} is no address", where=option) from error
    if "@" in parts.netloc:
        todo = "Give the address without a name and a password: they would stand in evidence and messages."
        raise NotAPortal("the address names a user", where=option, todo=todo)
    host = parts.hostname or ""
    if parts.query or parts.fragment:
        raise NotAPortal("the address has a query or a fragment: paths of files follow it", where=option)
    if parts.scheme not in {"http", "https"} or not host or (parts.scheme == "http" and host not in _LOOPBACK):
        raise NotAPortal(f"{shown} cannot be asked", where=option)
    return host
