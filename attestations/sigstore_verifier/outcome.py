"""What became of a bundle, as a ``Verification``: proven facts, or the step that failed and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import sigstore
from cryptography.exceptions import InvalidSignature
from sigstore.errors import CertValidationError

from attestations.domain.findings import Check, CheckState, LogFacts, Step, TrustRootRef, Verification
from attestations.domain.identity import KeyIdentity, SignerIdentity
from attestations.domain.statement import PAYLOAD_TYPE, Statement, parse_statement
from attestations.sigstore_verifier.parts import BundleParts
from builds.domain.digest import Digest
from builds.domain.errors import MalformedInput, PortalError
from builds.domain.evidence import AttestationState
from builds.domain.printable import one_line

VERIFIER = f"sigstore-python {sigstore.__version__}"

# How sigstore's messages begin (4.5), by the step they belong to; the rest is the certificate's business.
_STEPS: tuple[tuple[str, Step], ...] = (
    ("not enough sources of verified time", Step.TIME),
    ("Integrated time", Step.TIME),
    ("too many signed timestamp", Step.TIME),
    ("duplicate timestamp", Step.TIME),
    ("no Timestamp Authorities", Step.TIME),
    ("Invalid Timestamp", Step.TIME),
    ("invalid signing cert: expired", Step.TIME),
    ("failed to verify SCT", Step.SCT),
    ("invalid log entry", Step.LOG),
    ("log entry", Step.LOG),
    ("transparency log entry", Step.LOG),
    ("Unsupported", Step.LOG),
    ("Expected entry type", Step.LOG),
    ("expected SHA256 payload hash", Step.LOG),
    ("DSSE", Step.SIGNATURE),
    ("Signature is invalid", Step.SIGNATURE),
    ("Bundle message digest", Step.SIGNATURE),
    ("an Ed25519 key signs whole messages", Step.SIGNATURE),
)
_SIGNED_STEPS = (Step.CERTIFICATE, Step.SCT, Step.TIME, Step.LOG, Step.SIGNATURE)
_LATER_STEPS = (Step.STATEMENT, Step.SUBJECT)


_SIGNATURE_HOLDS = Check(Step.SIGNATURE, CheckState.PASSED)


@dataclass(frozen=True, slots=True)
class Proven:
    """What held: the signer, what was signed, when, and under which root."""

    signer: SignerIdentity | KeyIdentity
    digest: Digest | None
    signed_at: datetime | None
    time_source: str
    trust_root: TrustRootRef | None
    sct: str


def verified(parts: BundleParts, found: Proven) -> Verification:
    """Cryptography held; the payload must still be a statement that this portal can read."""
    log = _log_facts(parts)
    is_key = isinstance(found.signer, KeyIdentity)
    checks = (
        Check(Step.READABLE, CheckState.PASSED, str(parts.model.media_type)),
        Check(Step.CERTIFICATE, CheckState.NOT_USED if is_key else CheckState.PASSED, "a plain key" if is_key else ""),
        Check(Step.SCT, CheckState.NOT_USED if found.sct else CheckState.PASSED, found.sct),
        Check(Step.TIME, CheckState.PASSED if found.signed_at else CheckState.NOT_USED, found.time_source),
        Check(
            Step.LOG,
            CheckState.PASSED if log is not None else CheckState.NOT_USED,
            f"{log.kind}, index {log.index}, by {log.inclusion}" if log is not None else "not in any log",
        ),
        _SIGNATURE_HOLDS,
    )
    statement = None
    envelope = parts.model.dsse_envelope
    if envelope is not None:
        try:
            statement = _statement(envelope.payload_type, envelope.payload)
        except MalformedInput as error:
            failed = Check(Step.STATEMENT, CheckState.FAILED, error.what)
            every = (*checks, failed, *_not_reached([Step.SUBJECT]))
            return Verification(
                AttestationState.REJECTED, sentence_of(error), every, VERIFIER, trust_root=found.trust_root
            )
    detail = statement.predicate_type if statement is not None else "a signed message, no statement"
    last = Check(Step.STATEMENT, CheckState.PASSED if statement is not None else CheckState.NOT_USED, detail)
    return Verification(
        state=AttestationState.VERIFIED,
        reason="The signature is valid.",
        checks=(*checks, last),
        verifier=VERIFIER,
        trust_root=found.trust_root,
        signer=found.signer,
        statement=statement,
        signed_digest=found.digest,
        log=log,
        signed_at=found.signed_at,
        time_source=found.time_source,
    )


def _statement(payload_type: str, payload: bytes) -> Statement:
    if payload_type != PAYLOAD_TYPE:
        raise MalformedInput(f"the payload type is {one_line(payload_type)!r}, not {PAYLOAD_TYPE}", where="bundle")
    return parse_statement(payload)


def _log_facts(parts: BundleParts) -> LogFacts | None:
    if parts.entry is None:
        return None
    inner = parts.entry._inner
    seconds = inner.integrated_time if inner.inclusion_promise is not None else None
    how = [name for name, there in (("proof", parts.entry.has_proof), ("promise", bool(seconds))) if there]
    return LogFacts(
        kind=f"{inner.kind_version.kind} {inner.kind_version.version}",
        # The promise signs the index of the whole log; without one only the proof's is proven.
        index=inner.log_index if seconds else inner.inclusion_proof.log_index,
        log_id=inner.log_id.key_id.hex(),
        inclusion=f"inclusion {' and '.join(how)}",
        integrated_at=datetime.fromtimestamp(seconds, tz=UTC) if seconds else None,
    )


def step_of(error: Exception) -> Step:
    message = str(error)
    if isinstance(error, InvalidSignature):
        return Step.SIGNATURE
    if isinstance(error, CertValidationError):
        return Step.CERTIFICATE
    return next((step for start, step in _STEPS if message.startswith(start)), Step.CERTIFICATE)


def sentence_of(error: Exception) -> str:
    if isinstance(error, PortalError):
        return one_line(f"{error.what}.")
    if isinstance(error, InvalidSignature):
        return "The signature is not valid for what it should sign."
    return one_line(f"{str(error).strip().rstrip('.') or type(error).__name__}.")


def unreadable(error: Exception) -> Verification:
    reason = sentence_of(error)
    checks = (Check(Step.READABLE, CheckState.FAILED, reason), *_not_reached([*_SIGNED_STEPS, *_LATER_STEPS]))
    return Verification(AttestationState.UNREADABLE, reason, checks, VERIFIER)


def rejected(step: Step, reason: str, trust_root: TrustRootRef | None) -> Verification:
    """Which step failed is told; of those before it only that they were readable."""
    others = [other for other in _SIGNED_STEPS if other is not step]
    checks = (
        Check(Step.READABLE, CheckState.PASSED),
        Check(step, CheckState.FAILED, reason),
        *_not_reached([*others, *_LATER_STEPS]),
    )
    return Verification(AttestationState.REJECTED, reason, checks, VERIFIER, trust_root=trust_root)


def _not_reached(steps: Iterable[Step]) -> tuple[Check, ...]:
    return tuple(Check(step, CheckState.NOT_REACHED) for step in steps)
