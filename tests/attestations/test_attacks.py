"""Attacks on what ends ``verified`` and on what is told with it: logs, roots, policies, keys and the command."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attestations.domain.findings import Step, judge_bundle
from attestations.domain.policy import ClauseState, PublisherPolicy
from attestations.local_sigstore import Logging, TrustDomain
from attestations.sigstore_verifier import BundleVerifier, MalformedTrustRoot, TrustRoot
from builds.domain.digest import Digest
from builds.domain.evidence import AttestationState
from builds.domain.printable import one_line
from tee_portal.env import BASE_DIR
from tests.attestations.conftest import ARTIFACT, COMMIT, FILE, FILE_DIGEST, POLICY, WORKFLOW
from tests.attestations.test_policy import open_clauses, signer
from tests.support.bundles import changed, entry_of, failed_steps, key_signed, public_pem, statement_bytes
from tests.support.management import managed

SUBJECT = {"katana": FILE_DIGEST}
STRANGER = replace(
    WORKFLOW, repository="stranger/x", workflow=".github/workflows/x.yml", repository_id="6", owner_id="6"
)


def root_of(domain: TrustDomain, change: Any = None) -> BundleVerifier:
    data = domain.trusted_root()
    return BundleVerifier([TrustRoot.read("local", changed(data, change) if change is not None else data)])


def ended_yesterday(domain: TrustDomain) -> Any:
    def change(document: dict[str, Any]) -> None:
        end = (domain.now - timedelta(days=1)).isoformat().replace("+00:00", "Z")
        document["tlogs"][0]["publicKey"]["validFor"]["end"] = end

    return change


def test_a_policy_that_names_only_a_key_expects_no_certificate(domain: TrustDomain, verifier: BundleVerifier) -> None:
    """Anybody gets a certificate, and a fork has the release's very commit."""
    policy = PublisherPolicy(keys=("ab" * 32,), commit=COMMIT)
    finding = judge_bundle(verifier.verify(domain.attest(SUBJECT, STRANGER)), ARTIFACT, policy)
    assert finding.state is AttestationState.WRONG_IDENTITY
    assert {clause.name for clause in finding.clauses if not clause.holds} == {"public key"}


def test_a_policy_with_keys_and_a_publisher_still_takes_both(domain: TrustDomain, verifier: BundleVerifier) -> None:
    policy = replace(POLICY, keys=("ab" * 32,))
    finding = judge_bundle(verifier.verify(domain.attest(SUBJECT, WORKFLOW)), ARTIFACT, policy)
    assert finding.state is AttestationState.VERIFIED


@pytest.mark.parametrize("name", ["release-tee.yml@x.yml", "release-tee.yml@refs", "release-tee.yml@v1"])
def test_a_workflow_file_named_like_ours_with_a_ref_is_not_ours(name: str) -> None:
    """``release-tee.yml@x.yml`` is a file name that git and GitHub allow."""
    found = open_clauses(POLICY, signer(replace(WORKFLOW, workflow=f".github/workflows/{name}")))
    assert "workflow" in found


def test_a_reusable_workflow_is_named_whole_by_ref_or_by_commit() -> None:
    shared = "https://github.com/builders/shared/.github/workflows/attest.yml"
    named = replace(POLICY, build_signer=shared)
    for ref in ("refs/heads/main", "ab" * 20):
        assert open_clauses(named, signer(replace(WORKFLOW, signer_uri=f"{shared}@{ref}"))) == {}
    for evil in ("evil.yml@refs/heads/main", f"evil.yml@{'ab' * 20}", "evil"):
        identity = signer(replace(WORKFLOW, signer_uri=f"{shared}@{evil}"))
        assert open_clauses(named, identity) == {"build signer": ClauseState.UNMET}


@pytest.mark.parametrize(
    "repository",
    [
        "example/reference-enclave.evil",
        "example/reference-enclave/x",
        "github.com/example/reference-enclave",
        "exampIe/x",
    ],
)
def test_a_repository_that_looks_like_ours_is_not_ours(repository: str) -> None:
    assert "source repository" in open_clauses(POLICY, signer(replace(WORKFLOW, repository=repository)))


def test_an_issuer_that_looks_like_githubs_is_not_githubs() -> None:
    for issuer in ("https://token.actions.githubusercontent.com/", "https://TOKEN.actions.githubusercontent.com", ""):
        assert "OIDC issuer" in open_clauses(POLICY, signer(replace(WORKFLOW, issuer=issuer)))


def test_the_index_of_a_log_entry_is_proven_by_the_signed_tree_size() -> None:
    """Leaf 5 of 6 and leaf 3 of 4 have the same path; only the checkpoint says which tree it is."""
    domain = TrustDomain()
    signed = [domain.attest(SUBJECT, WORKFLOW, logging=Logging.REKOR_V2) for _ in range(6)][-1]
    verifier = root_of(domain)
    found = verifier.verify(signed)
    assert found.log is not None
    assert found.log.index == 5
    forged = changed(signed, lambda d: entry_of(d)["inclusionProof"].update(logIndex="3", treeSize="4"))
    refused = verifier.verify(forged)
    assert (refused.state, failed_steps(refused)) == (AttestationState.REJECTED, {Step.LOG})


