"""Where the files that two rebuilds list part: what one has and the other has not, or with other bytes.

A signer may list thousands, so the database leaves out what is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Case, Exists, Min, OuterRef, QuerySet, UUIDField, Value, When

from builds.domain.comparison import RebuildOutcome
from builds.domain.file_difference import DifferingFile, ListedFile, differing_files
from builds.models import Rebuild, RebuiltFile, Release
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
    rows = (
        RebuiltFile.objects.filter(rebuild__in=list(partners))
        .annotate(partner=Case(*whens, output_field=UUIDField()))
        .filter(~Exists(_same_place(OuterRef("partner")).filter(sha256=OuterRef("sha256"))))
        .order_by()
        .values("rebuild__release")
        .annotate(first=Min("path"))
    )
    found: dict[int, Any] = dict(rows.values_list("rebuild__release", "first"))
    return found


def unlike(one: Rebuild, other: Rebuild) -> QuerySet[RebuiltFile]:
    """The files of ``one`` that ``other`` has not alike, by role and path; ``has_path`` tells if it has other bytes."""
    there = _same_place(other.pk)
    rows = RebuiltFile.objects.filter(rebuild=one).annotate(has_path=Exists(there))
    return rows.filter(~Exists(there.filter(sha256=OuterRef("sha256")))).order_by("role", "path")


def first_unlike(before: QuerySet[RebuiltFile], after: QuerySet[RebuiltFile], most: int) -> tuple[DifferingFile, ...]:
    """The first ``most`` of both sides in one order: whatever is among them is among the first of each that has it."""
    return differing_files(_listed(before[:most]), _listed(after[:most]))[:most]


def _listed(files: QuerySet[RebuiltFile]) -> Iterable[ListedFile]:
    return (ListedFile(*row) for row in files.values_list("role", "path", "size", "sha256", "origin"))


def _same_place(rebuild: UUID | OuterRef) -> QuerySet[RebuiltFile]:
    return RebuiltFile.objects.filter(role=OuterRef("role"), path=OuterRef("path")).filter(rebuild=rebuild)


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
