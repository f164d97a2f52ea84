"""The index of launch measurements in the mirror: by their first digits, each with the releases that give it.

It names releases only. What a value binds, and for which launch, is in the release's own list of values, so that a
shard stays small: 40 bytes for each value.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Self

from django.db.models import Count, F, Max, Sum
from pydantic import ValidationError

from attestations.domain.mirror import (
    KEY_DIGITS,
    MOST_NAMED,
    Digits,
    MeasurementShard,
    Ref,
    Tree,
    digits_for,
)
from attestations.mirror_tree import MirrorTree
from attestations.models import MirroredPart
from attestations.services.mirror_shards import keep_tree, put_tree
from builds.domain.frozen import CamelCase, Sha256Hex
from builds.models import IndexedMeasurement, Measurement, MeasurementSeries, Release
from builds.services.measurement_index import MOST_VCPUS

_NAME = "measurements"
_FORM = "1"
_MOST_IN_SHARD = 2048
_RANGES = 256
_ENTIRE = 2**64
_HEX = 96
"""Characters of one measurement."""

type _Row = tuple[str, int]
"""The first digits of a measurement, and the primary key of a release that gives it."""


@dataclass(frozen=True, slots=True)
class _Published:
    """The values that publishers published, computed here or not; in the order of rows."""

    rows: tuple[_Row, ...]

    @classmethod
    def now(cls) -> Self:
        found = Measurement.objects.exclude(published="").values_list("published", "launch_configuration__release_id")
        return cls(tuple(sorted({(value[:KEY_DIGITS], release) for value, release in found}, key=_order)))

    @property
    def newest(self) -> int:
        """The newest release among them."""
        return max((release for _, release in self.rows), default=0)

    def after(self, release: int) -> Iterator[_Row]:
        return (row for row in self.rows if row[1] > release)

    def digest(self, newest: int) -> str:
        """Of those of releases up to the one named."""
        return hashlib.sha256(repr([row for row in self.rows if row[1] <= newest]).encode()).hexdigest()

    def below(self, prefix: str) -> list[_Row]:
        begin, end = (bisect_left(self.rows, prefix + fill, key=itemgetter(0)) for fill in ("", "g"))
        return list(self.rows[begin:end])


class _From(CamelCase):
    """What an index was made from: how many series, the newest, and the sum of their numbers; and published values.

    Without the sum, one that became visible late and another that was removed would make up for each other.
    """

    count: int
    newest: int
    total: int
    newest_release: int
    published: Sha256Hex

    @classmethod
    def now(cls, published: _Published) -> Self:
        found = MeasurementSeries.objects.aggregate(count=Count("pk"), newest=Max("pk"), total=Sum("pk"))
        return cls(
            count=found["count"],
            newest=found["newest"] or 0,
            total=int(found["total"] or 0),
            newest_release=published.newest,
            published=published.digest(published.newest),
        )


class _Known(CamelCase):
    """The index as it was made last."""

    tree: Tree
    made_from: _From


def measurement_tree(tree: MirrorTree, *, anew: bool) -> Tree:
    """The index; as it was where no series and no published value was added or removed since.

    Where some were added, shards that none of them touches stay. Holds one 256th of the rows at a time. Three
    statements when nothing changed, else one more for each shard that changed, or for each range of keys.
    """
    published = _Published.now()
    made_from = _From.now(published)
    known = None if anew else _known()
    kept = keep_tree(tree, known.tree) if known is not None else None
    if known is not None and kept is not None and known.made_from == made_from:
        return known.tree
    entries = made_from.count * MOST_VCPUS + len(published.rows)
    digits = digits_for(entries, _MOST_IN_SHARD)
    touched = _touched(known, made_from, published, digits) if known is not None and kept is not None else None
    if kept is None or touched is None:
        shards = _shards(tree, digits, published)
    else:
        shards = iter(sorted((kept | dict(_made(tree, touched, published))).items()))
    made = put_tree(tree, digits, entries, shards, empty=MeasurementShard(prefix="", values=()))
    content = _Known(tree=made, made_from=made_from).model_dump(mode="json", by_alias=True)
    MirroredPart.objects.update_or_create(name=_NAME, defaults={"version": _FORM, "content": content})
    return made


def _known() -> _Known | None:
    row = MirroredPart.objects.filter(name=_NAME, version=_FORM).first()
    try:
        return _Known.model_validate(row.content) if row is not None else None
    except ValidationError:
        # Of another version of the program.
        return None


def _touched(known: _Known, now: _From, published: _Published, digits: Digits) -> list[str] | None:
    """The shards that hold what was added since; None when all have to be made, or it would be no more work."""
    if digits == 0 or digits != known.tree.digits:
        return None
    if published.digest(known.made_from.newest_release) != known.made_from.published:
        return None
    added = MeasurementSeries.objects.filter(pk__gt=known.made_from.newest).values_list("pk", "digests")
    found = {key[:digits] for key, _ in published.after(known.made_from.newest_release)}
    count, total = known.made_from.count, known.made_from.total
    for pk, digests in added.iterator(chunk_size=100):
        count, total = count + 1, total + pk
        if len(found) * 2 > 16**digits:
            return None
        values = bytes(digests).hex()
        found |= {values[start : start + digits] for start in range(0, len(values), _HEX)}
    # One that was removed, or that became visible late, is missing from this sum or too much in it.
    return sorted(found) if found and (count, total) == (now.count, now.total) else None


def _names() -> dict[int, str]:
    rows = Release.objects.annotate(name=F("project__name")).values_list("pk", "name", "tag")
    return {pk: f"{project}/{tag}" for pk, project, tag in rows}


def _made(tree: MirrorTree, prefixes: Iterable[str], published: _Published) -> Iterator[tuple[str, Ref]]:
    names = _names()
    for prefix in prefixes:
        yield prefix, _put(tree, prefix, _rows(prefix, published), names)


def _shards(tree: MirrorTree, digits: Digits, published: _Published) -> Iterator[tuple[str, Ref]]:
    """All of them, with two digits' rows at a time."""
    names = _names()
    if digits == 0:
        yield "", _put(tree, "", _rows("", published), names)
        return
    for number in range(_RANGES):
        for prefix, found in groupby(_rows(f"{number:02x}", published), lambda row: row[0][:digits]):
            yield prefix, _put(tree, prefix, list(found), names)


