"""What the field publishes and sigstore-python refuses, checked with sigstore-python's own parts.

Written for the version named in ``WRITTEN_FOR``; a test fails when the installed one moves, because these parts
are not its public interface. Four additions, and two checks that it leaves out:

* instances without a transparency log: GitHub's own, whose only time source is RFC 3161;
* log entries of kind intoto 0.0.2 (npm's provenance until 2024);
* bundles v0.1 that hold an inclusion promise and no checkpointed proof;
* signatures by plain keys;
* a certificate authority's word counts only within its ``validFor``, and so does a log's.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.x509 import (
    Certificate,
    ExtendedKeyUsage,
    KeyUsage,
    UnsupportedGeneralNameType,
    load_der_x509_certificate,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store
from cryptography.x509.verification import VerificationError as X509VerificationError
from sigstore._internal.sct import verify_sct
from sigstore._internal.timestamp import TimestampSource, TimestampVerificationResult
from sigstore._internal.trust import CertificateAuthority, CTKeyring, Key, Keyring, KeyringPurpose, RekorKeyring
from sigstore._utils import KeyID
from sigstore.errors import CertValidationError, VerificationError
from sigstore.models import Bundle, TransparencyLogEntry, TrustedRoot, VerificationMaterial
from sigstore.verify import Verifier
from sigstore_models.common.v1 import TimeRange
from sigstore_models.rekor.v1 import InclusionProof
from sigstore_models.rekor.v1 import TransparencyLogEntry as EntryModel
from sigstore_models.trustroot.v1 import TransparencyLogInstance

WRITTEN_FOR = "4.5.1"

_LARGEST_NUMBER = 2**53 - 1
# A kilobyte with some witnesses; each line of a longer one would be read as a signature, again and again.
_MAX_CHECKPOINT = 64 * 1024

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class PromisedEntryModel(EntryModel):
    """A log entry as bundle v0.1 allows it: with a promise of inclusion, and no proof yet."""

    inclusion_proof: InclusionProof | None = None  # type: ignore[assignment]


class AnyEntry(TransparencyLogEntry):
    """A log entry with a checkpointed proof, a promise, or both."""

    def _validate(self) -> None:
        if not self.has_proof and self._inner.inclusion_promise is None:
            raise VerificationError("the log entry holds neither an inclusion proof with checkpoint nor a promise")
        checkpoint = getattr(self._inner.inclusion_proof, "checkpoint", None)
        if checkpoint is not None and len(checkpoint.envelope) > _MAX_CHECKPOINT:
            raise VerificationError(f"the checkpoint is longer than {_MAX_CHECKPOINT} characters")

    def _encode_canonical(self) -> bytes:
        """What a promise signs: RFC 8785 of two whole numbers and two ASCII texts, which needs no library.

        Numbers beyond what RFC 8785 allows are refused, as the parent does.
        """
        inner = self._inner
        if inner.integrated_time is None or max(inner.integrated_time, inner.log_index) > _LARGEST_NUMBER:
            raise VerificationError("SET: the entry has no time, or a number that cannot be signed")
        payload = {
            "body": base64.b64encode(inner.canonicalized_body).decode(),
            "integratedTime": inner.integrated_time,
            "logID": inner.log_id.key_id.hex(),
            "logIndex": inner.log_index,
        }
        return json.dumps(payload, separators=(",", ":")).encode()

    @property
    def has_proof(self) -> bool:
        # The model says it is always there; ``PromisedEntryModel`` says otherwise.
        return getattr(self._inner.inclusion_proof, "checkpoint", None) is not None

    @property
    def is_promised(self) -> bool:
        """Whether its integrated time is there and signed; without a promise nobody vouches for it."""
        return bool(self._inner.integrated_time) and self._inner.inclusion_promise is not None

    def verify(self, keyring: RekorKeyring) -> None:
        if self.has_proof:
            self._verify(keyring)
        else:
            self._verify_set(keyring)

    def _verify(self, keyring: RekorKeyring) -> None:
        super()._verify(keyring)
        # sigstore compares the root hash only; the tree's size decides which index a proof is for.
        proof = self._inner.inclusion_proof
        signed_size = proof.checkpoint.envelope.split("\n", 2)[1]  # type: ignore[union-attr]  # the parent read it
        if signed_size != str(proof.tree_size):
            raise VerificationError("the proof is for a tree of another size than its checkpoint signs")


class NamedLogs(Keyring):
    """The keys of a root's logs, each for its own log id only.

    sigstore tries every key for an id that is not a plain hash of one (Rekor v2's are not), so that the id which a
    bundle tells would prove nothing.
    """

    def __init__(self, logs: Sequence[TransparencyLogInstance]) -> None:
        super().__init__([log.public_key for log in logs])
        self._by_id: dict[bytes, list[Key]] = {}
        for log in logs:
            self._by_id.setdefault(log.log_id.key_id, []).extend(Keyring([log.public_key])._keyring.values())

    def verify(self, *, key_id: KeyID, signature: bytes, data: bytes) -> None:
        for key in self._by_id.get(bytes(key_id), ()):
            try:
                key.verify(signature, data)
            except InvalidSignature:
                continue
            return
        raise VerificationError("not signed by the log it names")


class TimedBundle(Bundle):
    """sigstore's bundle, which remembers the times that its verifier found proven."""

    times: Sequence[TimestampVerificationResult] = ()

    def _verify(self) -> None:
        super()._verify()
        self._entry = AnyEntry(self._log_entry._inner)

    @property
    def log_entry(self) -> AnyEntry:
        return self._entry


@dataclass(frozen=True)
class ForeignBundle:
    """A bundle's parts, in the shape that sigstore's own steps ask for."""

    verification_material: VerificationMaterial
    signature: bytes
    entry: AnyEntry | None


class PreparedRoot(TrustedRoot):
    """A trusted root whose keys are decoded once instead of for every bundle."""

    @cached_property
    def _rekor_keys(self) -> RekorKeyring:
        return RekorKeyring(NamedLogs(self._inner.tlogs))

    @cached_property
    def _ct_keys(self) -> CTKeyring:
        return super().ct_keyring(KeyringPurpose.VERIFY)

    @cached_property
    def _stampers(self) -> list[CertificateAuthority]:
        return super().get_timestamp_authorities()

    def rekor_keyring(self, purpose: KeyringPurpose) -> RekorKeyring:
        return self._rekor_keys if purpose is KeyringPurpose.VERIFY else super().rekor_keyring(purpose)

    def ct_keyring(self, purpose: KeyringPurpose) -> CTKeyring:
        return self._ct_keys if purpose is KeyringPurpose.VERIFY else super().ct_keyring(purpose)

    def get_timestamp_authorities(self) -> list[CertificateAuthority]:
        return self._stampers


class LenientVerifier(Verifier):
    """sigstore's verifier, with validity spans of authorities, and steps for what it does not accept."""

    def __init__(self, trusted_root: TrustedRoot) -> None:
        # Not the parent's: it demands a log, and makes a network client that nobody needs.
        self._fulcio_certificate_chain = trusted_root.get_fulcio_certs()
        self._trusted_root = trusted_root
        self._spans = _spans(trusted_root)
        self._store = Store(self._fulcio_certificate_chain)
        # Fulcio's certificates are for code signing, not for clients; that is checked by itself.
        usage = (ExtendedKeyUsage, Criticality.NON_CRITICAL, None)
        self._ca_policy = ExtensionPolicy.webpki_defaults_ca().may_be_present(*usage)
        self._ee_policy = ExtensionPolicy.webpki_defaults_ee().may_be_present(*usage)

    def _verify_chain_at_time(
        self, certificate: Certificate, timestamp_result: TimestampVerificationResult
    ) -> list[Certificate]:
        """The parent's check, with its store and policies made once, and within the issuing authority's span."""
        at = timestamp_result.time
        builder = PolicyBuilder().store(self._store).time(at)
        verifier = builder.extension_policies(ca_policy=self._ca_policy, ee_policy=self._ee_policy)
        try:
            chain = verifier.build_client_verifier().verify(certificate, []).chain[1:]
        except (X509VerificationError, UnsupportedGeneralNameType) as error:
            raise CertValidationError(f"no chain to this trust root: {error}") from error
        spans = self._spans.get(chain[0], ())
        if not any(span.start <= at and (span.end is None or at <= span.end) for span in spans):
            raise CertValidationError(f"the certificate authority was not trusted at {at:%Y-%m-%d %H:%M:%S} UTC")
        return chain

    def _establish_time(self, bundle: Bundle) -> list[TimestampVerificationResult]:
        times = super()._establish_time(bundle)
        if isinstance(bundle, TimedBundle):
            bundle.times = times
        return times

    def established_times(self, bundle: ForeignBundle) -> list[TimestampVerificationResult]:
        """Every proven time; an integrated time counts when a promise signs it (``verify_entry`` checks that)."""
        times: list[TimestampVerificationResult] = []
        if bundle.verification_material.timestamp_verification_data:
            times.extend(self._verify_timestamp_authority(bundle))  # type: ignore[arg-type]
        entry = bundle.entry
        if entry is not None and entry._inner.integrated_time and entry._inner.inclusion_promise:
            at = datetime.fromtimestamp(entry._inner.integrated_time, tz=UTC)
            times.append(TimestampVerificationResult(source=TimestampSource.TRANSPARENCY_SERVICE, time=at))
        return times

    def verify_certificate(self, certificate: Certificate, bundle: ForeignBundle) -> None:
        """Time, chain, SCT, key usage and log, as sigstore does them; ``VerificationError`` says what failed."""
        times = self.established_times(bundle)
        if not times:
            raise VerificationError("not enough sources of verified time")
        chain: list[Certificate] = []
        for time in times:
            chain = self._verify_chain_at_time(certificate, time)
            if not certificate.not_valid_before_utc <= time.time <= certificate.not_valid_after_utc:
                raise VerificationError(f"invalid signing cert: expired at time of signing, time via {time}")
        self._verify_sct_if_logged(certificate, chain)
        if not certificate.extensions.get_extension_for_class(KeyUsage).value.digital_signature:
            raise VerificationError("Key usage is not of type `digital signature`")
        usages = certificate.extensions.get_extension_for_class(ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.CODE_SIGNING not in usages:
            raise VerificationError("Extended usage does not contain `code signing`")
        self.verify_entry(bundle.entry)

    def _verify_sct_if_logged(self, certificate: Certificate, chain: list[Certificate]) -> None:
        """Only a root that names no certificate log may go without SCT."""
        if not self._trusted_root._inner.ctlogs:
            return
        try:
            verify_sct(certificate, chain, self._trusted_root.ct_keyring(KeyringPurpose.VERIFY))
        except VerificationError as error:
            raise VerificationError(f"failed to verify SCT on signing certificate: {error}") from error

    def verify_entry(self, entry: AnyEntry | None) -> None:
        """Only a root that names no transparency log may go without an entry."""
        if entry is None:
            if self._trusted_root._inner.tlogs:
                raise VerificationError("invalid log entry: this trust root has a log, and the bundle no entry of it")
            return
        try:
            entry.verify(self._trusted_root.rekor_keyring(KeyringPurpose.VERIFY))
        except VerificationError as error:
            raise VerificationError(f"invalid log entry: {error}") from error

    def verify_known_log(self, entry: AnyEntry, times: Sequence[TimestampVerificationResult]) -> None:
        """The log that the (verified) entry names must have been trusted then: its ``validFor`` holds.

        An integrated time counts when it is promised; else ``times``, the proven ones, do.
        """
        logs = [log for log in self._trusted_root._inner.tlogs if log.log_id.key_id == entry._inner.log_id.key_id]
        moments = [time.time for time in times]
        if entry.is_promised:
            moments = [datetime.fromtimestamp(entry._inner.integrated_time or 0, tz=UTC)]
        if not any(_spans_all(log.public_key.valid_for, moments) for log in logs):
            when = f"at {min(moments):%Y-%m-%d %H:%M:%S} UTC" if moments else "for ever, and no time is proven"
            raise VerificationError(f"invalid log entry: the log was not trusted {when}")


def _spans_all(span: TimeRange | None, moments: Sequence[datetime]) -> bool:
    """Whether all moments lie within a span; when none is known, only a span without end can be said to hold."""
    if span is None:
        return True
    if not moments:
        return span.end is None
    return all(span.start <= at and (span.end is None or at <= span.end) for at in moments)


def verify_with_key(key: PublicKey, signature: bytes, message: bytes) -> None:
    """Verify by key type, as the field signs: ECDSA with the curve's hash, Ed25519, RSA PKCS#1 v1.5 with SHA-256.

    Raises ``cryptography.exceptions.InvalidSignature``.
    """
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, message)
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, PKCS1v15(), SHA256())
    else:
        key.verify(signature, message, ec.ECDSA(_curve_hash(key)))


