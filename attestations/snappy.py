"""Raw snappy blocks, in which GitHub stores bundles; the only importer of cramjam.

Format: google/snappy format_description.txt. A block starts with its uncompressed length as a little-endian varint
of at most 32 bits; the framed format (``sNaPpY``) is another one.
"""

from __future__ import annotations

from typing import ClassVar

import cramjam

from builds.domain.errors import LimitExceeded, MalformedInput

_PREAMBLE_BYTES = 5
_MAX_LENGTH = 2**32 - 1


class MalformedSnappy(MalformedInput):
    """Bytes that are no whole raw snappy block."""

    code: ClassVar[str] = "malformed-snappy"
    default_todo: ClassVar[str] = "Fetch it again; if it stays so, ask its publisher."


def declared_length(block: bytes) -> int:
    """The uncompressed length that the block's first bytes declare. Raises ``MalformedSnappy``."""
    length = 0
    for position, byte in enumerate(block[:_PREAMBLE_BYTES]):
        length |= (byte & 0x7F) << (7 * position)
        if not byte & 0x80:
            if length > _MAX_LENGTH:
                break
            return length
    raise MalformedSnappy("the block does not begin with a length", where="snappy block")


def decompress_block(block: bytes, max_bytes: int) -> bytes:
    """The content of a block. Nothing is allocated before its declared length was found to be within ``max_bytes``.

    Raises ``LimitExceeded`` and ``MalformedSnappy``.
    """
    length = declared_length(block)
    if length > max_bytes:
        raise LimitExceeded(f"the block declares {length} bytes, more than {max_bytes}", where="snappy block")
    try:
        content = bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise MalformedSnappy("the block is truncated or corrupt", where="snappy block") from error
    if len(content) != length:
        raise MalformedSnappy("the block does not hold what it declares", where="snappy block")
    return content


def compress_block(content: bytes) -> bytes:
    """``content`` as one raw block."""
    return bytes(cramjam.snappy.compress_raw(content))


def max_compressed_length(content_bytes: int) -> int:
    """The longest block that ``content_bytes`` bytes can need (snappy.cc, ``MaxCompressedLength``)."""
    return 32 + content_bytes + content_bytes // 6
