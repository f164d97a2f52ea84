"""How much a source may be: counted from git's own listing before a file is written, and while git writes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builds.domain.errors import LimitExceeded

_GIB = 1024**3
# PATH_MAX of Linux, and what stands before the path in a line of ls-tree.
_LONGEST_ENTRY = 4096 + 128
_LOOK_SECONDS = 0.2
_SHARE = 10


@dataclass(frozen=True, slots=True)
class SourceBounds:
    """``max_bytes`` of a source with git's own data, and alone of its files; ``max_entries`` of its files."""

    max_bytes: int = 4 * _GIB
    max_entries: int = 200_000


class Listing:
    """Reads ``git ls-tree -r -l -z`` in pieces and raises ``LimitExceeded`` as soon as the tree is too large.

    A few trees that name each other many times make a small repository with a checkout without end.
    """

    def __init__(self, bounds: SourceBounds, where: str) -> None:
        self._bounds = bounds
        self._where = where
        self._pending = b""
        self._bytes = 0
        self._entries = 0

    def take(self, piece: bytes) -> None:
        *entries, self._pending = (self._pending + piece).split(b"\0")
        for entry in entries:
            self._count(entry)
        if len(self._pending) > _LONGEST_ENTRY:
            raise LimitExceeded("a path in the source is longer than 4096 bytes", where=self._where)

    def _count(self, entry: bytes) -> None:
        # <mode> <type> <object> <size>\t<path>; the size of another repository's commit is "-".
        size = entry.partition(b"\t")[0].rpartition(b" ")[2]
        self._entries += 1
        self._bytes += int(size) if size.isdigit() else 0
        if self._entries > self._bounds.max_entries:
            raise LimitExceeded(f"the source has more than {self._bounds.max_entries} files", where=self._where)
        if self._bytes > self._bounds.max_bytes:
            raise too_large(self._bounds, self._where)


class Growth:
    """A ``check`` for whoever writes below ``root``: asks another check, and measures now and then."""

    def __init__(self, root: Path, bounds: SourceBounds, check: Callable[[], None], where: str) -> None:
        self._root = root
        self._bounds = bounds
        self._check = check
        self._where = where
        self._next = 0.0

    def __call__(self) -> None:
        self._check()
        began = time.monotonic()
        if began < self._next:
            return
        self.measure()
        # Many files take long to measure; the writing must not wait for that.
        self._next = time.monotonic() + max(_LOOK_SECONDS, _SHARE * (time.monotonic() - began))

    def measure(self) -> None:
        """Raise ``LimitExceeded`` when there is too much now."""
        total = 0
        for directory, _, names in os.walk(self._root):
            for name in names:
                # git renames and removes what it works on.
                with suppress(FileNotFoundError):
                    total += Path(directory, name).lstat().st_size
            if total > self._bounds.max_bytes:
                raise too_large(self._bounds, self._where)


def too_large(bounds: SourceBounds, where: str) -> LimitExceeded:
    return LimitExceeded(f"the source tree is larger than {bounds.max_bytes} bytes", where=where)
