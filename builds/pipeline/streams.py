"""Iterators of bytes as readable files."""

from __future__ import annotations

import io
from collections.abc import Iterator


class IterableReader(io.RawIOBase):
    """A read-only, forward-only file over an iterator of chunks; memory holds one chunk."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Exactly ``size`` bytes unless the end comes first; everything for a negative size."""
        if size < 0:
            everything = self._rest + b"".join(self._chunks)
            self._rest = b""
            return everything
        parts = [self._rest]
        held = len(self._rest)
        while held < size and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            held += len(chunk)
        joined = b"".join(parts)
        self._rest = joined[size:]
        return joined[:size]
