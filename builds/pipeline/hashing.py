"""Hashing files: sha256 and sha384 in one pass, also through a gzip container.

SHA-384 is the slower of the two, so it has a thread of its own; reading, decompressing and SHA-256
share the other. hashlib and isal release the GIL on large buffers, so both cores work.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ClassVar, Self, cast

from isal import igzip_lib, isal_zlib

from builds.domain.digest import Digest, FileDigests
from builds.domain.errors import LimitExceeded, MalformedInput
from builds.pipeline.regular_files import regular_handle

_CHUNK = 1024 * 1024
_QUEUED_CHUNKS = 8
# A 2 GiB disk in bgzip's 64 KiB blocks has 32 769 members; millions of empty ones only cost time.
_MAX_MEMBERS = 100_000
# isal names its error class at run time only.
_ISAL_ERROR = cast("type[Exception]", isal_zlib.error)
_GZIP_MAGIC = b"\x1f\x8b"


class UnreadableFile(MalformedInput):
    """A file that is not there, not a regular file, or cannot be opened or read."""

    code: ClassVar[str] = "unreadable-file"
    default_todo: ClassVar[str] = "Check that it is a plain file there, readable, and that its disk is sound."


class MalformedGzip(MalformedInput):
    """A gzip file that is truncated, corrupt or followed by something else."""

    code: ClassVar[str] = "malformed-gzip"
    default_todo: ClassVar[str] = "Download the file again; if it stays so, ask its publisher."


@dataclass(frozen=True, slots=True)
class GzipDigests:
    """Digests of a gzip file itself and of what it holds."""

    container: FileDigests
    content: FileDigests


class TwoDigests:
    """Both digests of a stream. Use as a context manager; ``digests`` is valid afterwards."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._sha384 = hashlib.sha384()
        self._size = 0
        self._queue: queue.Queue[bytes | None] = queue.Queue(_QUEUED_CHUNKS)
        self._thread = threading.Thread(target=self._run, name="sha384", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()

    def update(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._queue.put(chunk)
        self._sha256.update(chunk)

    @property
    def size(self) -> int:
        return self._size

    @property
    def digests(self) -> FileDigests:
        return FileDigests(self._size, Digest.sha256(self._sha256.hexdigest()), Digest.sha384(self._sha384.hexdigest()))

    def _run(self) -> None:
        while (chunk := self._queue.get()) is not None:
            self._sha384.update(chunk)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading: no link is followed and no pipe waited on. Raises ``UnreadableFile``."""
    try:
        handle = regular_handle(path, os.O_RDONLY)
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"it cannot be opened as a regular file: {error}"[:300], where=path.name) from error
    return os.fdopen(handle, "rb")


def read_chunks(path: Path, *, check: Callable[[], None]) -> Iterator[bytes]:
    """The bytes of a regular file in chunks of at most 1 MiB. Raises ``UnreadableFile``."""
    with open_regular(path) as file:
        while True:
            check()
            try:
                chunk = file.read(_CHUNK)
            except OSError as error:
                raise UnreadableFile(f"it cannot be read to its end: {error}"[:300], where=path.name) from error
            if not chunk:
                return
            yield chunk


def hash_file(path: Path, *, check: Callable[[], None], max_bytes: int | None = None) -> FileDigests:
    """Both digests of a file in one read. Raises ``LimitExceeded`` and ``UnreadableFile``."""
    with TwoDigests() as both:
        for chunk in read_chunks(path, check=check):
            if max_bytes is not None and both.size + len(chunk) > max_bytes:
                raise LimitExceeded(f"the file is larger than {max_bytes} bytes", where=path.name)
            both.update(chunk)
    return both.digests


def hash_gzip(path: Path, max_bytes: int, *, check: Callable[[], None]) -> GzipDigests:
    """Digests of a gzip file and of its content, in one read; see ``gunzip`` for the errors."""
    with TwoDigests() as container, TwoDigests() as content:
        for piece in gunzip(path, container, max_bytes, check=check):
            content.update(piece)
    return GzipDigests(container.digests, content.digests)


def gunzip(path: Path, container: TwoDigests, max_bytes: int, *, check: Callable[[], None]) -> Iterator[bytes]:
    """The content of a gzip file (RFC 1952, one or several members) in pieces of at most 1 MiB.

    ``container`` takes the file's own bytes as they pass. Raises ``LimitExceeded`` as soon as the
    file or its content passes ``max_bytes``, ``MalformedGzip`` and ``UnreadableFile``. The checksums
    are verified when the iterator is read to its end, not before.
    """
    where = path.name
    member, members, size = new_member(), 1, 0
    for chunk in read_chunks(path, check=check):
        container.update(chunk)
        pending: bytes | None = chunk
        while pending is not None:
            if member.eof:
                # Only another member may follow; trailing bytes would be in the container and nowhere else.
                if not pending.startswith(_GZIP_MAGIC[: len(pending)]):
                    raise MalformedGzip("something that is not gzip follows the compressed data", where=where)
                member, members = new_member(), members + 1
            piece, pending = inflate(member, pending, where)
            size += len(piece)
            if max(size, container.size) > max_bytes or members > _MAX_MEMBERS:
                found = f"is larger than {max_bytes} bytes" if members <= _MAX_MEMBERS else f"has {members} members"
                raise LimitExceeded(f"the file or its content {found}", where=where)
            if piece:
                check()
                yield piece
    if not member.eof:
        raise MalformedGzip("the file ends in the middle of its compressed data", where=where)


def inflate(
    member: igzip_lib.IgzipDecompressor | lzma.LZMADecompressor, data: bytes, where: str
) -> tuple[bytes, bytes | None]:
    """One step of a gzip member or an xz stream: at most 1 MiB of content, and what to give next (None: more file)."""
    try:
        piece = member.decompress(data, _CHUNK)
    except (_ISAL_ERROR, lzma.LZMAError, EOFError, ValueError) as error:
        raise MalformedGzip(f"the compressed data is corrupt: {error}", where=where) from error
    if member.eof:
        return piece, member.unused_data or None
    return piece, None if member.needs_input else b""


def new_member() -> igzip_lib.IgzipDecompressor:
    """A decompressor for one gzip member, which verifies its checksum."""
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
