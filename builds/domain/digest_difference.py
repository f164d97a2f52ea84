"""Two digests beside each other: what they share from the start, and the character that tells them apart."""

from __future__ import annotations

from dataclasses import dataclass

_TEENS = range(11, 14)
_ENDINGS = {1: "st", 2: "nd", 3: "rd"}


@dataclass(frozen=True, slots=True)
class DigestParts:
    """A text in three parts that together are the whole of it; ``mark`` is one character, or "" at its end."""

    common: str
    mark: str
    rest: str


@dataclass(frozen=True, slots=True)
class DigestDifference:
    """Two unequal texts in parts, and from which character on they differ, counted from 1."""

    one: DigestParts
    other: DigestParts
    position: int

    @property
    def words(self) -> str:
        return f"differs from the {ordinal(self.position)} character on"


def difference_of(one: str, other: str) -> DigestDifference | None:
    """The parts of two hexadecimal texts (or any); None when they are the same."""
    if one == other:
        return None
    shared = next(
        (place for place, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs),
        min(len(one), len(other)),
    )
    return DigestDifference(_parts(one, shared), _parts(other, shared), shared + 1)


def _parts(text: str, shared: int) -> DigestParts:
    return DigestParts(text[:shared], text[shared : shared + 1], text[shared + 1 :])


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``11th``, ``23rd``."""
    ending = "th" if number % 100 in _TEENS else _ENDINGS.get(number % 10, "th")
    return f"{number}{ending}"
