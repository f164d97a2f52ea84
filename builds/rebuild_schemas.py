"""The API's shapes of a rebuild, and how each is filled from rows."""

from __future__ import annotations

import uuid
from datetime import datetime

from ninja import Schema

from builds.domain.digest import Digest, sha256_text
from builds.domain.frozen import Sha256Text, Sha384Text
from builds.models import Rebuild, RebuiltComponent, RebuiltFile
from builds.operator_schemas import ComparisonOut, comparison_out
from builds.services.consensus import set_aside_of, statement_of, why_not_counted
from builds.services.evidence import comparisons_of, outcome_of


class ErrorOut(Schema):
    """A named error: what happened, where, and what to do."""

    code: str
    what: str
    where: str
    todo: str


class RebuildSummaryOut(Schema):
    id: uuid.UUID
    operator: str
    state: str
    queued_at: datetime
    finished_at: datetime | None
    failure: ErrorOut | None


class StageOut(Schema):
    name: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    exit_code: int | None
    error: ErrorOut | None


class RebuiltComponentOut(Schema):
    role: str
    size: int
    digest: Sha256Text
    digest_sha384: Sha384Text
    origin_kind: str
    origin: str


class RebuiltFileOut(Schema):
    role: str
    path: str
    size: int
    digest: Sha256Text
    origin_kind: str
    origin: str


class RebuildOut(RebuildSummaryOut):
    """``counts`` and ``not_counted`` are null unless it succeeded: other runs are no evidence either way."""

    project: str
    tag: str
    commit: str
    started_at: datetime | None
    cancel_requested_at: datetime | None
    retry_of: uuid.UUID | None
    used_network: bool
    other_materials: bool
    log_complete: bool | None
    rebuilder: str | None
    agent: str | None
    statement: Sha256Text | None
    counts: bool | None
    not_counted: str | None
    set_aside: str | None
    environment: dict[str, str | int]
    outcome: str | None
    stages: list[StageOut]
    comparisons: list[ComparisonOut]
    components: list[RebuiltComponentOut]
    files: list[RebuiltFileOut]


def rebuild_out(rebuild: Rebuild) -> RebuildOut:
    outcome, statement, aside = outcome_of(rebuild), statement_of(rebuild), set_aside_of(rebuild)
    why_not = why_not_counted(rebuild)
    return RebuildOut(
        **rebuild_summary_out(rebuild).model_dump(),
        project=rebuild.release.project.name,
        tag=rebuild.release.tag,
        commit=rebuild.release.commit,
        started_at=rebuild.started_at,
        cancel_requested_at=rebuild.cancel_requested_at,
        retry_of=rebuild.retry_of_id,
        used_network=rebuild.used_network,
        other_materials=rebuild.other_materials,
        log_complete=rebuild.log_complete,
        statement=sha256_text(statement.payload_sha256) if statement is not None else None,
        rebuilder=rebuild.rebuilder.name if rebuild.rebuilder is not None else None,
        agent=rebuild.agent or None,
        counts=not why_not if why_not is not None else None,
        not_counted=why_not,
        set_aside=aside.reason if aside is not None else None,
        environment=rebuild.environment,
        outcome=outcome.value if outcome is not None else None,
        stages=[StageOut.from_orm(stage) for stage in rebuild.stages.all()],
        comparisons=[comparison_out(row) for row in comparisons_of(rebuild)],
        components=[_rebuilt_component_out(row) for row in rebuild.components.all()],
        files=[_rebuilt_file_out(row) for row in rebuild.files.all()],
    )


def rebuild_summary_out(rebuild: Rebuild) -> RebuildSummaryOut:
    return RebuildSummaryOut(
        id=rebuild.pk,
        operator=rebuild.operator_name,
        state=rebuild.state,
        queued_at=rebuild.queued_at,
        finished_at=rebuild.finished_at,
        failure=ErrorOut(**rebuild.failure) if rebuild.failure is not None else None,
    )


def _rebuilt_component_out(row: RebuiltComponent) -> RebuiltComponentOut:
    return RebuiltComponentOut(
        role=row.role,
        size=row.size,
        digest=sha256_text(row.sha256),
        digest_sha384=str(Digest.sha384(row.sha384)),
        origin_kind=row.origin_kind,
        origin=row.origin,
    )


def _rebuilt_file_out(row: RebuiltFile) -> RebuiltFileOut:
    return RebuiltFileOut(
        role=row.role,
        path=row.path,
        size=row.size,
        digest=sha256_text(row.sha256),
        origin_kind=row.origin_kind,
        origin=row.origin,
    )
