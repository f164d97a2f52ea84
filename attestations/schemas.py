"""The API's shapes of attestations, filled from what the release page shows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from django.urls import reverse
from ninja import Schema
from pydantic import Field

from attestations.domain.report import CheckOut, ClauseOut, FindingDocument, LogOut
from attestations.models import FindingRecord, VerdictRecord
from attestations.services.standing import ComponentStanding, JudgedBundle, ReleaseStanding
from builds.condition_schemas import ConditionOut
from builds.domain.digest import sha256_text
from builds.domain.frozen import Sha256Text
from builds.domain.moment import Moment


class FindingOut(FindingDocument):
    """A finding with the time it was made; otherwise what `verify_bundle --json` prints."""

    found_at: datetime


class BundleOut(Schema):
    """A bundle with its newest finding; ``raw`` is where its bytes are, as they were received."""

    digest: Sha256Text
    source: str
    seen_at: datetime
    raw: str
    finding: FindingOut | None
    earlier_findings: int


class ComponentAttestationOut(Schema):
    """A component's state, why, every bundle, and when its sources were last asked (null: never)."""

    role: str
    state: str
    sentence: str
    asked_at: datetime | None
    problem: dict[str, str] | None
    bundles: list[BundleOut]


class ReleaseAttestationsOut(Schema):
    components: list[ComponentAttestationOut]
    stray: list[BundleOut]


class ClaimFilter(Schema):
    """Exact values of verified claims; those not given are not asked."""

    commit: str | None = None
    workflow: str | None = None
    run_url: str | None = None
    issuer: str | None = None
    repository: str | None = None
    log_index: Annotated[int | None, Field(ge=0, lt=2**63)] = None
    integrated_at: Moment | None = None


class ClaimedOut(Schema):
    """A finding that claims were verified for, and what it was found for; ``bundle`` is the digest of its bytes.

    ``finding`` says what was found then, ``state_today`` what is left of it under today's policy, roots and file.
    """

    project: str
    tag: str
    role: str
    bundle: Sha256Text
    state_today: str
    finding: FindingOut


class SightingOut(Schema):
    """Where a bundle was found, for what, and what it counts for there today, whatever the findings once said."""

    project: str
    tag: str
    role: str
    source: str
    seen_at: datetime
    state_today: str
    findings: list[FindingOut]


class BundleDetailOut(Schema):
    """A bundle, where it was found, newest first, with every finding ever made there, newest last."""

    digest: Sha256Text
    received_at: datetime
    raw: str
    sightings: list[SightingOut]
    more_sightings: bool


def finding_out(finding: FindingRecord) -> FindingOut:
    texts = {
        name: getattr(finding, name)
        for name in FindingOut.model_fields
        if name not in {"checks", "clauses", "log"} and hasattr(finding, name)
    }
    log = None
    if finding.log_kind:
        log = LogOut(
            kind=finding.log_kind,
            index=finding.log_index,
            log_id=finding.log_id,
            inclusion=finding.log_inclusion,
            integrated_at=finding.integrated_at,
        )
    return FindingOut(
        **texts,
        trust_root_digest=sha256_text(finding.trust_root_sha256 or None),
        checks=[CheckOut(step=step, state=state, detail=detail) for step, state, detail in finding.checks],
        clauses=[
            ClauseOut(name=name, expected=expected, found=found, state=state)
            for name, expected, found, state in finding.clauses
        ],
        log=log,
    )


def bundle_out(judged: JudgedBundle) -> BundleOut:
    sha256 = judged.sighting.bundle.sha256
    return BundleOut(
        digest=sha256_text(sha256),
        source=judged.sighting.source,
        seen_at=judged.sighting.seen_at,
        raw=raw_address(sha256),
        finding=_finding_today(judged),
        earlier_findings=len(judged.earlier),
    )


def _finding_today(judged: JudgedBundle) -> FindingOut | None:
    """The newest finding, in the state that it counts for today."""
    if judged.finding is None:
        return None
    finding = finding_out(judged.finding)
    if judged.state.value == finding.state:
        return finding
    return finding.model_copy(update={"state": judged.state.value, "reason": judged.problem})


def raw_address(sha256: str) -> str:
    return f"/attestations/{sha256}/bundle.json"


def component_attestation_out(entry: ComponentStanding) -> ComponentAttestationOut:
    return ComponentAttestationOut(
        role=entry.role.value,
        state=entry.state.value,
        sentence=entry.sentence,
        asked_at=entry.asked_at,
        problem=dict(entry.problem) if entry.problem is not None else None,
        bundles=[bundle_out(bundle) for bundle in entry.bundles],
    )


def release_attestations_out(standing: ReleaseStanding) -> ReleaseAttestationsOut:
    return ReleaseAttestationsOut(
        components=[component_attestation_out(entry) for entry in standing.components],
        stray=[bundle_out(bundle) for bundle in standing.stray],
    )


class RecordedVerdictOut(Schema):
    """A verdict as it was from ``at`` on. ``bundle`` and ``envelope`` are where its signed summary is; null without
    any published byte. ``outcome`` is null while nobody's rebuild counted.
    """

    at: datetime
    decision: str
    outcome: str | None
    needed: int
    reproduced: int
    contradicting: int
    failed: int
    sentence: str
    conditions: list[ConditionOut]
    policy: str
    bundle: str | None
    envelope: str | None
    key: str | None


class VerdictHistoryOut(Schema):
    """``verdict`` is the one that held at the moment asked for; null when there was none yet, and for a moment after
    ``judged_at``, when the release was judged last. Without a moment it is the newest there is. Newest first.
    """

    verdict: RecordedVerdictOut | None
    judged_at: datetime | None
    history: list[RecordedVerdictOut]
    next: int | None


def recorded_verdict_out(record: VerdictRecord) -> RecordedVerdictOut:
    name = record.payload_sha256
    return RecordedVerdictOut(
        at=record.at,
        decision=record.decision,
        outcome=record.outcome or None,
        needed=record.needed,
        reproduced=record.reproduced,
        contradicting=record.contradicting,
        failed=record.failed,
        sentence=record.sentence,
        conditions=[
            ConditionOut(condition=key, state=state, reason=sentence) for key, state, sentence in record.conditions
        ],
        policy=reverse("policy", args=[record.policy_sha256]),
        bundle=reverse("vsa-bundle", args=[name]) if name is not None else None,
        envelope=reverse("vsa-envelope", args=[name]) if name is not None else None,
        key=reverse("portal-key-by-fingerprint", args=[record.key.fingerprint]) if record.key is not None else None,
    )
