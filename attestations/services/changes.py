"""Recorded verdicts with the one before each: what feeds and webhooks tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery

from attestations.domain.change_cursor import ChangeCursor, UnknownCursor
from attestations.domain.changes import RecordedVerdict, title, verdict_uuid, what_changed
from attestations.models import PortalKey, VerdictRecord
from builds.models import Release

_NOT_TOLD = ("policy", "envelope")


@dataclass(frozen=True, slots=True)
class Change:
    """A recorded verdict of ``release``, as it is told, and the one that it followed."""

    record: VerdictRecord
    before: RecordedVerdict | None
    after: RecordedVerdict

    @property
    def release(self) -> Release:
        return self.record.release

    @property
    def at(self) -> datetime:
        return self.record.at

    @property
    def uuid(self) -> UUID:
        return verdict_uuid(self.release.project.name, self.release.tag, self.at, self.record.basis)

    @property
    def title(self) -> str:
        return title(self.release.tag, self.before, self.after)

    @property
    def lines(self) -> tuple[str, ...]:
        return what_changed(self.before, self.after)


def newest_changes(most: int, **of: object) -> list[Change]:
    """The newest changes, newest first, of what ``of`` names in the terms of ``VerdictRecord``; two queries."""
    found = VerdictRecord.objects.filter(**of).select_related("release__project").order_by("-at", "-pk")
    return changes(found.defer(*_NOT_TOLD, "release__manifest")[:most])


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes in the order in which they were recorded, where the next ones begin, and whether there are any now."""

    changes: tuple[Change, ...]
    following: ChangeCursor
    more: bool


def changes_after(cursor: ChangeCursor, most: int) -> ChangePage:
    """Up to ``most`` changes after the cursor's, oldest first; at most three queries.

    Whatever is recorded later has a higher number than all that can be read now (``verdicts.in_order``), so nothing
    is ever passed over. Raises ``UnknownCursor`` when the record that the cursor names is not here.
    """
    records = VerdictRecord.objects.filter(pk__gte=cursor.number).select_related("release__project", "key")
    found = changes(records.defer(*_NOT_TOLD, "release__manifest").order_by("pk")[: most + 2])
    if not cursor.is_start:
        seen = found[0].record if found else None
        if seen is None or ChangeCursor.after(seen.pk, seen.basis) != cursor:
            raise UnknownCursor("since names a verdict that is not recorded here", where="the query")
        found = found[1:]
    page = tuple(found[:most])
    last = page[-1].record if page else None
    following = ChangeCursor.after(last.pk, last.basis) if last is not None else cursor
    return ChangePage(page, following, more=len(found) > most)


def change_of(record_id: int) -> Change:
    """One record's change."""
    found = VerdictRecord.objects.filter(pk=record_id).select_related("release__project").defer(*_NOT_TOLD)
    return changes(found)[0]


def changes(records: QuerySet[VerdictRecord]) -> list[Change]:
    """Each record with the one before it, in their order.

    A release's records have ascending keys: they are made one at a time.
    """
    earlier = VerdictRecord.objects.filter(release=OuterRef("release"), pk__lt=OuterRef("pk")).order_by("-pk")
    rows = list(records.annotate(earlier=Subquery(earlier.values("pk")[:1])))
    keys: list[int | None] = [row.earlier for row in rows]
    known = {row.pk: row for row in rows} | _by_key(key for key in keys if key is not None)
    return [
        Change(row, recorded(known[key]) if key is not None else None, recorded(row))
        for row, key in zip(rows, keys, strict=True)
    ]


def _by_key(keys: Iterable[int]) -> dict[int, VerdictRecord]:
    return VerdictRecord.objects.defer(*_NOT_TOLD).in_bulk(set(keys))


def recorded(record: VerdictRecord) -> RecordedVerdict:
    """The row as the value that is spoken of."""
    return RecordedVerdict(
        decision=record.decision,
        outcome=record.outcome,
        needed=record.needed,
        reproduced=record.reproduced,
        contradicting=record.contradicting,
        failed=record.failed,
        conditions=tuple((key, state, sentence) for key, state, sentence in record.conditions),
        sentence=record.sentence,
    )


def first_fingerprint() -> str:
    """Of the first key that this portal signed with: what names it wherever it is served. "" before the first."""
    return PortalKey.objects.order_by("first_used_at", "pk").values_list("fingerprint", flat=True).first() or ""
