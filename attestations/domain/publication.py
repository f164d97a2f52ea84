"""An announced release before it is one: its states, the names of its files, and where these may come from."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from enum import StrEnum
from ipaddress import IPv4Address
from urllib.parse import urljoin, urlsplit

from attestations.domain.internet import AddressRules, InternetAddress, ip_literal, is_host_name
from attestations.domain.publication_errors import (
    AssetAddressRefused,
    AssetAddressWithCredentials,
    AssetForeignHost,
    AssetNamesCollide,
    AssetNotHttps,
    AssetPrivateAddress,
    AssetRedirects,
)
from builds.domain.errors import UnsafePath
from builds.domain.paths import file_name
from builds.domain.printable import compared_name, one_line

MOST_FILES = 64
"""Of one release, bundles of its attestations among them."""
MOST_LIVE = 4
"""Of one project, that are neither imported nor refused yet: each may hold a release's worth of disk."""
MOST_ATTEMPTS = 4
MAX_ADDRESS_CHARACTERS = 2000
"""Signed addresses, to which GitHub and object stores redirect, are long."""
DEFAULT_PORT = 443
_GITHUB = "github.com"
# Where github.com redirects those who download a release's asset, earlier and now. Nothing promises that it stays so:
# then an administrator names the hosts.
_GITHUB_DOWNLOADS = ("objects.githubusercontent.com", "release-assets.githubusercontent.com")


class PublicationState(StrEnum):
    """Where an announced release stands. ``imported`` says that it was read, not that it is any good: that is the
    verdict's."""

    QUEUED = "queued"
    FETCHING = "fetching"
    IMPORTING = "importing"
    IMPORTED = "imported"
    REFUSED = "refused"

    @property
    def is_live(self) -> bool:
        return self in LIVE_STATES


LIVE_STATES = (PublicationState.QUEUED, PublicationState.FETCHING, PublicationState.IMPORTING)
HELD_STATES = (PublicationState.FETCHING, PublicationState.IMPORTING)
"""A worker has it, by a lease."""


class PublicationForm(StrEnum):
    """How a release was announced."""

    ADDRESSES = "addresses"
    FILES = "files"


RULES = AddressRules(
    longest=MAX_ADDRESS_CHARACTERS,
    # Each host is configured with its port.
    ports=None,
    malformed=AssetAddressRefused,
    credentials=AssetAddressWithCredentials,
    not_https=AssetNotHttps,
    odd_port=AssetForeignHost,
    private=AssetPrivateAddress,
)


def asset_address(text: str, hosts: Collection[str], exempt: frozenset[str] = frozenset()) -> InternetAddress:
    """The address of an asset, or a named ``AssetAddressRefused``.

    ``hosts`` are the project's, ``host:port`` each; ``exempt`` those of them that may be private and without TLS. An
    address that names an IP address is one of a host like any other: it must be among them.
    """
    address = RULES.parse(text, exempt & frozenset(hosts))
    if address.where not in hosts:
        raise AssetForeignHost(
            f"no assets of this project come from {one_line(address.where, 300)}", where=one_line(address.where, 100)
        )
    return address


def redirected(
    current: InternetAddress, location: str | None, hosts: Collection[str], exempt: frozenset[str] = frozenset()
) -> InternetAddress:
    """Where an answer leads, held to the same rules as the address that was announced."""
    if not location:
        raise AssetRedirects("the server answered a redirect that leads nowhere", where=current.where)
    try:
        text = urljoin(current.text, location.strip())
    except ValueError as error:
        raise AssetRedirects("the server answered a redirect that cannot be read", where=current.where) from error
    address = asset_address(text, hosts, exempt)
    if current.scheme == "https" and address.scheme != "https":
        raise AssetNotHttps("a redirect leads from https to http", where=address.where)
    return address


def default_hosts(source_url: str) -> frozenset[str]:
    """Where assets may come from when nobody configured it: the host of an https source repository, and where that one
    is known to keep what it serves. Nothing for any other source.
    """
    try:
        parts = urlsplit(source_url)
        host, port = (parts.hostname or "").lower(), parts.port or DEFAULT_PORT
    except ValueError:
        return frozenset()
    if parts.scheme != "https" or not (is_host_name(host) or isinstance(ip_literal(host), IPv4Address)):
        return frozenset()
    more = _GITHUB_DOWNLOADS if host == _GITHUB else ()
    return frozenset({f"{host}:{port}", *(f"{name}:{DEFAULT_PORT}" for name in more)})


def host_of_assets(text: str) -> str:
    """A host as a project's configuration has it: a lower-case name or IP address, without port or brackets.

    Raises ``AssetAddressRefused``.
    """
    host = text.strip().lower()
    if not is_host_name(host) and ip_literal(host) is None:
        raise AssetAddressRefused("this is no host's name or address", where="asset host")
    return host


def asset_name(text: str) -> str:
    """The name of a file of a release, or ``UnsafePath``: no directories, nothing that cannot be seen."""
    file_name(text, where="name of an asset")
    if text in {".", ".."} or text != one_line(text, len(text)) or text != unicodedata.normalize("NFC", text):
        raise UnsafePath(f"{one_line(text, 100)!r} is not a plain file name", where="name of an asset")
    return text


def refuse_colliding(names: Iterable[str]) -> None:
    """Raise ``AssetNamesCollide`` for names of which somebody could take one for another."""
    seen: dict[str, str] = {}
    for name in names:
        read = compared_name(name)
        if read in seen:
            what = f"{one_line(seen[read], 100)} and {one_line(name, 100)} are one name, or as good as one"
            raise AssetNamesCollide(what, where="names of the assets")
        seen[read] = name


def retry_seconds(attempts: int) -> int:
    """After how many seconds an announced release is tried again that failed ``attempts`` times."""
    return int(15 * 4 ** max(attempts - 1, 0))
