"""View-models of the pages, each loaded in a constant number of queries."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from builds.domain.evidence import PublisherEvidence
from builds.models import Rebuild, Release
from builds.services.absent import the_rebuild
from builds.services.differences import first_differences
from builds.services.evidence import ReleaseView, view_of

PAGE_SIZE = 25


@dataclass(frozen=True, slots=True)
class ReleasePage:
    """One page of releases, newest first; ``older`` is the cursor of the next page or None."""

    views: tuple[ReleaseView, ...]
    older: int | None


type PublishersOf = Callable[[Sequence[Release]], Mapping[int, PublisherEvidence]]
"""Tells what is known of publications by primary key; given from above: builds does not know who checks them."""


def release_page(*, publishers_of: PublishersOf, before: int | None = None, size: int = PAGE_SIZE) -> ReleasePage:
    """Releases imported before the one numbered ``before``, by descending number."""
    found = Release.objects.with_evidence(attempts=False).order_by("-pk")
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(found[: size + 1])
    older = rows[size - 1].pk if len(rows) > size else None
    publishers, parted = publishers_of(rows[:size]), first_differences(rows[:size])
    return ReleasePage(tuple(view_of(row, publishers[row.pk], parted.get(row.pk, "")) for row in rows[:size]), older)


def rebuild_with_evidence(rebuild_id: uuid.UUID) -> Rebuild:
    """A rebuild with its release, components, files and stages; 404 when there is none."""
    rows = (
        Rebuild.objects.select_related("release__project", "rebuilder__operator", "wanted_from__operator")
        .select_related("statement__key", "set_aside")
        .prefetch_related(
            "release__project__affiliations", "release__components", "components", "files", "stages", "measurements"
        )
    )
    return the_rebuild(rows, rebuild_id)
