"""Where a rebuild differs from what was published, and what an operator who got the published bytes did otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, Subquery

from builds.domain.comparison import ComponentComparison, RebuildOutcome
from builds.domain.consensus import environment_difference
from builds.domain.file_difference import DifferingFile
from builds.domain.roles import Role
from builds.models import Rebuild, RebuiltComponent
from builds.querysets import COUNTABLE
from builds.services.differences import first_unlike, unlike

SHOWN_FILES = 20


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The first component that was not reproduced, and another operator to hold it against.

    ``other`` is the newest counted result of another operator in which that component has the published bytes, else the
    newest with any; None when nobody else has one. Files and environments are held against its own.
    """

    component: ComponentComparison
    other: Rebuild | None
    other_agrees: bool
    """Whether the other operator's bytes of the component are the published ones."""
    same_bytes: bool
    """Whether the other operator got the same bytes as this rebuild."""
    files: tuple[DifferingFile, ...]
    more_files: bool
    lists_files: bool
    """Whether this rebuild names files inside that component at all."""
    environment: tuple[str, ...]


def disagreement_of(rebuild: Rebuild, comparisons: Sequence[ComponentComparison]) -> Disagreement | None:
    """None for a rebuild that reproduced everything, or has no result. Four queries at most."""
    component = next((row for row in comparisons if row.outcome is not RebuildOutcome.REPRODUCED), None)
    if component is None:
        return None
    other, agrees = _other(rebuild, component)
    if other is None:
        return Disagreement(component, None, False, False, (), False, _lists(rebuild, component.role), ())
    files = () if agrees is None else _files(rebuild, other, component.role)
    return Disagreement(
        component=component,
        other=other,
        other_agrees=bool(agrees),
        same_bytes=agrees is None,
        files=files[:SHOWN_FILES],
        more_files=len(files) > SHOWN_FILES,
        lists_files=bool(files) or _lists(rebuild, component.role),
        environment=tuple(environment_difference(rebuild.environment, other.environment)),
    )


def _other(rebuild: Rebuild, component: ComponentComparison) -> tuple[Rebuild | None, bool | None]:
    """Whom to hold it against, and whether that one has the published bytes; None: the same as this rebuild."""
    if rebuild.rebuilder is None:
        return None, False
    published = component.published
    made = RebuiltComponent.objects.filter(rebuild=OuterRef("pk"), role=component.role)
    as_published = made.filter(**{published.algorithm.value: published.hex}) if published is not None else made.none()
    found = (
        Rebuild.objects.filter(COUNTABLE, release=rebuild.release)
        .exclude(rebuilder__operator=rebuild.rebuilder.operator_id)
        .answering()
        .annotate(agrees=Exists(as_published), made=Subquery(made.values("sha256")[:1]))
        .select_related("rebuilder__operator")
        .order_by("-agrees", "-finished_at")
        .first()
    )
    if found is None:
        return None, False
    own = next((row.sha256 for row in rebuild.components.all() if row.role == component.role), None)
    agrees, theirs = bool(found.agrees), found.made  # type: ignore[attr-defined] # the annotations
    return found, None if not agrees and own == theirs else agrees


def _files(one: Rebuild, other: Rebuild, role: Role) -> tuple[DifferingFile, ...]:
    """One more than are shown."""
    here, there = (files.filter(role=role) for files in (unlike(one, other), unlike(other, one)))
    return first_unlike(here, there, SHOWN_FILES + 1)


def _lists(rebuild: Rebuild, role: Role) -> bool:
    return any(file.role == role for file in rebuild.first_files)  # type: ignore[attr-defined] # by the page
