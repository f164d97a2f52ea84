"""JSON from strangers: one reading only, or none (RFC 8259, section 4, leaves duplicate names open)."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from builds.domain.errors import MalformedInput

MAX_INTEGER_DIGITS = 32


class AmbiguousJson(ValueError):
    """Not JSON, or JSON that two readers may understand differently; the message quotes none of it."""


def read_json(body: bytes, *, exact: bool = False, max_members: int | None = None) -> object:
    """The document as Python values; ``AmbiguousJson`` for duplicate names, NaN or what is not UTF-8 JSON.

    ``exact`` refuses fractions too: a binary float would not give the same text back. ``max_members`` is of one object.
    """

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if max_members is not None and len(pairs) > max_members:
            raise AmbiguousJson(f"an object has more than {max_members} members")
        return _without_duplicates(pairs)

    try:
        value: object = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=members,
            parse_constant=_refuse_number,
            parse_float=_refuse_number if exact else float,
            parse_int=_short_integer,
        )
    except AmbiguousJson:
        raise
    except RecursionError as error:
        raise AmbiguousJson("it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise AmbiguousJson("it is not UTF-8") from error
    except ValueError as error:
        raise AmbiguousJson("it is not JSON") from error
    return value


def load_object(
    data: bytes,
    *,
    max_bytes: int,
    where: str,
    error_type: type[MalformedInput] = MalformedInput,
    max_values: int | None = None,
    max_members: int | None = None,
) -> dict[str, Any]:
    """The object that ``data`` holds; ``error_type`` names what is wrong with it.

    ``max_values`` bounds what it takes in memory where a large document is mostly text: an empty list is two bytes
    in a document and fifty when it was read. ``max_members`` bounds each object: whoever reads it against a format
    holds a problem for each member that the format has not.
    """
    if len(data) > max_bytes:
        raise error_type(f"the document is larger than {max_bytes} bytes", where=where)
    if max_values is not None and sum(map(data.count, (b",", b"[", b"{"))) > max_values:
        raise error_type(f"the document has more than {max_values} values", where=where)
    try:
        document = read_json(data, max_members=max_members)
    except AmbiguousJson as error:
        raise error_type(f"the document cannot be read: {error}", where=where) from error
    if not isinstance(document, dict):
        raise error_type("the document is not a JSON object", where=where)
    return document


def compact_json(value: object) -> bytes:
    """What ``read_json`` gave, as UTF-8 without spaces and in the same order; ``AmbiguousJson`` for lone surrogates."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise AmbiguousJson("it holds half a character") from error


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise AmbiguousJson("an object names the same member twice")
    return found


def _refuse_number(text: str) -> NoReturn:
    raise AmbiguousJson("it holds a number that is not an integer")


def _short_integer(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS:
        raise AmbiguousJson("it holds an integer of too many digits")
    return int(text)
