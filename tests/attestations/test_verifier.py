"""The verifier against good bundles of every style, hostile ones, and what sigstore-python itself says."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sigstore
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import AnyOf

from attestations.domain.findings import Step, judge_bundle
from attestations.domain.identity import SignerIdentity
from attestations.domain.policy import PublisherPolicy
from attestations.local_sigstore import Logging, TrustDomain
from attestations.sigstore_verifier import BundleVerifier, TrustRoot
from attestations.sigstore_verifier.additions import WRITTEN_FOR, AnyEntry
from builds.domain.digest import Digest
from builds.domain.evidence import AttestationState
from tests.attestations.conftest import ARTIFACT, COMMIT, FILE, FILE_DIGEST, POLICY, WORKFLOW
from tests.support.bundles import changed, entry_of, failed_steps

BUNDLE_V01 = "application/vnd.dev.sigstore.bundle+json;version=0.1"

BUNDLE_V02 = "application/vnd.dev.sigstore.bundle+json;version=0.2"


def test_the_additions_are_for_the_installed_sigstore() -> None:
    """They use its private parts: read its change log and these additions again before moving this."""
    assert sigstore.__version__ == WRITTEN_FOR


@pytest.mark.parametrize("style", [Logging.REKOR_V1, Logging.REKOR_V2])
def test_the_unmodified_sigstore_verifier_accepts_the_local_domain(
    domain: TrustDomain, tmp_path: Path, style: Logging
) -> None:
    path = tmp_path / "trusted_root.json"
    document = json.loads(domain.trusted_root())
    path.write_text(json.dumps(document))
    bare = Verifier(trusted_root=TrustedRoot.from_file(str(path)))
    signed = domain.attest({"katana": FILE_DIGEST}, WORKFLOW, logging=style)
    kind, _ = bare.verify_dsse(Bundle.from_json(signed), AnyOf([_Anyone()]))
    assert kind == "application/vnd.in-toto+json"
    bare.verify_artifact(FILE, Bundle.from_json(domain.sign_message(FILE, WORKFLOW, logging=style)), AnyOf([_Anyone()]))


class _Anyone:
    def verify(self, cert: object) -> None:
        pass


@pytest.mark.parametrize("style", list(Logging))
@pytest.mark.parametrize("is_statement", [True, False])
def test_every_style_of_bundle_verifies_and_names_its_root_and_time(
    domain: TrustDomain, logless_domain: TrustDomain, verifier: BundleVerifier, style: Logging, is_statement: bool
) -> None:
    issuer = logless_domain if style is Logging.TIMESTAMP_ONLY else domain
    if is_statement:
        signed = issuer.attest({"katana": FILE_DIGEST}, WORKFLOW, logging=style)
    else:
        signed = issuer.sign_message(FILE, WORKFLOW, logging=style)
    found = verifier.verify(signed)
    assert found.state is AttestationState.VERIFIED, found.reason
    assert found.trust_root is not None
    assert found.trust_root.name == ("logless" if style is Logging.TIMESTAMP_ONLY else "local")
    assert found.signed_at == issuer.now
    assert (found.log is None) == (style is Logging.TIMESTAMP_ONLY)
    policy = POLICY if is_statement else replace(POLICY, predicate_types=())
    assert judge_bundle(found, ARTIFACT, policy).state is AttestationState.VERIFIED


def test_all_claims_of_the_certificate_are_read(verifier: BundleVerifier, bundle: bytes) -> None:
    signer = verifier.verify(bundle).signer
    assert signer == SignerIdentity(WORKFLOW.san, WORKFLOW.claims)


def as_old_format(media_type: str) -> Callable[[dict[str, Any]], object]:
    def change(document: dict[str, Any]) -> None:
        material = document["verificationMaterial"]
        material["x509CertificateChain"] = {"certificates": [material.pop("certificate")]}
        document["mediaType"] = media_type

    return change


@pytest.mark.parametrize("media_type", [BUNDLE_V01, BUNDLE_V02])
def test_older_bundle_formats_verify(verifier: BundleVerifier, bundle: bytes, media_type: str) -> None:
    assert verifier.verify(changed(bundle, as_old_format(media_type))).state is AttestationState.VERIFIED


def test_a_bundle_v01_may_hold_a_promise_without_proof_and_says_so(verifier: BundleVerifier, bundle: bytes) -> None:
    def promise_only(document: dict[str, Any]) -> None:
        as_old_format(BUNDLE_V01)(document)
        del entry_of(document)["inclusionProof"]

    found = verifier.verify(changed(bundle, promise_only))
    assert found.state is AttestationState.VERIFIED, found.reason
    assert found.log is not None
    assert found.log.inclusion == "inclusion promise"


def test_a_newer_bundle_without_proof_is_not_verified(verifier: BundleVerifier, bundle: bytes) -> None:
    for change in (
        lambda document: entry_of(document).pop("inclusionProof"),
        lambda document: entry_of(document)["inclusionProof"].pop("checkpoint"),
    ):
        assert verifier.verify(changed(bundle, change)).state is not AttestationState.VERIFIED


def test_neither_promise_nor_proof_is_not_verified(verifier: BundleVerifier, bundle: bytes) -> None:
    def nothing(document: dict[str, Any]) -> None:
        as_old_format(BUNDLE_V01)(document)
        del entry_of(document)["inclusionProof"]
        del entry_of(document)["inclusionPromise"]

    assert verifier.verify(changed(bundle, nothing)).state is not AttestationState.VERIFIED


def intoto_entry(domain: TrustDomain, bundle: bytes) -> bytes:
    """The same bundle, logged as npm's provenance was: kind intoto 0.0.2, signatures in base64 twice."""
    document = json.loads(bundle)
    envelope = document["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    der = base64.b64decode(document["verificationMaterial"]["certificate"]["rawBytes"])
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
    signature = {
        "sig": base64.b64encode(envelope["signatures"][0]["sig"].encode()).decode(),
        "publicKey": base64.b64encode(pem).decode(),
    }
    content = {
        "envelope": {"payloadType": envelope["payloadType"], "signatures": [signature]},
        "hash": {"algorithm": "sha256", "value": "00" * 32},
        "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
    }
    body = json.dumps({"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": content}}).encode()
    document["verificationMaterial"]["tlogEntries"] = [domain.log.append(body, ("intoto", "0.0.2"), domain.now)]
    return json.dumps(document).encode()


