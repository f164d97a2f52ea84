"""Reference values for what appraises reports: those of releases that are allowed now, and none is left out."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from sevsnpmeasure.guest import snp_calc_launch_digest
from sevsnpmeasure.vcpu_types import CPU_SIGS

from attestations.local_sigstore import TrustDomain
from attestations.models import ExpectedPublisher, VerdictRecord
from attestations.services import exporting
from attestations.services.verdicts import record_verdict
from builds.domain.roles import Role
from builds.models import (
    Component,
    LaunchConfiguration,
    Measurement,
    Project,
    Rebuild,
    RebuiltMeasurement,
    Release,
)
from tee_portal import kept_answers
from tee_portal.env import BASE_DIR
from tests.portal.attested import attest_all
from tests.support.operators import MEASUREMENT

pytestmark = pytest.mark.django_db

ADDRESS = "/api/v1/export/policy"
MakeRelease = Callable[..., Release]
MakeRebuild = Callable[..., Rebuild]


@pytest.fixture
def make_allowed(
    publisher: ExpectedPublisher, make_release: MakeRelease, make_rebuild: MakeRebuild, domain: TrustDomain
) -> MakeRelease:
    def make(tag: str = "v1") -> Release:
        release = make_release(tag)
        attest_all(release, domain)
        make_rebuild(release, by="alder")
        make_rebuild(release, by="birch")
        return release

    return make


def answer(**query: str) -> HttpResponse:
    found = Client().get(ADDRESS, query)
    assert found.status_code == 200, found.content
    return found


def exported(**query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(answer(**query).content)["reference_values"]
    return found


def test_only_what_is_allowed_is_exported_with_every_parameter_of_its_launch(make_allowed: MakeRelease) -> None:
    release = make_allowed()
    record = record_verdict(release.pk) or VerdictRecord.objects.get(release=release, decision="allow")
    (value,) = exported()
    assert (value["project"], value["tag"], value["commit"]) == ("enclave", "v1", release.commit)
    assert value["measurement"] == MEASUREMENT
    assert value["launch"] == {
        "boot_mode": "direct_kernel",
        "vcpus": 4,
        "vcpu_type": "EPYC-v4",
        "guest_features": 1,
        "vmm": "qemu",
        "command_line": "console=ttyS0",
    }
    assert value["coverage"] == ["cmdline", "initrd", "kernel", "ovmf"]
    assert value["vsa"].endswith(f"/verdicts/{record.payload_sha256}.vsa.sigstore.json")
    assert Client().get(value["verdict"].removeprefix("http://testserver")).json()["decision"] == "allow"


def test_a_release_is_gone_from_the_export_at_once_when_evidence_is_against_it(
    make_allowed: MakeRelease, make_rebuild: MakeRebuild
) -> None:
    release = make_allowed()
    record_verdict(release.pk)
    assert [value["tag"] for value in exported()] == ["v1"]
    make_rebuild(release, by="cedar", changed=(Role.INITRD,))
    assert exported() == []


def test_the_decision_is_of_now_though_the_record_still_allows(make_allowed: MakeRelease) -> None:
    record_verdict(make_allowed().pk)
    Project.objects.update(needed_operators=3)
    assert exported() == []


def test_a_summary_of_another_state_is_not_given_as_the_one_that_allows(make_allowed: MakeRelease) -> None:
    record_verdict(make_allowed().pk)
    Project.objects.update(needed_operators=1)
    (value,) = exported()
    assert value["vsa"] is None


def test_projects_are_kept_apart_and_an_unknown_one_is_named(make_allowed: MakeRelease) -> None:
    make_allowed()
    Project.objects.create(name="other", source_url="file:///nowhere")
    assert [value["tag"] for value in exported(project="enclave")] == ["v1"]
    assert exported(project="other") == []
    unknown = Client().get(ADDRESS, {"project": "nobody"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")


def test_more_than_the_bound_is_refused_by_name_and_not_cut(
    make_allowed: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_allowed("v1")
    make_allowed("v2")
    Release.objects.filter(tag="v0").delete()
    monkeypatch.setattr(exporting, "MOST_RELEASES", 2)
    assert len(exported()) == 2
    kept_answers.forget()
    monkeypatch.setattr(exporting, "MOST_RELEASES", 1)
    refused = Client().get(ADDRESS)
    assert (refused.status_code, refused.json()["code"]) == (422, "export-too-large")


def test_the_number_of_statements_does_not_grow_with_the_releases(make_allowed: MakeRelease) -> None:
    counts = []
    for tag in ("v1", "v2", "v3"):
        record_verdict(make_allowed(tag).pk)
        kept_answers.forget()
        with CaptureQueriesContext(connection) as captured:
            assert exported()[-1]["tag"] == tag
        counts.append(len(captured))
    assert len(set(counts)) == 1
    with CaptureQueriesContext(connection) as again:
        exported()
    assert len(again) == 1


def test_lines_for_sev_snp_measure_print_the_value_from_the_releases_files(
    make_allowed: MakeRelease, firmware: Path, tmp_path: Path
) -> None:
    release = make_allowed()
    line = 'console=ttyS0 it\'s="$(touch tricked)" -- --append'
    for name, content in (("kernel", b"kernel"), ("initrd", b"initrd"), ("ovmf", firmware.read_bytes())):
        (tmp_path / f"{name}.img").write_bytes(content)
    files = [str(tmp_path / f"{name}.img") for name in ("ovmf", "kernel", "initrd")]
    value = snp_calc_launch_digest(4, CPU_SIGS["EPYC-v4"], *files, line, 0x1, "").hex()
    LaunchConfiguration.objects.filter(release=release).update(command_line=line)
    Measurement.objects.filter(launch_configuration__release=release).update(published=value, recomputed=value)
    RebuiltMeasurement.objects.filter(rebuild__release=release).update(value=value)
    text = answer(format="sev-snp-measure")
    assert text["Content-Type"] == "text/plain; charset=utf-8"
    path = f"{BASE_DIR / '.venv' / 'bin'}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-e"], input=text.content, cwd=tmp_path, env={"PATH": path}, capture_output=True, check=True
    )
    assert ran.stdout.decode() == f"{value}\n"
    assert f"# prints {value}\n" in text.content.decode()
    assert not (tmp_path / "tricked").exists()


def test_names_of_strangers_stay_in_comments_and_quotes(make_allowed: MakeRelease) -> None:
    release = make_allowed()
    LaunchConfiguration.objects.filter(release=release).update(name="a\ntouch tricked")
    Component.objects.filter(release=release, role="kernel").update(file_name="--x; $(id)", container_kind="gzip")
    lines = answer(format="sev-snp-measure").content.decode().splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["#", "#", "gzip", "sev-snp-measure"]
    assert lines[2] == "gzip -dc './--x; $(id)' > kernel.unpacked"


def test_lines_for_snpguest_name_the_same_and_what_it_cannot_be_told_is_said(make_allowed: MakeRelease) -> None:
    release = make_allowed()
    *_, line = answer(format="snpguest").content.decode().splitlines()
    assert line == (
        "snpguest generate measurement --vcpus 4 --vcpu-type EPYC-v4 --vmm-type QEMU --guest-features 0x1"
        " --ovmf ovmf.img --kernel kernel.img --initrd initrd.img --append=console=ttyS0"
    )
    LaunchConfiguration.objects.filter(release=release).update(vmm="gce")
    kept_answers.forget()
    *_, line = answer(format="snpguest").content.decode().splitlines()
    assert line == "# snpguest cannot be told this configuration: gce is no VMM that it knows"


def test_a_message_for_trustee_holds_each_measurement_once_in_both_spellings(make_allowed: MakeRelease) -> None:
    make_allowed("v1")
    make_allowed("v2")
    message = json.loads(answer(format="rvps").content)
    assert (message["version"], message["type"]) == ("0.1.0", "sample")
    registered = json.loads(base64.b64decode(message["payload"]))
    assert registered == {
        "snp_launch_measurement": [MEASUREMENT, base64.b64encode(bytes.fromhex(MEASUREMENT)).decode()]
    }


@pytest.mark.parametrize("program", ["sev-snp-measure", "snpguest"])
def test_lines_of_nothing_allowed_are_a_comment_that_says_so(make_release: MakeRelease, program: str) -> None:
    make_release()
    answer = Client().get("/api/v1/export/policy", {"format": program})
    assert (answer.status_code, answer.text) == (200, "# no release is allowed now\n")


def test_nothing_allowed_registers_an_empty_list(make_release: MakeRelease) -> None:
    make_release()
    message = json.loads(answer(format="rvps").content)
    assert json.loads(base64.b64decode(message["payload"])) == {"snp_launch_measurement": []}


def test_templates_for_cocli_name_the_measurement_as_veraisons_scheme_reads_it(make_allowed: MakeRelease) -> None:
    make_allowed()
    first = json.loads(answer(format="corim").content)
    assert first["corim"]["profile"] == {"type": "uri", "value": "tag:amd.com,2024:snp-corim-profile"}
    (triple,) = first["comid"]["triples"]["reference-values"]
    raw = bytes.fromhex(MEASUREMENT)
    assert base64.b64decode(triple["environment"]["instance"]["value"]) == raw
    ((key, digest),) = triple["measurements"][0]["value"]["digests"]
    assert (triple["measurements"][0]["key"]["value"], key, base64.urlsafe_b64decode(digest)) == (641, 7, raw)
    kept_answers.forget()
    assert json.loads(answer(format="corim").content) == first


def test_an_unknown_format_is_refused(project: Project) -> None:
    assert Client().get(ADDRESS, {"format": "xml"}).status_code == 422
