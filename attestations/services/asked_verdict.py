"""The answer to a deployer's question: a release's verdict now, under a policy, or as it was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from attestations.domain.caller_policy import CallerPolicy, FoundClaims, attested_for
from attestations.domain.policy_statement import ExpectedIdentity, PolicyStatement, parse_policy
from attestations.domain.summary import InputAttestation, parse_summary
from attestations.models import BundleRecord, VerdictRecord
from attestations.services.history import HeldVerdict
from attestations.services.standing import ComponentStanding, JudgedBundle, ReleaseStanding
from attestations.services.verdict_axes import AnchorKind, Axis, EvidenceLink, LinkKind, TrustAnchor, axes_of
from attestations.services.verdicts import basis_of, policy_statement_of
from builds.domain.conditions import Condition, ConditionState
from builds.domain.consensus import Tally
from builds.domain.dsse import parse_envelope
from builds.domain.evidence import AttestationState, AttestedComponent, Policy
from builds.domain.verdict import Decision, judge
from builds.models import Release
from builds.services.evidence import ReleaseView

NOTHING_SIGNED = "No verdict of this release has been signed yet."
OTHER_STATE = "The newest signed verdict is about another state than the one now; a new one is recorded shortly."
NO_BYTES = "No published byte of this release is known, so that there is nothing to sign a verdict about."
OF_A_CALLER = "A verdict under a caller's own policy is never signed."
UNDER_A_CALLER = "Under a caller's own policy, which is not the project's:"
BEFORE_THE_FIRST = "No verdict of this release had been recorded at that moment."
"""Why a moment between import and first record denies."""
NOT_JUDGED_SINCE = "The release was not judged at that moment or after it: what changed before it may not be recorded."
"""Why a moment after the last judging denies."""
WAS_RECORDED = "verdict-was-recorded"
"""The condition that a moment fails of which no record tells."""


class PolicySource(StrEnum):
    """Whose policy was applied."""

    PROJECT = "project"
    CALLER = "caller"


class Derivation(StrEnum):
    """Whether the decision follows from evidence now, or was recorded then."""

    NOW = "now"
    RECORDED = "recorded"


@dataclass(frozen=True, slots=True)
class AcceptedOpaque:
    """An opaque input that the policy accepts; without reason and date where only its digest was recorded or given."""

    digest: str
    reason: str | None = None
    accepted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """What the release was held against. ``sha256`` names the stored document, and is None where there is none."""

    source: PolicySource
    needed_operators: int
    identity: str | None
    issuer: str | None
    publishers: tuple[ExpectedIdentity, ...]
    """As the project expects them; none where a caller's identity stands instead."""
    accepted: tuple[AcceptedOpaque, ...]
    sha256: str | None


@dataclass(frozen=True, slots=True)
class AskedVerdict:
    """One answer. ``signed`` is the record whose summary says the same, or None for ``unsigned_reason``.

    ``recorded_at`` and ``judged_at`` are of what was recorded: when, and when the release was judged last.
    """

    release: Release
    decision: Decision
    sentence: str
    derivation: Derivation
    as_of: datetime | None
    axes: tuple[Axis, ...]
    tally: Tally | None
    policy: AppliedPolicy | None
    signed: VerdictRecord | None
    unsigned_reason: str | None
    view: ReleaseView | None
    """What the measurements are shown from; None for what was recorded."""
    recorded_at: datetime | None = None
    judged_at: datetime | None = None

    @property
    def unmet(self) -> list[Condition]:
        return [axis.condition for axis in self.axes if axis.condition.state is not ConditionState.MET]


def verdict_now(view: ReleaseView, standing: ReleaseStanding) -> AskedVerdict:
    """The project's own verdict from evidence, with the newest record where that still says the same."""
    statement = policy_statement_of(view, standing)
    records = VerdictRecord.objects.filter(release=view.release).select_related("key").defer("policy", "envelope")
    newest = records.order_by("-at", "-pk").first()
    signed, reason = _signed_now(newest, basis_of(view, standing, statement))
    return AskedVerdict(
        release=view.release,
        decision=view.verdict.decision,
        sentence=view.verdict.sentence,
        derivation=Derivation.NOW,
        as_of=None,
        axes=axes_of(view, standing, view.verdict),
        tally=view.verdict.tally,
        policy=_project_policy(view, statement, newest),
        signed=signed,
        unsigned_reason=reason,
        view=view,
    )