def test_an_intoto_entry_verifies_and_must_speak_of_this_signature(
    domain: TrustDomain, verifier: BundleVerifier, bundle: bytes
) -> None:
    good = intoto_entry(domain, bundle)
    found = verifier.verify(good)
    assert found.state is AttestationState.VERIFIED, found.reason
    assert found.log is not None
    assert found.log.kind == "intoto 0.0.2"
    other = intoto_entry(domain, domain.attest({"other": Digest.sha256("ab" * 32)}, WORKFLOW))
    stolen = changed(good, lambda document: entry_of(document).update(entry_of(json.loads(other))))
    refused = verifier.verify(stolen)
    assert refused.state is AttestationState.REJECTED
    assert failed_steps(refused) == {Step.LOG}


def test_a_log_entry_of_another_signature_is_refused(
    domain: TrustDomain, verifier: BundleVerifier, bundle: bytes
) -> None:
    other = json.loads(domain.attest({"other": Digest.sha256("ab" * 32)}, WORKFLOW))
    refused = verifier.verify(changed(bundle, lambda document: entry_of(document).update(entry_of(other))))
    assert (refused.state, failed_steps(refused)) == (AttestationState.REJECTED, {Step.LOG})


def test_a_root_with_a_log_never_accepts_a_bundle_that_was_not_logged(
    domain: TrustDomain, verifier: BundleVerifier
) -> None:
    refused = verifier.verify(domain.attest({"katana": FILE_DIGEST}, WORKFLOW, logging=Logging.TIMESTAMP_ONLY))
    assert refused.state is AttestationState.REJECTED
    assert "this trust root has a log" in refused.reason


