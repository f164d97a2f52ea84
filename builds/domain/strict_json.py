"""JSON as every reader agrees on (RFC 8259): UTF-8, no duplicate keys, no NaN, bounded in size, an object."""

from __future__ import annotations

import json
from typing import Any, Never

from builds.domain.errors import MalformedInput


def load_object(
    data: bytes, *, max_bytes: int, where: str, error_type: type[MalformedInput] = MalformedInput
) -> dict[str, Any]:
    """The object that ``data`` holds; ``error_type`` names what is wrong with it."""

    def refuse_constant(name: str) -> Never:
        raise ValueError(f"{name} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key is given twice")
        return result

    if len(data) > max_bytes:
        raise error_type(f"the document is larger than {max_bytes} bytes", where=where)
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=refuse_constant, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise error_type(f"the document is not JSON: {str(error)[:200]}", where=where) from error
    if not isinstance(document, dict):
        raise error_type("the document is not a JSON object", where=where)
    return document
