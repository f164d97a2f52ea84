"""Bundles by plain keys: verified when the key is named, and only then."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

import pytest

from attestations.domain.findings import judge_bundle
from attestations.domain.identity import KeyIdentity
from attestations.local_sigstore import TrustDomain
from attestations.sigstore_verifier import BundleVerifier, TrustRoot, read_public_key
from builds.domain.evidence import AttestationState
from tests.attestations.conftest import ARTIFACT, POLICY
from tests.support.bundles import KEYS, key_signed, public_pem, statement_bytes


@pytest.mark.parametrize("name", list(KEYS))
def test_plain_keys_verify_when_named_and_only_then(name: str, verifier: BundleVerifier, bundle: bytes) -> None:
    signed = key_signed(name, statement_bytes(bundle))
    trusted = read_public_key(public_pem(name))
    found = BundleVerifier([], [trusted]).verify(signed)
    assert found.state is AttestationState.VERIFIED, found.reason
    assert found.signer == KeyIdentity(trusted.fingerprint, "our key")
    named = replace(POLICY, keys=(trusted.fingerprint,))
    assert judge_bundle(found, ARTIFACT, named).state is AttestationState.VERIFIED
    assert judge_bundle(found, ARTIFACT, POLICY).state is AttestationState.WRONG_IDENTITY
    assert verifier.verify(signed).state is AttestationState.REJECTED
    others = [read_public_key(public_pem(other)) for other in KEYS if other != name]
    assert BundleVerifier([], others).verify(signed).state is AttestationState.REJECTED


def test_a_key_signed_bundle_with_a_log_entry_needs_a_root_that_knows_the_log(
    domain: TrustDomain, bundle: bytes
) -> None:
    document = json.loads(key_signed("p256", statement_bytes(bundle)))
    payload_hash = hashlib.sha256(statement_bytes(bundle)).hexdigest()
    signature = document["dsseEnvelope"]["signatures"][0]["sig"]
    spec = {
        "payloadHash": {"algorithm": "sha256", "value": payload_hash},
        "signatures": [{"signature": signature, "verifier": base64.b64encode(public_pem("p256")).decode()}],
    }
    body = json.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}).encode()
    document["verificationMaterial"]["tlogEntries"] = [domain.log.append(body, ("dsse", "0.0.1"), domain.now)]
    data = json.dumps(document).encode()
    key = read_public_key(public_pem("p256"))
    with_root = BundleVerifier([TrustRoot.read("local", domain.trusted_root())], [key]).verify(data)
    assert with_root.state is AttestationState.VERIFIED, with_root.reason
    assert with_root.signed_at == domain.now
    stranger = TrustRoot.read("stranger", TrustDomain("stranger").trusted_root())
    assert BundleVerifier([stranger], [key]).verify(data).state is AttestationState.REJECTED
    assert BundleVerifier([], [key]).verify(data).state is AttestationState.REJECTED
