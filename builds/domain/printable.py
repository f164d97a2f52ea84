"""Text from strangers that pages and terminals show: one line, nothing that moves a cursor or turns the writing."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

_HIDDEN = r"\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_VISIBLE = rf"[^{_HIDDEN}]"
# Half a character, which Python's texts may hold and no document can.
_REPLACED = re.compile(rf"[{_HIDDEN}\ud800-\udfff]")

# What is drawn as nothing or as a gap though it is neither a control nor a space: fillers, joiners, selectors of
# variants (what is Default_Ignorable_Code_Point in Unicode and not of category Cf), and blank Braille.
_DRAWN_AS_NOTHING = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)


def _all_seen(text: str) -> str:
    if _DRAWN_AS_NOTHING.search(text) or any(unicodedata.category(character) == "Cf" for character in text):
        raise ValueError("a character of it cannot be seen")
    return text


Line = Annotated[str, StringConstraints(pattern=rf"^{_VISIBLE}*$", max_length=1000)]
"""One printable line, which may be empty."""
Name = Annotated[
    str,
    StringConstraints(pattern=rf"^{_VISIBLE}+$", min_length=1, max_length=80, strip_whitespace=True),
    AfterValidator(_all_seen),
]
"""What somebody calls themselves, by characters that can all be seen."""
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
"""What an address can carry."""


_LONGEST_ON_TERMINAL = 8192
# Spaces of any width, and what is drawn as nothing: alone or between spaces they make a gap.
_GAP = re.compile(rf"(?:\s|{_DRAWN_AS_NOTHING.pattern}|[\u00ad\u061c\u200b-\u200f\u2060-\u206f\ufeff\ufff9-\ufffb])+")


def on_terminal(text: str) -> str:
    """Any text as one line of a terminal: line ends become spaces, what would move the cursor is replaced.

    Nothing is hidden: a carriage return in it does not take away what stands before.
    """
    return one_line(" ".join(text.expandtabs(4).splitlines()), _LONGEST_ON_TERMINAL)


def without_gaps(text: str) -> str:
    """The text with one space for each run of what looks empty: none fills a line so that the next begins with its
    own words.
    """
    return _GAP.sub(" ", text)


def compared_name(text: str) -> str:
    """The same for two names that differ in case, width, ligatures or spaces only."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def one_line(text: str, limit: int = 300) -> str:
    """The text as a ``Line`` holds it: cut to ``limit``, each character that may not be shown replaced."""
    return _REPLACED.sub("\N{REPLACEMENT CHARACTER}", text[:limit])


def in_brief(text: str, limit: int = 300) -> str:
    """As ``one_line``, where the whole text stands elsewhere: one that is cut ends with an ellipsis.

    It is cut at a word where one ends in the second half.
    """
    if len(text) <= limit:
        return one_line(text, limit)
    kept = one_line(text, limit - 1)
    word = kept.rpartition(" ")[0].rstrip(" ,;:")
    return f"{word if len(word) * 2 >= limit else kept}\N{HORIZONTAL ELLIPSIS}"


# XML 1.0, section 2.2: what no document can hold, not even escaped.
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(text: str) -> str:
    """The text with each character replaced that XML 1.0 forbids; it is still to be escaped."""
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)
