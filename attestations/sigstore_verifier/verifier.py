"""Bundles in, verifications out: every foreign error becomes ``rejected`` or ``unreadable``, with its reason."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import sigstore
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import (
    Certificate,
    DuplicateExtension,
    ExtensionNotFound,
    InvalidVersion,
    UnsupportedGeneralNameType,
)
from sigstore.errors import CertValidationError
from sigstore.errors import Error as SigstoreError
from sigstore.hashes import Hashed
from sigstore_models.common.v1 import HashAlgorithm

from attestations.domain.findings import Check, CheckState, LogFacts, Step, TrustRootRef, Verification
from attestations.domain.identity import KeyIdentity, SignerIdentity
from attestations.domain.statement import PAYLOAD_TYPE, Statement, parse_statement, printable
from attestations.sigstore_verifier.additions import (
    LenientVerifier,
    PublicKey,
    hashes_pae,
    public_der,
    verify_digest_with_key,
    verify_entry_body,
    verify_with_key,
)
from attestations.sigstore_verifier.parts import BundleParts, Unreadable, read_bundle, signer_of
from attestations.sigstore_verifier.trust_root import TrustRoot
from builds.domain.digest import Algorithm, Digest
from builds.domain.errors import MalformedInput, PortalError
from builds.domain.verdict import AttestationState

VERIFIER = f"sigstore-python {sigstore.__version__}"

# What sigstore, its models, cryptography and the standard library raise on hostile bytes, seen by feeding them such.
_HOSTILE: tuple[type[Exception], ...] = (
    SigstoreError,
    PortalError,
    InvalidSignature,
    UnsupportedAlgorithm,
    ExtensionNotFound,
    DuplicateExtension,
    InvalidVersion,
    UnsupportedGeneralNameType,
    struct.error,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    OSError,
    RecursionError,
)

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


class MalformedKey(MalformedInput):
    """A file that is no public key of a kind that signs attestations."""

    code = "malformed-key"
    default_todo = "Give a PEM file with an ECDSA, Ed25519 or RSA public key."


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A plain public key that somebody named, and the sha256 of its SubjectPublicKeyInfo."""

    key: PublicKey
    der: bytes

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.der).hexdigest()


def read_public_key(pem: bytes) -> TrustedKey:
    """Read a PEM public key; ``MalformedKey`` when it is none."""
    try:
        key = serialization.load_pem_public_key(pem)
        return TrustedKey(key, public_der(key))  # type: ignore[arg-type]
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedKey(f"the public key cannot be read: {str(error)[:200]}", where="key") from error


class BundleVerifier:
    """Verifies bundles against the trust roots and plain keys it is given, and nothing else."""

    def __init__(self, roots: Sequence[TrustRoot], keys: Sequence[TrustedKey] = ()) -> None:
        self._roots = tuple(roots)
        self._keys = tuple(keys)

    def verify(self, data: bytes, artifact: Iterable[Digest] = ()) -> Verification:
        """What cryptography says of one bundle. Never raises on what ``data`` holds; uses no network.

        ``artifact`` are digests of the file in question: a message signature can name its message by nothing else.
        """
        try:
            parts = read_bundle(data)
        except _HOSTILE as error:
            return _unreadable(error)
        if parts.certificate is None:
            return self._by_key(parts, frozenset(artifact))
        try:
            issuer = parts.certificate.issuer
            roots = [root for root in self._roots if issuer in root.issuers]
            if not roots:
                named = printable(issuer.rfc4514_string())
                reason = f"The certificate was issued by {named!r}, which is in no trust root used here."
                return _rejected(Step.CERTIFICATE, reason, None)
        except _HOSTILE as error:
            return _unreadable(error)
        result = None
        for root in roots:
            result = _under_root(parts, root, frozenset(artifact))
            if result.state is AttestationState.VERIFIED:
                break
        assert result is not None  # noqa: S101 - there is at least one root
        return result

    def _by_key(self, parts: BundleParts, artifact: frozenset[Digest]) -> Verification:
        if not self._keys:
            return _rejected(Step.SIGNATURE, "A plain key signed this, and no key is expected here.", None)
        outcomes = [_attempt(partial(_signed_by_key, parts, key, self._roots, artifact)) for key in self._keys]
        verified = [outcome for outcome in outcomes if outcome.state is AttestationState.VERIFIED]
        return (verified or outcomes)[0]


