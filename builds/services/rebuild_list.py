"""Rebuilds of every release, the last queued first, a page at a time."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from builds.domain.lifecycle import RunState
from builds.models import Rebuild
from builds.services.absent import the_rebuild


@dataclass(frozen=True, slots=True)
class WantedRebuilds:
    """Those of a project, a tag or a state; all where nothing is named."""

    project: str | None = None
    tag: str | None = None
    state: RunState | None = None

    def among(self, rows: QuerySet[Rebuild]) -> QuerySet[Rebuild]:
        named = {"release__project__name": self.project, "release__tag": self.tag, "state": self.state}
        return rows.filter(**{field: value for field, value in named.items() if value is not None})


@dataclass(frozen=True, slots=True)
class RebuildList:
    """``older`` is the last of these when more come after it, else None."""

    rebuilds: tuple[Rebuild, ...]
    older: uuid.UUID | None


def rebuild_list(wanted: WantedRebuilds, *, before: uuid.UUID | None, size: int) -> RebuildList:
    """Those that stand after ``before`` in the list; 404 when there is no such rebuild. Two queries at most."""
    found = wanted.among(Rebuild.objects.all()).order_by("-queued_at", "-pk")
    if before is not None:
        last = the_rebuild(Rebuild.objects.only("queued_at"), before)
        found = found.filter(Q(queued_at__lt=last.queued_at) | Q(queued_at=last.queued_at, pk__lt=last.pk))
    shown = (
        found.select_related("release__project", "rebuilder__operator", "wanted_from__operator")
        # Of a release its name is shown, and not the document that it was published with.
        .only(*_SHOWN)
    )
    rows = tuple(shown[: size + 1])
    return RebuildList(rows[:size], rows[size - 1].pk if len(rows) > size else None)


_SHOWN = (
    "state",
    "queued_at",
    "started_at",
    "finished_at",
    "failure",
    "release__tag",
    "release__project__name",
    "rebuilder__operator__name",
    "wanted_from__operator__name",
)
