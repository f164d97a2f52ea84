"""How deep JSON is nested, told without reading it: a reader's stack is its sender's to fill otherwise."""

from __future__ import annotations

import re
from typing import ClassVar

from builds.domain.errors import MalformedInput
from builds.domain.strict_json import read_json

MAX_DEPTH = 32
"""Of arrays and objects in each other; what is sent to the API needs fewer than ten."""

# Possessive, and without need of a closing quote: each byte is looked at once, whatever a stranger sends.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_OPENING, _CLOSING = (b"[", b"{"), (b"]", b"}")


class NestedTooDeep(MalformedInput):
    """Arrays and objects lie in each other deeper than anything that is asked for here."""

    code: ClassVar[str] = "nested-too-deep"
    default_todo: ClassVar[str] = "Send what /api/v1/openapi.json asks for, and nothing around it."


def refuse_deep(data: bytes, *, where: str) -> None:
    """Raise ``NestedTooDeep`` for more than ``MAX_DEPTH``."""
    if nests_deeper(data, MAX_DEPTH):
        raise NestedTooDeep(f"it is nested more than {MAX_DEPTH} deep", where=where)


def read_shallow_json(body: bytes) -> object:
    """What a stranger's request holds: ``NestedTooDeep``, else as ``builds.domain.strict_json.read_json``."""
    refuse_deep(body, where="the body")
    return read_json(body)


def nests_deeper(data: bytes, most: int) -> bool:
    """Whether arrays and objects lie in each other more than ``most`` deep, of bytes that may be no JSON at all."""
    depth = 0
    for token in _TOKEN.finditer(data):
        mark = token[0]
        if mark in _OPENING:
            depth += 1
            if depth > most:
                return True
        elif mark in _CLOSING:
            depth -= 1
    return False