def _under_root(parts: BundleParts, root: TrustRoot, artifact: frozenset[Digest]) -> Verification:
    outcome = _attempt(partial(_signed_by_certificate, parts, root, artifact))
    return outcome if outcome.trust_root is not None else replace(outcome, trust_root=root.ref)


def _attempt(verify: Callable[[], Verification]) -> Verification:
    try:
        return verify()
    except _HOSTILE as error:
        return _rejected(_step_of(error), _sentence(error), None)


def _signed_by_certificate(parts: BundleParts, root: TrustRoot, artifact: frozenset[Digest]) -> Verification:
    """The whole path under one root; any exception means that it does not hold."""
    certificate = parts.certificate
    assert certificate is not None  # noqa: S101 - the caller looked
    verifier = root.verifier
    if parts.standard is not None:
        digest = _verify_standard(parts, verifier, artifact)
    else:
        verifier.verify_certificate(certificate, parts.as_foreign)
        der = certificate.public_bytes(serialization.Encoding.DER)
        key: PublicKey = certificate.public_key()  # type: ignore[assignment]  # public_der refuses other kinds
        public_der(key)
        digest = _verify_signature(parts, key, der, artifact)
    if parts.entry is not None:
        verifier.verify_known_log(parts.entry)
    times = parts.times or verifier.established_times(parts.as_foreign)
    found = _Found(
        signer=signer_of(certificate),
        digest=digest,
        signed_at=min(time.time for time in times),
        time_source=" and ".join(sorted({_TIME_SOURCES[time.source.name] for time in times})),
        trust_root=root.ref,
        sct="" if root.trusted_root._inner.ctlogs else "this trust root names no certificate log",
    )
    return _verified(parts, found)


_TIME_SOURCES = {
    "TIMESTAMP_AUTHORITY": "RFC 3161 timestamp",
    "TRANSPARENCY_SERVICE": "integrated time of the log",
}


class _JudgedLater:
    """sigstore's policy hook: whose certificate it is, is judged clause by clause once the signature holds."""

    def verify(self, cert: Certificate) -> None:
        pass


_JUDGED_LATER = _JudgedLater()


def _verify_standard(parts: BundleParts, verifier: LenientVerifier, artifact: frozenset[Digest]) -> Digest | None:
    """What sigstore-python verifies itself; the digest when a message was signed, None for an envelope."""
    assert parts.standard is not None  # noqa: S101 - the caller looked
    if parts.model.dsse_envelope is not None:
        verifier.verify_dsse(parts.standard, _JUDGED_LATER)
        return None
    digest = _message_digest(parts, artifact)
    hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(digest.hex))
    verifier.verify_artifact(hashed, parts.standard, _JUDGED_LATER)
    return digest


def _verify_signature(
    parts: BundleParts, key: PublicKey, verifier_der: bytes, artifact: frozenset[Digest]
) -> Digest | None:
    """Signature and log entry body of a bundle that sigstore-python does not take."""
    envelope = parts.model.dsse_envelope
    if envelope is not None:
        verify_with_key(key, parts.signature, parts.pae)
        digest = None
        covered = parts.pae if parts.entry is not None and hashes_pae(parts.entry) else bytes(envelope.payload)
        logged = hashlib.sha256(covered).digest()
    else:
        digest = _message_digest(parts, artifact)
        logged = bytes.fromhex(digest.hex)
        verify_digest_with_key(key, parts.signature, logged)
    if parts.entry is not None:
        verify_entry_body(parts.entry, logged, parts.signature, verifier_der)
    return digest


def _message_digest(parts: BundleParts, artifact: frozenset[Digest]) -> Digest:
    """The sha256 a message signature is over: the bundle's, which the signature then confirms, or the file's."""
    stated = parts.model.message_signature.message_digest if parts.model.message_signature else None
    if stated is not None:
        if stated.algorithm is not HashAlgorithm.SHA2_256:
            raise Unreadable(f"the message digest is {stated.algorithm.value}, not SHA2_256", where="bundle")
        return Digest.sha256(stated.digest.hex())
    known = [digest for digest in artifact if digest.algorithm is Algorithm.SHA256]
    if not known:
        raise Unreadable("the bundle does not say what it signs, and no sha256 is known of the file", where="bundle")
    return known[0]