def _curve_hash(key: ec.EllipticCurvePublicKey) -> HashAlgorithm:
    by_size: dict[int, HashAlgorithm] = {384: SHA384(), 521: SHA512()}
    return by_size.get(key.curve.key_size, SHA256())


def verify_digest_with_key(key: PublicKey, signature: bytes, sha256: bytes) -> None:
    """As ``verify_with_key``, for a message of which only the sha256 is known."""
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, sha256, PKCS1v15(), Prehashed(SHA256()))
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, sha256, ec.ECDSA(Prehashed(SHA256())))
    else:
        raise VerificationError("an Ed25519 key signs whole messages: its signature cannot be checked by digest")


def public_der(key: object) -> bytes:
    """The DER SubjectPublicKeyInfo of a key; ``TypeError`` for kinds that nobody signs with here."""
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise TypeError(f"keys of type {type(key).__name__} are not supported")
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _spans(root: TrustedRoot) -> dict[Certificate, list[TimeRange]]:
    """When each issuing certificate of the root was trusted; an authority may be listed again later."""
    spans: dict[Certificate, list[TimeRange]] = {}
    for authority in root._inner.certificate_authorities:
        for certificate in authority.cert_chain.certificates:
            spans.setdefault(load_der_x509_certificate(certificate.raw_bytes), []).append(authority.valid_for)
    return spans
