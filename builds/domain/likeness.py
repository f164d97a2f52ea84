"""Whether two things are alike, where either may be absent or not known: four different answers, never rounded up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Likeness(StrEnum):
    SAME = "the same"
    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"
    UNKNOWN = "unknown"


def likeness(one: object | None, other: object | None) -> Likeness:
    """Of two values that are both there; None stands for one that is not known, and is like nothing."""
    if one is None or other is None:
        return Likeness.UNKNOWN
    return Likeness.SAME if one == other else Likeness.CHANGED


@dataclass(frozen=True, slots=True)
class Row:
    """One named value beside another, as text; None reads ``unknown``."""

    name: str
    before: str | None
    after: str | None

    @property
    def likeness(self) -> Likeness:
        return likeness(self.before, self.after)


def listed(words: Iterable[str], most: int = 10) -> str:
    """``a, b and 3 more``: what somebody can name without end is counted from some length on."""
    found = list(words)
    shown = ", ".join(found[:most])
    return f"{shown} and {len(found) - most} more" if len(found) > most else shown


_FORGES = {
    "github.com": "https://github.com/{path}/compare/{one}...{other}",
    "codeberg.org": "https://codeberg.org/{path}/compare/{one}...{other}",
    "gitlab.com": "https://gitlab.com/{path}/-/compare/{one}...{other}",
}
_OWNER_AND_NAME = 2
_SOURCE = re.compile(r"https://(?P<host>[a-z.]+)/(?P<path>[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+?)/?", re.ASCII)


def forge_comparison(source_url: str, one: str, other: str) -> str:
    """Where a known forge shows what lies between two commits; "" for a source anywhere else."""
    found = _SOURCE.fullmatch(source_url)
    if found is None or found["host"] not in _FORGES:
        return ""
    path = found["path"].removesuffix(".git")
    parts = path.split("/")
    if {"", ".", ".."} & set(parts) or (len(parts) > _OWNER_AND_NAME and found["host"] != "gitlab.com"):
        return ""
    return _FORGES[found["host"]].format(path=path, one=one, other=other)
