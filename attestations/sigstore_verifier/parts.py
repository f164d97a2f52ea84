"""A bundle taken apart: strict JSON first, then sigstore's models; what cannot be read is ``Unreadable``."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.x509 import (
    Certificate,
    ExtensionNotFound,
    ObjectIdentifier,
    OtherName,
    RFC822Name,
    SubjectAlternativeName,
    UniformResourceIdentifier,
    load_der_x509_certificate,
)
from sigstore._internal.timestamp import TimestampVerificationResult
from sigstore.dsse import _pae
from sigstore.models import VerificationMaterial
from sigstore_models.bundle import v1 as bundle_v1

from attestations.domain.identity import EXTENSIONS, FIRST_DER_EXTENSION, FULCIO_ARC, SignerIdentity
from attestations.sigstore_verifier.additions import AnyEntry, ForeignBundle, PromisedEntryModel, TimedBundle
from builds.domain.errors import MalformedInput
from builds.domain.printable import one_line
from builds.domain.strict_json import load_object

# A stranger's odd certificate is judged, not told to the operator on stderr.
for _oddity in ("Attribute's length must be", "Parsed a", "The parsed certificate contains"):
    warnings.filterwarnings("ignore", message=_oddity, category=UserWarning)

MAX_BUNDLE_BYTES = 1024 * 1024
# The most entries any bundle of the field has is one, and certificates three.
_MAX_PARTS = 32

# Only this format lets a promise of inclusion stand for the proof (protobuf-specs, sigstore_bundle.proto).
_PROMISES_SUFFICE = "application/vnd.dev.sigstore.bundle+json;version=0.1"

_UTF8_STRING = b"\x0c"
_LONG_FORM = 0x80


class Unreadable(MalformedInput):
    """Bytes that are no bundle, or a kind of bundle that nobody here can check."""

    code = "unreadable-bundle"
    default_todo = "Ask the publisher for a Sigstore bundle of version 0.1, 0.2 or 0.3."


@dataclass(frozen=True)
class BundleParts:
    """A readable bundle: the model, its single log entry if any, and its leaf certificate if any."""

    model: bundle_v1.Bundle
    entry: AnyEntry | None
    certificate: Certificate | None
    standard: TimedBundle | None
    """sigstore's own object, for bundles that it reads itself."""

    @property
    def times(self) -> Sequence[TimestampVerificationResult]:
        """The proven times of a standard bundle, once it is verified; empty before, and for others."""
        return self.standard.times if self.standard is not None else ()

    @property
    def signature(self) -> bytes:
        if self.model.dsse_envelope is not None:
            return bytes(self.model.dsse_envelope.signatures[0].sig)
        assert self.model.message_signature is not None  # noqa: S101 - the model demands one of the two
        return bytes(self.model.message_signature.signature)

    @property
    def pae(self) -> bytes:
        """The bytes a DSSE signature covers (DSSE v1.0.2, protocol.md)."""
        envelope = self.model.dsse_envelope
        assert envelope is not None  # noqa: S101 - asked for envelopes only
        return bytes(_pae(envelope.payload_type, envelope.payload))

    @property
    def as_foreign(self) -> ForeignBundle:
        return ForeignBundle(VerificationMaterial(self.model.verification_material), self.signature, self.entry)


def read_bundle(data: bytes) -> BundleParts:
    """Take a bundle apart. Raises ``Unreadable``, and whatever sigstore's models raise on hostile input."""
    document = load_object(data, max_bytes=MAX_BUNDLE_BYTES, where="bundle", error_type=Unreadable)
    material = document.get("verificationMaterial")
    if not isinstance(material, dict):
        raise Unreadable("the document has no verificationMaterial, so it is no Sigstore bundle", where="bundle")
    entries = material.get("tlogEntries") or []
    if not isinstance(entries, list) or len(entries) > 1:
        raise Unreadable("the bundle holds more than one log entry", where="bundle")
    _refuse_crowds(material)
    if _is_standard(material, entries):
        standard = TimedBundle(bundle_v1.Bundle.from_json(data))
        return BundleParts(standard._inner, standard.log_entry, standard.signing_certificate, standard)
    model = bundle_v1.Bundle.from_json(json.dumps(_without_entries(document, material)))
    _one_signature(model)
    promised = AnyEntry(PromisedEntryModel.from_json(json.dumps(entries[0]))) if entries else None
    if promised is not None and not promised.has_proof and model.media_type != _PROMISES_SUFFICE:
        raise Unreadable(
            "bundles after v0.1 hold an inclusion proof with checkpoint; this one does not", where="bundle"
        )
    return BundleParts(model, promised, _leaf(model.verification_material), None)


