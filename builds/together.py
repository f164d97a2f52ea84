"""Rows of several tables in one statement: what a page reads of many small tables costs one way to the database."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

from django.db import connection
from django.db.models import (
    BinaryField,
    BooleanField,
    CharField,
    DateTimeField,
    F,
    Field,
    ForeignKey,
    ForeignObject,
    IntegerField,
    JSONField,
    Model,
    TextField,
    Value,
)
from django.db.models import QuerySet as Query
from django.db.models.functions import JSONObject

from builds.kept_statements import Key, kept

type Rows = list[Any]
"""Instances of one model; which, the caller knows from the query it gave."""
type Branches = Callable[..., tuple[Query[Any], ...]]
type Table = tuple[type[Model], str]
"""A model, and the database that its rows come from."""


def together(*queries: Query[Any]) -> tuple[Rows, ...]:
    """The rows of each query as instances of its model, in the order that its model asks for.

    Each row travels as JSON in a union of all queries, so that their columns need not be alike. Binary columns stay
    behind and are fetched when somebody reads them. What queries select or order by themselves is not heeded.
    """
    return _read([(query.model, query.db) for query in queries], _union(queries))


def together_of(branches: Branches, *keys: Collection[Key]) -> tuple[Rows, ...]:
    """As ``together`` for the queries that ``branches`` makes of ``keys``, none of which may be empty.

    ``branches`` is a function of a module, which makes the same queries of the same keys.
    """
    sql, parameters = kept(lambda *given: _union(branches(*given)), *keys, name=(together_of, branches))
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        found = cursor.fetchall()
    return _read(_tables(branches, len(keys)), ((number, json.loads(row)) for number, row in found))


@lru_cache
def _tables(branches: Branches, lists: int) -> tuple[Table, ...]:
    return tuple((query.model, query.db) for query in branches(*[[] for _ in range(lists)]))


def _union(queries: Sequence[Query[Any]]) -> Query[Any, tuple[int, dict[str, Any]]]:
    branches = [
        query.order_by().values_list(
            Value(number, IntegerField()),
            JSONObject(**{field.attname: F(field.attname) for field in _fields(query.model)}),
        )
        for number, query in enumerate(queries)
    ]
    return branches[0].union(*branches[1:], all=True).order_by()


def _read(tables: Sequence[Table], rows: Iterable[tuple[int, dict[str, Any]]]) -> tuple[Rows, ...]:
    read: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, row in rows:
        read[number].append(row)
    return tuple(_instances(model, using, read[number]) for number, (model, using) in enumerate(tables))


def attach(parents: Iterable[Model], name: str, rows: Rows) -> None:
    """Let ``parent.name.all()`` give those of ``rows`` that point to it, without a query, as prefetching does."""
    parents = list(parents)
    if not parents:
        return
    link = _link(type(parents[0]), name)
    by_parent = defaultdict(list)
    for row in rows:
        by_parent[getattr(row, link.attname)].append(row)
    for parent in parents:
        found = getattr(parent, name).get_queryset()
        found._result_cache, found._prefetch_done = by_parent[parent.pk], True  # noqa: SLF001 - as prefetching does
        for row in by_parent[parent.pk]:
            link.set_cached_value(row, parent)
        parent.__dict__.setdefault("_prefetched_objects_cache", {})[name] = found


def _link(model: type[Model], name: str) -> ForeignObject[Any, Any]:
    """The foreign key that ``name`` is the other end of."""
    link = model._meta.get_field(name).remote_field  # noqa: SLF001
    if not isinstance(link, ForeignObject):
        raise TypeError(f"{model.__name__}.{name} is not the other end of a foreign key")
    return link


def _fields(model: type[Model]) -> Sequence[Field[Any, Any]]:
    return [field for field in model._meta.concrete_fields if not isinstance(field, BinaryField)]  # noqa: SLF001


def _instances(model: type[Model], using: str, rows: list[dict[str, Any]]) -> Rows:
    fields = _fields(model)
    names = [field.attname for field in fields]
    readers = [(field.attname, _reader(field)) for field in fields]
    made = [
        model.from_db(
            using,
            names,
            [row[name] if read is None or row[name] is None else read(row[name]) for name, read in readers],
        )
        for row in rows
    ]
    for name in reversed(model._meta.ordering or ["pk"]):  # noqa: SLF001
        made.sort(key=attrgetter(str(name).removeprefix("-")), reverse=str(name).startswith("-"))
    return made


def _reader(field: Field[Any, Any]) -> Callable[[Any], Any] | None:
    """What makes a field's value of what stands in the JSON; None where that is the value already.

    SQLite's JSON has neither moments, truth nor nesting, and PostgreSQL's has no moments.
    """
    stored = field.target_field if isinstance(field, ForeignKey) else field
    match stored:
        case DateTimeField():
            return _moment
        case JSONField():
            return _nested
        case BooleanField():
            return bool
        case CharField() | TextField() | IntegerField():
            return None
    return stored.to_python


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _nested(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
