"""How a running pipeline talks to whoever runs it: progress out, cancellation in."""

from __future__ import annotations

from typing import ClassVar, Protocol

from builds.domain.errors import PortalError


class Cancelled(PortalError):
    """Somebody asked for this rebuild to stop."""

    code: ClassVar[str] = "cancelled"
    default_todo: ClassVar[str] = "Ask for the rebuild again if it is still wanted."


class ClaimLost(PortalError):
    """The claim on this rebuild lapsed or went to another worker; this one must stop."""

    code: ClassVar[str] = "claim-lost"
    default_todo: ClassVar[str] = "Nothing: the sweeper has queued the rebuild again."


class Observer(Protocol):
    """Receives what happens; ``check`` is called often and raises to stop the pipeline."""

    def stage_started(self, name: str) -> None:
        """A stage begins; log lines that follow belong to it."""

    def stage_ended(self, name: str, *, exit_code: int | None) -> None:
        """The stage succeeded; ``exit_code`` is that of its process where there is one."""

    def stage_failed(self, name: str, error: PortalError, *, exit_code: int | None) -> None:
        """The stage ended with ``error``."""

    def log(self, text: str) -> None:
        """Text to append to the log, in pieces as it arrives."""

    def check(self) -> None:
        """Raise ``Cancelled`` or ``ClaimLost`` when the work must stop."""
