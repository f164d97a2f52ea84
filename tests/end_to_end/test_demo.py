"""The main job on real input: real packages, engine, worker, Redis and launch measurements."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from isal import igzip

from attestations.domain.summary import VERIFICATION_SUMMARY
from builds.domain.dsse import parse_envelope
from builds.domain.provenance import SLSA_PROVENANCE
from builds.pipeline.engine import DockerEngine
from builds.rebuilder.home import AgentHome
from tee_portal.env import BASE_DIR
from tests.end_to_end.conftest import FinishedDemo
from tests.support.portal import free_port

pytestmark = [pytest.mark.docker, pytest.mark.slow]

ROLES = ["katana", "kernel", "initrd", "ovmf", "disk"]
HONEST, TAMPERED = "v1.0.0", "v1.0.1"
OPERATORS = ["alder", "birch", "cedar"]
BOOT = BASE_DIR / "examples/reference-enclave/tee/scripts/test-vm-boot.sh"


ORIGINS = """
from builds.models import RebuiltFile
for file in RebuiltFile.objects.filter(rebuild__release__tag="v1.0.0"):
    print(file.path, file.origin_kind, file.origin)
"""


def release(demo: FinishedDemo, tag: str) -> dict[str, Any]:
    (found,) = [entry for entry in demo.verdicts["releases"] if entry["tag"] == tag]
    return found  # type: ignore[no-any-return]


def test_the_honest_release_is_reproduced_in_all_five_components(demo: FinishedDemo) -> None:
    honest = release(demo, HONEST)
    assert honest["outcome"] == "reproduced"
    assert [entry["role"] for entry in honest["components"]] == ROLES
    for entry in honest["components"]:
        assert entry["outcome"] == "reproduced"
        assert entry["published"] == entry["rebuilt"]
        assert re.fullmatch("sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}", entry["published"])
        assert entry["published"].startswith(entry["algorithm"])
    assert honest["rebuild_seconds"] > 0


def test_three_operators_decide_all_for_the_honest_release_and_all_against_the_tampered_one(demo: FinishedDemo) -> None:
    honest, tampered = release(demo, HONEST), release(demo, TAMPERED)
    assert honest["decision"] == "allow"
    assert honest["tally"] == {"needed": 2, "reproduced": 3, "contradicting": 0, "failed": 0}
    assert set(honest["operators"].values()) == {"reproduced"}
    assert tampered["decision"] == "deny"
    assert tampered["tally"] == {"needed": 2, "reproduced": 0, "contradicting": 3, "failed": 0}
    assert set(tampered["operators"].values()) == {"mismatched"}
    assert len(honest["operators"]) == len(tampered["operators"]) == len(OPERATORS)


@pytest.mark.archive
def test_cosign_accepts_the_verdicts_and_the_rebuilds_that_the_demo_leaves(demo: FinishedDemo, cosign: Path) -> None:
    evidence = demo.root / "evidence"
    kernel = demo.root / "releases" / HONEST / "vmlinuz"
    initrd = demo.root / "releases" / TAMPERED / "initrd.img"
    rebuilds = {f"{tag}-{name}.rebuild" for tag in (HONEST, TAMPERED) for name in OPERATORS}
    verdicts = {f"{tag}.vsa" for tag in (HONEST, TAMPERED, "v1.0.0-mirror", "v1.0.2")}
    assert {path.name.removesuffix(".sigstore.json") for path in evidence.glob("*.json")} == rebuilds | verdicts
    assert {path.stem for path in evidence.glob("*.pub")} == rebuilds | verdicts
    keys = {(evidence / f"{name}.pub").read_text() for name in rebuilds | verdicts}
    assert len(keys) == len(OPERATORS) + 1

    def accepted(name: str, file: Path, kind: str) -> bool:
        signed = [*("--bundle", str(evidence / f"{name}.sigstore.json")), *("--key", str(evidence / f"{name}.pub"))]
        command = [str(cosign), "verify-blob-attestation", *signed, "--insecure-ignore-tlog=true", "--type", kind]
        return subprocess.run([*command, str(file)], capture_output=True, check=False, timeout=60).returncode == 0

    for name in OPERATORS:
        assert accepted(f"{HONEST}-{name}.rebuild", kernel, SLSA_PROVENANCE)
        # They got another initrd than the one that was published.
        assert not accepted(f"{TAMPERED}-{name}.rebuild", initrd, SLSA_PROVENANCE)
    assert accepted(f"{HONEST}.vsa", kernel, VERIFICATION_SUMMARY)
    assert accepted(f"{TAMPERED}.vsa", initrd, VERIFICATION_SUMMARY)


def test_the_signed_verdict_says_passed_only_for_the_honest_release(demo: FinishedDemo) -> None:
    results, inputs = {}, {}
    for path in (demo.root / "evidence").glob("*.vsa.sigstore.json"):
        summary = json.loads(parse_envelope(path.read_bytes()).payload)["predicate"]
        tag = path.name.removesuffix(".vsa.sigstore.json")
        results[tag], inputs[tag] = summary["verificationResult"], len(summary["inputAttestations"])
    failed = dict.fromkeys((TAMPERED, "v1.0.0-mirror", "v1.0.2"), "FAILED")
    assert results == {HONEST: "PASSED", **failed}
    # A bundle attests all components of a release; the impostor's does not verify.
    assert inputs == {HONEST: 1 + len(OPERATORS), TAMPERED: 1 + len(OPERATORS), "v1.0.0-mirror": 1, "v1.0.2": 0}


def test_its_measurement_is_one_value_three_ways_and_covers_what_boots(demo: FinishedDemo) -> None:
    (measurement,) = release(demo, HONEST)["measurements"]
    assert measurement["outcome"] == "matches"
    assert measurement["published"] == measurement["recomputed"] == measurement["rebuilt"]
    assert measurement["boot_mode"] == "direct_kernel"
    assert measurement["coverage"] == ["ovmf", "kernel", "initrd", "cmdline"]


def test_the_tampered_release_differs_in_the_initrd_and_the_measurement_and_nowhere_else(demo: FinishedDemo) -> None:
    tampered = release(demo, TAMPERED)
    assert tampered["outcome"] == "mismatched"
    differing = [entry["role"] for entry in tampered["components"] if entry["outcome"] != "reproduced"]
    assert differing == ["initrd"]
    (measurement,) = tampered["measurements"]
    assert measurement["outcome"] == "differs"
    assert measurement["published"] == measurement["recomputed"] != measurement["rebuilt"]


def test_the_tampering_was_hidden_from_everyone_who_only_looks_at_the_published_files(demo: FinishedDemo) -> None:
    directory = demo.root / "releases" / TAMPERED
    manifest = json.loads((directory / "manifest.json").read_bytes())
    assert (
        hashlib.sha256((directory / "initrd.img").read_bytes()).hexdigest() == manifest["components"]["initrd_sha256"]
    )
    expected = json.loads((directory / "expected-measurement.json").read_bytes())
    assert expected["measurement"] == manifest["measurement"]["sev_snp_hex"]


def test_a_changed_file_is_shown_as_contradicting_before_anything_is_rebuilt(demo: FinishedDemo) -> None:
    (contradicting,) = demo.verdicts["contradicting"]
    assert contradicting["results"] == 0
    (sentence,) = contradicting["contradictions"]
    assert sentence.startswith("kernel: vmlinuz hashes to")


def test_attestations_are_verified_absent_where_a_file_was_replaced_and_wrong_for_an_impostor(
    demo: FinishedDemo,
) -> None:
    verified = dict.fromkeys(ROLES, "verified")
    assert release(demo, HONEST)["attestations"] == verified
    assert release(demo, TAMPERED)["attestations"] == {**verified, "initrd": "absent"}
    (contradicting,) = demo.verdicts["contradicting"]
    assert contradicting["attestations"] == {**verified, "kernel": "absent"}
    (impostor,) = demo.verdicts["impostor"]
    assert impostor["attestations"] == dict.fromkeys(ROLES, "wrong-identity")
    assert impostor["decision"] == "deny"


def test_the_published_directories_hold_the_artifacts_by_the_workflows_names(demo: FinishedDemo) -> None:
    for tag in (HONEST, TAMPERED):
        names = {path.name for path in (demo.root / "releases" / tag).iterdir()}
        assert names == {
            f"katana-vm-{tag}.raw.gz",
            f"katana_{tag}_linux_amd64_tee.tar.gz",
            f"katana_{tag}_linux_amd64_tee.sha384",
            "expected-measurement.json",
            "expected-measurement.txt",
            "manifest.json",
            "vmlinuz",
            "initrd.img",
            "ovmf.fd",
        }


def test_every_file_of_the_initrd_has_an_origin_and_the_demo_left_nothing_in_the_engine(
    demo: FinishedDemo, engine: DockerEngine
) -> None:
    shown = subprocess.run(
        [
            *(sys.executable, "manage.py", "shell", "--verbosity", "0", "--command"),
            ORIGINS,
        ],
        cwd=BASE_DIR,
        env=demo.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    origins = {line.split()[0]: line.split(maxsplit=2)[1:] for line in shown}
    assert origins["bin/katana"][0] == "built"
    assert origins["bin/busybox"][0] == "package"
    assert "busybox-static" in origins["bin/busybox"][1]
    assert origins["init"][0] == "source"
    modules = [kind for path, (kind, _) in origins.items() if path.endswith(".ko")]
    assert modules
    assert set(modules) == {"package"}
    assert "opaque" not in {kind for kind, _ in origins.values()}
    homes = [AgentHome(demo.root / "operators" / name / "home") for name in OPERATORS]
    for instance in (_instance(demo), *(home.instance for home in homes)):
        assert engine.label_values("org.tee-portal.rebuild", {"org.tee-portal.instance": instance}) == set()


def _instance(demo: FinishedDemo) -> str:
    key = (demo.data / "secret-key").read_text()
    return hashlib.sha256(b"tee-portal instance " + key.encode()).hexdigest()[:16]


def test_a_second_demo_neither_downloads_nor_builds(demo: FinishedDemo) -> None:
    started = time.monotonic()
    again = demo.run()
    assert again.returncode == 0, again.stderr
    assert "publisher builds" not in again.stdout
    assert "v1.0.0 was rebuilt before" in again.stdout
    assert time.monotonic() - started < 40


def test_the_published_vm_answers_over_direct_kernel_boot(demo: FinishedDemo) -> None:
    directory = demo.root / "releases" / HONEST
    measured = json.loads((directory / "expected-measurement.json").read_bytes())["components"]["cmdline"]
    boot("--direct", str(directory / "vmlinuz"), str(directory / "initrd.img"), measured)


def test_the_published_disk_boots_by_itself_and_answers(demo: FinishedDemo) -> None:
    directory = demo.root / "releases" / HONEST
    disk = settings.DATA_DIR / "disk.raw"
    with igzip.open(directory / f"katana-vm-{HONEST}.raw.gz") as packed, disk.open("wb") as file:
        while chunk := packed.read(1 << 20):
            # Holes stay holes: 2 GiB of disk, some tens of MB of data.
            file.seek(len(chunk), 1) if not chunk.strip(b"\0") else file.write(chunk)
        file.truncate(file.tell())
    try:
        boot("--disk", str(disk), "/usr/share/ovmf/OVMF.fd")
    finally:
        disk.unlink()


def boot(*arguments: str) -> None:
    finished = subprocess.run(
        ["sh", str(BOOT), "--port", str(free_port()), *arguments],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-2000:]
    assert "chain id: 0x" in finished.stdout
