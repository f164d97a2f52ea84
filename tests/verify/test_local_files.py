"""Files beside a release and around its components: what was not held against a signature is not allowed."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attestations.domain.summary import SummarySubject, VerdictSummary
from builds.domain.roles import Role
from builds.pipeline import tarballs
from tests.support.statements import subject
from tests.verify.world import NAMES, World, rewrite, sha256, sha384

BUILD_INFO = "build-info-v1.0.0.txt"
TARBALL = "katana-tee-vm-v1.0.0.tar.gz"


def found(world: World, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    code = world.run("--json", *arguments)
    return code, json.loads(capsys.readouterr().out)["findings"]


def tarred(path: Path, members: Mapping[str, bytes]) -> None:
    with gzip.GzipFile(path, "wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def with_subjects(verdict: VerdictSummary, role: Role, container: bytes) -> VerdictSummary:
    """The verdict with a file around a component."""
    around = SummarySubject(f"{role}/published", sha256(container), sha384(container))
    return replace(verdict, subjects=(*verdict.subjects, around))


@pytest.fixture
def bundled(world: World) -> World:
    """The same components in the format of one tarball, signed and rebuilt as such."""
    data = {role: (world.files / name).read_bytes() for role, name in NAMES.items() if role is not Role.DISK}
    world.statements.clear()
    subjects = [subject(role, len(part), sha256(part), sha384(part)) for role, part in data.items()]
    for name in ("ada", "ben"):
        world.rebuilt_by(name, subjects=subjects)
    verdict = world.verdict()
    shutil.rmtree(world.files)
    world.files.mkdir()
    tarred(world.files / TARBALL, {NAMES[role]: part for role, part in data.items()})
    container = (world.files / TARBALL).read_bytes()
    info = b'SOURCE_DATE_EPOCH="1780000000"\n'
    (world.files / BUILD_INFO).write_bytes(info)
    # What the evidence says that the portal read.
    (world.files / "manifest.json").write_bytes(info)
    parts = [entry for entry in verdict.subjects if entry.name in data]
    parts += [SummarySubject(f"{role}/{TARBALL}", sha256(container), sha384(container)) for role in data]
    world.save(world.evidence(replace(verdict, subjects=tuple(parts))))
    (world.files / "manifest.json").unlink()
    return world


@pytest.mark.parametrize(
    "name",
    ["vmlinuz", "initrd.img", "OVMF.fd", "disk.raw", "katana", "expected-measurement.json", "INITRD.IMG", "Vmlinuz"],
)
def test_a_loose_file_beside_a_tarball_is_named_and_not_allowed(
    bundled: World, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert found(bundled, capsys)[0] == 0
    (bundled.files / name).write_bytes(b"evil")
    code, findings = found(bundled, capsys)
    (said,) = [entry for entry in findings if entry["axis"] == "other files"]
    assert (code, said["state"]) == (2, "could not check")
    assert name in said["reason"]


@pytest.mark.parametrize("name", [TARBALL, "launch-measurement-v1.0.0.txt", "VMLINUZ"])
def test_a_part_of_another_format_beside_loose_files_is_named_and_not_allowed(
    world: World, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    world.save()
    (world.files / name).write_bytes(b"evil")
    (world.files / "start.sh").write_bytes(b"x")
    code, findings = found(world, capsys)
    parts, rest = [entry for entry in findings if entry["axis"] == "other files"]
    assert (code, parts["state"], rest["state"]) == (2, "could not check", "noted")
    assert name in parts["reason"]
    assert "start.sh" in rest["reason"]


def test_a_tarball_in_place_of_a_component_that_was_published_raw_is_not_allowed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.save()
    katana = (world.files / "katana").read_bytes()
    (world.files / "katana").unlink()
    tarred(world.files / "katana_x_linux_amd64_tee.tar.gz", {"katana": katana, "start.sh": b"evil"})
    code, findings = found(world, capsys)
    (said,) = [entry for entry in findings if entry["axis"] == "file around katana"]
    assert (code, said["state"]) == (2, "could not check")
    assert "katana_x_linux_amd64_tee.tar.gz" in said["reason"]


def test_a_container_that_the_verdict_names_is_allowed_and_another_denied(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    katana = (world.files / "katana").read_bytes()
    verdict = world.verdict()
    evidence = world.files / "katana_x_linux_amd64_tee.tar.gz"
    tarred(evidence, {"katana": katana})
    world.save(world.evidence(with_subjects(verdict, Role.KATANA, evidence.read_bytes())))
    (world.files / "katana").unlink()
    assert found(world, capsys)[0] == 0
    tarred(evidence, {"katana": katana, "start.sh": b"evil"})
    assert found(world, capsys)[0] == 1


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--vcpus", "4"],
        ["--vcpus", "2"],
        ["--vcpu-type", "EPYC-v4"],
        ["--guest-features", "1"],
        ["--vouch-for-command-line"],
        ["--command-line", "console=ttyS0"],
    ],
)
def test_a_changed_measurement_document_denies_whatever_launch_is_asked_about(
    world: World, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    rewrite(world.files / "manifest.json", lambda held: held.pop("measurement"))
    (world.files / "expected-measurement.txt").unlink()
    world.save()
    code, findings = found(world, capsys, *options)
    assert code == 0
    (said,) = [entry for entry in findings if entry["axis"] == "documents"]
    assert "expected-measurement.json" in said["reason"]
    rewrite(world.files / "expected-measurement.json", lambda held: held.update(measurement="6" * 96))
    assert found(world, capsys, *options)[0] == 1


def test_vouching_for_a_command_line_names_no_launch(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.save()
    assert found(world, capsys, "--vouch-for-command-line") == found(world, capsys)


def test_a_file_larger_than_was_signed_is_denied_and_not_read_further(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.save()
    os.truncate(world.files / "disk.raw", 2**42)
    began = time.monotonic()
    code, findings = found(world, capsys)
    (said,) = [entry for entry in findings if entry["axis"] == "file disk"]
    assert (code, said["state"]) == (1, "failed")
    assert "disk.raw is larger than the 13 bytes that were signed for it" in said["reason"]
    assert time.monotonic() - began < 10


def test_without_signed_sizes_boot_files_end_at_what_can_be_measured(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = world.verdict()
    world.statements.clear()
    world.save(world.evidence(verdict))
    os.truncate(world.files / "ovmf.fd", 2**42)
    began = time.monotonic()
    code, findings = found(world, capsys)
    (said,) = [entry for entry in findings if entry["axis"] == "file ovmf"]
    assert (code, said["state"]) == (1, "could not check")
    assert "ovmf.fd was not read: the file is larger than" in said["reason"]
    assert time.monotonic() - began < 10


def test_a_limit_of_the_users_is_named_and_can_be_raised(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.files / "disk.raw").write_bytes(bytes(16 * 1024**2))
    rewrite(
        world.files / "manifest.json",
        lambda held: held["components"].update(disk_image_sha256=sha256(bytes(16 * 1024**2))),
    )
    world.statements.clear()
    for name in ("ada", "ben"):
        world.rebuilt_by(name)
    world.save()
    assert found(world, capsys, "--max-file-size", "16MiB")[0] == 0
    code, findings = found(world, capsys, "--max-file-size", "8MiB")
    (said,) = [entry for entry in findings if entry["axis"] == "file disk"]
    assert (code, said["state"]) == (2, "could not check")
    assert "give --max-file-size" in said["reason"]
    assert world.run("--max-file-size", "1") == 2


def test_a_statement_of_a_stranger_bounds_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = world.verdict()
    data = {role: (world.files / name).read_bytes() for role, name in NAMES.items()}
    small = [subject(role, 1, sha256(part), sha384(part)) for role, part in data.items()]
    world.rebuilt_by("mallory", subjects=small)
    world.save(world.evidence(verdict))
    assert found(world, capsys)[0] == 0


def test_a_member_that_is_too_large_to_be_measured_is_not_written_out(
    bundled: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("builds.pipeline.build_info_release.MAX_BOOT_FILE_BYTES", 1000)
    kept: list[str] = []
    copying = tarballs._Copy.__enter__
    monkeypatch.setattr(
        tarballs._Copy,
        "__enter__",
        lambda copy: kept.append(copy._path.name) or copying(copy),
    )
    code, findings = found(bundled, capsys)
    assert sorted(kept) == ["initrd", "kernel"]
    assert code == 2
    assert any("too large to be measured" in entry["reason"] for entry in findings)


def test_a_published_value_without_its_launch_is_checked_by_the_launch_that_the_user_names(
    bundled: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tarball's documents name a value and no launch; that of two vCPUs nobody signed."""
    code, findings = found(bundled, capsys, "--vcpus", "2")
    assert code == 0
    two = next(entry["reason"] for entry in findings if entry["axis"] == "measurement").split()[0]
    (bundled.files / "launch-measurement-v1.0.0.txt").write_text(f"{two}\n")
    assert found(bundled, capsys)[0] == 2
    assert found(bundled, capsys, "--vcpus", "2")[0] == 0
    assert found(bundled, capsys, "--vcpus", "3")[0] == 2
    (bundled.files / "launch-measurement-v1.0.0.txt").write_text(f"{'6' * 96}\n")
    assert found(bundled, capsys, "--vcpus", "2")[0] == 2