def test_an_entry_of_one_log_cannot_name_another_of_the_same_root(domain: TrustDomain) -> None:
    """Ids of Rekor v2 are hashes of origin and key: sigstore finds no key by them and would try all."""
    identifier = hashlib.sha256(b"origin and key").digest()

    def two_logs(document: dict[str, Any]) -> None:
        second = copy.deepcopy(json.loads(TrustDomain("other").trusted_root())["tlogs"][0])
        second["logId"]["keyId"] = base64.b64encode(identifier).decode()
        document["tlogs"].append(second)

    def relabel(document: dict[str, Any]) -> None:
        entry = entry_of(document)
        entry["logId"]["keyId"] = base64.b64encode(identifier).decode()
        checkpoint = entry["inclusionProof"]["checkpoint"]
        note, _, signature = checkpoint["envelope"].rstrip("\n").rpartition(" ")
        hinted = identifier[:4] + base64.b64decode(signature)[4:]
        checkpoint["envelope"] = f"{note} {base64.b64encode(hinted).decode()}\n"

    verifier = root_of(domain, two_logs)
    signed = domain.attest(SUBJECT, WORKFLOW, logging=Logging.REKOR_V2)
    assert verifier.verify(signed).state is AttestationState.VERIFIED
    refused = verifier.verify(changed(signed, relabel))
    assert (refused.state, failed_steps(refused)) == (AttestationState.REJECTED, {Step.LOG})


@pytest.mark.parametrize("integrated", [None, "1", "1700000000"])
def test_an_ended_log_is_not_revived_by_leaving_its_time_out_or_making_it_up(
    domain: TrustDomain, integrated: str | None
) -> None:
    verifier = root_of(domain, ended_yesterday(domain))
    signed = domain.attest(SUBJECT, WORKFLOW, logging=Logging.REKOR_V2)
    if integrated is not None:
        signed = changed(signed, lambda d: entry_of(d).update(integratedTime=integrated))
    refused = verifier.verify(signed)
    assert (refused.state, failed_steps(refused)) == (AttestationState.REJECTED, {Step.LOG})


def test_a_time_that_nobody_promised_is_neither_believed_nor_shown(
    domain: TrustDomain, verifier: BundleVerifier
) -> None:
    signed = domain.attest(SUBJECT, WORKFLOW, logging=Logging.REKOR_V2)
    for change in ({"integratedTime": "1"}, {"logIndex": "77"}, {"inclusionPromise": {"signedEntryTimestamp": "AAAA"}}):
        found = verifier.verify(changed(signed, lambda d, change=change: entry_of(d).update(change)))
        assert found.log == verifier.verify(signed).log
        assert found.signed_at == domain.now


def test_a_logged_root_and_a_logless_one_of_the_same_names_stay_apart(logless_domain: TrustDomain) -> None:
    twin = TrustDomain(logless_domain.name)
    verifier = BundleVerifier(
        [TrustRoot.read("twin", twin.trusted_root()), TrustRoot.read("logless", logless_domain.trusted_root())]
    )
    found = verifier.verify(logless_domain.attest(SUBJECT, WORKFLOW, logging=Logging.TIMESTAMP_ONLY))
    assert found.trust_root is not None
    assert found.trust_root.name == "logless"
    unlogged = twin.attest(SUBJECT, WORKFLOW, logging=Logging.TIMESTAMP_ONLY)
    assert verifier.verify(unlogged).state is AttestationState.REJECTED


def test_an_entry_of_a_foreign_log_does_not_pass_under_a_logless_root(
    domain: TrustDomain, logless_domain: TrustDomain
) -> None:
    entries = json.loads(domain.attest(SUBJECT, WORKFLOW))["verificationMaterial"]["tlogEntries"]
    signed = logless_domain.attest(SUBJECT, WORKFLOW, logging=Logging.TIMESTAMP_ONLY)
    forged = changed(signed, lambda d: d["verificationMaterial"].update(tlogEntries=entries))
    assert root_of(logless_domain).verify(forged).state is AttestationState.REJECTED


def test_a_subject_whose_other_digest_contradicts_covers_nothing(domain: TrustDomain, verifier: BundleVerifier) -> None:
    statement = json.loads(statement_bytes(domain.attest(SUBJECT, WORKFLOW)))
    statement["subject"][0]["digest"]["sha384"] = "0" * 96
    signed = domain.sign_payload(json.dumps(statement).encode(), WORKFLOW.san, WORKFLOW.claims)
    known = frozenset({FILE_DIGEST, Digest.sha384(hashlib.sha384(FILE).hexdigest())})
    finding = judge_bundle(verifier.verify(signed), replace(ARTIFACT, content=known), POLICY)
    assert finding.state is AttestationState.REJECTED