def _rows(prefix: str, published: _Published) -> list[_Row]:
    """The rows whose digits begin so, in their order, the newest releases first."""
    found = IndexedMeasurement.objects.all()
    if prefix:
        # Keys of one first digit lie beside each other also as signed numbers.
        begin, end = (int(prefix.ljust(KEY_DIGITS, fill), 16) for fill in "0f")
        found = found.filter(key__gte=_signed(begin), key__lte=_signed(end))
    rows = found.order_by("key", "-series__release_id").values_list("key", "series__release_id")
    indexed = [(f"{key % _ENTIRE:0{KEY_DIGITS}x}", release) for key, release in rows]
    return sorted([*indexed, *published.below(prefix)], key=_order)


def _order(row: _Row) -> tuple[str, int]:
    return row[0], -row[1]


def _signed(key: int) -> int:
    """As the databases have it (``IndexedMeasurement.key``)."""
    return key - _ENTIRE if key >= _ENTIRE // 2 else key


def _put(tree: MirrorTree, prefix: str, rows: list[_Row], names: dict[int, str]) -> Ref:
    values, more = [], []
    for key, found in groupby(rows, lambda row: row[0]):
        # A release may give a value for several launches; one that came since is in the next tree.
        givers = list(dict.fromkeys(names[release] for _, release in found if release in names))
        if not givers:
            continue
        values.append((key, tuple(givers[:MOST_NAMED])))
        if len(givers) > MOST_NAMED:
            more.append(key)
    return tree.put_index(MeasurementShard(prefix=prefix, values=tuple(values), more=tuple(more)).encode())
