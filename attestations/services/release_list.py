"""The list of releases: filtered, a page at a time in both directions, each with its verdict as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from urllib.parse import urlencode

from django.db.models import Q

from attestations.services.history import regressions
from attestations.services.kept_verdicts import KeptVerdict, verdicts_of
from attestations.services.recorded import may_stand
from builds.domain.release_filters import ReleaseFilters
from builds.models import Release
from builds.querysets import ReleaseQuerySet

PAGE_SIZE = 25


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release with its verdict of now; ``regression`` says what it was and is not any more ("" otherwise)."""

    release: Release
    kept: KeptVerdict
    regression: str


@dataclass(frozen=True, slots=True)
class ReleaseList:
    """A page, newest first. ``older`` and ``newer`` are the addresses' queries of the pages beside it, "" without."""

    rows: tuple[ReleaseRow, ...]
    older: str
    newer: str
    passed_over: int
    """Releases that may have fitted by their records and do not by what is known now."""


def release_list(
    filters: ReleaseFilters, *, before: int | None = None, after: int | None = None, size: int = PAGE_SIZE
) -> ReleaseList:
    """Releases that fit, by descending number: those before number ``before``, or the next after ``after``."""
    found = _asked(filters)
    newest_first = after is None
    if before is not None:
        found = found.filter(pk__lt=before)
    if after is not None:
        found = found.filter(pk__gt=after)
    read = list(found.select_related("project").order_by("-pk" if newest_first else "pk")[: size + 1])
    shown = read[:size] if newest_first else read[:size][::-1]
    goes_on = len(read) > size
    kept = verdicts_of(shown)
    fitting = [release for release in shown if filters.fits(kept[release.pk].standing)]
    worse = regressions(release.pk for release in fitting if not kept[release.pk].is_reproduced)
    return ReleaseList(
        rows=tuple(ReleaseRow(release, kept[release.pk], worse.get(release.pk, "")) for release in fitting),
        older=_beside(filters, "before", shown[-1:]) if (goes_on or not newest_first) else "",
        newer=_beside(filters, "after", shown[:1]) if (before is not None if newest_first else goes_on) else "",
        passed_over=len(shown) - len(fitting),
    )


def latest(size: int) -> tuple[ReleaseRow, ...]:
    """The releases that were imported last."""
    return release_list(ReleaseFilters(), size=size).rows


def _beside(filters: ReleaseFilters, direction: str, edge: Sequence[Release]) -> str:
    return urlencode({**filters.parameters, direction: edge[0].pk}) if edge else ""


def _asked(filters: ReleaseFilters) -> ReleaseQuerySet:
    found = Release.objects.all()
    if filters.project:
        found = found.filter(project__name=filters.project)
    if filters.since is not None:
        found = found.filter(imported_at__gte=datetime.combine(filters.since, time(), UTC))
    if filters.until is not None:
        # Not before the next day: the last day that a date can say has none.
        found = found.filter(imported_at__lte=datetime.combine(filters.until, time.max, UTC))
    if filters.text:
        found = found.filter(Q(tag__icontains=filters.text) | Q(commit__startswith=filters.text.lower()))
    return may_stand(found, filters.axes)
