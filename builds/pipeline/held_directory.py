"""A directory that is held open: what is read and written below it is below it, whatever links others put there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builds.pipeline.regular_files import regular_handle, write_whole

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ENTERED_BY_ALL: Final = 0o755


@dataclass(frozen=True, slots=True)
class HeldDirectory:
    """An open directory; paths are relative to it, without dots. Everything raises ``OSError``.

    Where a link, or anything else that is no directory, stands on the way it is ``NotADirectoryError``; where one
    stands for a file it is ``NotRegular``.
    """

    handle: int

    @contextmanager
    def below(self, path: str, *, make: bool = False) -> Iterator[HeldDirectory]:
        """A directory further down. ``make`` makes each that is missing, for everybody to enter."""
        handle = os.dup(self.handle)
        try:
            for name in path.split("/") if path else ():
                further = _step(handle, name, make=make)
                os.close(handle)
                handle = further
            yield HeldDirectory(handle)
        finally:
            os.close(handle)

    def read(self, path: str, most_bytes: int = -1) -> bytes:
        """The beginning of a regular file, or all of it."""
        parent, _, name = path.rpartition("/")
        with self.below(parent) as directory:
            handle = regular_handle(name, os.O_RDONLY, directory=directory.handle)
            with os.fdopen(handle, "rb") as file:
                return file.read(most_bytes)

    def write(self, name: str, data: bytes, *, mode: int) -> None:
        """Write a file of this directory whole or not at all; a link that has the name is replaced itself."""
        write_whole(self.handle, name, data, mode=mode)

    def remove(self, path: str) -> None:
        """Remove a file or link, which may be gone already."""
        parent, _, name = path.rpartition("/")
        with suppress(FileNotFoundError), self.below(parent) as directory:
            os.unlink(name, dir_fd=directory.handle)

    def entries(self) -> Iterator[os.DirEntry[str]]:
        """What lies in this directory itself; to be used up while it is open."""
        with os.scandir(self.handle) as found:
            yield from found

    def sync(self) -> None:
        """Have the names that were given in this directory outlive the machine's death."""
        os.fsync(self.handle)


@contextmanager
def held_directory(path: Path) -> Iterator[HeldDirectory]:
    """Hold a directory, to which links may lead: who names it means what they lead to. Raises ``OSError``."""
    handle = os.open(path, _OPEN)
    try:
        yield HeldDirectory(handle)
    finally:
        os.close(handle)


def make_directory(path: Path) -> None:
    """Have a directory there; those that are made for it may be entered by everybody. Raises ``OSError``."""
    for place in reversed((path, *path.parents)):
        if not place.is_dir():
            with suppress(FileExistsError):
                place.mkdir()
                place.chmod(_entered_by_all(place.stat()))


def _entered_by_all(made: os.stat_result) -> int:
    """Whatever the umask is; a group that is handed down from the directory above stays so."""
    return _ENTERED_BY_ALL | (made.st_mode & stat.S_ISGID)


def _step(handle: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=handle)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=handle)
    made = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=handle)
    try:
        os.fchmod(made, _entered_by_all(os.fstat(made)))
        os.fsync(handle)
    except OSError:
        os.close(made)
        raise
    return made
