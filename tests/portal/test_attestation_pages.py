"""Attestations as pages and API show them: every bundle, its claims, and the commands that repeat the check."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from attestations import api as attestations_api
from attestations.local_sigstore import TrustDomain
from attestations.models import ExpectedPublisher, FindingRecord, Sighting
from attestations.services import repeating, verification
from attestations.services.repeating import commands_for
from builds.domain.evidence import AttestationState
from builds.domain.roles import Role
from builds.models import Component, Release
from tests.portal.attested import WORKFLOW, attest_all, digest_of, found_for, judged, state_of
from tests.portal.conftest import COMMIT

pytestmark = pytest.mark.django_db


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


def test_of_a_bundle_that_was_found_in_many_places_the_newest_are_listed_and_more_is_said(
    release: Release, domain: TrustDomain, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attestations_api, "MOST_SIGHTINGS", 2)
    data = domain.attest({"a": digest_of(Role.KATANA)}, WORKFLOW)
    for count, role in enumerate((Role.KATANA, Role.KERNEL, Role.INITRD), start=1):
        sighting = found_for(release, role, data)
        told = client.get(f"/api/v1/attestations/{sighting.bundle.sha256}").json()
        assert told["more_sightings"] == (count > 2)
    assert [entry["role"] for entry in told["sightings"]] == ["initrd", "kernel"]


def test_page_and_api_tell_the_same_about_every_bundle(release: Release, domain: TrustDomain, client: Client) -> None:
    attest_all(release, domain)
    html = client.get(release.get_absolute_url()).content.decode()
    document: dict[str, Any] = client.get(f"/api/v1/releases/enclave/{release.tag}").json()
    entries = document["attestations"]["components"]
    assert [entry["state"] for entry in entries] == ["verified"] * len(Role)
    for entry in entries:
        finding = entry["bundles"][0]["finding"]
        for told in (finding["signer"], finding["run_url"], finding["trust_root_digest"], finding["log"]["log_id"]):
            assert told in html
        assert client.get(entry["bundles"][0]["raw"]).status_code == 200
    assert "gh attestation verify" in html
    assert "cosign verify-blob-attestation" in html
    detail = client.get(f"/api/v1/attestations/{entries[0]['bundles'][0]['digest']}").json()
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
    view, attested = judged(release)
    found = repeating.commands_for(view.release, attested, "https://portal")
    assert all(entry.must_fail for entry in found)
    assert [line.split()[0] for entry in found[:1] for line in entry.lines if not line.startswith("curl")] == tools


def test_a_page_names_the_log_by_its_address(release: Release, domain: TrustDomain, client: Client) -> None:
    attest_all(release, domain)
    html = client.get(release.get_absolute_url()).content.decode()
    assert re.search(r"https://log[.]local[.]invalid</bdi>, log <span", html)


@pytest.mark.parametrize(
    ("kind", "unpack"),
    [
        ("gzip", "gzip -dc katana.img > katana.unpacked"),
        ("tar.gz", "tar -xzOf katana.img --no-anchored -- katana > katana.unpacked"),
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
