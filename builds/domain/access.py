"""The rules of access: what a token may do, how often something may be asked, and where somebody asks from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

TOKEN_PREFIX = "teep_"  # noqa: S105 - what every token begins with, so that a scanner of secrets finds one that leaked
_TOKEN = re.compile(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]{{43}}", re.ASCII)
LIFETIMES = (7, 30, 90, 365)
"""Days that a token may live: one that lives for ever is forgotten where it lies."""
MAX_LIVE_TOKENS = 20
"""Of one account."""
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Scope(StrEnum):
    """What a token may do in its account's name; the set is closed."""

    TRIGGER_REBUILD = "rebuild:trigger"
    PUBLISH_RELEASE = "release:publish"
    MANAGE_WEBHOOKS = "webhook:manage"

    @property
    def words(self) -> str:
        return _SCOPE_WORDS[self]


_SCOPE_WORDS = {
    Scope.TRIGGER_REBUILD: "ask for rebuilds, and cancel those it asked for",
    Scope.PUBLISH_RELEASE: "announce releases of the projects whose publisher the account is",
    Scope.MANAGE_WEBHOOKS: "add, change and remove the account's webhooks",
}


def is_token(text: str) -> bool:
    """Whether a text has the form of a token: the prefix and 256 bits as 43 characters of base64url."""
    return _TOKEN.fullmatch(text) is not None


OFFERED_SCOPES = (Scope.TRIGGER_REBUILD, Scope.PUBLISH_RELEASE, Scope.MANAGE_WEBHOOKS)
"""Those that some operation asks for: nobody is to hold a right that opens nothing yet."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How often something may be done in any ``window``."""

    limit: int
    window: timedelta

    def next_possible(self, moments: Sequence[datetime], now: datetime) -> datetime | None:
        """When it may be done next; None for at once. ``moments`` are the earlier times, in any order.

        A window is open at its older end: what was done exactly one window ago does not count any more.
        """
        recent = sorted((moment for moment in moments if moment > now - self.window), reverse=True)
        return recent[self.limit - 1] + self.window if len(recent) >= self.limit else None


def address_of(remote: str, forwarded: str, proxies: int) -> str:
    """Where a request comes from, as attempts are counted by it.

    ``remote`` is the peer's address, ``forwarded`` the header ``X-Forwarded-For``, to which each of ``proxies``
    trusted ones in front has added the address it saw; what stands further left is the client's own word. An IPv6
    address stands for its /64, all of which one household or machine holds. "" when there is none, as on a socket.
    """
    seen = [part.strip() for part in forwarded.split(",") if part.strip()]
    text = seen[-proxies] if 0 < proxies <= len(seen) else remote
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address) if isinstance(address, IPv4Address) else str(IPv6Network((int(address) >> 64 << 64, 64)))