def test_a_certificate_of_a_stranger_is_refused_by_name(verifier: BundleVerifier) -> None:
    stranger = TrustDomain("stranger")
    refused = verifier.verify(stranger.attest({"katana": FILE_DIGEST}, WORKFLOW))
    assert (refused.state, failed_steps(refused)) == (AttestationState.REJECTED, {Step.CERTIFICATE})
    assert "stranger: intermediate" in refused.reason
    twin = TrustDomain()  # the same names, other keys
    refused = verifier.verify(twin.attest({"katana": FILE_DIGEST}, WORKFLOW))
    assert (refused.state, failed_steps(refused)) == (AttestationState.REJECTED, {Step.CERTIFICATE})


def test_an_authority_is_believed_only_within_its_span(bundle: bytes, domain: TrustDomain) -> None:
    def ended(document: dict[str, Any]) -> None:
        end = (domain.now - timedelta(days=1)).astimezone(UTC).isoformat().replace("+00:00", "Z")
        document["certificateAuthorities"][0]["validFor"]["end"] = end

    root = TrustRoot.read("ended", changed(domain.trusted_root(), ended))
    refused = BundleVerifier([root]).verify(bundle)
    assert (refused.state, failed_steps(refused)) == (AttestationState.REJECTED, {Step.CERTIFICATE})
    assert "was not trusted at" in refused.reason


def test_a_log_is_believed_only_within_its_span(bundle: bytes, domain: TrustDomain) -> None:
    def ended(document: dict[str, Any]) -> None:
        end = (domain.now - timedelta(days=1)).isoformat().replace("+00:00", "Z")
        document["tlogs"][0]["publicKey"]["validFor"]["end"] = end

    root = TrustRoot.read("ended", changed(domain.trusted_root(), ended))
    refused = BundleVerifier([root]).verify(bundle)
    assert (refused.state, failed_steps(refused)) == (AttestationState.REJECTED, {Step.LOG})


def test_a_signature_outside_the_certificates_ten_minutes_is_refused(domain: TrustDomain) -> None:
    later = replace_now(domain, domain.now + timedelta(hours=1))
    document = json.loads(domain.attest({"katana": FILE_DIGEST}, WORKFLOW))
    entry = entry_of(document)
    body = base64.b64decode(entry["canonicalizedBody"])
    entry.update(domain.log.append(body, ("dsse", "0.0.1"), later))
    root = TrustRoot.read("local", domain.trusted_root())
    refused = BundleVerifier([root]).verify(json.dumps(document).encode())
    assert refused.state is AttestationState.REJECTED


def replace_now(domain: TrustDomain, at: datetime) -> datetime:
    assert at > domain.now
    return at


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (lambda d: d["dsseEnvelope"].update(payload=base64.b64encode(b"{}").decode()), Step.SIGNATURE),
        (lambda d: d["dsseEnvelope"].update(payloadType="text/plain"), Step.SIGNATURE),
        (lambda d: entry_of(d).update(logIndex="7"), Step.LOG),
        (lambda d: entry_of(d).update(integratedTime="1"), Step.CERTIFICATE),
        (lambda d: entry_of(d)["inclusionProof"].update(rootHash="AA=="), Step.LOG),
        (lambda d: entry_of(d)["kindVersion"].update(kind="hashedrekord"), Step.LOG),
    ],
)
def test_each_forged_part_is_refused_at_its_step(
    verifier: BundleVerifier, bundle: bytes, change: Callable[[dict[str, Any]], object], step: Step
) -> None:
    refused = verifier.verify(changed(bundle, change))
    assert (refused.state, failed_steps(refused)) == (AttestationState.REJECTED, {step}), refused.reason
    assert refused.signer is None
    assert refused.statement is None


