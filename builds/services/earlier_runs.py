"""What earlier rebuilds of a project took, so that a running one can say when it may end."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime

from django.db.models import Exists, OuterRef

from builds.domain.expectation import BegunStage, EarlierRun, Plan, plan_of
from builds.domain.lifecycle import RunState, StageState
from builds.models import Rebuild, RebuildStage, Release

COMPARED_RUNS = 7
_LOOKED_AT = 200
"""Of the newest runs of all the projects that are asked about; a project that is not among them has no earlier run."""


def earlier_runs(projects: Collection[int]) -> Mapping[int, tuple[EarlierRun, ...]]:
    """The newest runs that succeeded, newest first, by the project's primary key; two queries for any number."""
    told = RebuildStage.objects.filter(rebuild=OuterRef("pk"))
    newest = (
        Rebuild.objects.filter(Exists(told), state=RunState.SUCCEEDED, release__project__in=projects)
        .order_by("-finished_at")
        .values_list("pk", "release__project")[:_LOOKED_AT]
    )
    chosen: dict[int, list[uuid.UUID]] = defaultdict(list)
    for rebuild, project in newest:
        if len(chosen[project]) < COMPARED_RUNS:
            chosen[project].append(rebuild)
    took: dict[uuid.UUID, dict[str, float]] = defaultdict(dict)
    wanted = [rebuild for rebuilds in chosen.values() for rebuild in rebuilds]
    stages = RebuildStage.objects.filter(rebuild__in=wanted).order_by("position")
    for stage in stages:
        if stage.ended_at is not None:
            took[stage.rebuild_id][stage.name] = max((stage.ended_at - stage.started_at).total_seconds(), 0.0)
    return {project: tuple(took[rebuild] for rebuild in rebuilds) for project, rebuilds in chosen.items()}


def first_result_expected(release: Release, now: datetime) -> datetime | None:
    """When the first running rebuild of a release without a result may end; the release comes ``with_evidence``.

    None while none runs, when none of its project succeeded before, and when that moment has passed. No query but
    where one runs and nobody has a result.
    """
    attempts: list[Rebuild] = list(release.attempts)  # type: ignore[attr-defined] # by with_evidence
    began = [row.started_at for row in attempts if row.run_state is RunState.RUNNING and row.started_at is not None]
    if not began or any(row.run_state is RunState.SUCCEEDED for row in attempts):
        return None
    earlier = earlier_runs([release.project_id]).get(release.project_id, ())
    ends_at = plan_of([], earlier, began_at=min(began), now=now, is_live=True).ends_at
    return ends_at if ends_at is not None and ends_at > now else None


def plan_for(rebuild: Rebuild, earlier: Mapping[int, tuple[EarlierRun, ...]], now: datetime) -> Plan:
    """The bar of a rebuild that comes with its release and stages."""
    return plan_of(
        [
            BegunStage(stage.name, StageState(stage.state), stage.started_at, stage.ended_at)
            for stage in rebuild.stages.all()
        ],
        earlier.get(rebuild.release.project_id, ()),
        began_at=rebuild.started_at,
        now=rebuild.finished_at or now,
        is_live=rebuild.run_state.is_live,
    )