def verdict_for(view: ReleaseView, standing: ReleaseStanding, asked: CallerPolicy) -> AskedVerdict:
    """The same evidence under a caller's policy, by the same pure function; nothing is stored or signed."""
    applied = _caller_policy(view, standing, asked)
    attestations = {entry.role: _attested(entry, asked) for entry in standing.components}
    verdict = judge(replace(view.evidence, policy=_as_policy(view, asked), attestations=attestations))
    return AskedVerdict(
        release=view.release,
        decision=verdict.decision,
        sentence=f"{UNDER_A_CALLER} {verdict.sentence}",
        derivation=Derivation.NOW,
        as_of=None,
        axes=axes_of(view, standing, verdict, lambda judged: _carries(judged, asked)),
        tally=verdict.tally,
        policy=applied,
        signed=None,
        unsigned_reason=OF_A_CALLER,
        view=view,
    )


def verdict_then(release: Release, held: HeldVerdict, moment: datetime) -> AskedVerdict:
    """What was recorded for a moment that has passed; one before the first record or after the last judging denies."""
    record = held.record
    if record is None:
        return replace(_unrecorded(release, moment, BEFORE_THE_FIRST), judged_at=held.judged_at)
    if held.is_vouched_for:
        answer = _as_recorded(release, record, moment)
    else:
        answer = _unrecorded(release, moment, NOT_JUDGED_SINCE)
    return replace(
        answer,
        axes=(*_recorded_axes(record), *answer.axes),
        tally=Tally(record.needed, record.reproduced, record.contradicting, record.failed),
        policy=_recorded_policy(record),
        recorded_at=record.at,
        judged_at=held.judged_at,
    )


def _as_recorded(release: Release, record: VerdictRecord, moment: datetime) -> AskedVerdict:
    is_signed = record.payload_sha256 is not None
    return _recorded(
        release,
        moment,
        Decision(record.decision),
        record.sentence,
        signed=record if is_signed else None,
        unsigned_reason=NO_BYTES if not is_signed else None,
    )


def _unrecorded(release: Release, moment: datetime, why: str) -> AskedVerdict:
    condition = Condition(WAS_RECORDED, ConditionState.UNKNOWN, why)
    answer = _recorded(release, moment, Decision.DENY, f"{why} Deny: {condition.key}.", unsigned_reason=why)
    return replace(answer, axes=(Axis(condition, "", (), ()),))


def _recorded(
    release: Release,
    moment: datetime,
    decision: Decision,
    sentence: str,
    *,
    signed: VerdictRecord | None = None,
    unsigned_reason: str | None,
) -> AskedVerdict:
    return AskedVerdict(
        release=release,
        decision=decision,
        sentence=sentence,
        derivation=Derivation.RECORDED,
        as_of=moment,
        axes=(),
        tally=None,
        policy=None,
        signed=signed,
        unsigned_reason=unsigned_reason,
        view=None,
    )


def _signed_now(newest: VerdictRecord | None, basis: str) -> tuple[VerdictRecord | None, str | None]:
    if newest is None:
        return None, NOTHING_SIGNED
    if newest.basis != basis:
        return None, OTHER_STATE
    return (newest, None) if newest.payload_sha256 is not None else (None, NO_BYTES)


def _project_policy(view: ReleaseView, statement: PolicyStatement, newest: VerdictRecord | None) -> AppliedPolicy:
    sha256 = statement.sha256
    return AppliedPolicy(
        source=PolicySource.PROJECT,
        needed_operators=statement.needed_operators,
        identity=None,
        issuer=None,
        publishers=statement.expected_publishers,
        accepted=_accepted(view, statement.accepted_opaque_inputs),
        # Its bytes are served from records: before the first under this policy there are none to serve.
        sha256=sha256 if newest is not None and newest.policy_sha256 == sha256 else None,
    )


def _accepted(view: ReleaseView, digests: tuple[str, ...]) -> tuple[AcceptedOpaque, ...]:
    known = {f"sha256:{row.sha256}": row for row in view.release.project.accepted_opaque_inputs.all()}
    return tuple(
        AcceptedOpaque(digest, row.reason, row.accepted_at) if (row := known.get(digest)) else AcceptedOpaque(digest)
        for digest in digests
    )


