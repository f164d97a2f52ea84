"""What a log entry's body says: it must speak of this signature, by this signer, over these bytes."""

from __future__ import annotations

import base64
import json

from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificate
from sigstore.errors import VerificationError

from attestations.sigstore_verifier.additions import AnyEntry, public_der


def verify_entry_body(entry: AnyEntry, sha256: bytes, signature: bytes, verifier: bytes) -> None:
    """The logged body must speak of this signature, by this signer, over these bytes (CVE-2022-36056).

    ``sha256`` is of the DSSE payload (of its PAE for hashedrekord), or of the message; ``verifier`` is the DER
    of certificate or public key.
    Body formats: rekor pkg/types, intoto 0.0.2, dsse 0.0.1, hashedrekord 0.0.1; rekor-tiles hashedrekord 0.0.2.
    """
    kind = (entry._inner.kind_version.kind, entry._inner.kind_version.version)
    document = json.loads(entry._inner.canonicalized_body)
    if (document["kind"], document["apiVersion"]) != kind:
        raise VerificationError("transparency log entry is inconsistent with other materials: kind")
    logged_hash, signatures = _logged(kind, document["spec"])
    if logged_hash != sha256:
        raise VerificationError("transparency log entry is inconsistent with other materials: hash")
    if signatures != [(signature, verifier)]:
        raise VerificationError("transparency log entry is inconsistent with other materials: signature or signer")


def _logged(kind: tuple[str, str], spec: dict[str, dict[str, object]]) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The logged sha256 and the logged (signature, DER of the signer) pairs."""
    body: dict = spec  # type: ignore[type-arg]  # foreign JSON: whatever is missing raises a LookupError or TypeError
    match kind:
        case ("intoto", "0.0.2"):
            content = body["content"]
            pairs = [
                (_b64(_b64(entry["sig"])), _pem_to_der(_b64(entry["publicKey"])))
                for entry in content["envelope"]["signatures"]
            ]
            return _sha256(content["payloadHash"]), pairs
        case ("dsse", "0.0.1"):
            pairs = [(_b64(entry["signature"]), _pem_to_der(_b64(entry["verifier"]))) for entry in body["signatures"]]
            return _sha256(body["payloadHash"]), pairs
        case ("hashedrekord", "0.0.1"):
            logged = body["signature"]
            pair = (_b64(logged["content"]), _pem_to_der(_b64(logged["publicKey"]["content"])))
            return _sha256(body["data"]["hash"]), [pair]
        case ("hashedrekord", "0.0.2"):
            inner = body["hashedRekordV002"]
            if inner["data"]["algorithm"] != "SHA2_256":
                raise VerificationError("transparency log entry is inconsistent with other materials: algorithm")
            verifier = inner["signature"]["verifier"]
            der = verifier.get("publicKey", verifier.get("x509Certificate"))["rawBytes"]
            return _b64(inner["data"]["digest"]), [(_b64(inner["signature"]["content"]), _b64(der))]
        case _:
            raise VerificationError(f"Unsupported log entry type: {kind[0]}/{kind[1]}")


def hashes_pae(entry: AnyEntry) -> bool:
    """Whether a DSSE envelope is logged by its PAE (as a hashedrekord) rather than by its payload."""
    return bool(entry._inner.kind_version.kind == "hashedrekord")


def _sha256(entry: dict[str, str]) -> bytes:
    if entry["algorithm"] != "sha256":
        raise VerificationError("transparency log entry is inconsistent with other materials: algorithm")
    return bytes.fromhex(entry["value"])


def _b64(text: str | bytes) -> bytes:
    return base64.b64decode(text, validate=True)


def _pem_to_der(pem: bytes) -> bytes:
    if b"-----BEGIN CERTIFICATE-----" in pem:
        return load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    return public_der(serialization.load_pem_public_key(pem))
