"""Where a poller of verdict changes stands: which recorded verdict it saw last."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from builds.domain.errors import MalformedInput

START: Final = "start"
WRITTEN_CURSOR: Final = "^(start|[1-9][0-9]{0,17}-[0-9a-f]{16})$"
"""As a JSON Schema's pattern, for who is to write one; ``ChangeCursor.parse`` decides."""
_WRITTEN = re.compile(r"([1-9][0-9]{0,18})-([0-9a-f]{16})", re.ASCII)
_SHOWN = 16


class UnknownCursor(MalformedInput):
    """A cursor that this portal did not give, or whose record it does not have: it cannot be told what came after."""

    code: ClassVar[str] = "unknown-cursor"
    default_todo: ClassVar[str] = "Begin again without `since`, and take what you know already by its id."


@dataclass(frozen=True, slots=True)
class ChangeCursor:
    """The last record seen, by its number and the beginning of its basis: a number that was given out anew, as after
    a backup was restored, is no cursor any more. Number 0 with "" is before the first."""

    number: int = 0
    basis: str = ""

    @classmethod
    def after(cls, number: int, basis: str) -> Self:
        """The cursor of the record with this number, whose ``basis`` is 64 hex characters."""
        return cls(number, basis[:_SHOWN])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a cursor as it was given; ``UnknownCursor`` for any other text."""
        if text == START:
            return cls()
        found = _WRITTEN.fullmatch(text)
        if found is None or int(found[1]) >= 2**63:
            raise UnknownCursor("since is no cursor of this portal", where="the query")
        return cls(int(found[1]), found[2])

    @property
    def is_start(self) -> bool:
        return self.number == 0

    def __str__(self) -> str:
        return START if self.is_start else f"{self.number}-{self.basis}"
