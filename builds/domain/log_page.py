"""Lines of a log as pages show them: numbered, printable, and bounded however long a line is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from builds.domain.printable import one_line

LINE_CHARACTERS = 4096
"""Of one line; honest rebuilders cut theirs there too."""
_SHORT_CHARACTERS = 200
_PAGE_CHARACTERS = 200_000
"""Of all lines of an answer; what comes after is shown with ``_SHORT_CHARACTERS`` a line."""


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A line: its number from 1, what is shown of it, and how many characters are not shown."""

    number: int
    text: str
    hidden: int = 0


def shown_lines(lines: Iterable[tuple[int, str]]) -> tuple[ShownLine, ...]:
    """The numbered lines; tabs become spaces, what moves a cursor or turns the writing is replaced."""
    room, shown = _PAGE_CHARACTERS, []
    for number, text in lines:
        most = LINE_CHARACTERS if room > LINE_CHARACTERS else _SHORT_CHARACTERS
        spaced = text[:most].expandtabs(8)
        room -= len(spaced)
        shown.append(ShownLine(number, one_line(spaced, len(spaced)), max(len(text) - most, 0)))
    return tuple(shown)
