"""When an operator is the publisher by what both show: a place that only one of them can write to.

Who publishes a release says nothing new by rebuilding it, so such an operator never counts for that project.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from builds.domain.requests import ProofKind

_SCP_LIKE = re.compile(r"(?:[^@/:]+@)?([^/:]+):(?!/)(.+)")
"""``git@host:owner/name``, which git takes beside addresses (git-clone(1), GIT URLS)."""
_FORGES = {"github.com": "github.io", "gitlab.com": "gitlab.io", "codeberg.org": "codeberg.page"} | {
    "bitbucket.org": "bitbucket.io"
}
"""Hosts that many owners share, and the domain below which each of them has pages."""
_ALSO = {"gist.github.com": "github.com"}
_COUNTRY = 2
_SECOND_LEVEL = 3


def tie_found(source_url: str, kind: ProofKind, location: str) -> str:
    """What makes an operator the publisher of this source, as a clause; "" when nothing does."""
    place = shared_place(source_url, kind, location)
    return f"it shows its key in {place[:200]}, where the project's source is published" if place else ""


@dataclass(frozen=True, slots=True)
class _Place:
    """A host, and the steps of the path, the first of which is the owner on forges; all in lower case."""

    host: str
    steps: tuple[str, ...]


def shared_place(source_url: str, kind: ProofKind, location: str) -> str:
    """The place that a project's source and an operator's proof have in common; "" when there is none.

    The same owner on a forge, also by the owner's pages; elsewhere the site that serves the source. Rather a tie too
    many, which an administrator ends, than a publisher that counts for itself.
    """
    source = _place(source_url)
    shown = _place(location if kind is ProofKind.REPOSITORY else f"https://{location}")
    if not source.host or not shown.host:
        return ""
    if source.host in _FORGES:
        owner = source.steps[0] if source.steps else ""
        return f"{source.host}/{owner}" if owner and owner == _owner_on(source.host, shown) else ""
    if _site(source.host) != _site(shown.host):
        return ""
    # A forge of somebody's own may have owners too; where a path has but one step there is none to tell apart.
    several = source.host == shown.host and min(len(source.steps), len(shown.steps)) > 1
    if several and kind is ProofKind.REPOSITORY and source.steps[0] != shown.steps[0]:
        return ""
    return _site(source.host)


def _owner_on(forge: str, shown: _Place) -> str:
    """Whose place this is on a forge, by its path or by its pages; "" when it is not there."""
    if shown.host == forge:
        return shown.steps[0] if shown.steps else ""
    pages = f".{_FORGES[forge]}"
    return shown.host.removesuffix(pages).rpartition(".")[2] if shown.host.endswith(pages) else ""


def _place(address: str) -> _Place:
    text = address.strip().lower()
    if "://" not in text:
        found = _SCP_LIKE.fullmatch(text)
        host, path = (found[1], found[2]) if found else ("", "")
    else:
        try:
            parts = urlsplit(text)
            host, path = parts.hostname or "", parts.path
        except ValueError:
            return _Place("", ())
    # As whoever fetches it reads the path: dots lead elsewhere.
    steps = posixpath.normpath(f"/{unquote(path)}").strip("/").removesuffix(".git").split("/")
    host = host.rstrip(".").removeprefix("www.")
    return _Place(_ALSO.get(host, host), tuple(step for step in steps if step))


def _site(host: str) -> str:
    """What one owner registers: two labels, three below the second levels of countries; an address by itself."""
    labels = host.split(".")
    if ":" in host or labels[-1].isdigit():
        return host
    below_country = len(labels) > _COUNTRY and len(labels[-1]) == _COUNTRY and len(labels[-2]) <= _SECOND_LEVEL
    return ".".join(labels[-3 if below_country else -2 :])
