"""Reading archives that may be hostile: tar members and initrds. Nothing is ever unpacked to disk.

initrd format: Linux Documentation/driver-api/early-userspace/buffer-format.rst (newc, several
segments, each plain or compressed).
"""

from __future__ import annotations

import hashlib
import lzma
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, ClassVar

from builds.domain.digest import Digest, FileDigests
from builds.domain.errors import LimitExceeded, MalformedInput, UnsafePath
from builds.domain.paths import relative_path
from builds.pipeline.hashing import MalformedGzip, TwoDigests

MAX_INITRD_BYTES = 512 * 1024**2
MAX_UNPACKED_BYTES = 2 * 1024**3
MAX_ENTRIES = 100_000
MAX_TAR_MEMBERS = 1000
_CHUNK = 1024 * 1024
_HEADER_BYTES = 110
_MAX_NAME_BYTES = 4096
_NEWC_MAGICS = (b"070701", b"070702")
_TRAILER = "TRAILER!!!"
_FIELD_COUNT = 13


class MalformedArchive(MalformedInput):
    """A tar or cpio archive that cannot be read to its end."""

    code: ClassVar[str] = "malformed-archive"
    default_todo: ClassVar[str] = "Download the file again; if it stays so, ask its publisher."


@dataclass(frozen=True, slots=True)
class TarredFile:
    """The wanted member of a tarball: digests of the tarball and of the member."""

    member: str
    container: FileDigests
    content: FileDigests


@dataclass(frozen=True, slots=True)
class InitrdEntry:
    """One name in an initrd; ``sha256`` only for regular files, ``size`` in bytes."""

    path: str
    mode: int
    size: int
    sha256: Digest | None


class _HashingReader:
    """A file whose bytes are hashed as they are read."""

    def __init__(self, file: IO[bytes], digests: TwoDigests, check: Callable[[], None]) -> None:
        self._file = file
        self._digests = digests
        self._check = check

    def read(self, size: int) -> bytes:
        self._check()
        chunk = self._file.read(size)
        self._digests.update(chunk)
        return chunk


def hash_tar_member(path: Path, names: frozenset[str], max_bytes: int, *, check: Callable[[], None]) -> TarredFile:
    """Digests of a tar.gz and of its one member called one of ``names``, in one read.

    Raises ``UnsafePath`` for any member that points outside, ``MalformedArchive`` when the wanted
    member is absent, not a regular file or there twice, and ``LimitExceeded``.
    """
    found: tuple[str, FileDigests] | None = None
    with path.open("rb") as file, TwoDigests() as container:
        reader = _HashingReader(file, container, check)
        try:
            with tarfile.open(fileobj=reader, mode="r|gz", bufsize=_CHUNK) as archive:  # type: ignore[call-overload]
                total = 0
                for number, member in enumerate(archive, start=1):
                    total += member.size
                    if number > MAX_TAR_MEMBERS or total > max_bytes:
                        raise LimitExceeded(f"the tarball unpacks to more than {max_bytes} bytes", where=path.name)
                    name = _tar_member_name(member, path.name)
                    if name not in names:
                        continue
                    if found is not None:
                        raise MalformedArchive(f"the tarball holds {name} or its like twice", where=path.name)
                    found = name, _hash_member(archive, member, path.name)
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise MalformedArchive(f"the tarball is unreadable: {str(error)[:200]}", where=path.name) from error
        while reader.read(_CHUNK):
            pass
    if found is None:
        raise MalformedArchive(f"the tarball holds none of {', '.join(sorted(names))}", where=path.name)
    return TarredFile(found[0], container.digests, found[1])


def _tar_member_name(member: tarfile.TarInfo, where: str) -> str:
    name = member.name.removeprefix("./")
    if name in {"", "."}:
        return ""
    relative_path(name, where=where)
    if member.issym() or member.islnk():
        target = member.linkname
        if target.startswith("/") or ".." in target.split("/"):
            raise UnsafePath(f"the link {name[:100]!r} points outside the archive", where=where)
    return name


