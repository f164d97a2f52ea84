"""Addresses on the public internet: what may be connected to when a stranger says where.

Webhooks and the assets of announced releases go through these rules; each has its own names for what is refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from builds.domain.errors import MalformedInput
from builds.domain.printable import one_line

_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_DEFAULT_PORTS = {"https": 443, "http": 80}

type IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class InternetAddress:
    """A checked address: ``host`` as it is resolved, an IPv6 address without brackets; ``target`` is path and query."""

    scheme: str
    host: str
    port: int
    target: str
    is_exempt: bool
    """Whether the portal's administrator said that plain http and a private address are meant (for tests)."""

    @property
    def where(self) -> str:
        """For messages: without the path, which may hold what only the receiver should know."""
        return f"{self.host}:{self.port}"

    @property
    def text(self) -> str:
        """The address again, against which a redirect is read."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.target}"


@dataclass(frozen=True, slots=True)
class AddressRules:
    """How long an address may be, which ports it may name (None: any), and how each refusal is called."""

    longest: int
    ports: frozenset[int] | None
    malformed: type[MalformedInput]
    credentials: type[MalformedInput]
    not_https: type[MalformedInput]
    odd_port: type[MalformedInput]
    private: type[MalformedInput]

    def parse(self, text: str, exempt: frozenset[str] = frozenset()) -> InternetAddress:
        """The address in ``text``, or the error that names what is wrong with it.

        ``exempt`` are ``host:port`` that may be reached without TLS and may be private. A name is not resolved here:
        what it resolves to is checked each time something is sent.
        """
        if len(text) > self.longest or not _VISIBLE.fullmatch(text):
            what = f"an address has at most {self.longest} visible ASCII characters"
            raise _refused(self.malformed, what, text)
        parts, port = self._split(text)
        host = (parts.hostname or "").lower()
        if parts.username is not None or parts.password is not None or "@" in parts.netloc:
            raise _refused(self.credentials, "the address holds a name or password", host)
        address = ip_literal(host)
        if address is None and not is_host_name(host):
            raise _refused(self.malformed, "the address names no host", text)
        if parts.scheme not in _DEFAULT_PORTS:
            raise _refused(self.not_https, "the address is not https", text)
        port = port if port is not None else _DEFAULT_PORTS[parts.scheme]
        is_exempt = f"{host}:{port}" in exempt
        if not is_exempt:
            self._check_public(parts.scheme, host, port, address)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return InternetAddress(parts.scheme, host, port, target, is_exempt)

    def check(self, addresses: Iterable[IpAddress], where: str) -> None:
        """Return when every address is public: one that is not is enough to mean harm."""
        private = [address for address in addresses if not is_public(address)]
        if private:
            raise self.private(f"the host's address {private[0]} is not a public one", where=where)

    def _check_public(self, scheme: str, host: str, port: int, address: IpAddress | None) -> None:
        if scheme != "https":
            raise _refused(self.not_https, "the address is not https", host)
        if self.ports is not None and port not in self.ports:
            raise _refused(self.odd_port, f"the address names port {port}", host)
        if address is not None:
            self.check([address], host)
        elif names_this_machine(host):
            raise _refused(self.private, "the address names this machine", host)

    def _split(self, text: str) -> tuple[SplitResult, int | None]:
        try:
            parts = urlsplit(text)
            return parts, parts.port
        except ValueError as error:
            raise _refused(self.malformed, "the address cannot be read", text) from error


def is_public(address: IpAddress) -> bool:
    """Whether an address is one of the public internet's; one that stands for an IPv4 address is what that is.

    Sources: IANA's special-purpose address registries (``ipaddress.is_global``), RFC 4291 (mapped), RFC 6052 (NAT64).
    6to4 and Teredo (RFC 3056, RFC 4380) are not: they lead through somebody else to whatever they embed.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and not address.is_reserved
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None or address.teredo is not None:
        return False
    return address in _GLOBAL_UNICAST and address.is_global


def is_host_name(text: str) -> bool:
    """Whether a lower-case text can be resolved: labels as RFC 1123 has them, and underscores.

    No name ends in a number: what does is an IPv4 address, which resolvers read in other notations than the dotted
    one too, as 2130706433, 127.1 or 0x7f.1 (WHATWG URL, "ends in a number"; RFC 3696, section 2).
    """
    return _NAME.fullmatch(text) is not None and _NUMBER.fullmatch(text.rstrip(".").rpartition(".")[2]) is None


def names_this_machine(host: str) -> bool:
    """RFC 6761, section 6.3."""
    bare = host.rstrip(".")
    return bare == "localhost" or bare.endswith(".localhost")


def ip_literal(host: str) -> IpAddress | None:
    """The address that a host is written as, an IPv6 one without brackets; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _refused(kind: type[MalformedInput], what: str, where: str) -> MalformedInput:
    return kind(what, where=one_line(where, 100) or "address")