def _is_standard(material: Mapping[str, Any], entries: list[Any]) -> bool:
    """Whether sigstore-python reads the bundle itself, so that nothing of ours takes part."""
    if not entries or "publicKey" in material or not isinstance(entries[0], dict):
        return False
    proof = entries[0].get("inclusionProof")
    kind = entries[0].get("kindVersion")
    is_intoto = isinstance(kind, dict) and kind.get("kind") == "intoto"
    return isinstance(proof, dict) and bool(proof.get("checkpoint")) and not is_intoto


def _without_entries(document: Mapping[str, Any], material: Mapping[str, Any]) -> dict[str, Any]:
    return {**document, "verificationMaterial": {**material, "tlogEntries": []}}


def _refuse_crowds(material: Mapping[str, Any]) -> None:
    """Before anything is decoded: thousands of certificates or timestamps are an attack on our time."""
    chain = material.get("x509CertificateChain")
    stamps = material.get("timestampVerificationData")
    for name, holder, key in (
        ("certificates", chain, "certificates"),
        ("timestamps", stamps, "rfc3161Timestamps"),
    ):
        crowd = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(crowd, list) and len(crowd) > _MAX_PARTS:
            raise Unreadable(f"the bundle holds more than {_MAX_PARTS} {name}", where="bundle")


def _one_signature(model: bundle_v1.Bundle) -> None:
    envelope = model.dsse_envelope
    if envelope is not None and (len(envelope.signatures) != 1 or not envelope.signatures[0].sig):
        raise Unreadable("the envelope does not hold exactly one signature", where="bundle")


def _leaf(material: bundle_v1.VerificationMaterial) -> Certificate | None:
    """The signing certificate: the only one of v0.3, the first of the chain before."""
    if material.certificate is not None:
        return load_der_x509_certificate(material.certificate.raw_bytes)
    if material.x509_certificate_chain is not None:
        certificates = material.x509_certificate_chain.certificates
        if not certificates:
            raise Unreadable("the bundle's certificate chain is empty", where="bundle")
        return load_der_x509_certificate(certificates[0].raw_bytes)
    return None


_CLAIMS = {ObjectIdentifier(f"{FULCIO_ARC}.{number}"): (number, name) for number, name in EXTENSIONS.items()}


def signer_of(certificate: Certificate) -> SignerIdentity:
    """The identity a (verified) Fulcio certificate states.

    ``ValueError`` for text that would have to be changed to be shown: such a claim is refused instead.
    """
    claims = {}
    for extension in certificate.extensions:
        known = _CLAIMS.get(extension.oid)
        if known is not None:
            number, name = known
            raw: bytes = extension.value.value  # Fulcio's extensions are unrecognized ones
            claims[name] = (raw if number < FIRST_DER_EXTENSION else _utf8_string(raw)).decode("utf-8")
    together = "".join(claims.values())
    if one_line(together, len(together)) != together:
        raise ValueError("an extension of the certificate holds unprintable text")
    return SignerIdentity(_subject_name(certificate), claims)


def _subject_name(certificate: Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return ""
    found = [*names.get_values_for_type(UniformResourceIdentifier), *names.get_values_for_type(RFC822Name)]
    found.extend(
        _utf8_string(other.value).decode("utf-8")
        for other in names.get_values_for_type(OtherName)
        if other.type_id == ObjectIdentifier(f"{FULCIO_ARC}.7")
    )
    # Fulcio gives exactly one; of several, no one can be said to be the signer.
    return one_line(found[0], 2000) if len(found) == 1 else ""


def _utf8_string(der: bytes) -> bytes:
    """The content of a DER UTF8String (X.690, 8.1.3 and 8.23); ``ValueError`` for anything else."""
    if der[:1] != _UTF8_STRING:
        raise ValueError("an extension of the certificate is no UTF8String")
    length, start = der[1], 2
    if length & _LONG_FORM:
        octets = length & ~_LONG_FORM
        length, start = int.from_bytes(der[2 : 2 + octets], "big"), 2 + octets
    if len(der) != start + length:
        raise ValueError("an extension of the certificate has another length than it states")
    return der[start:]
