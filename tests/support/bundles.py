"""Bundles changed and signed by hand, for tests of what verifies them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestations.domain.findings import CheckState, Step, Verification

BUNDLE_V03 = "application/vnd.dev.sigstore.bundle.v0.3+json"


def changed(bundle: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(bundle)
    change(document)
    return json.dumps(document).encode()


def entry_of(document: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = document["verificationMaterial"]["tlogEntries"][0]
    return entry


def failed_steps(verification: Verification) -> set[Step]:
    return {check.step for check in verification.checks if check.state is CheckState.FAILED}


KEYS = {
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa": rsa.generate_private_key(65537, 2048),
}


def key_signed(name: str, payload: bytes) -> bytes:
    """A bundle by a plain key, as cosign writes it with --key and without a log."""
    payload_type = "application/vnd.in-toto+json"
    pae = f"DSSEv1 {len(payload_type)} {payload_type} {len(payload)} ".encode() + payload
    key = KEYS[name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        signature = key.sign(pae)
    elif isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(pae, PKCS1v15(), SHA256())
    else:
        signature = key.sign(pae, ec.ECDSA(SHA256() if name == "p256" else SHA384()))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"sig": base64.b64encode(signature).decode()}],
    }
    material = {"publicKey": {"hint": "our key"}}
    return json.dumps({"mediaType": BUNDLE_V03, "verificationMaterial": material, "dsseEnvelope": envelope}).encode()


def public_pem(name: str) -> bytes:
    return KEYS[name].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def statement_bytes(bundle: bytes) -> bytes:
    return base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"])