def _signed_by_key(
    parts: BundleParts, key: TrustedKey, roots: Sequence[TrustRoot], artifact: frozenset[Digest]
) -> Verification:
    """A plain key proves itself; a log entry, when there is one, must be a named root's and must fit."""
    digest = _verify_signature(parts, key.key, key.der, artifact)
    root, signed_at, source = None, None, ""
    if parts.entry is not None or parts.as_foreign.verification_material.timestamp_verification_data:
        root = _root_of_log(parts, roots)
        times = root.verifier.established_times(parts.as_foreign)
        if times:
            signed_at = min(time.time for time in times)
            source = " and ".join(sorted({_TIME_SOURCES[time.source.name] for time in times}))
    identifier = parts.model.verification_material.public_key
    hint = printable(identifier.hint or "") if identifier is not None else ""
    found = _Found(
        signer=KeyIdentity(key.fingerprint, hint),
        digest=digest,
        signed_at=signed_at,
        time_source=source,
        trust_root=root.ref if root is not None else None,
        sct="a plain key has no certificate",
    )
    return _verified(parts, found)


def _root_of_log(parts: BundleParts, roots: Sequence[TrustRoot]) -> TrustRoot:
    """The root whose log holds the entry, or whose authority stamped it."""
    problem: Exception = Unreadable("no trust root here knows the log that this was logged in", where="bundle")
    for root in roots:
        try:
            if parts.entry is not None:
                if not root.has_logs:
                    continue
                root.verifier.verify_entry(parts.entry)
                root.verifier.verify_known_log(parts.entry)
            if parts.entry is not None or root.verifier.established_times(parts.as_foreign):
                return root
        except _HOSTILE as error:
            problem = error
    raise problem


@dataclass(frozen=True, slots=True)
class _Found:
    """What held: the signer, what was signed, when, and under which root."""

    signer: SignerIdentity | KeyIdentity
    digest: Digest | None
    signed_at: datetime | None
    time_source: str
    trust_root: TrustRootRef | None
    sct: str


def _verified(parts: BundleParts, found: _Found) -> Verification:
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
        Check(Step.SIGNATURE, CheckState.PASSED),
    )
    statement = None
    envelope = parts.model.dsse_envelope
    if envelope is not None:
        try:
            statement = _statement(envelope.payload_type, envelope.payload)
        except MalformedInput as error:
            failed = Check(Step.STATEMENT, CheckState.FAILED, error.what)
            return Verification(
                AttestationState.REJECTED, _sentence(error), (*checks, failed), VERIFIER, trust_root=found.trust_root
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
        raise MalformedInput(f"the payload type is {printable(payload_type)!r}, not {PAYLOAD_TYPE}", where="bundle")
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


def _step_of(error: Exception) -> Step:
    message = str(error)
    if isinstance(error, InvalidSignature):
        return Step.SIGNATURE
    if isinstance(error, CertValidationError):
        return Step.CERTIFICATE
    return next((step for start, step in _STEPS if message.startswith(start)), Step.CERTIFICATE)


def _sentence(error: Exception) -> str:
    if isinstance(error, PortalError):
        return printable(f"{error.what}.")
    if isinstance(error, InvalidSignature):
        return "The signature is not valid for what it should sign."
    return printable(f"{str(error).strip().rstrip('.') or type(error).__name__}.")


def _unreadable(error: Exception) -> Verification:
    reason = _sentence(error)
    checks = (Check(Step.READABLE, CheckState.FAILED, reason), *_not_reached(_SIGNED_STEPS))
    return Verification(AttestationState.UNREADABLE, reason, checks, VERIFIER)


def _rejected(step: Step, reason: str, trust_root: TrustRootRef | None) -> Verification:
    """Which step failed is told; of those before it only that they were readable."""
    others = [other for other in _SIGNED_STEPS if other is not step]
    checks = (
        Check(Step.READABLE, CheckState.PASSED),
        Check(step, CheckState.FAILED, reason),
        *_not_reached(others),
    )
    return Verification(AttestationState.REJECTED, reason, checks, VERIFIER, trust_root=trust_root)


def _not_reached(steps: Iterable[Step]) -> tuple[Check, ...]:
    return tuple(Check(step, CheckState.NOT_REACHED) for step in steps)
