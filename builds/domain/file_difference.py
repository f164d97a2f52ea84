"""Which files inside components two rebuilds made differently."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file inside a component as one rebuild lists it: bytes, hex, and where its bytes come from."""

    role: str
    path: str
    size: int
    sha256: str
    origin: str


@dataclass(frozen=True, slots=True)
class DifferingFile:
    """A place at which two lists differ; None on the side that has no such file."""

    role: str
    path: str
    before: ListedFile | None
    after: ListedFile | None


def differing_files(before: Iterable[ListedFile], after: Iterable[ListedFile]) -> tuple[DifferingFile, ...]:
    """By role and path: files with other bytes, and those that only one of the two lists."""
    one = {(file.role, file.path): file for file in before}
    other = {(file.role, file.path): file for file in after}
    return tuple(
        DifferingFile(*place, one.get(place), other.get(place))
        for place in sorted({*one, *other})
        if place not in one or place not in other or one[place].sha256 != other[place].sha256
    )
