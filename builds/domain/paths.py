"""Paths that foreign files name: accepted only when they stay where they belong."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

from builds.domain.errors import UnsafePath

# NAME_MAX of Linux's file systems, in bytes.
_LONGEST_NAME = 255


def relative_path(text: str, *, where: str) -> PurePosixPath:
    """A normalised relative path inside its root, or ``UnsafePath``.

    Refused: empty, absolute, with ``..``, NUL, backslash, a control character or half a character.
    """
    path = PurePosixPath(text)
    if (
        not text
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in text
        or any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)
        or not path.parts
    ):
        raise UnsafePath(f"the path {text[:200]!r} points outside its directory or is not a plain path", where=where)
    return path


def file_name(text: str, *, where: str) -> str:
    """A single path component without directories, or ``UnsafePath``."""
    path = relative_path(text, where=where)
    if len(path.parts) != 1 or "/" in text or len(text.encode()) > _LONGEST_NAME:
        raise UnsafePath(f"{text[:200]!r} is not a bare file name", where=where)
    return text
