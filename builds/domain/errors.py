"""Named errors: every failure says what happened, where, and what to do about it."""

from __future__ import annotations

from typing import ClassVar


class PortalError(Exception):
    """A failure with a stable ``code`` that page, API and command line all show alike.

    ``what`` happened, ``where`` (file, stage, package, commit), and what ``todo`` about it;
    each is a plain sentence or phrase without markup.
    """

    code: ClassVar[str] = "portal-error"
    default_todo: ClassVar[str] = "Read the log of this step."

    def __init__(self, what: str, *, where: str, todo: str | None = None) -> None:
        self.what = what
        self.where = where
        self.todo = todo or self.default_todo
        super().__init__(what, where, self.todo)

    def __str__(self) -> str:
        return f"{self.what} ({self.where}). {self.todo}"

    def as_dict(self) -> dict[str, str]:
        """``{code, what, where, todo}``: the shape stored with events and returned by the API."""
        return {"code": self.code, "what": self.what, "where": self.where, "todo": self.todo}


class MalformedInput(PortalError):
    """Input that cannot be read as the format it claims to be."""

    code = "malformed-input"
    default_todo = "Correct the file or ask its publisher for a correct one."


class UnsafePath(MalformedInput):
    """A path that would leave the directory it belongs to."""

    code = "unsafe-path"
    default_todo = "Treat the file as hostile; do not unpack it by hand either."


class LimitExceeded(PortalError):
    """More bytes, seconds or entries than this portal accepts."""

    code = "limit-exceeded"
    default_todo = "If the size is legitimate, raise the named limit in the portal's settings."


class DiskFull(PortalError):
    """No space left where the portal writes."""

    code = "disk-full"
    default_todo = "Free space on that file system, then ask for the rebuild again."
