"""Reading a Debian package as a stream of members; nothing is unpacked on this machine.

``dpkg-deb --fsys-tarfile`` decompresses, this module reads the tar. A package is foreign input:
names, sizes and counts are bounded and checked before anybody acts on them.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, ClassVar, Self

from builds.domain.errors import LimitExceeded, MalformedInput, UnsafePath
from builds.pipeline.process import ProgramMissing

_CHUNK = 1024 * 1024
_MAX_HEADER_BYTES = 64 * 1024
"""Of a long name or extended header; tarfile reads these into memory before anybody sees them."""
_EXTENDED_HEADERS = frozenset(
    {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
)
_MAX_NAME = 4096


class MalformedPackage(MalformedInput):
    """A .deb that cannot be read."""

    code: ClassVar[str] = "malformed-package"
    default_todo: ClassVar[str] = "Lock the materials again: this file is no package that dpkg-deb can read."


@dataclass(frozen=True, slots=True)
class PackageLimits:
    """What reading one package may cost: bytes, entries, seconds."""

    unpacked_bytes: int = 16 * 1024**3
    entries: int = 200_000
    seconds: float = 900.0


class MemberKind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"


@dataclass(frozen=True, slots=True)
class Member:
    """One entry: its path below the root (empty: the root), mode bits, and content for a regular file.

    ``link`` is a symbolic link's text as it stands, or the path below the root of a hard link's file.
    ``content`` must be read before the next member is asked for.
    """

    path: str
    kind: MemberKind
    mode: int
    size: int
    link: str
    content: IO[bytes] | None


class _BoundedHeader(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _EXTENDED_HEADERS and header.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"an extended header of {header.size} bytes")
        return header


class _Meter(io.RawIOBase):
    """Forwards reads, and stops when too many bytes came, too much time went by, or the caller wants to."""

    def __init__(self, source: IO[bytes], label: str, limits: PackageLimits, check: Callable[[], None]) -> None:
        super().__init__()
        self._source = source
        self._label = label
        self._limits = limits
        self._check = check
        self._deadline = time.monotonic() + limits.seconds
        self._total = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = self._source.read(size)
        self.count(len(chunk))
        return chunk

    def count(self, amount: int) -> None:
        """Count bytes that were read, or that a sparse file's header promises."""
        self._check()
        self._total += amount
        if self._total > self._limits.unpacked_bytes:
            raise LimitExceeded(f"it unpacks to more than {self._limits.unpacked_bytes} bytes", where=self._label)
        if time.monotonic() > self._deadline:
            raise LimitExceeded(f"reading it took longer than {self._limits.seconds:.0f} seconds", where=self._label)


@contextmanager
def open_package(
    path: Path, label: str, check: Callable[[], None], limits: PackageLimits | None = None
) -> Iterator[Iterator[Member]]:
    """The members of a .deb in their order. Leaving the context ends dpkg-deb.

    Raises ``MalformedPackage`` (unreadable, truncated, a device node or FIFO), ``UnsafePath`` (a name
    or hard link outside the root), ``LimitExceeded``, ``ProgramMissing``, or what ``check`` raises.
    """
    try:
        process = subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=_CHUNK,
        )
    except FileNotFoundError as error:
        raise ProgramMissing("dpkg-deb is not installed", where="dpkg-deb") from error
    with process:
        try:
            if process.stdout is None:
                raise MalformedPackage("dpkg-deb gave no output", where=label)
            yield _members(_Meter(process.stdout, label, limits or PackageLimits(), check), label, limits, process)
        except tarfile.TarError as error:  # also of a member's content, which the caller reads
            raise MalformedPackage(f"its data archive is unreadable: {str(error)[:200]}", where=label) from error
        finally:
            if process.poll() is None:
                process.kill()


def _members(
    meter: _Meter, label: str, limits: PackageLimits | None, process: subprocess.Popen[bytes]
) -> Iterator[Member]:
    most = (limits or PackageLimits()).entries
    try:
        with tarfile.open(
            fileobj=meter, mode="r|", tarinfo=_BoundedHeader, bufsize=_CHUNK, errors="surrogateescape"
        ) as archive:
            for count, entry in enumerate(archive, start=1):
                if count > most:
                    raise LimitExceeded(f"it has more than {most} entries", where=label)
                if entry.issparse():
                    meter.count(entry.size)
                yield _member(archive, entry, label)
            while meter.read(_CHUNK):
                pass  # padding behind the end marker, so that dpkg-deb can finish
    except (EOFError, ValueError, OverflowError) as error:
        raise MalformedPackage(f"its data archive is unreadable: {str(error)[:200]}", where=label) from error
    # tarfile takes an early end between two members for the end: only dpkg-deb knows better.
    if (exit_code := process.wait()) != 0:
        raise MalformedPackage(f"dpkg-deb could not read it to its end (exit {exit_code})", where=label)


def _member(archive: tarfile.TarFile, entry: tarfile.TarInfo, label: str) -> Member:
    path = member_path(entry.name, label)
    if entry.isreg():
        return Member(path, MemberKind.FILE, entry.mode, entry.size, "", archive.extractfile(entry))
    if entry.isdir():
        return Member(path, MemberKind.DIRECTORY, entry.mode, 0, "", None)
    if entry.issym():
        if not entry.linkname or len(entry.linkname) > _MAX_NAME:
            raise MalformedPackage(f"the symbolic link {entry.name[:200]!r} has no usable target", where=label)
        return Member(path, MemberKind.SYMLINK, 0o777, 0, entry.linkname, None)
    if entry.islnk():
        return Member(path, MemberKind.HARDLINK, entry.mode, 0, member_path(entry.linkname, label), None)
    raise MalformedPackage(f"{entry.name[:200]!r} is a device, FIFO or unknown kind of file", where=label)


def member_path(name: str, label: str) -> str:
    """A member's name as a path below the root, without ``./``; ``UnsafePath`` when it leaves the root.

    Backslashes are plain characters here: systemd's unit names have them.
    """
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts or "\0" in name or len(name) > _MAX_NAME:
        raise UnsafePath(f"a member points outside the package: {name[:200]!r}", where=label)
    return "/".join(parts)
