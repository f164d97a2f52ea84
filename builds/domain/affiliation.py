"""When an operator is the publisher by what both show: a place that only one of them can write to.

Who publishes a release says nothing new by rebuilding it, so such an operator never counts for that project.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from builds.domain.requests import ProofKind

_SCP_LIKE = re.compile(r"(?:[^@/:]+@)?([^/:]+):(?!/)(.+)")
"""``git@host:owner/name``, which git takes beside addresses (git-clone(1), GIT URLS)."""
_PAGES = {"github.com": "github.io", "gitlab.com": "gitlab.io"}
"""Forges that give each owner a domain under another one."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A host, and the first step of the path, which is the owner on forges; both in lower case, "" when not named."""

    host: str
    owner: str


def shared_place(source_url: str, kind: ProofKind, location: str) -> str:
    """The place that a project's source and an operator's proof have in common; "" when there is none.

    The same owner on the same forge, the domain that the source is served from (or one above it), or the owner's
    pages on a forge.
    """
    source = _place(source_url)
    if not source.host:
        return ""
    if kind is ProofKind.REPOSITORY:
        return f"{source.host}/{source.owner}" if source.owner and _place(location) == source else ""
    domain = location.lower().partition(":")[0].rstrip(".")
    pages = _PAGES.get(source.host)
    is_served_there = source.host == domain or source.host.endswith(f".{domain}")
    return domain if is_served_there or (pages is not None and domain == f"{source.owner}.{pages}") else ""


def _place(address: str) -> _Place:
    text = address.strip().lower()
    if "://" not in text:
        found = _SCP_LIKE.fullmatch(text)
        return _Place(found[1].rstrip("."), _owner(found[2])) if found else _Place("", "")
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        return _Place("", "")
    return _Place(host.rstrip(".").removeprefix("www."), _owner(parts.path))


def _owner(path: str) -> str:
    return path.strip("/").split("/")[0].removesuffix(".git")
