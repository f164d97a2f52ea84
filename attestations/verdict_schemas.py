"""The shape of a verdict as a deployer's script reads it, with every address absolute."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlencode
from uuid import UUID

from django.urls import reverse
from ninja import Schema

from attestations.domain.policy_statement import ExpectedIdentity
from attestations.models import VerdictRecord
from attestations.services.asked_verdict import AppliedPolicy, AskedVerdict
from attestations.services.changes import Change
from attestations.services.verdict_axes import Axis, EvidenceLink, TrustAnchor, release_path
from builds.condition_schemas import ConditionOut, condition_out
from builds.domain.digest import sha256_text
from builds.domain.frozen import Sha256Text
from builds.domain.verdict import Decision
from builds.services.evidence import MeasurementRow


class EvidenceOut(Schema):
    """``digest`` names what lies there: a bundle's bytes, a statement's payload, a published manifest; else null."""

    kind: str
    address: str
    digest: Sha256Text | None


class TrustAnchorOut(Schema):
    """By whose word an axis holds: ``kind`` is rebuilder, sigstore, publisher-key or portal.

    ``key`` is the fingerprint of a rebuilder's, a publisher's or the portal's public key, or the digest of the bytes
    of a trust root. ``identity`` and ``issuer`` are those of the certificate that signed.
    """

    kind: str
    name: str
    key: Sha256Text | None
    identity: str | None
    issuer: str | None


class AxisOut(Schema):
    """One condition. ``found`` is the axis' own word (reproduced, verified, matches ...); null where it has none."""

    condition: str
    state: Literal["met", "unmet", "unknown"]
    found: str | None
    reason: str
    evidence: list[EvidenceOut]
    trust_anchor: list[TrustAnchorOut]


class OperatorsOut(Schema):
    """Distinct operators: needed, with the published bytes, with other bytes, and without any."""

    needed: int
    reproduced: int
    contradicting: int
    failed: int


class NamedRootOut(Schema):
    name: str
    digest: Sha256Text


class PublisherOut(Schema):
    """An expected publisher, clause by clause; what is empty is not asked for."""

    issuer: str
    repository: str
    repository_id: str
    owner_id: str
    workflow: str
    ref: str
    build_signer: str
    runner_environment: str
    san: str
    predicate_types: list[str]
    public_keys: list[Sha256Text]
    trust_roots: list[NamedRootOut]


class AcceptedOpaqueOut(Schema):
    """``reason`` and ``accepted_at`` are null where only the digest was recorded, or where a caller gave it."""

    digest: str
    reason: str | None
    accepted_at: datetime | None


class AppliedPolicyOut(Schema):
    """``source`` is project or caller. ``digest`` and ``address`` are of the stored document; null where none is."""

    source: Literal["project", "caller"]
    needed_operators: int
    identity: str | None
    issuer: str | None
    expected_publishers: list[PublisherOut]
    accepted_opaque_inputs: list[AcceptedOpaqueOut]
    digest: Sha256Text | None
    address: str | None


class SignedOut(Schema):
    """The signed summary that says the same: ``at`` is when it was recorded, ``key`` the fingerprint of its key.

    ``digest`` is of the payload inside the envelope, the bytes that are signed; ``bundle`` and ``envelope`` lead to
    files around it, which have other digests.
    """

    at: datetime
    bundle: str
    envelope: str
    digest: Sha256Text
    key: Sha256Text
    public_key: str


class PublishedMeasurementOut(Schema):
    """A launch configuration's published measurement, 96 hex characters or null, and whether it holds."""

    configuration: str
    published: str | None
    state: str
    coverage: list[str]


class DeployersVerdictOut(Schema):
    """``decision`` is allow only when every condition is met; whatever is unknown denies.

    ``derived`` is now (from evidence, at this moment) or recorded (as it was signed for ``as_of``). ``signed`` is null
    for ``unsigned_reason``; ``operators``, ``policy`` and ``measurements`` are null where nothing recorded them.
    ``recorded_at`` (of the record that held then) and ``judged_at`` (when the release was judged last) are null where
    the decision is derived now.
    """

    decision: Literal["allow", "deny"]
    project: str
    tag: str
    commit: str
    release: str
    derived: Literal["now", "recorded"]
    as_of: datetime | None
    recorded_at: datetime | None
    judged_at: datetime | None
    sentence: str
    unmet: list[ConditionOut]
    axes: list[AxisOut]
    operators: OperatorsOut | None
    measurements: list[PublishedMeasurementOut] | None
    policy: AppliedPolicyOut | None
    signed: SignedOut | None
    unsigned_reason: str | None


class ChangeOut(Schema):
    """A recorded verdict and the decision of the one before it; ``before`` is null for a release's first.

    ``id`` is the same in the feeds and in webhooks' messages. ``verdict`` is the address of the verdict as it was from
    then on, ``signed`` null for a release of which no byte is known.
    """

    id: UUID
    project: str
    tag: str
    before: Literal["allow", "deny"] | None
    after: Literal["allow", "deny"]
    at: datetime
    sentence: str
    changed: list[str]
    verdict: str
    signed: SignedOut | None


