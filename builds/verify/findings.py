"""What was checked, with what result, and by whose word; pure values that table, JSON and exit code are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ALLOW: Final = 0
DENY: Final = 1
COULD_NOT_CHECK: Final = 2

YOU: Final = "your files"


class State(StrEnum):
    """What a check says. ``NOTED`` is for information and decides nothing."""

    OK = "ok"
    FAILED = "failed"
    UNCHECKED = "could not check"
    NOTED = "noted"


@dataclass(frozen=True, slots=True)
class Finding:
    """One axis, its state, why, and who says so. ``reason`` may quote strangers: printing cleans it."""

    axis: str
    state: State
    reason: str
    said_by: str

    def as_dict(self) -> dict[str, str]:
        return {"axis": self.axis, "state": self.state.value, "reason": self.reason, "saidBy": self.said_by}


def exit_code(findings: Iterable[Finding]) -> int:
    """``DENY`` when anything failed, else ``COULD_NOT_CHECK`` when anything was not checked or nothing was."""
    states = {finding.state for finding in findings}
    if State.FAILED in states:
        return DENY
    return ALLOW if State.OK in states and State.UNCHECKED not in states else COULD_NOT_CHECK
