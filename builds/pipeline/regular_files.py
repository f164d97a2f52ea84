"""Regular files and nothing else: no link is followed, no pipe waited on, nothing emptied by being opened."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from builds.domain.errors import PortalError

_OWNERS_ALONE: Final = 0o600


class UnusableLock(PortalError):
    """What lies where a lock file belongs is none, or it cannot be made."""

    code: ClassVar[str] = "unusable-lock"
    default_todo: ClassVar[str] = "See what lies there: a lock is an empty file of its own, which is made when missing."


class LockHeld(PortalError):
    """Another process holds the lock."""

    code: ClassVar[str] = "lock-held"
    default_todo: ClassVar[str] = "Wait for it to end."


def regular_handle(path: str | Path, flags: int, *, mode: int = _OWNERS_ALONE, directory: int | None = None) -> int:
    """A descriptor of a regular file; ``path`` is below the open ``directory`` where one is given.

    Raises ``OSError``, which names what else lies there too.
    """
    safe = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags | safe, mode, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link, or behind too many", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return handle


@contextmanager
def held_lock(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a file, which is made when it is missing and whose bytes nobody touches.

    Raises ``LockHeld`` when another has it and nobody is to wait, and ``UnusableLock``.
    """
    try:
        handle = regular_handle(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise UnusableLock(f"it cannot be opened as a lock: {error.strerror}", where=str(path)) from error
    try:
        _take(handle, path, 0 if wait else fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _take(handle: int, path: Path, how: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | how)
    except BlockingIOError as error:
        raise LockHeld("another process holds it", where=str(path)) from error
    except OSError as error:
        raise UnusableLock(f"it cannot be locked: {error.strerror}", where=str(path)) from error