class ChangesOut(Schema):
    """``next`` is the value of ``since`` that goes on from here, also where nothing came; ``more`` is whether there is
    something after these already."""

    changes: list[ChangeOut]
    next: str
    more: bool


def change_out(change: Change, base: str) -> ChangeOut:
    release, moment = change.release, change.at.astimezone(UTC).isoformat(timespec="microseconds")
    return ChangeOut(
        id=change.uuid,
        project=release.project.name,
        tag=release.tag,
        before=Decision(change.before.decision).value if change.before is not None else None,
        after=Decision(change.after.decision).value,
        at=change.at,
        sentence=change.after.sentence,
        changed=list(change.lines),
        verdict=f"{base}{release_path(release)}/verdict?{urlencode({'at': moment})}",
        signed=signed_out(change.record, base),
    )


def deployers_verdict_out(asked: AskedVerdict, base: str) -> DeployersVerdictOut:
    """``base`` is the portal's public address, without a slash at its end."""
    release = asked.release
    return DeployersVerdictOut(
        decision=asked.decision.value,
        project=release.project.name,
        tag=release.tag,
        commit=release.commit,
        release=f"{base}{release_path(release)}",
        derived=asked.derivation.value,
        as_of=asked.as_of,
        recorded_at=asked.recorded_at,
        judged_at=asked.judged_at,
        sentence=asked.sentence,
        unmet=[condition_out(entry) for entry in asked.unmet],
        axes=[_axis_out(axis, base) for axis in asked.axes],
        operators=OperatorsOut.from_orm(asked.tally) if asked.tally is not None else None,
        measurements=[_measurement_out(row) for row in asked.view.measurements] if asked.view is not None else None,
        policy=_policy_out(asked.policy, base) if asked.policy is not None else None,
        signed=signed_out(asked.signed, base) if asked.signed is not None else None,
        unsigned_reason=asked.unsigned_reason,
    )


def signed_out(record: VerdictRecord, base: str) -> SignedOut | None:
    """Where a record's signed summary is; None for a record without one."""
    if record.payload_sha256 is None or record.key is None:
        return None
    name, fingerprint = record.payload_sha256, record.key.fingerprint
    return SignedOut(
        at=record.at,
        bundle=f"{base}{reverse('vsa-bundle', args=[name])}",
        envelope=f"{base}{reverse('vsa-envelope', args=[name])}",
        digest=sha256_text(name),
        key=sha256_text(fingerprint),
        public_key=f"{base}{reverse('portal-key-by-fingerprint', args=[fingerprint])}",
    )


def _axis_out(axis: Axis, base: str) -> AxisOut:
    return AxisOut(
        condition=axis.condition.key,
        state=axis.condition.state.value,
        found=axis.found or None,
        reason=axis.condition.sentence,
        evidence=[_evidence_out(link, base) for link in axis.evidence],
        trust_anchor=[_anchor_out(anchor) for anchor in axis.anchors],
    )


def _evidence_out(link: EvidenceLink, base: str) -> EvidenceOut:
    """A signed summary names its inputs by whole addresses, or by digest; those stay as they were signed."""
    address = f"{base}{link.address}" if link.address.startswith("/") else link.address
    return EvidenceOut(kind=link.kind.value, address=address, digest=sha256_text(link.sha256))


def _anchor_out(anchor: TrustAnchor) -> TrustAnchorOut:
    return TrustAnchorOut(
        kind=anchor.kind.value,
        name=anchor.name,
        key=sha256_text(anchor.key) if anchor.key else None,
        identity=anchor.identity or None,
        issuer=anchor.issuer or None,
    )


def _policy_out(policy: AppliedPolicy, base: str) -> AppliedPolicyOut:
    return AppliedPolicyOut(
        source=policy.source.value,
        needed_operators=policy.needed_operators,
        identity=policy.identity,
        issuer=policy.issuer,
        expected_publishers=[_publisher_out(entry) for entry in policy.publishers],
        accepted_opaque_inputs=[AcceptedOpaqueOut.from_orm(entry) for entry in policy.accepted],
        digest=sha256_text(policy.sha256),
        address=f"{base}{reverse('policy', args=[policy.sha256])}" if policy.sha256 is not None else None,
    )


def _publisher_out(identity: ExpectedIdentity) -> PublisherOut:
    roots = [NamedRootOut(name=root.name, digest=sha256_text(root.sha256)) for root in identity.trust_roots]
    keys = [sha256_text(key) for key in identity.public_keys]
    return PublisherOut(
        **identity.model_dump(mode="json", exclude={"trust_roots", "public_keys"}), trust_roots=roots, public_keys=keys
    )


def _measurement_out(row: MeasurementRow) -> PublishedMeasurementOut:
    known = row.evidence
    return PublishedMeasurementOut(
        configuration=known.configuration,
        published=known.published,
        state=known.state.value,
        coverage=sorted(known.coverage),
    )
