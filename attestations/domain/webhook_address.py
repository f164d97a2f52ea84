"""Where webhooks may be sent: to https on the public internet, and nowhere that only this machine can reach."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from attestations.domain.webhook_errors import (
    WebhookAddressRefused,
    WebhookAddressWithCredentials,
    WebhookNotHttps,
    WebhookOddPort,
    WebhookPrivateAddress,
)
from builds.domain.printable import one_line

MAX_ADDRESS_CHARACTERS = 500
_PORTS = frozenset({443, 8443})
_ADDRESS = re.compile(rf"[\x21-\x7e]{{1,{MAX_ADDRESS_CHARACTERS}}}")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_DEFAULT_PORTS = {"https": 443, "http": 80}

type IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class WebhookAddress:
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


def parse_address(text: str, exempt: frozenset[str] = frozenset()) -> WebhookAddress:
    """The address in ``text``, or a named ``WebhookAddressRefused``.

    ``exempt`` are ``host:port`` that may be reached without TLS and may be private. A name is not resolved here: what
    it resolves to is checked each time something is sent.
    """
    if not _ADDRESS.fullmatch(text):
        raise _refused(WebhookAddressRefused, "an address has at most 500 visible ASCII characters", text)
    parts, port = _split(text)
    host = (parts.hostname or "").lower()
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise _refused(WebhookAddressWithCredentials, "the address holds a name or password", host)
    address = _literal(host)
    if address is None and not _NAME.fullmatch(host):
        raise _refused(WebhookAddressRefused, "the address names no host", text)
    if parts.scheme not in _DEFAULT_PORTS:
        raise _refused(WebhookNotHttps, "the address is not https", text)
    port = port if port is not None else _DEFAULT_PORTS[parts.scheme]
    is_exempt = f"{host}:{port}" in exempt
    if not is_exempt:
        _check_public(parts.scheme, host, port, address)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return WebhookAddress(parts.scheme, host, port, target, is_exempt)


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


def check_addresses(addresses: list[IpAddress], where: str) -> None:
    """Return when every address is public: one that is not is enough to mean harm."""
    private = [address for address in addresses if not is_public(address)]
    if private:
        raise WebhookPrivateAddress(f"the host's address {private[0]} is not a public one", where=where)


def _check_public(scheme: str, host: str, port: int, address: IpAddress | None) -> None:
    if scheme != "https":
        raise _refused(WebhookNotHttps, "the address is not https", host)
    if port not in _PORTS:
        raise _refused(WebhookOddPort, f"the address names port {port}", host)
    if address is not None:
        check_addresses([address], host)
    elif host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost"):
        raise _refused(WebhookPrivateAddress, "the address names this machine", host)


def _split(text: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(text)
        return parts, parts.port
    except ValueError as error:
        raise _refused(WebhookAddressRefused, "the address cannot be read", text) from error


def _literal(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _refused(kind: type[WebhookAddressRefused], what: str, where: str) -> WebhookAddressRefused:
    return kind(what, where=one_line(where, 100) or "address")
