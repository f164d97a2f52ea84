"""Names that strangers chose, written so that a shell, TOML or a workflow reads exactly them and nothing more."""

from __future__ import annotations

import re
import shlex
import unicodedata

_ESCAPED = {'"': '\\"', "\\": "\\\\"}
_GLOB = re.compile(r"[*?\[\\$]")
_LIST = re.compile(r"[,\"']")
_LAST_OF_PLANE = 0xFFFF


def is_plain(character: str) -> bool:
    """Whether it is drawn and moves nothing: no control, no mark of direction, no half of a character."""
    return character == " " or unicodedata.category(character)[0] not in {"C", "Z"}


def toml_string(text: str) -> str:
    """A basic string of TOML 1.0, which YAML 1.2 reads alike."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in _ESCAPED:
        return _ESCAPED[character]
    if is_plain(character):
        return character
    if unicodedata.category(character) == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    point = ord(character)
    return f"\\u{point:04x}" if point <= _LAST_OF_PLANE else f"\\U{point:08x}"


def shell_word(text: str) -> str:
    """One word of a POSIX shell; in bash's form with escapes where a character could not be seen."""
    if all(map(is_plain, text)):
        return shlex.quote(text)
    inner = "".join({"'": "\\'", '"': '"'}.get(character) or _escaped(character) for character in text)
    return f"$'{inner}'"


def workflow_path(name: str) -> str:
    """A file name as a pattern of GitHub's glob: no expression, no option and no other file's name.

    Where the list that holds it cannot hold a character (a comma, a quote, a line end), ``?`` stands for that one.
    """
    listed = "".join(character if is_plain(character) and not _LIST.match(character) else "\0" for character in name)
    return _GLOB.sub(lambda found: f"[{found[0]}]" if found[0] != "\\" else "?", listed).replace("\0", "?")
