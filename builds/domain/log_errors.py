"""Where a log first says that something went wrong: a guess by the shapes that tools print, and why it was made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SHAPES = (
    (re.compile(r"^\s*Traceback \(most recent call last\):"), "a Python traceback begins here"),
    (re.compile(r"\bmake(\[\d+\])?: \*\*\* "), "make stopped here"),
    (re.compile(r"^(#\d+ [\d.]+ )?[EF]: "), "apt or dpkg says that it failed"),
    (re.compile(r"^dpkg(-deb)?: error"), "apt or dpkg says that it failed"),
    (re.compile(r"\bpanicked at\b|^panic: "), "a program panicked here"),
    (re.compile(r"(^|[\s:\]])(fatal )?error(\[[A-Z]*\d+\])?: ", re.IGNORECASE), "a tool says error"),
    (re.compile(r"^(fatal|abort(ed)?): ", re.IGNORECASE), "a tool gave up here"),
    (re.compile(r"No space left on device|Cannot allocate memory|\bOut of memory\b|^Killed$"), "the machine ran out"),
    (re.compile(r": (command )?not found$|: No such file or directory$"), "something was not there"),
    (
        re.compile(
            r"\b(exit(ed)?|return(ed)?|non-zero)( with)?( a)?( exit)?( non-zero)? (code|status):? [1-9]", re.IGNORECASE
        ),
        "a command ended with another code than 0",
    ),
)
# Any of these stands in a line of such a shape: most lines of a long log are passed over by one look.
_HINT = re.compile(
    r"error(\[[a-z]*\d+\])?: |dpkg|\b[EF]: |traceback|\*\*\*|panic|fatal|abort|no space|allocate|of memory|killed"
    r"|not found|no such|code|status",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"\b(0|no) errors?\b|\berror: 0\b", re.IGNORECASE)
_LAST = "it is the last line of the stage that failed, and none before it looks like an error"


@dataclass(frozen=True, slots=True)
class LoudLine:
    """The number of a line, from 1, its text, and why it was chosen, as a clause."""

    number: int
    text: str
    why: str


def why_an_error(line: str) -> str:
    """Why a line looks like an error, as a clause; "" when it does not."""
    if not _HINT.search(line) or _HARMLESS.search(line):
        return ""
    return next((why for shape, why in _SHAPES if shape.search(line)), "")


def first_error(lines: Iterable[tuple[int, str]], *, failed: bool) -> LoudLine | None:
    """The first of the numbered lines that looks like an error.

    Of a stage that ``failed``: else the last line that is not blank. None when there is nothing to point at.
    """
    last: LoudLine | None = None
    for number, text in lines:
        why = why_an_error(text)
        if why:
            return LoudLine(number, text, why)
        if failed and text.strip():
            last = LoudLine(number, text, _LAST)
    return last
