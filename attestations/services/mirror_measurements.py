"""The index of launch measurements in the mirror: by their first digits, each with the releases that give it.

It names releases only. What a value binds, and for which launch, is in the release's own list of values, so that a
shard stays small: 40 bytes for each value.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from django.db.models import Count, F, Max
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
from builds.models import IndexedMeasurement, MeasurementSeries, Release
from builds.services.measurement_index import MOST_VCPUS

_NAME = "measurements"
_FORM = "1"
_MOST_IN_SHARD = 2048
_RANGES = 256
_WIDTH = 2**56
"""Of one range of keys: those with the same first two digits."""
_ENTIRE = 2**64

type _Row = tuple[str, int]
"""The first digits of a measurement, and the primary key of a release that gives it."""


def measurement_tree(tree: MirrorTree, *, anew: bool) -> Tree:
    """The index; as it was where no series was added or removed since. Holds one 256th of the rows at a time.

    Two statements when nothing changed, else one more for each range of keys.
    """
    facts = MeasurementSeries.objects.aggregate(count=Count("pk"), newest=Max("pk"))
    version = f"{_FORM}:{facts['count']}:{facts['newest']}"
    known = None if anew else MirroredPart.objects.filter(name=_NAME, version=version).first()
    if known is not None:
        kept = _read(known)
        if kept is not None and keep_tree(tree, kept):
            return kept
    entries = facts["count"] * MOST_VCPUS
    digits = digits_for(entries, _MOST_IN_SHARD)
    made = put_tree(tree, digits, entries, _shards(tree, digits), empty=MeasurementShard(prefix="", values=()))
    content = made.model_dump(mode="json", by_alias=True)
    MirroredPart.objects.update_or_create(name=_NAME, defaults={"version": version, "content": content})
    return made


def _read(known: MirroredPart) -> Tree | None:
    try:
        return Tree.model_validate(known.content)
    except ValidationError:
        return None


def _shards(tree: MirrorTree, digits: Digits) -> Iterator[tuple[str, Ref]]:
    names = {
        pk: f"{project}/{tag}"
        for pk, project, tag in Release.objects.annotate(name=F("project__name")).values_list("pk", "name", "tag")
    }
    if digits == 0:
        rows = [row for number in range(_RANGES) for row in _rows(number)]
        yield "", _put(tree, "", rows, names)
        return
    for number in range(_RANGES):
        for prefix, found in groupby(_rows(number), lambda row: row[0][:digits]):
            yield prefix, _put(tree, prefix, list(found), names)


def _rows(number: int) -> list[_Row]:
    """The rows of one range in the order of their digits, the newest releases first."""
    begin, end = (_signed(edge * _WIDTH) for edge in (number, number + 1))
    found = IndexedMeasurement.objects.filter(key__gte=begin)
    # The last key of all has no next one that the column could hold.
    found = found.filter(key__lt=end) if end > begin else found.filter(key__lte=begin + _WIDTH - 1)
    rows = found.order_by("key", "-series__release_id").values_list("key", "series__release_id")
    return [(f"{key % _ENTIRE:0{KEY_DIGITS}x}", release) for key, release in rows]


def _signed(key: int) -> int:
    """As the databases have it (``IndexedMeasurement.key``)."""
    key %= _ENTIRE
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
