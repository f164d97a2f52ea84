"""Fetches the assets of an announced release: from configured hosts on the public internet, as the bytes they are.

Every address, also one that a redirect names, is held to the same rules; a name is resolved once for each and what was
checked is connected to (``attestations.pinned_http``).
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from attestations.domain.internet import InternetAddress
from attestations.domain.publication import RULES, asset_address, redirected
from attestations.domain.publication_errors import (
    AssetEncoded,
    AssetIncomplete,
    AssetNotHttp,
    AssetNotServed,
    AssetRedirects,
    AssetTooLarge,
    AssetTooSlow,
    AssetUnavailable,
    AssetUnknownHost,
    AssetUnreachable,
)
from attestations.pinned_http import BrokenOff, FailureNames, PinnedHttp, Resolve, Response, header, pieces, resolve
from builds.domain.errors import DiskFull

MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK, _SERVER_ERRORS, _TOO_MANY = 200, 500, 429
_LONGEST_LENGTH = 19
_NAMES = FailureNames(AssetUnknownHost, AssetUnreachable, AssetTooSlow, AssetNotHttp)
_HEADERS: Mapping[str, str] = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "tee-portal"}


@dataclass(frozen=True, slots=True)
class Patience:
    """How slow a server, or who uploads, may be: ``idle`` seconds without a byte; and once ``grace`` seconds have
    passed, no fewer than ``bytes_per_second`` since the beginning.
    """

    idle: float = 30.0
    grace: float = 30.0
    bytes_per_second: int = 32 * 1024

    def slowness(self, received: int, seconds: float) -> str:
        """What is wrong with so many bytes in so long a time; "" when nothing is."""
        if seconds > self.grace and received < self.bytes_per_second * seconds:
            return f"{received} bytes came in {seconds:.0f} seconds, fewer than {self.bytes_per_second} each"
        return ""

    def refuse_slow(self, received: int, seconds: float, where: str) -> None:
        what = self.slowness(received, seconds)
        if what:
            raise AssetTooSlow(what, where=where)


USUAL = Patience()


@dataclass(frozen=True, slots=True)
class Hosts:
    """``host:port`` of a project's asset hosts, and those that may be private and without TLS (for tests)."""

    allowed: frozenset[str]
    exempt: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was written: its SHA-256 as lower-case hexadecimal, and bytes."""

    sha256: str
    size: int


class AssetFetcher:
    """Fetches from servers; safe between threads."""

    def __init__(
        self,
        resolver: Resolve = resolve,
        certificates: ssl.SSLContext | None = None,
        patience: Patience = USUAL,
    ) -> None:
        self._http = PinnedHttp(RULES, _NAMES, resolver, certificates)
        self._patience = patience

    def fetch(
        self, url: str, hosts: Hosts, path: Path, *, most: int, until: float, tell: Callable[[int], None]
    ) -> Fetched:
        """Write what is at ``url`` to a new file; ``most`` bytes, and until a moment of the monotonic clock.

        ``tell`` hears of every piece how many bytes it has, and may raise to stop. Raises an ``AssetAddressRefused``,
        an ``AssetUnavailable`` and ``AssetNotServed``, ``AssetRedirects``, ``AssetEncoded``, ``AssetTooLarge``.
        """
        address = asset_address(url, hosts.allowed, hosts.exempt)
        for _ in range(MOST_REDIRECTS + 1):
            left = until - time.monotonic()
            if left <= 0:
                raise AssetTooSlow("the time for fetching this release is over", where=address.where)
            with self._http.exchange("GET", address, _HEADERS, seconds=left, idle=self._patience.idle) as response:
                if response.status not in _REDIRECTS:
                    return self._kept(response, address, path, most, tell)
                location = header(response, "location")
            address = redirected(address, location, hosts.allowed, hosts.exempt)
        raise AssetRedirects(f"there are more than {MOST_REDIRECTS} redirects", where=address.where)

    def _kept(
        self, response: Response, address: InternetAddress, path: Path, most: int, tell: Callable[[int], None]
    ) -> Fetched:
        _expect_whole(response, address.where, most)
        hashed, size = hashlib.sha256(), 0
        try:
            with path.open("xb") as file:
                for piece in self._pieces(response, address.where):
                    size += len(piece)
                    if size > most:
                        raise AssetTooLarge(f"it has more than {most} bytes", where=address.where)
                    tell(len(piece))
                    hashed.update(piece)
                    file.write(piece)
        except OSError as error:
            raise DiskFull(f"the asset cannot be written: {error.strerror}", where=path.name) from error
        return Fetched(hashed.hexdigest(), size)

    def _pieces(self, response: Response, where: str) -> Iterator[bytes]:
        began, received = time.monotonic(), 0
        try:
            for piece in pieces(response):
                received += len(piece)
                yield piece
                self._patience.refuse_slow(received, time.monotonic() - began, where)
        except BrokenOff as error:
            raise AssetIncomplete(f"the answer broke off after {received} bytes", where=where) from error


def _expect_whole(response: Response, where: str, most: int) -> None:
    """Return for an answer that gives the file itself and says by itself where that ends."""
    status = response.status
    if status >= _SERVER_ERRORS or status == _TOO_MANY:
        raise AssetUnavailable(f"the server answered {status}", where=where)
    if status != _OK:
        raise AssetNotServed(f"the server answered {status}", where=where)
    if (header(response, "content-encoding") or "identity").strip().lower() != "identity":
        raise AssetEncoded("the answer is compressed, which nobody asked for", where=where)
    if (header(response, "transfer-encoding") or "").strip().lower() == "chunked":
        return
    length = header(response, "content-length")
    # One that ends with the connection looks whole wherever that breaks.
    if length is None or not length.isascii() or not length.isdecimal() or len(length) > _LONGEST_LENGTH:
        raise AssetIncomplete("the answer does not say how long it is", where=where)
    if int(length) > most:
        raise AssetTooLarge(f"it has {length} bytes, and {most} are taken", where=where)
