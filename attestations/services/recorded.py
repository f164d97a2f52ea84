"""What the newest record says of releases' verdicts, for lists that cannot derive each one anew."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.utils import timezone

from attestations.models import VerdictRecord
from builds.domain.comparison import RebuildOutcome
from builds.domain.release_filters import NOT_YET, Axis
from builds.models import Release
from builds.querysets import ReleaseQuerySet

RELIED_ON = timedelta(hours=1)
"""How long a record tells what is. All are compared with what is derived every ten minutes, since time, policy and
trust roots change verdicts too; a portal whose worker stands still must not show its last records as what is."""

_MAY_BE_EMPTY = (Axis.ATTESTATION, Axis.MEASUREMENT)


def outdated() -> Q:
    """Releases whose evidence changed since their verdict was recorded, or that were not judged of late."""
    changed = Q(judged_at__isnull=True) | Q(evidence_changed_at__gte=F("judged_at"))
    return changed | Q(judged_at__lt=timezone.now() - RELIED_ON)


def is_outdated(release: Release) -> bool:
    """As ``outdated``, of a release that is loaded."""
    judged = release.judged_at
    return judged is None or release.evidence_changed_at >= judged or judged < timezone.now() - RELIED_ON


def is_vouched_for(release: Release, moment: datetime) -> bool:
    """Whether the record that held at a moment tells what was then: not of a moment after the last judging.

    While a release is outdated that is any moment since its evidence changed, and with none judged, every one.
    """
    return release.judged_at is not None and moment <= release.judged_at


def newest_record() -> Subquery:
    """The primary key of a release's newest record."""
    own = VerdictRecord.objects.filter(release=OuterRef("pk")).order_by("-at", "-pk")
    return Subquery(own.values("pk")[:1])


def may_stand(releases: ReleaseQuerySet, axes: dict[Axis, str]) -> ReleaseQuerySet:
    """Releases whose newest record has these states, and those of which no record tells: only judging them does."""
    if not axes:
        return releases
    wanted = Q()
    for axis, state in axes.items():
        state = "" if state == NOT_YET else state  # noqa: PLW2901 - as a record writes it
        fits = Q(**{axis.value: state})
        wanted &= fits | Q(**{axis.value: ""}) if axis in _MAY_BE_EMPTY else fits
    fitting = VerdictRecord.objects.filter(wanted, pk=OuterRef("newest"))
    return releases.alias(newest=newest_record()).filter(outdated() | Exists(fitting))


def with_newest(releases: ReleaseQuerySet) -> ReleaseQuerySet:
    """With what ``recorded_standing`` reads: the newest record's axes, and whether any said reproduced."""
    own = VerdictRecord.objects.filter(release=OuterRef("pk"))
    newest = own.order_by("-at", "-pk")
    return releases.annotate(
        **{f"recorded_{axis.value}": Subquery(newest.values(axis.value)[:1]) for axis in Axis},
        once_reproduced=Exists(own.filter(outcome=RebuildOutcome.REPRODUCED)),
    )
