"""What a release's verdict was over time, and whether it is worse than it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from django.db.models import Q, QuerySet
from django.utils import timezone

from attestations.models import VerdictRecord
from attestations.services.recorded import is_vouched_for
from builds.domain.comparison import RebuildOutcome
from builds.domain.errors import MalformedInput, PortalError
from builds.models import Release
from builds.services.absent import VERDICT, the_one, the_release
from builds.services.evidence import ReleaseView

_SHOWN = 50


class BeforeImport(PortalError):
    """A moment at which the release was not known here."""

    code: ClassVar[str] = "before-import"
    default_todo: ClassVar[str] = "Ask for a later moment; imported_at of the release says since when it is known here."


class UnusableMoment(MalformedInput):
    """A moment that no record can be asked for."""

    code: ClassVar[str] = "unusable-moment"
    default_todo: ClassVar[str] = "Ask for a moment that has passed, or leave out `at`."


@dataclass(frozen=True, slots=True)
class History:
    """Signed verdicts, newest first; ``regression`` says what a release was and is not any more ("" otherwise)."""

    records: tuple[VerdictRecord, ...]
    regression: str

    @property
    def newest(self) -> VerdictRecord | None:
        return self.records[0] if self.records else None


@dataclass(frozen=True, slots=True)
class RecordPage:
    """``older`` is the number of the last of these when more come after it, else None."""

    records: tuple[VerdictRecord, ...]
    older: int | None


@dataclass(frozen=True, slots=True)
class HeldVerdict:
    """The record that held at a moment, None before the first; ``judged_at`` is when the release was judged last.

    Without ``is_vouched_for`` nobody judged the release at that moment or after it: the record says what was before.
    """

    record: VerdictRecord | None
    judged_at: datetime | None
    is_vouched_for: bool


def recorded_before(release: Release, number: int | None, *, size: int) -> RecordPage:
    """Signed verdicts of a release, newest first, after its record ``number``; 404 when it has no such record."""
    own = VerdictRecord.objects.filter(release=release)
    found = own.select_related("key").defer("policy", "envelope").order_by("-at", "-pk")
    if number is not None:
        last = the_one(own.filter(pk=number).only("at"), VERDICT, str(number))
        found = found.filter(Q(at__lt=last.at) | Q(at=last.at, pk__lt=last.pk))
    rows = tuple(found[: size + 1])
    return RecordPage(rows[:size], rows[size - 1].pk if len(rows) > size else None)


def history_of(view: ReleaseView) -> History:
    records = VerdictRecord.objects.filter(release=view.release).select_related("key").order_by("-at", "-pk")
    shown = tuple(records.defer("policy", "envelope", "conditions", "sentence")[:_SHOWN])
    return History(shown, _regression(view, shown))


def _regression(view: ReleaseView, shown: Sequence[VerdictRecord]) -> str:
    """As ``regressions`` for one release, from its newest records as long as they tell."""
    if view.verdict.outcome is RebuildOutcome.REPRODUCED:
        return ""
    found = next((record.at for record in shown if record.outcome == RebuildOutcome.REPRODUCED), None)
    if found is None and len(shown) == _SHOWN:
        return regressions([view.release.pk]).get(view.release.pk, "")
    return _no_longer(found) if found is not None else ""


def _no_longer(at: datetime) -> str:
    return f"It was reproduced on {at:%Y-%m-%d} and is not any more."


def regressions(releases: Iterable[int]) -> dict[int, str]:
    """Of releases that are not reproduced now, those that were once, each with the sentence that says so; all by
    primary key."""
    worse = set(releases)
    if not worse:
        return {}
    last: dict[int, datetime] = dict(
        VerdictRecord.objects.filter(release__in=worse, outcome=RebuildOutcome.REPRODUCED)
        .order_by("at")
        .values_list("release", "at")
    )
    return {pk: _no_longer(at) for pk, at in last.items()}


def release_then(rows: QuerySet[Release], project: str, tag: str, moment: datetime) -> Release:
    """The release, where a record of that moment can be asked for.

    Raises ``UnusableMoment`` for one that lies ahead, ``BeforeImport``, and ``NotHere`` for a release that is not.
    """
    if moment > timezone.now():
        raise UnusableMoment("at lies in the future", where="the query")
    release = the_release(rows, project, tag)
    if moment < release.imported_at:
        imported = f"{release.imported_at:%Y-%m-%dT%H:%M:%SZ}"
        raise BeforeImport(f"the release was imported at {imported}, after the moment asked for", where="the query")
    return release


def verdict_at(release: Release, moment: datetime) -> HeldVerdict:
    """What the verdict was then, and whether anybody looked since."""
    found = VerdictRecord.objects.filter(release=release, at__lte=moment).select_related("key")
    record = found.order_by("-at", "-pk").first()
    return HeldVerdict(record, release.judged_at, is_vouched_for(release, moment))


def newest_verdict(release: Release) -> VerdictRecord | None:
    """The last that was recorded, whatever happened since."""
    return VerdictRecord.objects.filter(release=release).select_related("key").order_by("-at", "-pk").first()
