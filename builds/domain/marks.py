"""How a step of a check stands, for whatever draws or lists it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """Four different things: only ``HOLDS`` may ever look good, and what nobody knows is never that."""

    HOLDS = "holds"
    BROKEN = "broken"
    UNKNOWN = "unknown"
    UNUSED = "unused"
    """Not part of this release or configuration: neither good nor bad."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A state in a few words, and how it stands."""

    words: str
    mark: Mark


_WORST_FIRST = (Mark.BROKEN, Mark.UNKNOWN, Mark.HOLDS, Mark.UNUSED)


def worst(found: list[Marked]) -> Marked:
    """Of several, the one that says least for the release; ``unknown`` for none."""
    return min(found, key=lambda entry: _WORST_FIRST.index(entry.mark), default=Marked("unknown", Mark.UNKNOWN))
