"""Statements that are asked again and again for other keys: the SQL that the ORM makes of them is kept.

The ORM puts a statement together in more time, up to ten times as much, than the database takes to answer it.
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

type Key = int | UUID | str
type Make = Callable[..., QuerySet[Any, Any]]

_STAND_INS = 2**30
"""From here on a number stands for a key while a statement is put together: no constant of a query is as large, and
every column of numbers takes it."""
_KEYS_OF_A_LIST = 2**20
_MOST = 256


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a parameter comes from: which key or list of keys, and which of the list."""

    entry: int
    at: int
    is_text: bool
    """Whether the database has the key as the hexadecimal digits of a UUID."""


@dataclass(frozen=True, slots=True)
class _Statement:
    sql: str
    parameters: tuple[object, ...]
    """Constants, and a ``_Place`` or a list of them for each stand-in."""


def kept(make: Make, *keys: Key | Collection[Key], name: Hashable = None) -> tuple[str, list[Any]]:
    """SQL with its parameters: what ``make`` gives for keys and lists of keys, none of which may be empty.

    ``make`` is a function of a module, or one that ``name`` alone tells from others, and gives the same query for the
    same keys. A statement is kept for each number of keys, rounded up. Raises ``ValueError`` for an empty list.
    """
    filled = [[entry] if isinstance(entry, int | UUID | str) else _filled(entry) for entry in keys]
    kinds = tuple(
        (type(entry[0]), None if isinstance(given, int | UUID | str) else len(entry))
        for given, entry in zip(keys, filled, strict=True)
    )
    statement = _statement((make if name is None else name, connection.vendor), make, kinds)
    return statement.sql, [_given(parameter, filled) for parameter in statement.parameters]


def _filled(keys: Collection[Key]) -> list[Key]:
    """With as many as a power of two: a key that stands twice changes nothing, and few lengths need few statements."""
    if not keys:
        raise ValueError("a statement that is kept asks for at least one key of each kind")
    return [*keys, *[next(iter(keys))] * (_rounded(len(keys)) - len(keys))]


def _rounded(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


@cached(LRUCache(_MOST), key=lambda name, _make, kinds: (name, kinds), lock=threading.Lock())
def _statement(_name: Hashable, make: Make, kinds: tuple[tuple[type[Key], int | None], ...]) -> _Statement:
    """``kinds`` are the type of each key, or of each list's, and how many a list has; None is no list."""
    stand_ins: list[Key | list[Key]] = []
    places: dict[object, _Place] = {}
    for entry, (kind, count) in enumerate(kinds):
        made = [_stand_in(kind, _STAND_INS + entry * _KEYS_OF_A_LIST + at) for at in range(count or 1)]
        for at, key in enumerate(made):
            places[key] = _Place(entry, at, is_text=False)
            if isinstance(key, UUID):
                places[key.hex] = _Place(entry, at, is_text=True)
        stand_ins.append(made[0] if count is None else made)
    sql, parameters = make(*stand_ins).query.sql_with_params()
    return _Statement(str(sql), tuple(_placed(parameter, places) for parameter in parameters))


def _stand_in(kind: type[Key], number: int) -> Key:
    if kind is UUID:
        return UUID(int=number)
    return f"stand-in {number}" if kind is str else number


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