def _as_policy(view: ReleaseView, asked: CallerPolicy) -> Policy:
    own = view.evidence.policy
    return Policy(
        needed_operators=asked.needed_operators if asked.needed_operators is not None else own.needed_operators,
        accepted_opaque=asked.accepted_opaque if asked.accepted_opaque is not None else own.accepted_opaque,
    )


def _caller_policy(view: ReleaseView, standing: ReleaseStanding, asked: CallerPolicy) -> AppliedPolicy:
    policy = _as_policy(view, asked)
    digests = tuple(sorted(map(str, policy.accepted_opaque)))
    accepted = tuple(map(AcceptedOpaque, digests)) if asked.accepted_opaque is not None else _accepted(view, digests)
    return AppliedPolicy(
        source=PolicySource.CALLER,
        needed_operators=policy.needed_operators,
        identity=asked.identity,
        issuer=asked.issuer,
        publishers=policy_statement_of(view, standing).expected_publishers if asked.identity is None else (),
        accepted=accepted,
        sha256=None,
    )


def _attested(component: ComponentStanding, asked: CallerPolicy) -> AttestedComponent:
    own = AttestedComponent(component.state, component.sentence)
    return attested_for(asked, [_claims(judged) for judged in component.bundles], own)


def _carries(judged: JudgedBundle, asked: CallerPolicy) -> bool:
    own = AttestedComponent(judged.state, "")
    return attested_for(asked, [_claims(judged)], own).state is AttestationState.VERIFIED


def _claims(judged: JudgedBundle) -> FoundClaims:
    finding = judged.finding
    if finding is None:
        why = "A bundle was found and is not judged yet."
        return FoundClaims({}, {}, {}, is_current=False, state=AttestationState.UNCHECKED, reason=why)
    return FoundClaims(
        checks={step: state for step, state, _ in finding.checks},
        found={name: found for name, _, found, _ in finding.clauses},
        states={name: state for name, _, _, state in finding.clauses},
        is_current=not judged.problem,
        state=judged.state,
        reason=finding.reason,
    )


def _recorded_policy(record: VerdictRecord) -> AppliedPolicy | None:
    """None for a record whose verdict could not be stated: it was held against nothing."""
    content = bytes(record.policy)
    if not content:
        return None
    statement = parse_policy(content)
    return AppliedPolicy(
        source=PolicySource.PROJECT,
        needed_operators=statement.needed_operators,
        identity=None,
        issuer=None,
        publishers=statement.expected_publishers,
        accepted=tuple(map(AcceptedOpaque, statement.accepted_opaque_inputs)),
        sha256=record.policy_sha256,
    )


def _recorded_axes(record: VerdictRecord) -> tuple[Axis, ...]:
    """Each condition as recorded; the evidence that the summary names stands where it was used."""
    bundles, statements = _inputs(record)
    by_key: Mapping[str, tuple[str, tuple[EvidenceLink, ...]]] = {
        "attested-by-expected-publisher": (record.attestation, bundles),
        "reproduced-by-enough-operators": (record.outcome, statements),
        "measurements-recompute": (record.measurement, ()),
    }
    fingerprint = record.key.fingerprint if record.key is not None else ""
    anchor = TrustAnchor(AnchorKind.PORTAL, "recorded by this portal at that time", key=fingerprint)
    return tuple(
        Axis(Condition(key, ConditionState(state), sentence), *by_key.get(key, ("", ())), (anchor,))
        for key, state, sentence in record.conditions
    )


def _inputs(record: VerdictRecord) -> tuple[tuple[EvidenceLink, ...], tuple[EvidenceLink, ...]]:
    """The bundles and the statements that the signed summary names, by the digests of their bytes."""
    if record.envelope is None:
        return (), ()
    named = parse_summary(parse_envelope(bytes(record.envelope), where="verdict").payload).inputs
    found = BundleRecord.objects.filter(sha256__in=[entry.sha256 for entry in named])
    known = set(found.values_list("sha256", flat=True))
    bundles = tuple(_link(LinkKind.BUNDLE, entry) for entry in named if entry.sha256 in known)
    return bundles, tuple(_link(LinkKind.STATEMENT, entry) for entry in named if entry.sha256 not in known)


def _link(kind: LinkKind, entry: InputAttestation) -> EvidenceLink:
    return EvidenceLink(kind, entry.uri, entry.sha256)
