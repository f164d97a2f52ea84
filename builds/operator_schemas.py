"""The API's shapes of operators, results, statements and the queue."""

from __future__ import annotations

import uuid
from datetime import datetime

from ninja import Schema

from builds.domain.comparison import ComponentComparison
from builds.domain.consensus import Tally
from builds.domain.digest import sha256_text
from builds.domain.frozen import Sha256Text
from builds.models import Rebuild
from builds.services.consensus import Result, set_aside_of, statement_of
from builds.services.operator_pages import (
    KeyStanding,
    OperatorPage,
    OperatorStanding,
    ResultRow,
    StatementPage,
    key_standing,
)
from builds.services.queue_page import QueuePage


class ComparisonOut(Schema):
    """Digests, each with its algorithm, are of the component itself, never of a container; null means not known.

    ``file`` is what the published file hashes to where that is not what its manifest says, else null.
    """

    role: str
    algorithm: str
    published: str | None
    rebuilt: str | None
    outcome: str
    file: str | None


class TallyOut(Schema):
    """Distinct operators: how many are needed, agree with the publisher, contradict, and failed to get a result."""

    needed: int
    reproduced: int
    contradicting: int
    failed: int


class ResultOut(Schema):
    """One operator's result. ``outcome`` is null when there is nothing to compare with, ``statement`` when unsigned.

    ``not_counted`` says why it does not count, and is empty when it does.
    """

    operator: str
    operator_slug: str
    rebuild: uuid.UUID
    project: str
    tag: str
    outcome: str | None
    counts: bool
    not_counted: str
    set_aside: str | None
    other_materials: bool
    statement: Sha256Text | None
    finished_on: datetime | None
    received_at: datetime | None
    key: Sha256Text | None
    key_revoked_at: datetime | None


class TieOut(Schema):
    project: str
    what: str
    stated_by: str
    stated_at: datetime
    ended_at: datetime | None
    """None while the tie holds."""


class KeyStandingOut(Schema):
    """A key by its fingerprint: the SHA-256 of its SubjectPublicKeyInfo. ``not_after`` is null for one without end."""

    fingerprint: Sha256Text
    algorithm: str
    state: str
    not_before: datetime
    not_after: datetime | None
    revoked_at: datetime | None


class OperatorOut(Schema):
    """``counts`` speaks of new results in general; for the projects in ``ties`` that were not ended none counts.

    ``other`` are results that are no evidence whoever signs such: set aside, from other inputs, after a key's
    revocation, or of a release without components. ``failed`` rebuilds are in none of them, and held against nobody.
    """

    slug: str
    name: str
    state: str
    counts: bool
    not_counted: str
    ties: list[TieOut]
    results: int
    reproduced: int
    contradicting: int
    other: int
    failed: int
    releases: int
    newest: datetime | None
    keys: list[KeyStandingOut]


class KeyOut(KeyStandingOut):
    revocation_reason: str
    endorsed_by: Sha256Text | None
    pem: str


class RebuilderOut(Schema):
    name: str
    is_local: bool
    keys: list[KeyOut]


class DecisionOut(Schema):
    at: datetime
    by: str
    what: str
    reason: str


class OperatorDetailOut(OperatorOut):
    contact: str
    stated_affiliation: str
    proof_kind: str | None
    proof_location: str | None
    identified_by: str | None
    accepted_at: datetime | None
    accepted_by: str | None
    rejected_at: datetime | None
    decisions: list[DecisionOut]
    rebuilders: list[RebuilderOut]
    newest_results: list[ResultOut]
    next: int | None


class OperatorListOut(Schema):
    operators: list[OperatorOut]
    next: str | None


