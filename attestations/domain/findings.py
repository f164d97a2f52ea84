"""What was found about one bundle and one published file, and what follows for a component.

The order is fixed and fails closed: readable, cryptography, what was signed, then the publisher's policy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from attestations.domain.identity import KeyIdentity, SignerIdentity
from attestations.domain.policy import COMMIT_CLAUSE, PREDICATE_CLAUSE, Clause, PublisherPolicy
from attestations.domain.statement import Statement
from builds.domain.digest import Digest
from builds.domain.evidence import AttestationState
from builds.domain.provenance import REBUILD_BUILD_TYPE


class CheckState(StrEnum):
    """``not-used``: this trust root or bundle has no such thing. ``not-reached``: an earlier check failed."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_USED = "not-used"
    NOT_REACHED = "not-reached"


class Step(StrEnum):
    """The checks of one bundle, in their order."""

    READABLE = "bundle is readable"
    CERTIFICATE = "certificate chains to the trust root"
    SCT = "certificate was logged (SCT)"
    TIME = "signing time is proven"
    LOG = "signature was logged"
    SIGNATURE = "signature is valid"
    STATEMENT = "payload is an in-toto statement"
    SUBJECT = "file is a subject"


class Check(NamedTuple):
    """One step with its state and, in a sentence, what was seen."""

    step: Step
    state: CheckState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LogFacts:
    """Where a signature was logged. ``inclusion`` says by proof, by promise, or by both; times are UTC."""

    kind: str
    index: int
    log_id: str
    """sha256 of the log's public key, hex."""
    inclusion: str
    integrated_at: datetime | None


@dataclass(frozen=True, slots=True)
class TrustRootRef:
    """Which trust root said yes: the name it was given and the sha256 of its bytes, hex."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What cryptography says of a bundle, before anyone asks which file and which publisher.

    ``state`` is verified, rejected, unreadable or unchecked; ``reason`` says why in words. ``signer`` and what
    was signed are only there when verified, so nothing unproven can be shown as a claim.
    """

    state: AttestationState
    reason: str
    checks: tuple[Check, ...]
    verifier: str
    trust_root: TrustRootRef | None = None
    signer: SignerIdentity | KeyIdentity | None = None
    statement: Statement | None = None
    signed_digest: Digest | None = None
    """What a message signature signs; None for a statement."""
    log: LogFacts | None = None
    signed_at: datetime | None = None
    time_source: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """The published file a bundle is judged for: its digests, and those of the container it came in."""

    content: frozenset[Digest]
    container: frozenset[Digest] = frozenset()


@dataclass(frozen=True, slots=True)
class Finding:
    """The judgement of one bundle for one file: the state, why, every check and every clause."""

    state: AttestationState
    reason: str
    verification: Verification
    checks: tuple[Check, ...]
    clauses: tuple[Clause, ...] = ()
    subject_name: str = ""
    through: Digest | None = None
    """The attested container's digest, when the file itself is no subject."""


_IS_REBUILD = (
    f"The statement is a rebuilder's (buildType {REBUILD_BUILD_TYPE}): who publishes does not vouch for a rebuild."
)


def judge_bundle(
    verification: Verification, artifact: Artifact, policy: PublisherPolicy | None, *, partial: bool = False
) -> Finding:
    """Judge a verified signature for a file; anything less than verified stays what it is.

    Without a policy (``None``) only signature and subject are judged, which a caller must say. ``partial`` lets a
    policy that leaves repository or workflow open decide; a project's must name both.
    """
    if verification.state is not AttestationState.VERIFIED or verification.signer is None:
        state = verification.state
        if state is AttestationState.VERIFIED:
            state = AttestationState.REJECTED
        return Finding(state, verification.reason, verification, verification.checks)
    if verification.statement is not None and verification.statement.is_rebuild:
        return Finding(AttestationState.REJECTED, _IS_REBUILD, verification, verification.checks)
    subject_name, through, check = _subject(verification, artifact)
    checks = (*verification.checks, check)
    clauses = policy.clauses(verification.signer, verification.statement) if policy is not None else ()
    if check.state is CheckState.FAILED:
        return Finding(AttestationState.REJECTED, check.detail, verification, checks, clauses)
    state, reason = _by_policy(policy, clauses, partial=partial)
    return Finding(state, reason, verification, checks, clauses, subject_name, through)


def _subject(verification: Verification, artifact: Artifact) -> tuple[str, Digest | None, Check]:
    """Whether the file, or else the container it came in, is what was signed."""
    for digests, is_container in ((artifact.content, False), (artifact.container, True)):
        if not digests:
            continue
        name = _name_of_subject(verification, digests)
        if name is None:
            continue
        through = min(digests) if is_container else None
        detail = f"as {name or 'an unnamed subject'}" + (f", through its container {through}" if through else "")
        return name, through, Check(Step.SUBJECT, CheckState.PASSED, detail)
    return "", None, Check(Step.SUBJECT, CheckState.FAILED, "The signed subjects do not include this file's digest.")


def _name_of_subject(verification: Verification, digests: frozenset[Digest]) -> str | None:
    if verification.statement is not None:
        subject = verification.statement.subject_for(digests)
        return subject.name if subject is not None else None
    return "the signed message" if verification.signed_digest in digests else None


def _by_policy(
    policy: PublisherPolicy | None, clauses: tuple[Clause, ...], *, partial: bool
) -> tuple[AttestationState, str]:
    if policy is None:
        return AttestationState.VERIFIED, "The signature is valid for this file. Nobody in particular was expected."
    if policy.missing and not partial:
        unsaid = f"The project's policy does not say which {' and '.join(policy.missing)} it expects."
        return AttestationState.UNCHECKED, f"{unsaid} An administrator says so under Expected publishers."
    open_clauses = [clause for clause in clauses if not clause.holds]
    if not open_clauses:
        return AttestationState.VERIFIED, _yes(policy)
    listed = "; ".join(
        f"{clause.name}: expected {clause.expected}, found {clause.found or 'nothing'}" for clause in open_clauses
    )
    names = {clause.name for clause in open_clauses}
    if names == {COMMIT_CLAUSE}:
        why = f"The expected publisher signed this file, from another commit. {listed}."
        return AttestationState.WRONG_IDENTITY, why
    if names == {PREDICATE_CLAUSE}:
        return AttestationState.REJECTED, f"The expected publisher signed another kind of statement. {listed}."
    return AttestationState.WRONG_IDENTITY, f"The signature is valid, but the signer is not the expected one. {listed}."


def _yes(policy: PublisherPolicy) -> str:
    """A yes is worth what was asked: what a partial policy left open is named."""
    open_to_any = [*policy.missing, *(() if policy.commit else (COMMIT_CLAUSE,))]
    if not open_to_any:
        return "The expected publisher signed this file."
    return f"Signed as far as asked by the expected publisher. Not asked: {', '.join(open_to_any)}; any would do."


# What a component is when no bundle verified: the most alarming of what was found.
_GRAVITY = (
    AttestationState.VERIFIED,
    AttestationState.WRONG_IDENTITY,
    AttestationState.REJECTED,
    AttestationState.UNREADABLE,
    AttestationState.UNCHECKED,
)


def component_state(findings: Iterable[AttestationState], *, asked: bool) -> AttestationState:
    """One state for a component: one verified bundle is enough, a signer cannot be un-signed by a stranger's.

    ``asked`` says that every source of attestations answered; only then does finding none mean ``absent``.
    """
    found = set(findings)
    for state in _GRAVITY:
        if state in found:
            return state
    return AttestationState.ABSENT if asked else AttestationState.UNCHECKED
