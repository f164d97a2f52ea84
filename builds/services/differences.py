"""Where the files of two operators part: the first path that one has and the other has not, or with other bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Case, Exists, Min, OuterRef, UUIDField, Value, When

from builds.domain.comparison import RebuildOutcome
from builds.models import RebuiltFile, Release
from builds.services.consensus import results_of
from builds.services.evidence import published_component


def first_differences(releases: Sequence[Release]) -> Mapping[int, str]:
    """For each disputed release by its primary key, the first such path that the operators' signed lists tell.

    Between the oldest result that reproduced it and the oldest that did not; a release without both is none of them.
    The releases come ``with_evidence``; one query for all, and none where nothing is disputed.
    """
    partners = dict(pair for release in releases for pair in _partners(release))
    if not partners:
        return {}
    whens = [When(rebuild=mine, then=_uuid(theirs)) for mine, theirs in partners.items()]
    same = RebuiltFile.objects.filter(
        rebuild=OuterRef("partner"), role=OuterRef("role"), path=OuterRef("path"), sha256=OuterRef("sha256")
    )
    rows = (
        RebuiltFile.objects.filter(rebuild__in=list(partners))
        .annotate(partner=Case(*whens, output_field=UUIDField()))
        .filter(~Exists(same))
        .order_by()
        .values("rebuild__release")
        .annotate(first=Min("path"))
    )
    found: dict[int, Any] = dict(rows.values_list("rebuild__release", "first"))
    return found


def _uuid(value: UUID) -> Value:
    return Value(value, output_field=UUIDField())


def _partners(release: Release) -> list[tuple[UUID, UUID]]:
    """Each of the two rebuilds with the other one."""
    published = [published_component(component) for component in release.components.all()]
    counted = [entry for entry in results_of(release, published) if entry.counts and entry.evidence.outcome is not None]
    agreeing = [entry for entry in counted if entry.evidence.outcome is RebuildOutcome.REPRODUCED]
    against = [entry for entry in counted if entry.evidence.outcome is not RebuildOutcome.REPRODUCED]
    if not agreeing or not against:
        return []
    one, other = agreeing[0].rebuild.pk, against[0].rebuild.pk
    return [(one, other), (other, one)]
