"""Hashing files: sha256 and sha384 in one pass, also through a gzip container.

SHA-384 is the slower of the two, so it has a thread of its own; reading, decompressing and SHA-256
share the other. hashlib and isal release the GIL on large buffers, so both cores work.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self, cast

from isal import igzip_lib, isal_zlib

from builds.domain.digest import Digest, FileDigests
from builds.domain.errors import LimitExceeded, MalformedInput

_CHUNK = 1024 * 1024
_QUEUED_CHUNKS = 8
# isal names its error class at run time only.
_ISAL_ERROR = cast("type[Exception]", isal_zlib.error)
_GZIP_MAGIC = b"\x1f\x8b"


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


def hash_file(path: Path, *, check: Callable[[], None]) -> FileDigests:
    """Both digests of a file in one read."""
    with path.open("rb") as file, TwoDigests() as both:
        while chunk := file.read(_CHUNK):
            check()
            both.update(chunk)
    return both.digests


def hash_gzip(path: Path, max_bytes: int, *, check: Callable[[], None]) -> GzipDigests:
    """Digests of a gzip file (RFC 1952, one or several members) and of its content, in one read.

    Raises ``LimitExceeded`` as soon as the content passes ``max_bytes``, and ``MalformedGzip``.
    """
    where = path.name
    with path.open("rb") as file, TwoDigests() as container, TwoDigests() as content:
        member = _new_member()
        while chunk := file.read(_CHUNK):
            container.update(chunk)
            pending: bytes | None = chunk
            while pending is not None:
                check()
                member, pending = _inflate(member, pending, content, max_bytes, where)
        if not member.eof:
            raise MalformedGzip("the file ends in the middle of its compressed data", where=where)
    return GzipDigests(container.digests, content.digests)


def _inflate(
    member: igzip_lib.IgzipDecompressor, data: bytes, content: TwoDigests, max_bytes: int, where: str
) -> tuple[igzip_lib.IgzipDecompressor, bytes | None]:
    """One step: at most one chunk out. Returns the member to go on with and the input to give it, or None."""
    if member.eof:
        # Only another member may follow; trailing bytes would be in the container and nowhere else.
        if not data.startswith(_GZIP_MAGIC[: len(data)]):
            raise MalformedGzip("something that is not gzip follows the compressed data", where=where)
        member = _new_member()
    try:
        piece = member.decompress(data, _CHUNK)
    except (_ISAL_ERROR, EOFError, ValueError) as error:
        raise MalformedGzip(f"the compressed data is corrupt: {error}", where=where) from error
    if piece:
        content.update(piece)
    if content.size > max_bytes:
        raise LimitExceeded(f"the content is larger than {max_bytes} bytes", where=where)
    if member.eof:
        return member, member.unused_data or None
    return member, None if member.needs_input else b""


def _new_member() -> igzip_lib.IgzipDecompressor:
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
