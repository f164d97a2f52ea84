"""Reading initrds that may be hostile. Nothing of them is ever unpacked to disk.

initrd format: Linux Documentation/driver-api/early-userspace/buffer-format.rst (newc, several
segments, each plain or compressed) and init/initramfs.c, which says what the kernel makes of it.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

from isal import igzip_lib

from builds.domain.digest import Digest
from builds.domain.errors import LimitExceeded, MalformedInput, UnsafePath
from builds.domain.paths import relative_path
from builds.pipeline.hashing import MalformedGzip, inflate, new_member, read_chunks

MAX_INITRD_BYTES = 512 * 1024**2
MAX_UNPACKED_BYTES = 2 * 1024**3
MAX_ENTRIES = 100_000
_CHUNK = 1024 * 1024
_HEADER_BYTES = 110
_MAX_NAME_BYTES = 4096
_MAX_DEPTH = 100
_MAX_SEGMENTS = 1000
_MAX_XZ_MEMORY = 128 * 1024**2
_NEWC_MAGICS = (b"070701", b"070702")
_HEADER = re.compile(rb"07070[12][0-9A-Fa-f]{104}")
_ZEROS = re.compile(rb"\0*")
_TRAILER = "TRAILER!!!"


class MalformedArchive(MalformedInput):
    """A tar or cpio archive that cannot be read to its end."""

    code: ClassVar[str] = "malformed-archive"
    default_todo: ClassVar[str] = "Download the file again; if it stays so, ask its publisher."


@dataclass(frozen=True, slots=True)
class InitrdEntry:
    """One name in an initrd; ``sha256`` only for regular files, ``size`` in bytes."""

    path: str
    mode: int
    size: int
    sha256: Digest | None


def read_initrd(path: Path, *, check: Callable[[], None]) -> list[InitrdEntry]:
    """What the kernel would see after unpacking: for a name given twice, the last entry.

    The file is read once, in pieces; memory holds the names. Raises ``MalformedArchive``,
    ``MalformedGzip``, ``UnsafePath``, ``LimitExceeded`` or ``UnreadableFile``.
    """
    where = path.name
    file = _Forward(_metered(read_chunks(path, check=check), [MAX_INITRD_BYTES], where), where)
    rootfs = _Rootfs(where)
    unpacked = [MAX_UNPACKED_BYTES]
    segments = 0
    while head := file.after_zeros(6):
        segments += 1
        if segments > _MAX_SEGMENTS:
            raise LimitExceeded(f"the initrd has more than {_MAX_SEGMENTS} segments", where=where)
        if head in _NEWC_MAGICS:
            _read_archive(file, rootfs, check)
            continue
        segment = _Forward(_metered(_unpacked(file, head), unpacked, where), where)
        while segment.after_zeros(1):
            _read_archive(segment, rootfs, check)
    return rootfs.entries()


def _metered(chunks: Iterator[bytes], left: list[int], where: str) -> Iterator[bytes]:
    """Pass chunks on while the one number in ``left``, which several may share, stays positive."""
    for chunk in chunks:
        left[0] -= len(chunk)
        if left[0] < 0:
            raise LimitExceeded("the initrd, packed or unpacked, is larger than this portal reads", where=where)
        yield chunk


def _unpacked(file: _Forward, head: bytes) -> Iterator[bytes]:
    """The content of one compressed segment; afterwards ``file`` stands right behind it."""
    member: igzip_lib.IgzipDecompressor | lzma.LZMADecompressor
    if head.startswith(b"\x1f\x8b"):
        member = new_member()
    elif head == b"\xfd7zXZ\0":
        member = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY)
    else:
        raise MalformedArchive(
            f"an archive segment starts with {head.hex()}, which is no known format", where=file.where
        )
    pending: bytes | None = None
    while not member.eof:
        if pending is None and not (pending := file.some(_CHUNK)):
            raise MalformedGzip("the file ends in the middle of its compressed data", where=file.where)
        piece, pending = inflate(member, pending, file.where)
        if piece:
            yield piece
    file.hand_back(pending or b"")


class _Forward:
    """A forward-only reader over chunks that knows its position, which newc aligns by."""

    def __init__(self, chunks: Iterator[bytes], where: str) -> None:
        self._chunks = chunks
        self._held = b""
        self._at = 0
        self.position = 0
        self.where = where

    def some(self, most: int) -> bytes:
        """One to ``most`` bytes, as they come; none at the end."""
        while self._at == len(self._held):
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._held, self._at = chunk, 0
        piece = self._held[self._at : self._at + most]
        self._at += len(piece)
        self.position += len(piece)
        return piece

    def take(self, size: int) -> bytes:
        """Exactly ``size`` bytes, a few thousand at most."""
        data = b"".join(self.pieces(size))
        if len(data) != size:
            raise MalformedArchive(f"the archive ends within a header at byte {self.position}", where=self.where)
        return data

    def pieces(self, size: int) -> Iterator[bytes]:
        """``size`` bytes in chunks of at most 1 MiB, fewer when the end comes first."""
        while size and (piece := self.some(min(size, _CHUNK))):
            size -= len(piece)
            yield piece

    def hand_back(self, data: bytes) -> None:
        """Undo the reading of ``data``, the end of what was read last."""
        self._at -= len(data)
        self.position -= len(data)

    def align(self) -> None:
        """Skip the padding to a multiple of 4 bytes, which may be cut off at the very end."""
        for _ in self.pieces(-self.position % 4):
            pass

    def after_zeros(self, count: int) -> bytes:
        """Skip zero bytes, then look at the next ``count`` or fewer without reading them."""
        while first := self.some(1):
            self.hand_back(first)
            end = cast("re.Match[bytes]", _ZEROS.match(self._held, self._at)).end()
            self.position += end - self._at
            self._at = end
            if end < len(self._held):
                break
        while len(self._held) - self._at < count and (chunk := next(self._chunks, None)) is not None:
            self._held, self._at = self._held[self._at :] + chunk, 0
        return self._held[self._at : self._at + count]


@dataclass(frozen=True, slots=True)
class _Header:
    name: str
    mode: int
    size: int
    links: int
    inode: tuple[int, int, int]
    checksum: int | None


def _read_header(reader: _Forward) -> _Header:
    start, where = reader.position, reader.where
    raw = reader.take(_HEADER_BYTES)
    # int() would also take signs, spaces and underscores, and a negative size leads backwards for ever.
    if start % 4 or not _HEADER.fullmatch(raw):
        raise MalformedArchive(f"no newc header at byte {start}", where=where)
    fields = [int(raw[at : at + 8], 16) for at in range(6, _HEADER_BYTES, 8)]
    inode, mode, _, _, links, _, size, major, minor, _, _, name_size, checksum = fields
    if not 0 < name_size <= _MAX_NAME_BYTES:
        raise MalformedArchive(f"a name of {name_size} bytes at byte {start}", where=where)
    encoded = reader.take(name_size)
    reader.align()
    try:
        name = encoded.rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedArchive(f"the name at byte {start} is not UTF-8", where=where) from error
    if not encoded.endswith(b"\0"):
        raise MalformedArchive(f"the name {name[:100]!r} does not end with a zero byte", where=where)
    return _Header(name, mode, size, links, (inode, major, minor), checksum if raw[5:6] == b"2" else None)


def _read_archive(reader: _Forward, rootfs: _Rootfs, check: Callable[[], None]) -> None:
    """One newc archive with its trailer."""
    rootfs.forget_links()
    while True:
        check()
        header = _read_header(reader)
        content = hashlib.sha256()
        found = checksum = 0
        for piece in reader.pieces(header.size):
            found += len(piece)
            content.update(piece)
            checksum += sum(piece) if header.checksum is not None else 0
        if found != header.size:
            raise MalformedArchive(f"{header.name[:100]!r} ends beyond the archive", where=reader.where)
        reader.align()
        if header.checksum is not None and stat.S_ISREG(header.mode) and checksum % 2**32 != header.checksum:
            raise MalformedArchive(f"{header.name[:100]!r} does not have its checksum", where=reader.where)
        rootfs.add(header, Digest.sha256(content.hexdigest()))
        if header.name == _TRAILER:
            return


@dataclass(slots=True)
class _Inode:
    """What one or more names stand for: written through one of them, it changes under all."""

    mode: int
    size: int
    sha256: Digest


class _Rootfs:
    """The file tree as ``init/initramfs.c`` makes it from entries in their order."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._inodes: dict[str, _Inode] = {}
        self._linked: dict[tuple[int, int, int], str] = {}
        self._count = 0

    def forget_links(self) -> None:
        """Inode numbers mean something within one archive only."""
        self._linked.clear()

    def add(self, header: _Header, sha256: Digest) -> None:
        self._count += 1
        if self._count > MAX_ENTRIES:
            raise LimitExceeded(f"the initrd holds more than {MAX_ENTRIES} entries", where=self._where)
        if header.name in {".", "/", "./", _TRAILER}:
            return
        path = self._path(header)
        inode = _Inode(header.mode, header.size, sha256)
        self._inodes[path] = self._written(path, header, inode) if stat.S_ISREG(header.mode) else inode

    def _written(self, path: str, header: _Header, new: _Inode) -> _Inode:
        """The inode a regular entry is written to: a link's, the one already at ``path``, or a new one."""
        first = self._linked.setdefault(header.inode, path) if header.links > 1 else path
        inode = self._inodes.get(first)
        if inode is None or not stat.S_ISREG(inode.mode):
            if first != path:
                raise MalformedArchive(f"{path[:100]!r} is linked to a file that is gone", where=self._where)
            return new
        inode.mode = new.mode
        if header.size or first == path:
            inode.size, inode.sha256 = new.size, new.sha256
        return inode

    def entries(self) -> list[InitrdEntry]:
        return [
            InitrdEntry(path, inode.mode, inode.size, inode.sha256 if stat.S_ISREG(inode.mode) else None)
            for path, inode in sorted(self._inodes.items())
        ]

    def _path(self, header: _Header) -> str:
        """The path in its one spelling, of an entry that the kernel would not skip or put elsewhere."""
        path = relative_path(header.name, where=self._where)
        kind = stat.S_IFMT(header.mode)
        most = {stat.S_IFREG: header.size, stat.S_IFLNK: _MAX_NAME_BYTES}.get(kind, 0)
        if stat.filemode(header.mode).startswith("?") or header.size > most:
            raise MalformedArchive(f"{header.name[:100]!r} is of a type or size the kernel skips", where=self._where)
        if len(path.parts) > _MAX_DEPTH:
            raise LimitExceeded(f"a path is more than {_MAX_DEPTH} directories deep", where=self._where)
        for parent in path.parents:
            above = self._inodes.get(str(parent))
            if above is not None and stat.S_ISLNK(above.mode):
                raise UnsafePath(
                    f"{header.name[:100]!r} goes through the link {str(parent)[:100]!r}", where=self._where
                )
        return str(path)
