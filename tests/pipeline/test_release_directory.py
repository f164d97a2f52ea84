import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builds.domain.comparison import Subject
from builds.domain.errors import MalformedInput
from builds.domain.manifest import MalformedManifest, MalformedMeasurement
from builds.domain.roles import Role
from builds.pipeline.published_release import MissingFile, Outside, PublishedRelease
from builds.pipeline.release_directory import read_release_directory
from tests.conftest import never
from tests.domain.test_manifest import document, measurement

LIMIT = 10_000_000
NOTHING = Outside(None, None, commit_of=str)
DISK = b"disk" * 5000
BINARY = b"\x7fELF binary"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A small release that agrees with itself, published the way the workflow does."""
    (tmp_path / "vmlinuz").write_bytes(b"kernel")
    (tmp_path / "initrd.img").write_bytes(b"initrd")
    (tmp_path / "ovmf.fd").write_bytes(b"ovmf")
    (tmp_path / "katana-vm-v1.7.0.raw.gz").write_bytes(gzip.compress(DISK))
    with tarfile.open(tmp_path / "katana_v1.7.0_linux_amd64_tee.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("katana-reproducible")
        entry.size = len(BINARY)
        archive.addfile(entry, io.BytesIO(BINARY))
    components = {
        "katana_binary_sha384": hashlib.sha384(BINARY).hexdigest(),
        "disk_image_sha256": sha256(DISK),
        "kernel_sha256": sha256(b"kernel"),
        "initrd_sha256": sha256(b"initrd"),
        "ovmf_sha256": sha256(b"ovmf"),
    }
    (tmp_path / "manifest.json").write_text(json.dumps(document(components=components)))
    (tmp_path / "expected-measurement.json").write_text(json.dumps(measurement()))
    (tmp_path / "expected-measurement.txt").write_text("6" * 96 + "\n")
    return tmp_path


def read(release: Path, outside: Outside = NOTHING) -> PublishedRelease:
    return read_release_directory(release, LIMIT, outside=outside, work=release / "unused", check=never)


def rewrite(release: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((release / "manifest.json").read_bytes())
    change(manifest)
    (release / "manifest.json").write_text(json.dumps(manifest))


def test_a_release_that_agrees_with_itself_has_no_contradiction(release: Path) -> None:
    published = read(release)
    assert published.contradictions == ()
    assert set(published.assets) == set(Role)
    assert all(asset.problem is None for asset in published.assets.values())
    disk = published.assets[Role.DISK]
    assert disk.container_kind == "gzip"
    assert disk.published.container is not None
    assert disk.published.content is not None
    assert disk.published.content.sha256.hex == sha256(DISK)
    assert published.assets[Role.KATANA].container_kind == "tar.gz"


def test_an_altered_file_contradicts_and_is_neither_refused_nor_repaired(release: Path) -> None:
    (release / "vmlinuz").write_bytes(b"other kernel")
    published = read(release)
    (sentence,) = published.contradictions
    assert sentence.startswith("kernel: vmlinuz hashes to sha256:" + sha256(b"other kernel"))
    kernel = published.assets[Role.KERNEL].published
    assert kernel.contradicts_manifest
    assert kernel.claimed is not None
    assert kernel.claimed.hex == sha256(b"kernel")


def test_a_manifest_may_speak_of_the_container(release: Path) -> None:
    container = sha256((release / "katana-vm-v1.7.0.raw.gz").read_bytes())
    rewrite(release, lambda manifest: manifest["components"].update(disk_image_sha256=container))
    published = read(release)
    assert published.contradictions == ()
    assert published.assets[Role.DISK].published.claim_subject is Subject.CONTAINER


def test_an_absent_asset_is_a_problem_of_that_asset_alone(release: Path) -> None:
    (release / "initrd.img").unlink()
    published = read(release)
    problem = published.assets[Role.INITRD].problem
    assert problem is not None
    assert problem.code == "missing-file"
    assert published.assets[Role.KERNEL].problem is None


def test_an_asset_the_manifest_does_not_name_is_kept_without_a_claim(release: Path) -> None:
    rewrite(release, lambda manifest: manifest["components"].pop("kernel_sha256"))
    kernel = read(release).assets[Role.KERNEL].published
    assert kernel.claimed is None
    assert kernel.content is not None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (gzip.compress(DISK)[:-9], "malformed-gzip"),
        (gzip.compress(bytes(LIMIT + 1)), "limit-exceeded"),
        (b"not gzip", "malformed-gzip"),
        (b"", "malformed-gzip"),
    ],
)
def test_a_broken_disk_is_named_and_the_other_assets_are_read(release: Path, data: bytes, code: str) -> None:
    (release / "katana-vm-v1.7.0.raw.gz").write_bytes(data)
    published = read(release)
    problem = published.assets[Role.DISK].problem
    assert problem is not None
    assert problem.code == code
    assert published.assets[Role.DISK].published.content is None
    assert published.assets[Role.KERNEL].published.content is not None


def test_a_tarball_with_a_member_outside_is_named(release: Path) -> None:
    with tarfile.open(release / "katana_v1.7.0_linux_amd64_tee.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../katana"))
    problem = read(release).assets[Role.KATANA].problem
    assert problem is not None
    assert problem.code == "unsafe-path"


def test_a_link_a_pipe_or_a_directory_in_place_of_an_asset_is_not_opened(release: Path) -> None:
    for name, make in (
        ("vmlinuz", lambda path: path.symlink_to("/etc/hostname")),
        ("initrd.img", os.mkfifo),
        ("ovmf.fd", Path.mkdir),
    ):
        (release / name).unlink()
        make(release / name)
    published = read(release)
    for role in (Role.KERNEL, Role.INITRD, Role.OVMF):
        problem = published.assets[role].problem
        assert problem is not None
        assert problem.code == "unreadable-file"


def test_two_files_for_one_component_are_ambiguous(release: Path) -> None:
    (release / "disk.raw").write_bytes(DISK)
    problem = read(release).assets[Role.DISK].problem
    assert problem is not None
    assert problem.code == "ambiguous-assets"


def test_documents_that_disagree_about_the_measurement_contradict(release: Path) -> None:
    (release / "expected-measurement.txt").write_text("7" * 96 + "\n")
    rewrite(release, lambda manifest: manifest["measurement"].update(sev_snp_hex="8" * 96, vcpus=8))
    sentences = " ".join(read(release).contradictions)
    assert "manifest.json and expected-measurement.json name different launch measurements" in sentences
    assert "name different vCPUs" in sentences
    assert "expected-measurement.txt names another launch measurement" in sentences


def test_without_a_readable_manifest_there_is_no_release(release: Path, tmp_path: Path) -> None:
    (release / "manifest.json").write_text("{")
    with pytest.raises(MalformedManifest):
        read(release)
    (release / "manifest.json").unlink()
    with pytest.raises(MissingFile):
        read(release)
    (release / "manifest.json").symlink_to("/etc/hostname")
    with pytest.raises(MalformedInput):
        read(release)
    with pytest.raises(MissingFile):
        read(tmp_path / "nowhere")


def test_an_unreadable_measurement_document_is_named(release: Path) -> None:
    (release / "expected-measurement.json").write_text("[]")
    with pytest.raises(MalformedMeasurement):
        read(release)


def test_a_sparse_giant_in_place_of_a_plain_asset_is_not_read_to_its_end(release: Path) -> None:
    os.truncate(release / "vmlinuz", 10**13)
    problem = read(release).assets[Role.KERNEL].problem
    assert problem is not None
    assert problem.code == "limit-exceeded"


def test_a_file_in_place_of_the_directory_is_named(release: Path) -> None:
    with pytest.raises(MissingFile):
        read(release / "manifest.json")


def test_a_tag_or_commit_from_outside_that_disagrees_contradicts_and_the_manifest_names_the_release(
    release: Path,
) -> None:
    assert read(release, Outside("v1.7.0", "c" * 40, commit_of=str)).contradictions == ()
    published = read(release, Outside("v1.7.1", "d" * 40, commit_of=str))
    assert (published.tag, published.commit) == ("v1.7.0", "c" * 40)
    assert published.contradictions == (
        "The release was imported as tag v1.7.1, the manifest says v1.7.0.",
        f"The release was imported as commit {'d' * 40}, the manifest says {'c' * 40}.",
    )
