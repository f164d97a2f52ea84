"""One HTTP exchange with a checked address, bounded on every side; the only importer of httpcore.

httpcore, the transport below httpx, lets the connection itself be made here. That is needed twice: the address that
was checked is the one that is connected to, whatever the name resolves to a moment later, and one deadline holds for
everything, also for a peer that sends a byte now and then. No proxy is used, which would resolve names itself.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import httpcore
import httpx

from attestations.domain.internet import AddressRules, InternetAddress, IpAddress
from builds.domain.errors import PortalError
from builds.domain.printable import one_line

_MOST_ADDRESSES = 4

type Resolve = Callable[[str, int], list[IpAddress]]
type Response = httpcore.Response


class BrokenOff(Exception):
    """The body ended before its end, or what came is none. It never leaves who reads."""


@dataclass(frozen=True, slots=True)
class FailureNames:
    """How the failures of an exchange are called by who makes it."""

    unknown_host: type[PortalError]
    unreachable: type[PortalError]
    too_slow: type[PortalError]
    not_http: type[PortalError]


def resolve(host: str, port: int) -> list[IpAddress]:
    """Every address of a host, as this machine resolves it; raises ``OSError``."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


class PinnedHttp:
    """Speaks to peers by these rules and under these names; safe between threads."""

    def __init__(
        self,
        rules: AddressRules,
        names: FailureNames,
        resolver: Resolve = resolve,
        certificates: ssl.SSLContext | None = None,
    ) -> None:
        self._rules = rules
        self._names = names
        self._resolve = resolver
        self._certificates = certificates

    @contextmanager
    def exchange(
        self,
        method: str,
        address: InternetAddress,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        seconds: float,
        idle: float | None = None,
    ) -> Iterator[Response]:
        """The open answer, redirects as they are. What is read from it within this context is under the same deadline
        and the same names; nothing may be silent for longer than ``idle`` seconds either.

        Raises the private-address error of the rules, and the failures by their names.
        """
        names, where = self._names, address.where
        clock = _Clock(time.monotonic() + seconds, idle if idle is not None else seconds)
        network = _Network(address, self._rules, names, self._resolve, clock)
        url = httpcore.URL(
            scheme=address.scheme.encode(),
            host=address.host.encode(),
            port=address.port,
            target=address.target.encode(),
        )
        certificates = self._certificates or _public_authorities()
        try:
            with (
                httpcore.ConnectionPool(certificates, max_connections=1, network_backend=network) as pool,
                pool.stream(method, url, headers=list(headers.items()), content=body) as response,
            ):
                yield response
        except httpcore.TimeoutException as error:
            raise names.too_slow(f"no whole answer in {clock.told(seconds)}", where=where) from error
        except httpcore.NetworkError as error:
            raise names.unreachable(f"the connection failed: {_reason(error)}", where=where) from error
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            raise names.not_http("the answer is not HTTP", where=where) from error


def pieces(response: Response) -> Iterator[bytes]:
    """The body as it comes. Raises ``BrokenOff`` where it breaks off; running out of time keeps its own name."""
    try:
        yield from response.iter_stream()
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise BrokenOff from error


def beginning(response: Response, most: int) -> tuple[bytes, bool]:
    """The first bytes of the body, and whether it broke off before them."""
    body = bytearray()
    try:
        for piece in response.iter_stream():
            body += piece
            if len(body) >= most:
                break
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        return bytes(body[:most]), True
    return bytes(body[:most]), False


def header(response: Response, name: str) -> str | None:
    """The value of a header that is there once; None when it is not there. One that is repeated is joined by commas."""
    found = [value for key, value in response.headers if key.lower() == name.lower().encode()]
    return b", ".join(found).decode("latin-1") if found else None


@dataclass(frozen=True, slots=True)
class _Clock:
    """How long an exchange has: until ``deadline`` by the monotonic clock, and ``idle`` seconds for each step of it."""

    deadline: float
    idle: float

    def left(self) -> float:
        """Seconds for the next step; raises httpcore's timeout when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout
        return min(left, self.idle)

    def told(self, seconds: float) -> str:
        """Which of the two it was that ran out."""
        over = time.monotonic() >= self.deadline
        return f"{seconds:g} seconds" if over else f"time: nothing came for {self.idle:g} seconds"


class _Network(httpcore.NetworkBackend):
    """Connections of one exchange: to checked addresses only, until one deadline."""

    def __init__(
        self, address: InternetAddress, rules: AddressRules, names: FailureNames, resolver: Resolve, clock: _Clock
    ) -> None:
        self._address = address
        self._rules = rules
        self._names = names
        self._resolve = resolver
        self._clock = clock
        self._system = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = list(dict.fromkeys(self._addresses(host, port)))[:_MOST_ADDRESSES]
        for later, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                stream = self._system.connect_tcp(str(address), port, self._clock.left() / later)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if later == 1:
                    raise
            else:
                return _TimedStream(stream, self._clock)
        raise self._names.unknown_host("the host has no address", where=self._address.where)

    def _addresses(self, host: str, port: int) -> list[IpAddress]:
        """Every address, checked. In a thread: the system's resolver knows no deadline."""
        answers: queue.SimpleQueue[list[IpAddress] | OSError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._resolve(host, port))
            except OSError as error:
                answers.put(error)

        threading.Thread(target=ask, daemon=True, name="pinned-resolver").start()
        try:
            found = answers.get(timeout=self._clock.left())
        except queue.Empty:
            raise httpcore.ConnectTimeout from None
        if isinstance(found, OSError):
            raise self._names.unknown_host("the host has no address", where=self._address.where) from found
        if not self._address.is_exempt:
            self._rules.check(found, self._address.where)
        return found


class _TimedStream(httpcore.NetworkStream):
    """A connection that is over at the deadline, however often something is read from it."""

    def __init__(self, inner: httpcore.NetworkStream, clock: _Clock) -> None:
        self._inner = inner
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._clock.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._clock.left())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _TimedStream(self._inner.start_tls(ssl_context, server_hostname, self._clock.left()), self._clock)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


def _reason(error: Exception) -> str:
    return one_line(str(error) or type(error).__name__, 200)


@cache
def _public_authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context()
