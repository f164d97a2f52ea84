"""Which files inside a component two rebuilds made differently."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file inside a component as one rebuild lists it; ``origin`` says where its bytes come from."""

    path: str
    size: int
    sha256: str
    origin: str


@dataclass(frozen=True, slots=True)
class DifferingFile:
    """A path at which two lists differ; None on the side that has no such file."""

    path: str
    here: ListedFile | None
    there: ListedFile | None


def differing_files(here: Iterable[ListedFile], there: Iterable[ListedFile]) -> tuple[DifferingFile, ...]:
    """By path: files with other bytes, and those that only one of the two lists."""
    one = {file.path: file for file in here}
    other = {file.path: file for file in there}
    return tuple(
        DifferingFile(path, one.get(path), other.get(path))
        for path in sorted({*one, *other})
        if path not in one or path not in other or one[path].sha256 != other[path].sha256
    )
