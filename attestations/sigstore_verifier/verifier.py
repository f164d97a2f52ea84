"""Bundles in, verifications out: every foreign error becomes ``rejected`` or ``unreadable``, with its reason."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import (
    Certificate,
    DuplicateExtension,
    ExtensionNotFound,
    InvalidVersion,
    UnsupportedGeneralNameType,
)
from sigstore.errors import Error as SigstoreError
from sigstore.hashes import Hashed
from sigstore_models.common.v1 import HashAlgorithm

from attestations.domain.findings import Step, Verification
from attestations.domain.identity import KeyIdentity
from attestations.sigstore_verifier.additions import (
    LenientVerifier,
    PublicKey,
    public_der,
    verify_digest_with_key,
    verify_with_key,
)
from attestations.sigstore_verifier.entry_body import hashes_pae, verify_entry_body
from attestations.sigstore_verifier.outcome import Proven, rejected, sentence_of, step_of, unreadable, verified
from attestations.sigstore_verifier.parts import BundleParts, Unreadable, read_bundle, signer_of
from attestations.sigstore_verifier.trust_root import TrustRoot
from builds.domain.digest import Algorithm, Digest
from builds.domain.errors import MalformedInput, PortalError
from builds.domain.evidence import AttestationState
from builds.domain.printable import one_line

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
            return unreadable(error)
        if parts.certificate is None:
            return self._by_key(parts, frozenset(artifact))
        try:
            return self._by_certificate(parts, parts.certificate, frozenset(artifact))
        except _HOSTILE as error:
            return unreadable(error)

    def _by_certificate(
        self, parts: BundleParts, certificate: Certificate, artifact: frozenset[Digest]
    ) -> Verification:
        """Under the only root, or under those that name the certificate's issuer."""
        roots = self._roots
        if len(roots) > 1:
            issuer = certificate.issuer
            roots = tuple(root for root in roots if issuer in root.issuers)
        result = None
        for root in roots:
            result = _under_root(parts, root, artifact)
            if result.state is AttestationState.VERIFIED:
                return result
        if result is not None and certificate.issuer in roots[0].issuers:
            return result
        named = one_line(certificate.issuer.rfc4514_string())
        used = ", ".join(root.name for root in self._roots)
        reason = f"The certificate was issued by {named!r}, which is in no trust root used here ({used})."
        return rejected(Step.CERTIFICATE, reason, None)

    def _by_key(self, parts: BundleParts, artifact: frozenset[Digest]) -> Verification:
        if not self._keys:
            return rejected(Step.SIGNATURE, "A plain key signed this, and no key is expected here.", None)
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
        return rejected(step_of(error), sentence_of(error), None)


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
    times = parts.times or verifier.established_times(parts.as_foreign)
    if parts.entry is not None:
        verifier.verify_known_log(parts.entry, times)
    found = Proven(
        signer=signer_of(certificate),
        digest=digest,
        signed_at=min(time.time for time in times),
        time_source=" and ".join(sorted({_TIME_SOURCES[time.source.name] for time in times})),
        trust_root=root.ref,
        sct="" if root.trusted_root._inner.ctlogs else "this trust root names no certificate log",
    )
    return verified(parts, found)


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
    hint = one_line(identifier.hint or "") if identifier is not None else ""
    found = Proven(
        signer=KeyIdentity(key.fingerprint, hint),
        digest=digest,
        signed_at=signed_at,
        time_source=source,
        trust_root=root.ref if root is not None else None,
        sct="a plain key has no certificate",
    )
    return verified(parts, found)


def _root_of_log(parts: BundleParts, roots: Sequence[TrustRoot]) -> TrustRoot:
    """The root whose log holds the entry, or whose authority stamped it."""
    problem: Exception = Unreadable("no trust root here knows the log that this was logged in", where="bundle")
    for root in roots:
        try:
            if parts.entry is not None:
                if not root.has_logs:
                    continue
                root.verifier.verify_entry(parts.entry)
                root.verifier.verify_known_log(parts.entry, root.verifier.established_times(parts.as_foreign))
            if parts.entry is not None or root.verifier.established_times(parts.as_foreign):
                return root
        except _HOSTILE as error:
            problem = error
    raise problem
