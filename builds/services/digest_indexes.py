"""Every place where a digest can stand: exact look-ups, look-ups of what is like it, and how many there are.

Each question is one statement over all indexes, and each index answers it from an index of the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db.models import CharField, Count, F, Model, Q, QuerySet, Value
from django.db.models.functions import Cast

from builds.domain.digest import Algorithm
from builds.domain.search import LEAST_OF_DIGEST, likeness
from builds.models import (
    Component,
    EmbeddedFile,
    Material,
    Measurement,
    Project,
    Rebuild,
    RebuilderKey,
    RebuiltComponent,
    RebuiltFile,
    RebuiltMeasurement,
    Release,
    StoredStatement,
)
from builds.models.base import TAIL_CHARACTERS, tail

MOST_NEAR = 12
_AFTER_HEX = "g"


@dataclass(frozen=True, slots=True)
class Index:
    """One column that digests stand in. ``thing`` names the page that shows them."""

    words: str
    model: type[Model]
    column: str
    thing: str
    """``component``, ``measurement``, ``statement``, ``key`` or ``release``."""
    length: int
    has_tails: bool = False
    """Whether the ends of its digests are indexed too."""
    reference: str = ""
    """The field path that leads to the thing where the digest itself does not; empty when it does."""

    @property
    def rows(self) -> QuerySet[Model]:
        return self.model._default_manager.order_by()  # noqa: SLF001 - the documented way to a model's manager


def _both(
    model: type[Model], words: str, prefix: str = "", *, tails: tuple[bool, bool] = (False, False)
) -> list[Index]:
    return [
        Index(words, model, f"{prefix}sha256", "component", 64, tails[0]),
        Index(words, model, f"{prefix}sha384", "component", 96, tails[1]),
    ]


INDEXES: tuple[Index, ...] = (
    *_both(Component, "published components", tails=(True, True)),
    *_both(Component, "containers that components are published in", "container_", tails=(True, False)),
    *_both(RebuiltComponent, "rebuilt components", tails=(True, True)),
    *_both(RebuiltComponent, "containers of rebuilt components", "container_"),
    Index("files inside rebuilt components", RebuiltFile, "sha256", "component", 64),
    *_both(EmbeddedFile, "files inside published tarballs"),
    Index("materials", Material, "sha256", "component", 64),
    Index("published launch measurements", Measurement, "published", "measurement", 96, has_tails=True),
    Index(
        "launch measurements recomputed from published files",
        Measurement,
        "recomputed",
        "measurement",
        96,
        has_tails=True,
    ),
    Index("launch measurements of rebuilt files", RebuiltMeasurement, "value", "measurement", 96, has_tails=True),
    Index("manifests and build-info", Release, "manifest_sha256", "release", 64, reference="pk"),
    Index("commits of releases", Release, "commit", "release", 40, reference="pk"),
    Index("signed statements of rebuilds", StoredStatement, "payload_sha256", "statement", 64),
    Index("keys of rebuilders", RebuilderKey, "fingerprint", "key", 64, reference="rebuilder__operator__slug"),
)


_SEARCHED: Mapping[str, type[Model]] = {
    "projects, by name": Project,
    "releases, by tag, commit and the digest of their manifest": Release,
    "published components, by the digests of file, container and manifest entry": Component,
    "files inside published tarballs": EmbeddedFile,
    "rebuilds, by their id": Rebuild,
    "rebuilt components and their containers": RebuiltComponent,
    "files inside rebuilt components": RebuiltFile,
    "materials": Material,
    "launch measurements, published and recomputed": Measurement,
    "launch measurements of rebuilt files": RebuiltMeasurement,
    "signed statements of rebuilds": StoredStatement,
    "keys of rebuilders": RebuilderKey,
}


@dataclass(frozen=True, slots=True)
class Found:
    """A digest in an index: which page shows it, and what leads there."""

    words: str
    thing: str
    value: str
    reference: str


@dataclass(frozen=True, slots=True)
class Near:
    """A known digest that is like what was pasted, and how, as a clause."""

    found: Found
    likeness: str


@dataclass(frozen=True, slots=True)
class Searched:
    """An index in words, and how many rows it has."""

    words: str
    size: int


def found_exactly(value: str) -> list[Found]:
    """Where exactly this digest stands; one entry for each index that has it. ``value`` is 64, 96 or 128 hex."""
    branches = [
        _branch(index, number, Q(**{index.column: value}), 1)
        for number, index in enumerate(INDEXES)
        if index.length == len(value)
    ]
    algorithm = {algorithm.hex_length: algorithm for algorithm in Algorithm}[len(value)]
    claimed = Component.objects.order_by().filter(claimed_digest=f"{algorithm}:{value}").values("pk")[:1]
    branches.append(
        Component.objects.order_by()
        .filter(pk__in=claimed)
        .values_list(Value(-1), Value(value, CharField()), Value("", CharField()))
    )
    return [
        Found("what manifests name", "component", value, "") if number < 0 else _found(number, value, reference)
        for number, _, reference in _together(branches)
    ]


def found_near(pasted: str) -> list[Near]:
    """Known digests that begin or end like ``pasted`` (at least ``LEAST_OF_DIGEST`` hex), the likest first."""
    if len(pasted) < LEAST_OF_DIGEST:
        return []
    branches = [
        _branch(index, number, _like(index, pasted), MOST_NEAR, digest=True) for number, index in enumerate(INDEXES)
    ]
    near: dict[tuple[str, str], Near] = {}
    for number, value, reference in sorted(_together(branches)):
        if value != pasted:
            found = _found(number, value, reference)
            near.setdefault((value, found.thing), Near(found, likeness(pasted, value)))
    return sorted(near.values(), key=lambda entry: -_in_common(pasted, entry.found.value))[:MOST_NEAR]


def sizes() -> list[Searched]:
    """Everything that is searched in words, with its number of rows; in one statement."""
    branches = [
        model._default_manager.order_by().values(number=Value(number)).annotate(rows=Count("pk"))  # noqa: SLF001
        for number, model in enumerate(_SEARCHED.values())
    ]
    rows = (
        branches[0]
        .values_list("number", "rows")
        .union(*(b.values_list("number", "rows") for b in branches[1:]), all=True)
    )
    counted = dict(rows)
    return [Searched(words, counted.get(number, 0)) for number, words in enumerate(_SEARCHED)]


def _branch(index: Index, number: int, wanted: Q, most: int, *, digest: bool = False) -> QuerySet[Model]:
    """Rows ``(number, digest, reference)``; a part of a union has no limit of its own, so the inner query has it."""
    inner = index.rows.alias(end=tail(index.column, index.length)) if index.has_tails else index.rows
    chosen = inner.filter(wanted).values("pk")[:most]
    reference = Cast(F(index.reference), CharField()) if index.reference else Value("", CharField())
    value = F(index.column) if digest else Value("", CharField())
    return index.rows.filter(pk__in=chosen).values_list(Value(number), Cast(value, CharField()), reference)


def _together(branches: list[QuerySet[Model]]) -> Iterable[tuple[int, str, str]]:
    return branches[0].union(*branches[1:], all=True).order_by()  # type: ignore[return-value]


def _like(index: Index, pasted: str) -> Q:
    start = pasted[:LEAST_OF_DIGEST]
    begins = Q(**{f"{index.column}__gte": start, f"{index.column}__lt": start + _AFTER_HEX})
    return begins | Q(end=pasted[-TAIL_CHARACTERS:]) if index.has_tails else begins


def _found(number: int, value: str, reference: str) -> Found:
    index = INDEXES[number]
    return Found(index.words, index.thing, value, reference)


def _in_common(one: str, other: str) -> int:
    return sum(first == second for first, second in zip(one, other, strict=False)) + sum(
        first == second for first, second in zip(reversed(one), reversed(other), strict=False)
    )