def _hash_member(archive: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> FileDigests:
    content = archive.extractfile(member) if member.isreg() else None
    if content is None:
        raise MalformedArchive(f"{member.name[:100]!r} is not a regular file", where=where)
    with TwoDigests() as digests:
        while chunk := content.read(_CHUNK):
            digests.update(chunk)
    return digests.digests


def read_initrd(path: Path, *, check: Callable[[], None]) -> list[InitrdEntry]:
    """What the kernel would see after unpacking: for a name given twice, the last entry.

    Raises ``MalformedArchive``, ``UnsafePath`` or ``LimitExceeded``.
    """
    where = path.name
    if path.stat().st_size > MAX_INITRD_BYTES:
        raise LimitExceeded(f"the initrd is larger than {MAX_INITRD_BYTES} bytes", where=where)
    data = path.read_bytes()
    entries: dict[str, InitrdEntry] = {}
    position = 0
    count = 0
    unpacked = 0
    while position < len(data):
        check()
        segment, position = _next_segment(data, position, MAX_UNPACKED_BYTES - unpacked, where)
        unpacked += len(segment)
        for entry in _linked(_read_newc(segment, where, check)):
            count += 1
            if count > MAX_ENTRIES:
                raise LimitExceeded(f"the initrd holds more than {MAX_ENTRIES} entries", where=where)
            entries[entry.path] = entry
    return [entries[name] for name in sorted(entries)]


def _next_segment(data: bytes, position: int, budget: int, where: str) -> tuple[bytes, int]:
    """The next archive segment, decompressed, and where the one after it starts."""
    if data[position] == 0:
        end = position
        while end < len(data) and data[end] == 0:
            end += 1
        return b"", end
    head = data[position : position + 6]
    if head in _NEWC_MAGICS:
        end = _newc_end(data, position, where)
        return data[position:end], end
    if head.startswith(b"\x1f\x8b"):
        return _inflate_segment(zlib.decompressobj(wbits=31), data, position, budget, where)
    if head.startswith(b"\xfd7zXZ"):
        return _inflate_segment(lzma.LZMADecompressor(), data, position, budget, where)
    raise MalformedArchive(f"an archive segment starts with {head.hex()}, which is no known format", where=where)


def _inflate_segment(
    decompressor: zlib._Decompress | lzma.LZMADecompressor, data: bytes, position: int, budget: int, where: str
) -> tuple[bytes, int]:
    try:
        segment = decompressor.decompress(data[position:], budget + 1)
    except (zlib.error, lzma.LZMAError) as error:
        raise MalformedGzip(f"the compressed data is corrupt: {error}", where=where) from error
    if len(segment) > budget:
        raise LimitExceeded(f"the initrd unpacks to more than {MAX_UNPACKED_BYTES} bytes", where=where)
    if not decompressor.eof:
        raise MalformedGzip("the file ends in the middle of its compressed data", where=where)
    return segment, len(data) - len(decompressor.unused_data)


@dataclass(frozen=True, slots=True)
class _Header:
    name: str
    mode: int
    size: int
    links: int
    inode: tuple[int, int, int]
    data_start: int
    end: int


def _read_header(data: bytes, position: int, where: str) -> _Header:
    raw = data[position : position + _HEADER_BYTES]
    if len(raw) != _HEADER_BYTES or raw[:6] not in _NEWC_MAGICS:
        raise MalformedArchive(f"no newc header at byte {position}", where=where)
    try:
        fields = [int(raw[6 + 8 * i : 14 + 8 * i].decode("ascii"), 16) for i in range(_FIELD_COUNT)]
    except ValueError as error:
        raise MalformedArchive(f"a newc header field at byte {position} is not hexadecimal", where=where) from error
    inode, mode, _, _, links, _, size, major, minor, _, _, name_size, _ = fields
    if not 0 < name_size <= _MAX_NAME_BYTES:
        raise MalformedArchive(f"a name of {name_size} bytes at byte {position}", where=where)
    name_end = position + _HEADER_BYTES + name_size
    data_start = _aligned(name_end)
    name = data[position + _HEADER_BYTES : name_end].rstrip(b"\0").decode("utf-8", "surrogateescape")
    if data_start + size > len(data):
        raise MalformedArchive(f"{name[:100]!r} ends beyond the archive", where=where)
    return _Header(name, mode, size, links, (inode, major, minor), data_start, _aligned(data_start + size))


def _aligned(position: int) -> int:
    return (position + 3) & ~3


def _headers(data: bytes, position: int, where: str) -> Iterator[_Header]:
    """Headers up to and with the trailer; its absence is an error."""
    while True:
        if position >= len(data):
            raise MalformedArchive("the archive has no trailer", where=where)
        header = _read_header(data, position, where)
        yield header
        if header.name == _TRAILER:
            return
        position = header.end


def _newc_end(data: bytes, position: int, where: str) -> int:
    return min([header.end for header in _headers(data, position, where)][-1], len(data))


def _read_newc(data: bytes, where: str, check: Callable[[], None]) -> Iterator[tuple[InitrdEntry, _Header]]:
    """Entries of all archives in a decompressed segment, which zeros may separate."""
    position = 0
    while position < len(data):
        if data[position] == 0:
            position += 1
            continue
        for header in _headers(data, position, where):
            check()
            position = header.end
            if header.name == _TRAILER or header.name in {".", "/"}:
                continue
            name = header.name.removeprefix("./")
            relative_path(name, where=where)
            digest = None
            if stat.S_ISREG(header.mode):
                content = data[header.data_start : header.data_start + header.size]
                digest = Digest.sha256(hashlib.sha256(content).hexdigest())
            yield InitrdEntry(name, header.mode, header.size, digest), header


def _linked(entries: Iterator[tuple[InitrdEntry, _Header]]) -> Iterator[InitrdEntry]:
    """Give every name of a hard-linked file the content, which newc stores with its last name only."""
    waiting: dict[tuple[int, int, int], list[InitrdEntry]] = {}
    for entry, header in entries:
        if entry.sha256 is None or header.links <= 1:
            yield entry
            continue
        names = waiting.setdefault(header.inode, [])
        names.append(entry)
        if entry.size or len(names) == header.links:
            yield from (replace(name, size=entry.size, sha256=entry.sha256) for name in names)
            names.clear()
    for names in waiting.values():
        yield from names
