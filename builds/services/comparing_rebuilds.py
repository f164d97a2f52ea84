"""Loads two rebuilds beside each other, in a constant number of queries and with a bounded number of files."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet

from builds.domain.comparison import overall_outcome
from builds.domain.dsse import parse_envelope
from builds.domain.lifecycle import RunState
from builds.domain.provenance import MaterialDependency, parse_rebuild_statement
from builds.domain.rebuild_comparison import (
    FilesChange,
    RebuildComparison,
    RebuildFacts,
    compare_rebuilds,
)
from builds.domain.release_comparison import MaterialFacts
from builds.models import Rebuild, RebuildStage
from builds.services.absent import REBUILD, NotHere
from builds.services.consensus import rebuilt_digests, statement_of, why_not_counted
from builds.services.differences import first_unlike, unlike
from builds.services.evidence import comparisons_of

SHOWN_FILES = 20
SHOWN_OTHERS = 25

_LABEL = re.compile(r"(?P<name>\S+) (?P<version>\S+) \((?P<architecture>[^()\s]+)\)")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two, and the word that names it."""

    word: str
    row: Rebuild
    facts: RebuildFacts


@dataclass(frozen=True, slots=True)
class RebuildComparisonPage:
    """``comparison`` is None until both are chosen; ``others`` are then what the one may be held against."""

    before: Rebuild | None
    after: Rebuild | None
    others: tuple[Rebuild, ...]
    comparison: RebuildComparison | None

    @property
    def sides(self) -> tuple[Side, ...]:
        """Both as rows of the same table."""
        if self.comparison is None or self.before is None or self.after is None:
            return ()
        return (
            Side("From", self.before, self.comparison.before),
            Side("To", self.after, self.comparison.after),
        )


def rebuild_comparison_page(before: str, after: str) -> RebuildComparisonPage:
    """Two rebuilds by their ids as text, "" for one that is not chosen; 404 for one that is not there."""
    wanted = {text: _uuid(text) for text in (before, after) if text}
    rows = {row.pk: row for row in _with_everything().filter(pk__in=wanted.values())}
    for text, key in wanted.items():
        if key not in rows:
            raise NotHere(REBUILD, text)
    one, other = (rows[wanted[text]] if text else None for text in (before, after))
    if one is not None and other is not None:
        comparison = compare_rebuilds(rebuild_facts(one), rebuild_facts(other), _files(one, other))
        return RebuildComparisonPage(one, other, (), comparison)
    return RebuildComparisonPage(one, other, _others(one or other), None)


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise NotHere(REBUILD, text) from error


def _with_everything() -> QuerySet[Rebuild]:
    return (
        Rebuild.objects.select_related("release__project", "rebuilder__operator", "wanted_from__operator")
        .select_related("statement__key", "set_aside")
        .defer("release__manifest", "statement__key__enrolment")
        .prefetch_related("release__project__affiliations", "release__components", "components", "stages")
        .prefetch_related("measurements__launch_configuration")
    )


def _others(chosen: Rebuild | None) -> tuple[Rebuild, ...]:
    """The newest results of the same release."""
    if chosen is None:
        return ()
    rows = Rebuild.objects.filter(release=chosen.release_id, state=RunState.SUCCEEDED).exclude(pk=chosen.pk)
    return tuple(
        rows.select_related("rebuilder__operator", "wanted_from__operator").order_by("-finished_at")[:SHOWN_OTHERS]
    )


def rebuild_facts(rebuild: Rebuild) -> RebuildFacts:
    """From a rebuild with everything that is compared; reads the signed statement again from its bytes."""
    release = rebuild.release
    return RebuildFacts(
        name=str(rebuild.pk),
        operator=rebuild.operator_name,
        project=release.project.name,
        tag=release.tag,
        commit=release.commit,
        run=rebuild.run_state,
        outcome=overall_outcome(comparisons_of(rebuild)),
        why_not=why_not_counted(rebuild) or "",
        components=rebuilt_digests(rebuild),
        environment=rebuild.environment,
        materials=_materials(rebuild),
        stages=tuple((stage.name, _seconds(stage)) for stage in rebuild.stages.all()),
        measurements={row.launch_configuration.name: row.value or None for row in rebuild.measurements.all()},
    )


def _seconds(stage: RebuildStage) -> float | None:
    return (stage.ended_at - stage.started_at).total_seconds() if stage.ended_at is not None else None


def _materials(rebuild: Rebuild) -> tuple[MaterialFacts, ...] | None:
    stored = statement_of(rebuild)
    if stored is None:
        return None
    statement = parse_rebuild_statement(parse_envelope(bytes(stored.content)).payload)
    dependencies = statement.predicate.build_definition.resolved_dependencies
    return tuple(_material(entry) for entry in dependencies if isinstance(entry, MaterialDependency))


def _material(entry: MaterialDependency) -> MaterialFacts:
    label = _LABEL.fullmatch(entry.name)
    if label is None:
        return MaterialFacts(entry.name, "", "", entry.digest.sha256)
    return MaterialFacts(label["name"], label["architecture"], label["version"], entry.digest.sha256)


def _files(one: Rebuild, other: Rebuild) -> FilesChange:
    """By path; only those that differ leave the database, and of these the first in their order."""
    left, right = unlike(one, other), unlike(other, one)
    shown = first_unlike(left, right, SHOWN_FILES)
    counts = left.aggregate(both=Count("pk", filter=Q(has_path=True)), alone=Count("pk", filter=Q(has_path=False)))
    return FilesChange(
        shown=shown,
        other_bytes=counts["both"],
        only_before=counts["alone"],
        only_after=right.aggregate(alone=Count("pk", filter=Q(has_path=False)))["alone"],
    )
