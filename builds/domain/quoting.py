"""Names that strangers chose, written so that a shell, TOML or a workflow reads exactly them and nothing more."""

from __future__ import annotations

import re
import shlex
import unicodedata

_ESCAPED = {'"': '\\"', "\\": "\\\\"}
_GLOB = re.compile(r"[*?\[\\$]")
_LIST = re.compile(r"[,\"']")
_LAST_OF_PLANE = 0xFFFF


def toml_string(text: str) -> str:
    """A basic string of TOML 1.0, which YAML 1.2 reads alike."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in _ESCAPED:
        return _ESCAPED[character]
    if character.isprintable():
        return character
    if unicodedata.category(character) == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    point = ord(character)
    return f"\\u{point:04x}" if point <= _LAST_OF_PLANE else f"\\U{point:08x}"


def quoted(text: str) -> str:
    """One word of a POSIX shell; in bash's form where a character could not be seen, as octal escapes of its bytes."""
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_octal, text))}'"


def _octal(character: str) -> str:
    if character.isprintable() and character not in "\\'":
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode(errors="replace"))


def workflow_path(name: str) -> str:
    """A file name as a pattern of GitHub's glob: no expression, no option and no other file's name.

    Where the list that holds it cannot hold a character (a comma, a quote, a line end), ``?`` stands for that one.
    """
    listed = "".join(
        character if character.isprintable() and not _LIST.match(character) else "\0" for character in name
    )
    return _GLOB.sub(lambda found: f"[{found[0]}]" if found[0] != "\\" else "?", listed).replace("\0", "?")
