"""Sends one webhook, bounded on every side; the only importer of httpcore.

httpcore, the transport below httpx, lets the connection itself be made here. That is needed twice: the address that
was checked is the one that is connected to, whatever the name resolves to a moment later, and one deadline holds for
everything, also for a receiver that sends a byte now and then. No proxy is used, which would resolve names itself.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import httpcore
import httpx

from attestations.domain.webhook_address import IpAddress, WebhookAddress, check_addresses
from attestations.domain.webhook_errors import (
    WebhookNotHttp,
    WebhookTooSlow,
    WebhookUnknownHost,
    WebhookUnreachable,
)
from builds.domain.printable import one_line

TOTAL_SECONDS = 10.0
MOST_CHARACTERS = 1000
_MOST_BYTES = 4 * MOST_CHARACTERS  # of UTF-8
_MOST_ADDRESSES = 4

type Resolve = Callable[[str, int], list[IpAddress]]


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, and the first ``MOST_CHARACTERS`` of what was answered, in one line."""

    status: int
    text: str


def resolve(host: str, port: int) -> list[IpAddress]:
    """Every address of a host, as this machine resolves it; raises ``OSError``."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


class WebhookSender:
    """Posts to receivers; safe between threads."""

    def __init__(
        self,
        resolver: Resolve = resolve,
        certificates: ssl.SSLContext | None = None,
        seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._resolve = resolver
        self._certificates = certificates
        self._seconds = seconds

    def post(self, address: WebhookAddress, headers: Mapping[str, str], body: bytes) -> Answer:
        """What the receiver answered within the time, redirects as they are.

        Raises ``WebhookPrivateAddress`` or a ``WebhookFailure``.
        """
        network = _Network(address, self._resolve, time.monotonic() + self._seconds)
        url = httpcore.URL(
            scheme=address.scheme.encode(),
            host=address.host.encode(),
            port=address.port,
            target=address.target.encode(),
        )
        told = {"Accept-Encoding": "identity", "User-Agent": "tee-portal-webhooks", **headers}
        certificates = self._certificates or _public_authorities()
        try:
            with (
                httpcore.ConnectionPool(certificates, max_connections=1, network_backend=network) as pool,
                pool.stream("POST", url, headers=list(told.items()), content=body) as response,
            ):
                return Answer(response.status, _first(response))
        except httpcore.TimeoutException as error:
            raise WebhookTooSlow(f"no whole answer in {self._seconds:g} seconds", where=address.where) from error
        except httpcore.NetworkError as error:
            raise WebhookUnreachable(f"the connection failed: {_reason(error)}", where=address.where) from error
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            raise WebhookNotHttp("the answer is not HTTP", where=address.where) from error


class _Network(httpcore.NetworkBackend):
    """Connections of one delivery: to checked addresses only, until one deadline."""

    def __init__(self, address: WebhookAddress, resolver: Resolve, deadline: float) -> None:
        self._address = address
        self._resolve = resolver
        self._deadline = deadline
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
                stream = self._system.connect_tcp(str(address), port, _left(self._deadline) / later)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if later == 1:
                    raise
            else:
                return _TimedStream(stream, self._deadline)
        raise WebhookUnknownHost("the host has no address", where=self._address.where)

    def _addresses(self, host: str, port: int) -> list[IpAddress]:
        """Every address, checked. In a thread: the system's resolver knows no deadline."""
        answers: queue.SimpleQueue[list[IpAddress] | OSError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._resolve(host, port))
            except OSError as error:
                answers.put(error)

        threading.Thread(target=ask, daemon=True, name="webhook-resolver").start()
        try:
            found = answers.get(timeout=_left(self._deadline))
        except queue.Empty:
            raise httpcore.ConnectTimeout from None
        if isinstance(found, OSError):
            raise WebhookUnknownHost("the host has no address", where=self._address.where) from found
        if not self._address.is_exempt:
            check_addresses(found, self._address.where)
        return found


class _TimedStream(httpcore.NetworkStream):
    """A connection that is over at the deadline, however often something is read from it."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _TimedStream(self._inner.start_tls(ssl_context, server_hostname, _left(self._deadline)), self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


def _left(deadline: float) -> float:
    """Seconds until the deadline; raises httpcore's timeout when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left


def _first(response: httpcore.Response) -> str:
    """The beginning of the body. The status has said whether it arrived: a body that stops half way is no failure."""
    body = bytearray()
    try:
        for piece in response.iter_stream():
            body += piece
            if len(body) >= _MOST_BYTES:
                break
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        body += b" [the answer broke off]"
    return one_line(bytes(body[:_MOST_BYTES]).decode("utf-8", "replace"), MOST_CHARACTERS)


def _reason(error: Exception) -> str:
    return one_line(str(error) or type(error).__name__, 200)


@cache
def _public_authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context()
