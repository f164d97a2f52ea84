"""Names for what the operating system and Python's own checks raise where nobody foresaw it.

A source or a portal that provokes one must find a failed job, not an agent that ended.
"""

from __future__ import annotations

import errno
from typing import ClassVar

from builds.domain.errors import DiskFull, PortalError
from builds.domain.printable import one_line


class Unforeseen(PortalError):
    """Something was refused by the operating system, or a value was outside of what its reader takes."""

    code: ClassVar[str] = "unforeseen"
    default_todo: ClassVar[str] = "Try again; if it stays, report it: a fault of this program, or a hostile source."


def named(error: OSError | ValueError, *, where: str) -> PortalError:
    """The error as a named one; a full disk under its own name."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(f"no space left on the worker: {error.filename}", where=where)
    return Unforeseen(one_line(f"{type(error).__name__}: {error}"), where=where)
