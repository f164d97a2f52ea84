"""What happened of late: verdicts that changed, releases that came, operators that joined."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import OuterRef, Subquery
from django.utils import timezone

from attestations.models import VerdictRecord
from builds.domain.regression import change_words
from builds.domain.release_filters import Axis, Standing
from builds.domain.verdict import Decision
from builds.models import Operator, Release

DAYS = 7
MOST_SHOWN = 30
_MOST_READ = 100


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened: what it is about (named by a stranger), where that is, and what, as a clause."""

    at: datetime
    kind: str
    title: str
    address: str
    words: str
    decision: str = ""
    """The decision from then on, where a verdict changed."""


def happenings() -> tuple[Happening, ...]:
    """The newest of the last ``DAYS`` days, newest first; in three queries."""
    since = timezone.now() - timedelta(days=DAYS)
    found = [*_verdicts(since), *_releases(since), *_operators(since)]
    return tuple(sorted(found, key=lambda entry: entry.at, reverse=True)[:MOST_SHOWN])


def _verdicts(since: datetime) -> list[Happening]:
    earlier = VerdictRecord.objects.filter(release=OuterRef("release"), at__lte=OuterRef("at"), pk__lt=OuterRef("pk"))
    before = earlier.order_by("-at", "-pk")
    rows = (
        VerdictRecord.objects.filter(at__gte=since)
        .annotate(**{f"was_{axis.value}": Subquery(before.values(axis.value)[:1]) for axis in Axis})
        .select_related("release__project")
        .only("at", *(axis.value for axis in Axis), "release__tag", "release__project__name")
        .order_by("-at", "-pk")[:_MOST_READ]
    )
    changed = []
    for row in rows:
        was = {axis.value: getattr(row, f"was_{axis.value}") for axis in Axis}
        now = Standing(*(getattr(row, axis.value) for axis in Axis))
        # Another count of operators or another policy makes a record too, and is no news here.
        if words := change_words(Standing(**was) if was["decision"] is not None else None, now):
            release, decision = row.release, Decision(row.decision).value
            changed.append(
                Happening(row.at, "verdict", str(release), f"{release.get_absolute_url()}#history", words, decision)
            )
    return changed


def _releases(since: datetime) -> list[Happening]:
    rows = Release.objects.filter(imported_at__gte=since).select_related("project")
    return [
        Happening(row.imported_at, "release", str(row), row.get_absolute_url(), "imported")
        for row in rows.only("tag", "imported_at", "project__name").order_by("-imported_at")[:MOST_SHOWN]
    ]


def _operators(since: datetime) -> list[Happening]:
    rows = Operator.objects.filter(accepted_at__gte=since).order_by("-accepted_at")[:MOST_SHOWN]
    return [
        Happening(row.accepted_at, "operator", row.name, row.get_absolute_url(), "joined as a rebuilder")
        for row in rows
        if row.accepted_at is not None
    ]
