"""Regular files and nothing else: no link is followed, no pipe waited on, nothing emptied by being opened."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final

from builds.domain.errors import MalformedInput, PortalError

HALF_WRITTEN: Final = ".new-"
"""How the names of files begin that are not whole yet."""
_OWNERS_ALONE: Final = 0o600
_ASKED_AGAIN_SECONDS: Final = 0.02


class NotRegular(OSError):
    """Something else than a regular file lies there."""


class UnusableLock(PortalError):
    """What lies where a lock file belongs is none, or it cannot be made."""

    code: ClassVar[str] = "unusable-lock"
    default_todo: ClassVar[str] = "See what lies there: a lock is an empty file of its own, which is made when missing."


class LockHeld(PortalError):
    """Another process holds the lock."""

    code: ClassVar[str] = "lock-held"
    default_todo: ClassVar[str] = "Wait for it to end."


class UnusableOutput(MalformedInput):
    """What lies in the place of a file that is to be written is none."""

    code: ClassVar[str] = "unusable-output"
    default_todo: ClassVar[str] = "Name a plain file, or a place where nothing lies; nothing else is replaced."


def regular_handle(path: str | Path, flags: int, *, mode: int = _OWNERS_ALONE, directory: int | None = None) -> int:
    """A descriptor of a regular file; ``path`` is below the open ``directory`` where one is given.

    Raises ``NotRegular`` for what else lies there, and any other ``OSError``.
    """
    safe = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags | safe, mode, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotRegular(errno.ELOOP, "it is a link, or behind too many", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotRegular(errno.EINVAL, "it is not a regular file", str(path))
    return handle


def write_whole(directory: int, name: str, data: bytes, *, mode: int) -> None:
    """Write a file of an open directory, whole or not at all: what had the name is replaced, never followed.

    Raises ``OSError``.
    """
    partial = f"{HALF_WRITTEN}{secrets.token_hex(8)}"
    handle = regular_handle(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, directory=directory)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            # Whatever the umask is: who reads it is for the caller to say.
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(partial, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial, dir_fd=directory)
        raise


def replaceable_mode(path: Path, otherwise: int) -> int:
    """The permissions of the regular file that lies there, ``otherwise`` where nothing does.

    Raises ``UnusableOutput`` for anything else, and ``OSError``.
    """
    try:
        found = path.lstat().st_mode
    except FileNotFoundError:
        return otherwise
    if not stat.S_ISREG(found):
        raise UnusableOutput("it is there and not a plain file", where=str(path))
    return stat.S_IMODE(found) & 0o777


def replace_file(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file whole or not at all; one that lies there is replaced and keeps its permissions.

    Raises ``UnusableOutput`` and ``OSError``.
    """
    kept = replaceable_mode(path, mode)
    handle = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        write_whole(handle, path.name, data, mode=kept)
    finally:
        os.close(handle)


@contextmanager
def held_lock(path: Path, *, seconds: float = 0) -> Iterator[None]:
    """Hold the lock of a file, which is made when it is missing and whose bytes nobody touches.

    Raises ``LockHeld`` when another has it for longer than ``seconds``, and ``UnusableLock``.
    """
    try:
        handle = regular_handle(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise UnusableLock(f"it cannot be opened as a lock: {error.strerror}", where=str(path)) from error
    try:
        end = time.monotonic() + seconds
        while not _taken(handle, path):
            if time.monotonic() >= end:
                since = f" for longer than {seconds:g} seconds" if seconds else ""
                raise LockHeld(f"another process holds it{since}", where=str(path))
            time.sleep(_ASKED_AGAIN_SECONDS)
        yield
    finally:
        os.close(handle)


def _taken(handle: int, path: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UnusableLock(f"it cannot be locked: {error.strerror}", where=str(path)) from error
    return True