class StatementOut(ResultOut):
    """A signed statement; the addresses give its bytes.

    ``materials`` is how many it names; ``comparisons`` is this portal's, not the operator's.
    """

    rebuilder: str
    key_state: str
    predicate_type: str
    commit: str
    started_on: datetime
    materials: int
    comparisons: list[ComparisonOut]
    log_digest: Sha256Text
    log_complete: bool | None
    environment: dict[str, str | int]
    bundle: str
    envelope: str
    received: str
    public_key: str


class NeedsOut(Schema):
    """What a machine must have; sizes in bytes, zero where the recipe names none."""

    recipe_format: int
    memory_bytes: int
    disk_bytes: int
    network: bool
    registry: bool


class PlaceOut(Schema):
    """``operator`` and ``rebuilder`` are null while anybody may take it, ``stage`` while none has started."""

    rebuild: uuid.UUID
    project: str
    tag: str
    state: str
    operator: str | None
    rebuilder: str | None
    priority: str
    needs: NeedsOut
    attempt: int
    queued_at: datetime
    next_retry: datetime
    started_at: datetime | None
    stage: str | None
    lease_expires_at: datetime | None
    finished_at: datetime | None
    failure: str | None


class QueueOut(Schema):
    """The counts are of all, the lists hold the first ones."""

    running_count: int
    waiting_count: int
    running: list[PlaceOut]
    waiting: list[PlaceOut]
    ended: list[PlaceOut]


def comparison_out(row: ComponentComparison) -> ComparisonOut:
    return ComparisonOut(
        role=row.role.value,
        algorithm=row.algorithm.value,
        published=str(row.published) if row.published is not None else None,
        rebuilt=str(row.rebuilt) if row.rebuilt is not None else None,
        outcome=row.outcome.value,
        file=str(row.file) if row.file is not None else None,
    )


def tally_out(tally: Tally) -> TallyOut:
    return TallyOut(
        needed=tally.needed, reproduced=tally.reproduced, contradicting=tally.contradicting, failed=tally.failed
    )


def result_out(result: Result, project: str, tag: str) -> ResultOut:
    outcome = result.evidence.outcome
    return _result_out(
        result.rebuild, project, tag, outcome.value if outcome is not None else None, result.evidence.not_counted
    )


def operator_out(standing: OperatorStanding) -> OperatorOut:
    operator = standing.operator
    return OperatorOut(
        slug=operator.slug,
        name=operator.name,
        counts=standing.counts,
        not_counted=standing.why_not,
        ties=[
            TieOut(
                project=tie.project.name,
                what=tie.what,
                stated_by=tie.stated_by,
                stated_at=tie.stated_at,
                ended_at=tie.ended_at,
            )
            for tie in standing.ties
        ],
        state=standing.state,
        results=standing.results,
        reproduced=standing.reproduced,
        contradicting=standing.contradicting,
        other=standing.other,
        failed=standing.failed,
        releases=standing.releases,
        newest=standing.newest,
        keys=[
            _key_standing_out(key_standing(key))
            for rebuilder in operator.rebuilders.all()
            for key in rebuilder.keys.all()
        ],
    )


def operator_detail_out(page: OperatorPage) -> OperatorDetailOut:
    operator = page.standing.operator
    return OperatorDetailOut(
        **operator_out(page.standing).model_dump(),
        contact=operator.contact,
        stated_affiliation=operator.stated_affiliation,
        proof_kind=operator.proof_kind or None,
        proof_location=operator.proof_location or None,
        identified_by=operator.identified_by or None,
        accepted_at=operator.accepted_at,
        accepted_by=operator.accepted_by or None,
        rejected_at=operator.rejected_at,
        decisions=[
            DecisionOut(at=row.at, by=row.by, what=row.what, reason=row.reason) for row in operator.decisions.all()
        ],
        rebuilders=[
            RebuilderOut(name=rebuilder.name, is_local=rebuilder.is_local, keys=[_key_out(entry) for entry in keys])
            for rebuilder, keys in page.rebuilders
        ],
        newest_results=[_row_out(row) for row in page.results],
        next=page.older,
    )


