"""What the newest record says of releases' verdicts, for lists that cannot derive each one anew."""

from __future__ import annotations

from django.db.models import Exists, F, OuterRef, Q, Subquery

from attestations.models import VerdictRecord
from builds.domain.comparison import RebuildOutcome
from builds.domain.release_filters import NOT_YET, Axis, Standing
from builds.querysets import ReleaseQuerySet
from builds.services.evidence import ReleaseView

OUTDATED = Q(judged_at__isnull=True) | Q(evidence_changed_at__gte=F("judged_at"))
"""Its evidence changed since its verdict was recorded: the record says what was, not what is."""

_MAY_BE_EMPTY = (Axis.ATTESTATION, Axis.MEASUREMENT)


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
    return releases.alias(newest=newest_record()).filter(OUTDATED | Exists(fitting))


def standing_of(view: ReleaseView) -> Standing:
    """The axes of a verdict as it is now."""
    verdict = view.verdict
    return Standing(verdict.decision, verdict.outcome or "", verdict.attestation or "", view.measured or "")


def with_newest(releases: ReleaseQuerySet) -> ReleaseQuerySet:
    """With what ``recorded_standing`` reads: the newest record's axes, and whether any said reproduced."""
    own = VerdictRecord.objects.filter(release=OuterRef("pk"))
    newest = own.order_by("-at", "-pk")
    return releases.annotate(
        **{f"recorded_{axis.value}": Subquery(newest.values(axis.value)[:1]) for axis in Axis},
        once_reproduced=Exists(own.filter(outcome=RebuildOutcome.REPRODUCED)),
    )
