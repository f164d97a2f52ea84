"""Statements that are asked again and again for other keys: the SQL that the ORM makes of them is kept.

The ORM puts a statement over several tables together in more time than the database takes to answer it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cachetools import LRUCache, cached
from django.db import connection
from django.db.models import QuerySet

type Key = int | UUID
type Make = Callable[..., QuerySet[Any, Any]]

_STAND_INS = 2**62
"""From here on a number stands for a key while a statement is put together; no row has one."""
_MOST = 256


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a parameter comes from: which list of keys, and which of them."""

    entry: int
    at: int
    is_text: bool
    """Whether the database has the key as the hexadecimal digits of a UUID."""


@dataclass(frozen=True, slots=True)
class _Statement:
    sql: str
    parameters: tuple[object, ...]
    """Constants, and a ``_Place`` or a list of them for each stand-in."""


def kept(name: Hashable, make: Make, *keys: Collection[Key]) -> tuple[str, list[Any]]:
    """SQL with its parameters: what ``make`` gives for lists of keys, none of which may be empty.

    ``make`` gives the same query for the same keys, and one that ``name`` alone tells from others. A statement is kept
    for each number of keys, rounded up. Raises ``ValueError`` for an empty list.
    """
    if not all(keys):
        raise ValueError("a statement that is kept asks for at least one key of each kind")
    # A key that stands twice in a list changes nothing, and few lengths need few statements.
    filled = [[*entry, *[next(iter(entry))] * (_rounded(len(entry)) - len(entry))] for entry in keys]
    kinds = tuple((type(entry[0]), len(entry)) for entry in filled)
    statement = _statement((name, connection.vendor), make, kinds)
    return statement.sql, [_given(parameter, filled) for parameter in statement.parameters]


def _rounded(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


@cached(LRUCache(_MOST), key=lambda name, _make, kinds: (name, kinds), lock=threading.Lock())
def _statement(_name: Hashable, make: Make, kinds: tuple[tuple[type[Key], int], ...]) -> _Statement:
    stand_ins: list[list[Key]] = []
    places: dict[object, _Place] = {}
    for entry, (kind, count) in enumerate(kinds):
        stand_ins.append([])
        for at in range(count):
            number = _STAND_INS + entry * _STAND_INS // 16 + at
            key: Key = number
            if kind is UUID:
                key = UUID(int=number)
                places[key.hex] = _Place(entry, at, is_text=True)
            places[key] = _Place(entry, at, is_text=False)
            stand_ins[entry].append(key)
    sql, parameters = make(*stand_ins).query.sql_with_params()
    return _Statement(str(sql), tuple(_placed(parameter, places) for parameter in parameters))


def _placed(parameter: object, places: Mapping[object, _Place]) -> object:
    if isinstance(parameter, list | tuple):
        return [_placed(entry, places) for entry in parameter]
    return places.get(parameter, parameter)


def _given(parameter: object, keys: Sequence[Sequence[Key]]) -> Any:
    if isinstance(parameter, list):
        return [_given(entry, keys) for entry in parameter]
    if not isinstance(parameter, _Place):
        return parameter
    key = keys[parameter.entry][parameter.at]
    return key.hex if parameter.is_text and isinstance(key, UUID) else key