def test_a_valid_signature_over_another_payload_type_or_statement_is_refused(
    domain: TrustDomain, verifier: BundleVerifier
) -> None:
    payload = json.dumps({"_type": "https://in-toto.io/Statement/v9"}).encode()
    refused = verifier.verify(domain.sign_payload(payload, WORKFLOW.san, WORKFLOW.claims))
    assert (refused.state, failed_steps(refused)) == (AttestationState.REJECTED, {Step.STATEMENT})
    refused = verifier.verify(domain.sign_payload(payload, WORKFLOW.san, WORKFLOW.claims, payload_type="text/plain"))
    assert (refused.state, failed_steps(refused)) == (AttestationState.REJECTED, {Step.STATEMENT})
    assert "payload type" in refused.reason


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"mediaType": "x", "mediaType": "y"}',
        b'{"verificationMaterial": {"tlogEntries": [{}, {}]}}',
        b"{" + b" " * (1024 * 1024) + b"}",
    ],
)
def test_what_is_no_bundle_is_unreadable(verifier: BundleVerifier, data: bytes) -> None:
    found = verifier.verify(data)
    assert found.state is AttestationState.UNREADABLE
    assert found.reason


def test_a_key_given_twice_makes_a_good_bundle_unreadable(verifier: BundleVerifier, bundle: bytes) -> None:
    twice = bundle.replace(b'"mediaType":', b'"mediaType": "x", "mediaType":', 1)
    assert verifier.verify(twice).state is AttestationState.UNREADABLE


def test_a_crowd_of_certificates_is_refused_before_any_is_decoded(verifier: BundleVerifier, bundle: bytes) -> None:
    def crowd(document: dict[str, Any]) -> None:
        as_old_format(BUNDLE_V01)(document)
        chain = document["verificationMaterial"]["x509CertificateChain"]
        chain["certificates"] = chain["certificates"] * 100

    assert verifier.verify(changed(bundle, crowd)).state is AttestationState.UNREADABLE


def test_the_wrong_workflow_is_wrong_identity_with_its_claims_shown(
    domain: TrustDomain, verifier: BundleVerifier
) -> None:
    wrong = replace(WORKFLOW, workflow=".github/workflows/anything.yml")
    finding = judge_bundle(verifier.verify(domain.attest({"katana": FILE_DIGEST}, wrong)), ARTIFACT, POLICY)
    assert finding.state is AttestationState.WRONG_IDENTITY
    assert "expected .github/workflows/release-tee.yml, found .github/workflows/anything.yml" in finding.reason
    assert finding.verification.signer is not None


def test_a_bundle_of_another_file_is_rejected_whoever_signed_it(verifier: BundleVerifier, domain: TrustDomain) -> None:
    other = domain.attest({"katana": Digest.sha256("ab" * 32)}, WORKFLOW)
    finding = judge_bundle(verifier.verify(other), ARTIFACT, POLICY)
    assert finding.state is AttestationState.REJECTED
    assert finding.checks[-1].step is Step.SUBJECT


def test_an_attested_container_covers_its_content_through_itself(verifier: BundleVerifier, domain: TrustDomain) -> None:
    container = Digest.sha256("cd" * 32)
    finding = judge_bundle(
        verifier.verify(domain.attest({"katana.tar.gz": container}, WORKFLOW)),
        replace(ARTIFACT, container=frozenset({container})),
        POLICY,
    )
    assert finding.state is AttestationState.VERIFIED
    assert finding.through == container


def test_an_incomplete_policy_verifies_nothing(verifier: BundleVerifier, bundle: bytes) -> None:
    finding = judge_bundle(verifier.verify(bundle), ARTIFACT, PublisherPolicy(commit=COMMIT))
    assert finding.state is AttestationState.UNCHECKED
    assert "which repository and workflow" in finding.reason


def test_what_a_promise_signs_is_what_sigstore_would_have_it_sign(domain: TrustDomain, bundle: bytes) -> None:
    standard = Bundle.from_json(bundle)
    theirs = standard.log_entry._encode_canonical()
    assert AnyEntry(standard.log_entry._inner)._encode_canonical() == theirs
    huge = changed(bundle, lambda document: entry_of(document).update(logIndex=str(2**60)))
    root = TrustRoot.read("local", domain.trusted_root())
    assert BundleVerifier([root]).verify(huge).state is AttestationState.REJECTED


def test_verifying_says_nothing_on_the_log(
    verifier: BundleVerifier, bundle: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        verifier.verify(bundle)
    assert caplog.records == []
