"""Release directories with one tarball and build-info, as real files."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from builds.domain.build_info import MalformedBuildInfo, Reused
from builds.domain.comparison import Subject
from builds.domain.errors import PortalError
from builds.domain.manifest import MAX_DOCUMENT_BYTES, MalformedMeasurement
from builds.domain.roles import Role
from builds.domain.tags import MalformedCommit, MalformedTag, ReservedTag
from builds.pipeline.published_release import AmbiguousAssets, Asset, Outside, PublishedRelease, TagNotGiven
from builds.pipeline.release_directory import read_release_directory
from builds.pipeline.source import GitSource, SourceUnreachable, TagMismatch
from tests.conftest import never
from tests.support.sources import git, make_repository
from tests.support.vm_release import (
    INITRD,
    KATANA,
    KERNEL,
    LUKS_UUID,
    SIDECAR,
    TAG,
    VmRelease,
    sha256,
    write_tarball,
)

LIMIT = 10_000_000
COMMIT = "c" * 40
TARBALL = f"katana-tee-vm-{TAG}.tar.gz"
COMPONENTS = {Role.KATANA, Role.KERNEL, Role.INITRD, Role.OVMF}


def read(directory: Path, tag: str | None = TAG, commit: str | None = COMMIT, limit: int = LIMIT) -> PublishedRelease:
    work = directory.parent / "taken-out"
    work.mkdir()
    outside = Outside(tag, commit, commit_of=lambda name: "a" * 40)
    return read_release_directory(directory, limit, outside=outside, work=work, check=never)


def problem(asset: Asset) -> PortalError:
    assert asset.problem is not None
    assert asset.published.content is None
    assert asset.path is None
    return asset.problem


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "release"


@pytest.mark.parametrize("prefix", ["", "./", "katana-tee-vm/"])
def test_a_release_that_agrees_with_itself_has_no_contradiction(directory: Path, prefix: str) -> None:
    published = read(VmRelease(prefix=prefix).write(directory))
    assert published.contradictions == ()
    assert (published.tag, published.commit, published.source_date_epoch) == (TAG, COMMIT, 1_700_000_000)
    assert published.document_name == f"build-info-{TAG}.txt"
    assert published.document_bytes == (directory / published.document_name).read_bytes()
    assert published.measurement is not None
    assert (published.measurement.value, published.measurement.launch) == ("6" * 96, None)
    assert published.values["LUKS_UUID"] == LUKS_UUID
    assert set(published.assets) == COMPONENTS
    containers = {asset.published.container for asset in published.assets.values()}
    assert {container.sha256.hex for container in containers if container} == {
        sha256((directory / TARBALL).read_bytes())
    }
    kernel = published.assets[Role.KERNEL]
    assert (kernel.file_name, kernel.member) == (TARBALL, f"{prefix.removeprefix('./')}vmlinuz")
    assert (kernel.container_kind, kernel.published.claim_subject) == ("tar.gz", Subject.CONTENT)


def test_measured_files_are_taken_out_under_our_own_names_and_nothing_else_is(directory: Path) -> None:
    published = read(VmRelease().write(directory))
    taken = {path.name: path.read_bytes() for path in (directory.parent / "taken-out").iterdir()}
    assert taken == {"kernel": KERNEL, "initrd": INITRD, "ovmf": b"firmware\x00\xff"}
    assert published.assets[Role.KERNEL].path == directory.parent / "taken-out" / "kernel"
    assert published.assets[Role.KATANA].path is None


def test_katana_and_what_no_reader_can_check_is_embedded_and_text_is_not(directory: Path) -> None:
    published = read(VmRelease().write(directory))
    found = {file.path: (file.content.sha256.hex, file.content.size, file.is_elf) for file in published.embedded}
    assert found == {
        "katana": (sha256(KATANA), len(KATANA), True),
        "settlement": (sha256(SIDECAR), len(SIDECAR), True),
    }
    assert {file.container for file in published.embedded} == {TARBALL}


def test_a_katana_that_is_a_script_and_a_program_deep_inside_are_embedded_too(directory: Path) -> None:
    release = VmRelease()
    release.replace("katana", b"#!/bin/sh\n")
    release.members.append(("lib/a/b/katana", b"\0blob"))
    embedded = {file.path: file.is_elf for file in read(release.write(directory)).embedded}
    assert embedded == {"katana": False, "settlement": True, "lib/a/b/katana": False}


def test_what_was_taken_over_and_packages_are_kept(directory: Path) -> None:
    published = read(VmRelease().write(directory))
    assert published.reused == (Reused("OVMF_REUSED_FROM", Role.OVMF, "tee-vm-v0.0.9+katana-v1.6.0"),)
    assert [package.name for package in published.packages] == ["kernel package", "busybox package"]


def test_a_tampered_member_contradicts_and_is_neither_refused_nor_repaired(directory: Path) -> None:
    release = VmRelease()
    release.replace("vmlinuz", b"other kernel\0")
    published = read(release.write(directory))
    (sentence,) = published.contradictions
    assert sentence.startswith(
        f"kernel: vmlinuz (the content of {TARBALL}) hashes to sha256:{sha256(b'other kernel\0')}"
    )
    assert f"build-info-{TAG}.txt says sha256:{sha256(KERNEL)}" in sentence
    assert published.assets[Role.KERNEL].published.contradicts_manifest
    assert not published.assets[Role.INITRD].published.contradicts_manifest


def test_a_missing_member_is_a_problem_of_that_component_alone(directory: Path) -> None:
    release = VmRelease()
    release.members = [(name, data) for name, data in release.members if name != "initrd.img"]
    published = read(release.write(directory))
    assert problem(published.assets[Role.INITRD]).code == "missing-file"
    assert published.assets[Role.KERNEL].problem is None


@pytest.mark.parametrize("second", ["vmlinuz", "VMLINUZ", "./vmlinuz", "other/vmlinuz"])
def test_a_member_that_is_there_twice_is_nobodys_choice(directory: Path, second: str) -> None:
    release = VmRelease()
    release.members.append((second, b"other"))
    published = read(release.write(directory))
    assert problem(published.assets[Role.KERNEL]).code == "ambiguous-assets"
    assert "more than once" in problem(published.assets[Role.KERNEL]).what


def test_components_in_several_directories_are_nobodys_choice(directory: Path) -> None:
    release = VmRelease()
    release.members = [(f"boot/{name}" if name == "vmlinuz" else name, data) for name, data in release.members]
    assert problem(read(release.write(directory)).assets[Role.OVMF]).code == "ambiguous-assets"


def test_a_decoy_in_a_deep_directory_is_not_the_component(directory: Path) -> None:
    release = VmRelease()
    release.members.insert(0, ("a/b/vmlinuz", b"decoy\0"))
    published = read(release.write(directory))
    kernel = published.assets[Role.KERNEL]
    assert kernel.problem is None
    assert kernel.path is not None
    assert kernel.path.read_bytes() == KERNEL
    assert "a/b/vmlinuz" in {file.path for file in published.embedded}


def test_a_readable_file_that_unpacks_over_a_component_makes_the_tarball_unsafe(directory: Path) -> None:
    """tar follows the link that it has just written, and what lies three names deep is no component."""
    release = VmRelease()
    release.write(directory)
    content = gzip.decompress((directory / TARBALL).read_bytes())
    with tarfile.open(fileobj=(plain := io.BytesIO(content)), mode="a") as archive:
        link, evil = tarfile.TarInfo("x"), tarfile.TarInfo("x/x/katana")
        link.type, link.linkname, evil.size = tarfile.SYMTYPE, ".", 5
        archive.addfile(link)
        archive.addfile(evil, io.BytesIO(b"evil\n"))
    (directory / TARBALL).write_bytes(gzip.compress(plain.getvalue()))
    published = read(directory)
    assert {problem(asset).code for asset in published.assets.values()} == {"unsafe-path"}


def test_a_link_in_place_of_a_component_is_not_followed(directory: Path) -> None:
    release = VmRelease()
    release.write(directory)
    members = [(name, data) for name, data in release.members if name != "vmlinuz"]
    write_tarball(directory / TARBALL, members, links={"vmlinuz": "katana"})
    published = read(directory)
    assert problem(published.assets[Role.KERNEL]).code == "malformed-archive"
    assert published.assets[Role.OVMF].problem is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../vmlinuz", "unsafe-path"),
        ("/etc/passwd", "unsafe-path"),
        ("a\\b", "unsafe-path"),
        ("x" * 5000, "malformed-archive"),
    ],
)
def test_a_member_that_points_outside_makes_the_whole_tarball_unreadable(directory: Path, name: str, code: str) -> None:
    release = VmRelease()
    release.members.append((name, b"evil"))
    published = read(release.write(directory))
    assert {problem(asset).code for asset in published.assets.values()} == {code}
    assert published.embedded == ()
    assert set(directory.parent.iterdir()) == {directory, directory.parent / "taken-out"}


def test_a_name_that_is_not_utf8_cannot_reach_the_database(directory: Path) -> None:
    VmRelease().write(directory)
    with tarfile.open(directory / TARBALL, "w:gz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo(os.fsdecode(b"kat\xffana")))
    assert {problem(asset).code for asset in read(directory).assets.values()} == {"unsafe-path"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data[:-20], "malformed-gzip"),
        (lambda data: b"no gzip", "malformed-gzip"),
        (lambda data: gzip.compress(b"no tar" * 1000), "malformed-archive"),
        (lambda data: gzip.compress(gzip.decompress(data) + b"more" * 10_000), "malformed-archive"),
        (lambda data: gzip.compress(bytes(LIMIT + 1)), "limit-exceeded"),
    ],
)
def test_a_broken_tarball_is_a_problem_of_every_component(directory: Path, change: object, code: str) -> None:
    VmRelease().write(directory)
    data = (directory / TARBALL).read_bytes()
    (directory / TARBALL).write_bytes(change(data))  # type: ignore[operator]
    published = read(directory)
    assert {problem(asset).code for asset in published.assets.values()} == {code}
    assert set(published.assets) == COMPONENTS


def test_members_that_unpack_to_more_than_allowed_are_stopped(directory: Path) -> None:
    release = VmRelease()
    release.replace("settlement", bytes(2_000_000))
    published = read(release.write(directory), limit=1_000_000)
    assert {problem(asset).code for asset in published.assets.values()} == {"limit-exceeded"}


def test_two_tarballs_and_none_are_a_problem_of_every_component(directory: Path) -> None:
    VmRelease().write(directory)
    other = directory / "katana-tee-vm-other.tar.gz"
    other.write_bytes((directory / TARBALL).read_bytes())
    published = read(directory)
    assert {problem(asset).code for asset in published.assets.values()} == {"ambiguous-assets"}
    other.unlink()
    (directory / TARBALL).unlink()
    (directory.parent / "taken-out").rmdir()
    assert {problem(asset).code for asset in read(directory).assets.values()} == {"missing-file"}


def test_measurements_that_disagree_contradict(directory: Path) -> None:
    VmRelease().write(directory)
    (directory / f"launch-measurement-{TAG}.txt").write_text("7" * 96)
    published = read(directory)
    (sentence,) = published.contradictions
    assert sentence == (f"build-info-{TAG}.txt and launch-measurement-{TAG}.txt name different launch measurements.")


@pytest.mark.parametrize("keep", ["build-info", "text"])
def test_one_of_the_two_measurements_is_enough_and_none_is_none(directory: Path, keep: str) -> None:
    release = VmRelease()
    if keep == "text":
        release.info["LAUNCH_MEASUREMENT"] = ""
    release.write(directory)
    if keep == "build-info":
        (directory / f"launch-measurement-{TAG}.txt").unlink()
    published = read(directory)
    assert published.measurement is not None
    assert published.measurement.value == "6" * 96
    assert published.contradictions == ()


def test_without_any_measurement_none_is_stated(directory: Path) -> None:
    release = VmRelease(measurement="")
    release.write(directory)
    (directory / f"launch-measurement-{TAG}.txt").unlink()
    assert read(directory).measurement is None


def test_files_named_for_another_release_contradict(directory: Path) -> None:
    published = read(VmRelease().write(directory), tag="tee-vm-v0.2.0+katana-v1.7.0")
    assert len(published.contradictions) == 3
    assert all("was imported as tag tee-vm-v0.2.0+katana-v1.7.0" in sentence for sentence in published.contradictions)


def test_a_slash_of_a_tag_is_a_dash_in_file_names(directory: Path) -> None:
    assert read(VmRelease(tag="a-b+c").write(directory), tag="a/b+c").contradictions == ()


def test_the_tag_must_be_given_and_the_commit_is_asked_of_the_source(directory: Path) -> None:
    VmRelease().write(directory)
    with pytest.raises(TagNotGiven):
        read(directory, tag=None)
    (directory.parent / "taken-out").rmdir()
    assert read(directory, commit=None).commit == "a" * 40


@pytest.mark.parametrize("tag", ["", "-x", "a..b", "a b", "x.lock", "x.lock/y", "a//b", "a/", "ä", "a" * 201, "a\n"])
def test_what_is_no_tag_is_refused_by_name(tag: str) -> None:
    with pytest.raises(MalformedTag):
        Outside(tag, None, commit_of=str)


@pytest.mark.parametrize("tag", ["verdict", "v1/verdict", "a/b/verdict"])
def test_a_tag_that_ends_as_the_address_of_a_verdict_is_refused_by_name(tag: str) -> None:
    with pytest.raises(ReservedTag):
        Outside(tag, None, commit_of=str)


@pytest.mark.parametrize("tag", ["verdict-1", "verdict/1", "a/verdicts"])
def test_the_word_elsewhere_in_a_tag_is_no_harm(tag: str) -> None:
    assert Outside(tag, None, commit_of=str).tag == tag


@pytest.mark.parametrize("commit", ["", "abc", "C" * 40, "c" * 41, "c" * 40 + "\n"])
def test_what_is_no_commit_is_refused_by_name(commit: str) -> None:
    with pytest.raises(MalformedCommit):
        Outside(TAG, commit, commit_of=str)


def test_documents_that_cannot_be_read_refuse_the_release(directory: Path) -> None:
    release = VmRelease()
    release.info["KERNEL_SHA256"] = "unknown"
    with pytest.raises(MalformedBuildInfo):
        read(release.write(directory))
    (directory.parent / "taken-out").rmdir()
    VmRelease().write(directory)
    (directory / f"launch-measurement-{TAG}.txt").write_text("unknown")
    with pytest.raises(MalformedMeasurement):
        read(directory)


@pytest.mark.parametrize("size", [MAX_DOCUMENT_BYTES + 1, 10**12])
def test_a_huge_build_info_is_not_read_to_its_end(directory: Path, size: int) -> None:
    VmRelease().write(directory)
    os.truncate(directory / f"build-info-{TAG}.txt", size)
    with pytest.raises(MalformedBuildInfo, match="larger than"):
        read(directory)


def test_two_build_infos_and_two_formats_are_ambiguous(directory: Path) -> None:
    VmRelease().write(directory)
    (directory / "manifest.json").write_text("{}")
    with pytest.raises(AmbiguousAssets):
        read(directory)
    (directory.parent / "taken-out").rmdir()
    (directory / "manifest.json").unlink()
    (directory / "build-info-other.txt").write_text("SOURCE_DATE_EPOCH=1\n")
    with pytest.raises(AmbiguousAssets):
        read(directory)


def test_the_source_says_which_commit_a_tag_names(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "source", None, tag=TAG)
    git(repository.path, "tag", "--annotate", "--message=x", "a/b+c")
    source = GitSource(repository.url, never)
    assert source.commit_of_tag(TAG, tmp_path) == repository.commit
    assert source.commit_of_tag("a/b+c", tmp_path) == repository.commit
    with pytest.raises(TagMismatch, match="has no tag"):
        source.commit_of_tag("v9", tmp_path)
    with pytest.raises(SourceUnreachable):
        GitSource(f"file://{tmp_path}/nowhere", never).commit_of_tag(TAG, tmp_path)
