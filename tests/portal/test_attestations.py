"""Attestations in the portal: bundles kept as received, findings made anew, and every state told in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, models, transaction
from django.test import Client

from attestations.local_sigstore import GitHubWorkflow, TrustDomain
from attestations.models import BundleRecord, ExpectedPublisher, FindingRecord, Inquiry, Sighting
from attestations.services import repeating, trust_roots, verification
from attestations.services.collecting import collect_from_directory
from attestations.services.repeating import commands_for
from attestations.services.standing import ReleaseStanding, judged_view, standings_of
from attestations.sigstore_verifier import MAX_BUNDLE_BYTES
from builds.domain.digest import Digest
from builds.domain.evidence import AttestationState
from builds.domain.roles import Role
from builds.models import Component, Rebuild, Release
from builds.services.evidence import ReleaseView
from tests.portal.conftest import COMMIT

pytestmark = pytest.mark.django_db

ROOT_NAME = "local-demo-trust-root"
WORKFLOW = GitHubWorkflow(repository="example/enclave", commit=COMMIT)


def digest_of(role: Role) -> Digest:
    return Digest.sha256(hashlib.sha256(role.encode()).hexdigest())


@pytest.fixture(scope="session")
def domain() -> TrustDomain:
    return TrustDomain()


@pytest.fixture
def publisher(make_release: Callable[..., Release], domain: TrustDomain) -> ExpectedPublisher:
    trust_roots.add(ROOT_NAME, domain.trusted_root(), "minted for a test")
    return ExpectedPublisher.objects.create(
        project=make_release("v0").project,
        repository="https://github.com/example/enclave",
        workflow=".github/workflows/release-tee.yml",
        trust_roots=[ROOT_NAME],
    )


@pytest.fixture
def release(publisher: ExpectedPublisher, make_release: Callable[..., Release]) -> Release:
    return make_release("v1.0.0")


def found_for(release: Release, role: Role, data: bytes) -> Sighting:
    return verification.record_sighting(data, release, role, "test")


def judged(release: Release) -> tuple[ReleaseView, ReleaseStanding]:
    return judged_view(Release.objects.with_evidence().get(pk=release.pk))


def state_of(release: Release, role: Role = Role.KATANA) -> AttestationState:
    return judged(release)[1].by_role[role].state


def condition(release: Release) -> tuple[str, str]:
    view, _ = judged(release)
    entry = next(entry for entry in view.verdict.conditions if entry.key == "attested-by-expected-publisher")
    return entry.state.value, entry.sentence


def attest_all(release: Release, domain: TrustDomain, workflow: GitHubWorkflow = WORKFLOW) -> None:
    for role in Role:
        found_for(release, role, domain.attest({role.value: digest_of(role)}, workflow))
    verification.verify_release(release)


def test_the_expected_publishers_bundles_meet_the_condition(release: Release, domain: TrustDomain) -> None:
    attest_all(release, domain)
    assert condition(release) == ("met", "The expected publisher attested every component.")
    assert f"attested every component from commit {COMMIT}" in judged(release)[0].verdict.sentence


def test_a_valid_signature_by_another_workflow_is_wrong_identity_and_called_hostile(
    release: Release, domain: TrustDomain
) -> None:
    attest_all(release, domain, replace(WORKFLOW, workflow=".github/workflows/pr.yml"))
    assert state_of(release) is AttestationState.WRONG_IDENTITY
    assert condition(release)[0] == "unmet"
    sentence = judged(release)[0].verdict.sentence
    assert "expected .github/workflows/release-tee.yml, found .github/workflows/pr.yml" in sentence
    assert "Treat as hostile until explained." in sentence


def test_the_list_of_releases_names_the_most_alarming_state_of_any_component(
    release: Release, domain: TrustDomain, client: Client
) -> None:
    def listed() -> tuple[str, bool]:
        state = client.get("/api/v1/releases").json()["releases"][0]["verdict"]["attestation"]
        return state, f">{state}</span>" in client.get("/").content.decode()

    assert listed() == ("unchecked", True)
    attest_all(release, domain)
    assert listed() == ("verified", True)
    Sighting.objects.filter(role=Role.INITRD).delete()
    found_for(
        release,
        Role.INITRD,
        domain.attest({"initrd": digest_of(Role.INITRD)}, replace(WORKFLOW, repository="stranger/enclave")),
    )
    verification.verify_release(release)
    assert listed() == ("wrong-identity", True)


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


def test_a_bundle_is_stored_once_and_served_byte_for_byte(
    release: Release, domain: TrustDomain, client: Client
) -> None:
    data = b" " + domain.attest({"a": digest_of(Role.KATANA)}, WORKFLOW) + b"\n"
    first, second = found_for(release, Role.KATANA, data), found_for(release, Role.KATANA, data)
    assert first == second
    response = client.get(f"/attestations/{first.bundle.sha256}/bundle.json")
    assert response.content == data
    assert response["Content-Disposition"].startswith("attachment")
    assert "immutable" in response["Cache-Control"]
    assert client.get(f"/attestations/{'0' * 64}/bundle.json").status_code == 404
    assert client.get("/attestations/nonsense/bundle.json").status_code == 404


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


def test_page_and_api_tell_the_same_about_every_bundle(release: Release, domain: TrustDomain, client: Client) -> None:
    attest_all(release, domain)
    html = client.get(release.get_absolute_url()).content.decode()
    document: dict[str, Any] = client.get(f"/api/v1/releases/enclave/{release.tag}").json()
    entries = document["attestations"]["components"]
    assert [entry["state"] for entry in entries] == ["verified"] * len(Role)
    for entry in entries:
        finding = entry["bundles"][0]["finding"]
        for told in (finding["signer"], finding["run_url"], finding["trust_root_sha256"], finding["log"]["log_id"]):
            assert told in html
        assert client.get(entry["bundles"][0]["raw"]).status_code == 200
    assert "gh attestation verify" in html
    assert "cosign verify-blob-attestation" in html
    detail = client.get(f"/api/v1/attestations/{entries[0]['bundles'][0]['sha256']}").json()
    assert detail["sightings"][0]["findings"][0]["state"] == "verified"
    assert "last confirmed by TUF: never" in html


def test_the_trust_root_of_a_finding_can_be_fetched_byte_for_byte(
    release: Release, domain: TrustDomain, client: Client
) -> None:
    attest_all(release, domain)
    finding = FindingRecord.objects.filter(sighting__release=release).first()
    assert finding is not None
    response = client.get(f"/trust-roots/{finding.trust_root_sha256}.json")
    assert response.content == domain.trusted_root() or hashlib.sha256(response.content).hexdigest() == (
        finding.trust_root_sha256
    )
    assert client.get(f"/trust-roots/{'0' * 64}.json").status_code == 404


def test_hostile_claims_are_shown_as_text_and_quoted_for_the_shell(
    release: Release, domain: TrustDomain, client: Client
) -> None:
    hostile = "<script>alert(1)</script>';rm -rf /;'"
    Component.objects.filter(release=release, role=Role.KATANA).update(file_name=hostile)
    found_for(release, Role.KATANA, domain.attest({hostile: digest_of(Role.KATANA)}, WORKFLOW))
    verification.verify_release(release)
    html = client.get(release.get_absolute_url()).content.decode()
    assert "<script>alert" not in html
    assert "'&quot;'&quot;'" in html or "&#x27;&quot;&#x27;&quot;&#x27;" in html


def test_verified_claims_can_be_searched_by_column(release: Release, domain: TrustDomain, client: Client) -> None:
    attest_all(release, domain)
    told = client.get(
        "/api/v1/attestations", {"commit": COMMIT, "workflow": ".github/workflows/release-tee.yml"}
    ).json()
    assert {entry["role"] for entry in told} == set(Role)
    assert client.get("/api/v1/attestations", {"commit": "0" * 40}).json() == []
    assert client.get("/api/v1/attestations", {"limit": 101}).status_code == 422
    found = FindingRecord.objects.filter(commit=COMMIT, workflow=".github/workflows/release-tee.yml", log_index__gte=0)
    assert found.count() == len(Role)


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


def test_a_webhook_without_the_right_signature_is_refused(client: Client, settings: Any) -> None:
    body = json.dumps({"repository": {"full_name": "a/b"}})
    response = client.post("/webhooks/github", body, content_type="application/json")
    assert response.status_code == 401
    assert response.json()["code"] == "bad-webhook-signature"
    assert client.get("/webhooks/github").status_code == 405


def test_trust_roots_are_listed_added_and_refused_by_command(
    domain: TrustDomain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "roots.jsonl"
    lines = [json.dumps(json.loads(TrustDomain(name).trusted_root())).encode() for name in ("one", "two")]
    path.write_bytes(b"\n".join(lines))
    call_command("trust_root", "add", "two", str(path), "--line", "2")
    call_command("trust_root", "list")
    told = capsys.readouterr().out
    assert "public-good  sha256:6494e21ea73fa7ee769f85f57d5a3e6a08725eae1e38c755fc3517c9e6bc0b66" in told
    assert f"two  sha256:{hashlib.sha256(lines[1]).hexdigest()}" in told
    assert "never" in told
    for arguments in (("add", "bad", str(path)), ("add", "bad", str(path), "--line", "9"), ("refresh", "two")):
        with pytest.raises(CommandError):
            call_command("trust_root", *arguments)


def test_a_trust_root_is_never_replaced_by_accident_and_the_vendored_one_can_be_had_back(
    release: Release, domain: TrustDomain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vendored = trust_roots.known()["public-good"].root.ref
    path = tmp_path / "root.json"
    path.write_bytes(domain.trusted_root())
    with pytest.raises(CommandError, match=rf"trust-root-taken.*sha256:{vendored.sha256}.*--replace"):
        call_command("trust_root", "add", "public-good", str(path))
    assert trust_roots.known()["public-good"].root.ref == vendored
    call_command("trust_root", "add", "public-good", str(path), "--replace")
    assert "a local demo trust root" in trust_roots.sentences(trust_roots.known())["public-good"]
    call_command("trust_root", "remove", "public-good")
    assert trust_roots.known()["public-good"].root.ref == vendored
    assert "local demo" not in trust_roots.sentences(trust_roots.known())["public-good"]
    with pytest.raises(CommandError, match="unknown-trust-root"):
        call_command("trust_root", "remove", "public-good")


@pytest.mark.parametrize("name", ["", "Public Good", "../x", "x" * 61, "é"])
def test_a_trust_root_has_a_name_that_can_be_typed(domain: TrustDomain, name: str) -> None:
    with pytest.raises(trust_roots.UnusableName):
        trust_roots.add(name, domain.trusted_root(), "test")


def test_what_a_removed_root_vouched_for_counts_no_longer_and_counts_again_when_it_is_added_again(
    release: Release, domain: TrustDomain
) -> None:
    attest_all(release, domain)
    assert state_of(release) is AttestationState.VERIFIED
    trust_roots.remove(ROOT_NAME)
    assert state_of(release) is AttestationState.UNCHECKED
    trust_roots.add(ROOT_NAME, domain.trusted_root(), "test")
    assert state_of(release) is AttestationState.VERIFIED


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


def test_a_strangers_release_comes_with_commands_that_ask_for_the_expected_publisher(
    release: Release, domain: TrustDomain, client: Client
) -> None:
    attest_all(release, domain, replace(WORKFLOW, workflow=".github/workflows/nightly.yml"))
    html = client.get(release.get_absolute_url()).content.decode()
    assert "must fail, since somebody else signed it" in html
    assert "--signer-workflow example/enclave/.github/workflows/release-tee.yml" in html
    assert f"--source-digest {COMMIT}" in html


@pytest.mark.parametrize(
    ("change", "tools"),
    [
        ({"workflow": ".github/workflows/nightly.yml"}, ["gh", "cosign"]),
        ({"issuer": "https://token.actions.githubusercontent.com/acme"}, ["gh", "cosign"]),
        ({"repository_id": "77"}, []),
        ({"runner_environment": "self-hosted"}, []),
        ({"ref": "refs/heads/release"}, []),
        ({"repository": "https://github.com/Example/enclave", "owner_id": "77"}, []),
    ],
)
def test_no_command_is_said_to_fail_that_would_pass(
    release: Release, domain: TrustDomain, change: dict[str, str], tools: list[str]
) -> None:
    ExpectedPublisher.objects.filter(project=release.project).update(**change)
    attest_all(release, domain)
    assert state_of(release) is AttestationState.WRONG_IDENTITY
    found = repeating.commands_for(release, judged(release)[1], "https://portal")
    assert all(entry.must_fail for entry in found)
    assert [line.split()[0] for entry in found[:1] for line in entry.lines if not line.startswith("curl")] == tools


def test_a_page_names_the_log_by_its_address(release: Release, domain: TrustDomain, client: Client) -> None:
    attest_all(release, domain)
    assert "https://log.local.invalid, log " in client.get(release.get_absolute_url()).content.decode()


@pytest.mark.parametrize("address", ["http://tuf.example", "file:///etc", "https://", "ftp://127.0.0.1", "http://["])
def test_a_trust_root_is_renewed_over_https_only(domain: TrustDomain, address: str) -> None:
    with pytest.raises(trust_roots.UnusableTufAddress):
        trust_roots.add("new", domain.trusted_root(), "test", tuf_url=address, tuf_root=b"{}")
    assert "new" not in trust_roots.known()


@pytest.mark.parametrize(
    ("kind", "unpack"),
    [
        ("gzip", "gzip -dc katana.img > katana.unpacked"),
        ("tar.gz", "tar -xzOf katana.img --no-anchored katana > katana.unpacked"),
    ],
)
def test_the_commands_take_a_file_out_of_its_container_where_the_file_itself_was_signed(
    release: Release, domain: TrustDomain, kind: str, unpack: str
) -> None:
    Component.objects.filter(release=release, role=Role.KATANA).update(
        container_kind=kind, container_size=1, container_sha256="a" * 64, container_sha384="a" * 96
    )
    attest_all(release, domain)
    commands = commands_for(release, judged(release)[1], "https://portal.example")
    lines = {entry.role: entry.lines for entry in commands}
    assert unpack in lines[Role.KATANA]
    assert any(line.endswith(" katana.unpacked") for line in lines[Role.KATANA])
    assert not any("unpacked" in line for line in lines[Role.KERNEL])


def test_a_stored_yes_that_no_longer_counts_says_so_wherever_it_is_shown(
    release: Release, publisher: ExpectedPublisher, domain: TrustDomain, client: Client
) -> None:
    attest_all(release, domain)
    (claimed, *_) = client.get("/api/v1/attestations", {"commit": COMMIT}).json()
    assert (claimed["state_today"], claimed["finding"]["state"]) == ("verified", "verified")
    publisher.workflow = ".github/workflows/other.yml"
    publisher.save()
    (claimed, *_) = client.get("/api/v1/attestations", {"commit": COMMIT}).json()
    assert (claimed["state_today"], claimed["finding"]["state"]) == ("unchecked", "verified")
    (sighting,) = client.get(f"/api/v1/attestations/{claimed['bundle']}").json()["sightings"]
    assert (sighting["state_today"], sighting["findings"][-1]["state"]) == ("unchecked", "verified")
