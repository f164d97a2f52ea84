"""Text from strangers that pages and terminals show: one line, nothing that moves a cursor or turns the writing."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import StringConstraints

_HIDDEN = r"\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_VISIBLE = rf"[^{_HIDDEN}]"
# Half a character, which Python's texts may hold and no document can.
_REPLACED = re.compile(rf"[{_HIDDEN}\ud800-\udfff]")

Line = Annotated[str, StringConstraints(pattern=rf"^{_VISIBLE}*$", max_length=1000)]
"""One printable line, which may be empty."""
Name = Annotated[str, StringConstraints(pattern=rf"^{_VISIBLE}+$", min_length=1, max_length=80, strip_whitespace=True)]
"""What somebody calls themselves."""
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
"""What an address can carry."""


_LONGEST_ON_TERMINAL = 8192


def on_terminal(text: str) -> str:
    """Any text as one line of a terminal: line ends become spaces, what would move the cursor is replaced.

    Nothing is hidden: a carriage return in it does not take away what stands before.
    """
    return one_line(" ".join(text.expandtabs(4).splitlines()), _LONGEST_ON_TERMINAL)


def one_line(text: str, limit: int = 300) -> str:
    """The text as a ``Line`` holds it: cut to ``limit``, each character that may not be shown replaced."""
    return _REPLACED.sub("\N{REPLACEMENT CHARACTER}", text[:limit])