def statement_out(page: StatementPage) -> StatementOut:
    place = f"/statements/{page.row.statement.payload_sha256}"
    return StatementOut(
        **_row_out(page.row).model_dump(),
        rebuilder=page.key.key.rebuilder.name,
        key_state=page.key.state,
        started_on=page.statement.metadata.started_on,
        materials=len(page.statement.materials),
        comparisons=[comparison_out(row) for row in page.comparisons],
        predicate_type=page.statement.predicate_type,
        commit=page.statement.parameters.source.commit,
        log_digest=sha256_text(page.statement.log_sha256),
        log_complete=page.row.rebuild.log_complete,
        environment=page.statement.environment,
        bundle=f"{place}.rebuild.sigstore.json",
        envelope=f"{place}.dsse.json",
        received=f"{place}.received.json",
        public_key=f"{place}.rebuild.pub",
    )


def queue_out(queue: QueuePage) -> QueueOut:
    return QueueOut(
        running_count=queue.running_count,
        waiting_count=queue.waiting_count,
        running=[_place_out(row.rebuild, row.stage) for row in queue.running],
        waiting=[_place_out(place.rebuild) for place in queue.waiting],
        ended=[_place_out(row) for row in queue.ended],
    )


def _row_out(row: ResultRow) -> ResultOut:
    outcome = row.outcome.value if row.outcome is not None else None
    release = row.rebuild.release
    return _result_out(row.rebuild, release.project.name, release.tag, outcome, row.why_not)


def _result_out(rebuild: Rebuild, project: str, tag: str, outcome: str | None, not_counted: str) -> ResultOut:
    statement, aside = statement_of(rebuild), set_aside_of(rebuild)
    return ResultOut(
        operator=rebuild.operator_name,
        operator_slug=rebuild.rebuilder.operator.slug if rebuild.rebuilder is not None else "",
        rebuild=rebuild.pk,
        project=project,
        tag=tag,
        outcome=outcome,
        counts=not not_counted,
        not_counted=not_counted,
        set_aside=aside.reason if aside is not None else None,
        other_materials=rebuild.other_materials,
        statement=sha256_text(statement.payload_sha256) if statement is not None else None,
        finished_on=statement.finished_on if statement is not None else None,
        received_at=statement.received_at if statement is not None else None,
        key=sha256_text(statement.key.fingerprint) if statement is not None else None,
        key_revoked_at=statement.key.revoked_at if statement is not None else None,
    )


def _key_standing_out(entry: KeyStanding) -> KeyStandingOut:
    key = entry.key
    return KeyStandingOut(
        fingerprint=sha256_text(key.fingerprint),
        algorithm=key.algorithm,
        state=entry.state,
        not_before=key.not_before,
        not_after=key.not_after,
        revoked_at=key.revoked_at,
    )


def _key_out(entry: KeyStanding) -> KeyOut:
    key = entry.key
    return KeyOut(
        **_key_standing_out(entry).model_dump(),
        revocation_reason=key.revocation_reason,
        endorsed_by=sha256_text(key.endorsed_by.fingerprint) if key.endorsed_by is not None else None,
        pem=key.pem,
    )


def _place_out(row: Rebuild, stage: str | None = None) -> PlaceOut:
    who = row.rebuilder or row.wanted_from
    return PlaceOut(
        rebuild=row.pk,
        project=row.release.project.name,
        tag=row.release.tag,
        state=row.state,
        operator=row.operator_name or None,
        rebuilder=who.name if who is not None else None,
        needs=NeedsOut(**row.release.needs.model_dump()),
        stage=stage,
        priority=row.why,
        attempt=row.attempt,
        queued_at=row.queued_at,
        next_retry=row.next_retry,
        started_at=row.started_at,
        lease_expires_at=row.lease_expires_at,
        finished_at=row.finished_at,
        failure=row.failure["code"] if row.failure is not None else None,
    )