@pytest.mark.parametrize("hidden", ["\x1b[2J", "\x9b2J", "\u202e", "\u2066", "\u2028", "\x85"])
def test_what_terminals_obey_and_what_turns_text_around_is_not_shown(hidden: str) -> None:
    assert not set(hidden[:1]) & set(one_line(f"refs/tags/{hidden}v1"))


def test_a_trust_root_with_a_certificate_of_no_version_is_malformed(domain: TrustDomain) -> None:
    def spoil(document: dict[str, Any]) -> None:
        certificate = document["certificateAuthorities"][0]["certChain"]["certificates"][0]
        der = bytearray(base64.b64decode(certificate["rawBytes"]))
        place = der.index(b"\xa0\x03\x02\x01\x02") + 4
        der[place] = 116
        certificate["rawBytes"] = base64.b64encode(bytes(der)).decode()

    with pytest.raises(MalformedTrustRoot):
        TrustRoot.read("x", changed(domain.trusted_root(), spoil))


@pytest.fixture
def files(domain: TrustDomain, bundle: bytes, tmp_path: Path) -> Path:
    (tmp_path / "root.json").write_bytes(domain.trusted_root())
    (tmp_path / "bundle.json").write_bytes(bundle)
    (tmp_path / "file").write_bytes(FILE)
    (tmp_path / "key.pem").write_bytes(public_pem("p256"))
    (tmp_path / "keyed.json").write_bytes(key_signed("p256", statement_bytes(bundle)))
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def arguments_for(*more: str, bundle: str = "bundle.json", root: str = "root.json") -> list[str]:
    about = [] if "--digest" in more else ["--artifact", "file"]
    return ["verify_bundle", bundle, "--trusted-root", root, *about, *more]


def exit_of(files: Path, *more: str, bundle: str = "bundle.json", root: str = "root.json") -> int:
    """Of a process of its own, which may wait for ever."""
    command = [sys.executable, str(BASE_DIR / "manage.py"), *arguments_for(*more, bundle=bundle, root=root)]
    return subprocess.run(command, cwd=files, capture_output=True, timeout=20, check=False).returncode


OURS = ("--repository", "example/reference-enclave")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--repository", ""), 3),
        ((*OURS, "--commit", ""), 3),
        ((*OURS, "--workflow", ""), 3),
        (("--digest", ""), 3),
        (("--traceback", "--repository", "x"), 3),
        ((*OURS, "--commit", COMMIT), 0),
        ((*OURS, "--commit", COMMIT[:39]), 3),
        ((*OURS, "--commit", "0" * 40), 1),
        ((*OURS, "--workflow", "release-tee.yml"), 3),
        (("--key", "key.pem"), 1),
        (("--key", "key.pem", *OURS), 0),
        (("--digest", f"sha512:{hashlib.sha512(FILE).hexdigest()}"), 1),
    ],
)
def test_the_commands_exit_never_asks_for_less_than_was_typed(
    files: Path, arguments: tuple[str, ...], expected: int
) -> None:
    assert managed(files, *arguments_for(*arguments)).returncode == expected


def test_the_command_waits_on_no_pipe_and_takes_the_named_key(files: Path) -> None:
    assert exit_of(files, bundle="pipe") == 3
    assert exit_of(files, root="pipe") == 3
    assert exit_of(files, "--key", "pipe") == 3
    assert exit_of(files, "--key", "key.pem", bundle="keyed.json") == 0


def test_a_key_is_known_by_its_fingerprint_and_not_by_its_hint(verifier: BundleVerifier, bundle: bytes) -> None:
    signed = changed(
        key_signed("p384", statement_bytes(bundle)),
        lambda d: d["verificationMaterial"].update(publicKey={"hint": hashlib.sha256(public_pem("p256")).hexdigest()}),
    )
    assert verifier.verify(signed).state is AttestationState.REJECTED


def test_a_long_ref_or_name_takes_no_long_time() -> None:
    """Every star of a pattern would multiply the time, and so would every path in a name."""
    dashes = "refs/tags/v" + "-." * 120 + "/"
    policy = replace(POLICY, ref="refs/tags/v*.*.*-*.*.*-*-*", workflow=".github/workflows/a.yml")
    name = "https://" + "/.github/workflows/a" * 6000
    began = time.monotonic()
    found = open_clauses(policy, signer(source_ref=dashes, ref_v1=dashes, build_config_uri=name))
    assert time.monotonic() - began < 1
    assert {"ref", "workflow"} <= set(found)


def test_a_checkpoint_of_a_thousand_signatures_is_not_read(verifier: BundleVerifier, bundle: bytes) -> None:
    def swell(document: dict[str, Any]) -> None:
        checkpoint = entry_of(document)["inclusionProof"]["checkpoint"]
        note, _, signature = checkpoint["envelope"].rpartition("\n\n")
        checkpoint["envelope"] = f"{note}\n\n" + "\N{EM DASH} x AAAAAAAA\n" * 20_000 + signature

    assert verifier.verify(changed(bundle, swell)).state is AttestationState.UNREADABLE
