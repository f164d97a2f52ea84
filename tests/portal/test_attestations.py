"""Attestations in the portal: bundles kept as received, findings made anew, and every state told in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from django.db import IntegrityError, models, transaction
from django.test import Client

from attestations.local_sigstore import TrustDomain
from attestations.models import BundleRecord, ExpectedPublisher, FindingRecord, Inquiry, Sighting
from attestations.services import trust_roots, verification
from attestations.services.collecting import collect_from_directory
from attestations.services.standing import standings_of
from attestations.sigstore_verifier import MAX_BUNDLE_BYTES
from builds.domain.digest import Digest
from builds.domain.evidence import AttestationState
from builds.domain.roles import Role
from builds.models import Component, Rebuild, Release
from tests.portal.attested import WORKFLOW, attest_all, condition, digest_of, found_for, judged, state_of
from tests.portal.conftest import ROOT_NAME

pytestmark = pytest.mark.django_db


def test_the_expected_publishers_bundles_meet_the_condition(release: Release, domain: TrustDomain) -> None:
    attest_all(release, domain)
    assert condition(release) == ("met", "The expected publisher attested every component.")
    assert "The expected workflow attested every component." in judged(release)[0].verdict.sentence


def test_a_valid_signature_by_another_workflow_is_wrong_identity_and_called_hostile(
    release: Release, domain: TrustDomain
) -> None:
    attest_all(release, domain, replace(WORKFLOW, workflow=".github/workflows/pr.yml"))
    assert state_of(release) is AttestationState.WRONG_IDENTITY
    assert condition(release)[0] == "unmet"
    sentence = judged(release)[0].verdict.sentence
    assert "expected .github/workflows/release-tee.yml, found .github/workflows/pr.yml" in sentence
    assert "Treat as hostile until explained." in sentence


def test_a_bundle_from_another_commit_is_wrong_identity(release: Release, domain: TrustDomain) -> None:
    attest_all(release, domain, replace(WORKFLOW, commit="1" * 40))
    assert state_of(release) is AttestationState.WRONG_IDENTITY


def test_one_verified_bundle_is_not_undone_by_a_strangers(release: Release, domain: TrustDomain) -> None:
    attest_all(release, domain, replace(WORKFLOW, repository="stranger/enclave"))
    attest_all(release, domain)
    assert state_of(release) is AttestationState.VERIFIED


def test_the_six_states_are_six_different_things(release: Release, domain: TrustDomain) -> None:
    assert state_of(release) is AttestationState.UNCHECKED
    for role, found, problem in (
        (Role.KATANA, 0, None),
        (Role.OVMF, None, {"code": "rate-limited", "what": "GitHub asks to wait", "where": "x", "todo": "Wait."}),
    ):
        Inquiry(
            release=release, role=role, digest=str(digest_of(role)), source="GitHub", found=found, problem=problem
        ).save()
    found_for(release, Role.KERNEL, b"no bundle")
    found_for(release, Role.INITRD, domain.attest({"x": Digest.sha256("ab" * 32)}, WORKFLOW))
    wrong = replace(WORKFLOW, repository="stranger/enclave")
    found_for(release, Role.DISK, domain.attest({"disk": digest_of(Role.DISK)}, wrong))
    verification.verify_release(release)
    states = {role: entry.state.value for role, entry in judged(release)[1].by_role.items()}
    assert states == {
        Role.KATANA: "absent",
        Role.OVMF: "unchecked",
        Role.KERNEL: "unreadable",
        Role.INITRD: "rejected",
        Role.DISK: "wrong-identity",
    }
    sentences = {entry.role: entry.sentence for entry in judged(release)[1].components}
    assert "holds no attestation for it (asked" in sentences[Role.KATANA]
    assert "GitHub gave no answer: GitHub asks to wait. Wait." in sentences[Role.OVMF]


def test_a_later_answer_heals_an_earlier_failure(release: Release) -> None:
    failed = {"code": "x", "what": "y", "where": "z", "todo": "w"}
    for problem, found in ((failed, None), (None, 0)):
        Inquiry(
            release=release, role=Role.KATANA, digest="sha256:1", source="GitHub", found=found, problem=problem
        ).save()
    assert state_of(release) is AttestationState.ABSENT


def test_a_project_without_expected_publisher_verifies_nothing(
    make_release: Callable[..., Release], domain: TrustDomain
) -> None:
    stranger = make_release("v9")
    attest_all(stranger, domain)
    assert state_of(stranger) is AttestationState.REJECTED  # the local root is none of the default ones
    trust_roots.add(ROOT_NAME, domain.trusted_root(), "test", replace=True)
    ExpectedPublisher.objects.create(project=stranger.project, trust_roots=[ROOT_NAME])
    verification.verify_release(stranger)
    assert state_of(stranger) is AttestationState.UNCHECKED
    assert "does not say which repository and workflow" in condition(stranger)[1] or condition(stranger)[0] == "unknown"


def test_findings_are_made_anew_when_policy_or_root_changes_and_the_old_ones_stay(
    release: Release, publisher: ExpectedPublisher, domain: TrustDomain
) -> None:
    attest_all(release, domain)
    assert verification.verify_all() == 0
    publisher.workflow = ".github/workflows/other.yml"
    publisher.save()
    assert verification.verify_all() == len(Role)
    assert state_of(release) is AttestationState.WRONG_IDENTITY
    trust_roots.add(ROOT_NAME, TrustDomain("another").trusted_root(), "replaced", replace=True)
    assert verification.verify_all() == len(Role)
    assert state_of(release) is AttestationState.REJECTED
    sighting = Sighting.objects.filter(release=release, role=Role.KATANA).get()
    states = list(sighting.findings.values_list("state", flat=True))
    assert states == ["verified", "wrong-identity", "rejected"]


def test_facts_cannot_be_edited(release: Release, domain: TrustDomain) -> None:
    attest_all(release, domain)
    for model in (BundleRecord, Sighting, FindingRecord):
        row: models.Model = model.objects.first()
        with pytest.raises(TypeError, match="append-only"):
            row.save()
        with pytest.raises(TypeError, match="append-only"):
            row.delete()
    with pytest.raises(IntegrityError), transaction.atomic():
        Inquiry(release=release, role=Role.KATANA, digest="x", source="y").save()


def test_a_bundle_larger_than_any_is_refused_before_it_is_stored(release: Release) -> None:
    with pytest.raises(verification.BundleTooLarge):
        found_for(release, Role.KATANA, b"x" * (MAX_BUNDLE_BYTES + 1))
    assert BundleRecord.objects.count() == 0


def test_bundles_beside_assets_are_found_by_name_and_by_subject(
    release: Release, domain: TrustDomain, tmp_path: Path
) -> None:
    katana, kernel = digest_of(Role.KATANA), digest_of(Role.KERNEL)
    (tmp_path / "katana.img.sigstore.json").write_bytes(domain.attest({"k": katana}, WORKFLOW))
    both = domain.attest({"x": katana, "y": kernel}, WORKFLOW)
    stray = domain.attest({"z": Digest.sha256("ab" * 32)}, WORKFLOW)
    (tmp_path / "release.intoto.jsonl").write_bytes(both + b"\n\n" + stray + b"\n")
    (tmp_path / "ovmf.img.sigstore").write_bytes(domain.attest({"k": katana}, WORKFLOW))
    (tmp_path / "disk.img.sigstore.json").write_bytes(b"x" * (MAX_BUNDLE_BYTES + 1))
    (tmp_path / "kernel.img").write_bytes(b"not a bundle")
    assert collect_from_directory(release, tmp_path) == 4
    verification.verify_release(release)
    standing = standings_of([Release.objects.with_evidence().get(pk=release.pk)])[release.pk]
    states = {role: entry.state.value for role, entry in standing.by_role.items()}
    assert states == {
        Role.KATANA: "verified",
        Role.KERNEL: "verified",
        Role.OVMF: "rejected",
        Role.DISK: "unchecked",
        Role.INITRD: "unchecked",
    }
    assert [entry.state for entry in standing.stray] == [AttestationState.REJECTED]


def test_an_attested_container_covers_its_content_and_says_through_which(
    release: Release, domain: TrustDomain, client: Client
) -> None:
    Component.objects.filter(release=release, role=Role.DISK).update(
        container_kind="gzip", container_size=9, container_sha256="ab" * 32, container_sha384="cd" * 48
    )
    found_for(release, Role.DISK, domain.attest({"disk.raw.gz": Digest.sha256("ab" * 32)}, WORKFLOW))
    verification.verify_release(release)
    (entry,) = [entry for entry in judged(release)[1].components if entry.role is Role.DISK]
    assert entry.state is AttestationState.VERIFIED
    assert f"through its container sha256:{'ab' * 32}" in entry.sentence
    assert f"through its container sha256:{'ab' * 32}" in client.get(release.get_absolute_url()).content.decode()


def test_the_columns_hold_what_the_table_says_they_hold() -> None:
    for name, limit in verification.CLAIM_COLUMNS.items():
        field = FindingRecord._meta.get_field(name)
        assert isinstance(field, models.Field)
        assert field.max_length == limit


def test_the_condition_is_met_by_attestations_and_by_nothing_else(
    release: Release, make_rebuild: Callable[..., Rebuild], domain: TrustDomain, client: Client
) -> None:
    """An allow needs attestations too: everything else met is not enough, and with them it is."""
    release.project.needed_operators = 1
    release.project.save()
    make_rebuild(release)
    before = judged(release)[0].verdict
    assert "attested-by-expected-publisher" in {entry.key for entry in before.unmet}
    attest_all(release, domain)
    after = judged(release)[0].verdict
    assert "attested-by-expected-publisher" not in {entry.key for entry in after.unmet}


def test_a_bundle_of_another_release_is_told_apart_from_a_strangers(
    release: Release, domain: TrustDomain, client: Client
) -> None:
    attest_all(release, domain)
    found_for(
        release, Role.KATANA, domain.attest({"katana": digest_of(Role.KATANA)}, replace(WORKFLOW, commit="1" * 40))
    )
    verification.verify_release(release)
    (other,) = (bundle for bundle in judged(release)[1].components[0].bundles if bundle.is_from_another_commit)
    assert other.finding is not None
    assert other.finding.reason.startswith("The expected publisher signed this file, from another commit.")
    assert other.state is AttestationState.WRONG_IDENTITY
    assert "(another commit)" in client.get(release.get_absolute_url()).content.decode()
    assert state_of(release) is AttestationState.VERIFIED
