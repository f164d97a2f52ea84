"""What packages hold, and what hostile packages get."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from builds.domain.digest import Digest
from builds.domain.errors import LimitExceeded, UnsafePath
from builds.domain.materials import LockedDownload
from builds.domain.origins import Authenticity, OriginKind, classify
from builds.pipeline.deb_stream import MalformedPackage, PackageLimits
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.package_contents import (
    PackagedFile,
    candidates,
    index_contents,
    package_files,
    read_package,
    source_files,
)
from tests.pipeline.local_archive import (
    TarMember,
    deb_of_tar,
    directory,
    link,
    locked,
    make_deb,
    never,
    regular,
    tar_bytes,
)

UNSIGNED = Authenticity.unauthenticated("a test made it")


def read(tmp_path: Path, deb: bytes, limits: PackageLimits | None = None) -> list[PackagedFile]:
    path = tmp_path / "x.deb"
    path.write_bytes(deb)
    return read_package(path, "x 1.0 (amd64)", never, limits)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_regular_files_are_listed_with_their_digests_and_nothing_else_is(tmp_path: Path) -> None:
    deb = make_deb(
        [
            directory("./"),
            directory("./usr/"),
            regular("./usr/tool", b"tool"),
            link("./usr/alias", "tool"),
            link("./usr/hard", "./usr/tool", tarfile.LNKTYPE),
            regular("./usr/empty", b""),
        ]
    )
    assert read(tmp_path, deb) == [
        PackagedFile("usr/tool", 4, sha256(b"tool"), False),
        PackagedFile("usr/empty", 0, sha256(b""), False),
    ]


@pytest.mark.parametrize("suffix", [".xz", ".gz", ".zst"])
def test_a_compressed_file_is_known_by_both_digests(tmp_path: Path, suffix: str) -> None:
    data = b"module" * 1000
    if suffix == ".zst":
        packed = subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout
    else:
        packed = lzma.compress(data) if suffix == ".xz" else gzip.compress(data)
    assert read(tmp_path, make_deb([regular(f"./lib/m.ko{suffix}", packed)])) == [
        PackagedFile(f"lib/m.ko{suffix}", len(packed), sha256(packed), False),
        PackagedFile(f"lib/m.ko{suffix}", len(data), sha256(data), True),
    ]


@pytest.mark.parametrize("name", ["x.xz", "x.gz", "x.zst", "x.bz2"])
def test_a_file_that_is_not_what_its_name_says_is_known_by_its_own_bytes(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, make_deb([regular(f"./{name}", b"plain")])) == [
        PackagedFile(name, 5, sha256(b"plain"), False)
    ]


def test_backslashes_and_undecodable_names_are_kept_readable(tmp_path: Path) -> None:
    deb = make_deb([regular("./a\\x2db.slice", b"1"), regular("./caf\udce9", b"2")])
    assert [file.path for file in read(tmp_path, deb)] == ["a\\x2db.slice", "caf�"]


@pytest.mark.parametrize(
    "member",
    [
        regular("../etc/passwd", b"x"),
        regular("/etc/passwd", b"x"),
        regular("./usr/../../x", b"x"),
        link("./hard", "../../etc/shadow", tarfile.LNKTYPE),
        link("./hard", "/etc/shadow", tarfile.LNKTYPE),
    ],
    ids=["dot-dot", "absolute", "dot-dot-inside", "hard-link-outside", "hard-link-absolute"],
)
def test_a_member_outside_the_package_is_refused_by_name(tmp_path: Path, member: TarMember) -> None:
    with pytest.raises(UnsafePath, match="outside") as caught:
        read(tmp_path, make_deb([member]))
    assert caught.value.where == "x 1.0 (amd64)"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_fifos_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(MalformedPackage, match="device"):
        read(tmp_path, make_deb([link("./dev/sda", "", kind)]))


def test_a_package_that_unpacks_to_too_much_is_stopped(tmp_path: Path) -> None:
    bomb = deb_of_tar(tar_bytes([regular("./zeros", bytes(64 * 1024 * 1024))]), compress=True)
    assert len(bomb) < 100_000
    with pytest.raises(LimitExceeded, match="unpacks to more"):
        read(tmp_path, bomb, PackageLimits(unpacked_bytes=8 * 1024 * 1024))


def test_compressed_members_that_decompress_to_too_much_are_stopped(tmp_path: Path) -> None:
    bomb = lzma.compress(bytes(32 * 1024 * 1024), preset=1)
    deb = make_deb([regular(f"./{number}.xz", bomb) for number in range(4)])
    with pytest.raises(LimitExceeded, match="decompress to more"):
        read(tmp_path, deb, PackageLimits(unpacked_bytes=64 * 1024 * 1024))


def test_a_package_with_too_many_entries_is_stopped(tmp_path: Path) -> None:
    deb = make_deb([regular(f"./{number}", b"") for number in range(20)])
    with pytest.raises(LimitExceeded, match="more than 10 entries"):
        read(tmp_path, deb, PackageLimits(entries=10))


def test_a_package_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(LimitExceeded, match="longer than 0 seconds"):
        read(tmp_path, make_deb([regular("./a", b"a")]), PackageLimits(seconds=0.0))


def test_a_giant_header_is_refused_before_it_is_read_into_memory(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 2 * 1024 * 1024
    deb = deb_of_tar(entry.tobuf(tarfile.GNU_FORMAT) + b"a" * entry.size, compress=True)
    with pytest.raises(MalformedPackage, match="header"):
        read(tmp_path, deb)


WHOLE = deb_of_tar(tar_bytes([regular(f"./{number}", bytes([number]) * 5000) for number in range(50)]), compress=True)


@pytest.mark.parametrize(
    "deb",
    [b"", b"!<arch>\n", b"not a package", WHOLE[:-40], WHOLE[: len(WHOLE) // 2], deb_of_tar(b"\xff" * 1024)],
    ids=["empty", "no-members", "text", "cut-near-its-end", "cut-in-half", "no-tar"],
)
def test_what_is_no_whole_package_is_refused_by_name(tmp_path: Path, deb: bytes) -> None:
    with pytest.raises(MalformedPackage):
        read(tmp_path, deb)


def test_reading_stops_when_the_check_raises(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    path = tmp_path / "x.deb"
    path.write_bytes(WHOLE)
    with pytest.raises(Stopped):
        read_package(path, "x", stop)


def test_the_answer_is_kept_and_needs_no_package_again(tmp_path: Path) -> None:
    store = MaterialStore(tmp_path / "store")
    package = locked("tool", WHOLE)
    store.add_bytes(WHOLE)
    first = index_contents(store, [package], never)
    store.path(package.digest).unlink()
    assert index_contents(store, [package], never) == first
    assert len(first[package.sha256]) == 50


def test_a_damaged_answer_is_computed_again(tmp_path: Path) -> None:
    store = MaterialStore(tmp_path / "store")
    package = locked("tool", WHOLE)
    store.add_bytes(WHOLE)
    first = package_files(store, package, never)
    cache = store.root / "contents" / f"{package.sha256}.json"
    good = cache.read_bytes()
    for damaged in (good[:-3], b"", good.replace(b'"0"', b'"9"', 1), b"[]"):
        cache.chmod(0o644)
        cache.write_bytes(damaged)
        assert package_files(store, package, never) == first
        assert cache.read_bytes() == good


def test_a_source_tree_is_read_without_following_links(tmp_path: Path) -> None:
    root, outside = tmp_path / "tree", tmp_path / "outside"
    (root / ".git").mkdir(parents=True)
    (root / ".git/config").write_text("hidden")
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (root / "directory-link").symlink_to(outside)
    (root / "file-link").symlink_to(outside / "secret")
    (root / "init").write_text("#!/bin/sh\n# äöü\n")
    (root / "binary").write_bytes(b"\x7fELF\0")
    (root / "latin1").write_bytes(b"caf\xe9")
    assert [(file.path, file.is_text) for _, file in source_files(root)] == [
        ("binary", False),
        ("init", True),
        ("latin1", False),
    ]


def test_the_index_attributes_files_packages_downloads_and_source(tmp_path: Path) -> None:
    store = MaterialStore(tmp_path / "store")
    deb = make_deb([regular("./usr/tool", b"tool")])
    store.add_bytes(deb)
    package = locked("tool", deb)
    root = tmp_path / "tree"
    root.mkdir()
    (root / "script").write_bytes(b"tool")
    (root / "prebuilt").write_bytes(b"\0")
    download = LockedDownload(name="blob", url="https://example.org/blob", sha256=sha256(b"blob"), size=4)
    index = candidates([package], index_contents(store, [package], never), {package.sha256: UNSIGNED}, root, [download])

    def kind(data: bytes) -> OriginKind:
        return classify(Digest.sha256(sha256(data)), len(data), index).kind

    assert [kind(data) for data in (b"tool", deb, b"blob", b"\0", b"new")] == [
        OriginKind.SOURCE,
        OriginKind.OPAQUE,
        OriginKind.OPAQUE,
        OriginKind.OPAQUE,
        OriginKind.BUILT,
    ]
    assert len(index) == len(set(index)) == 4
    assert Digest.sha384("0" * 96) not in index


def test_every_cut_of_a_package_is_a_named_error_or_the_whole_answer(tmp_path: Path) -> None:
    whole = read(tmp_path, WHOLE)
    for cut in range(0, len(WHOLE), max(1, len(WHOLE) // 12)):
        try:
            found = read(tmp_path, WHOLE[:cut])
        except MalformedPackage:
            continue
        assert found == whole


def test_a_real_package_of_dpkg_deb_reads_like_tar_does(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: x\n"
    )
    (tree / "usr").mkdir()
    shutil.copy("/etc/os-release", tree / "usr/os")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", str(tree), str(tmp_path / "real.deb")], check=True, capture_output=True
    )
    data = Path("/etc/os-release").read_bytes()
    assert read_package(tmp_path / "real.deb", "x", never) == [PackagedFile("usr/os", len(data), sha256(data), False)]
