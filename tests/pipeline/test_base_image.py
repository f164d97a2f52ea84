"""The base image: the same bytes for the same packages, safe against hostile ones, and it runs."""

from __future__ import annotations

import hashlib
import io
import json
import random
import subprocess
import tarfile
import uuid
from pathlib import Path

import pytest
from django.conf import settings

from builds.domain.errors import UnsafePath
from builds.domain.recipe import MaterialGroup
from builds.pipeline.base_image import BaseImage, write_base_image
from builds.pipeline.deb_stream import MalformedPackage
from builds.pipeline.debian_archive import lock_groups
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.mirror import Mirror
from builds.pipeline.rootfs import PackagesConflict, merged_path, write_rootfs
from tests.pipeline.local_archive import TarMember, directory, link, make_deb, never, regular

BASE_FILES = make_deb(
    [
        directory("./"),
        directory("./usr/"),
        directory("./etc/", 0o775),
        directory("./usr/bin/"),
        link("./bin", "usr/bin"),
        link("./lib", "usr/lib"),
        link("./lib64", "usr/lib64"),
        directory("./tmp/", 0o1777),
        regular("./etc/os-release", b"ID=test\n"),
        regular("./usr/share/doc/base-files/README", b"dropped"),
    ]
)
OLD_STYLE = make_deb(
    [
        directory("./lib/"),
        regular("./lib/libold.so.1", b"library"),
        link("./lib/libold.so", "libold.so.1"),
        regular("./bin/su", b"su", 0o4755),
        link("./usr/bin/su-again", "./bin/su", tarfile.LNKTYPE),
        directory("./etc/", 0o755),
        directory("./var/mail/", 0o2775),
    ]
)
GOOD = {"base-files 1": BASE_FILES, "old 1": OLD_STYLE}


def put(directory: Path, debs: dict[str, bytes]) -> list[tuple[str, Path]]:
    paths = []
    for label, data in debs.items():
        path = directory / hashlib.sha256(data).hexdigest()
        path.write_bytes(data)
        paths.append((label, path))
    return paths


def rootfs(directory: Path, debs: dict[str, bytes]) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    target = directory / "rootfs.tar"
    with target.open("wb") as file:
        digest = write_rootfs(put(directory, debs), file, never)
    assert digest.hex == hashlib.sha256(target.read_bytes()).hexdigest()
    with tarfile.open(target) as archive:
        return {
            entry.name: (entry, content.read() if (content := archive.extractfile(entry)) else b"")
            for entry in archive
            if not entry.issym()
        } | {entry.name: (entry, b"") for entry in archive if entry.issym()}


def image(directory: Path, debs: dict[str, bytes], name: str = "base.tar", epoch: int = 1_700_000_000) -> BaseImage:
    return write_base_image(
        put(directory, debs),
        directory / name,
        reference="test-base:1",
        labels={"b": "2", "a": "1"},
        epoch=epoch,
        rootfs=directory / "kept.tar",
        check=never,
    )


def test_files_of_all_packages_are_there_with_merged_aliases_followed(tmp_path: Path) -> None:
    found = rootfs(tmp_path, GOOD)
    assert found["usr/lib/libold.so.1"][1] == b"library"
    assert found["usr/lib/libold.so"][0].linkname == "libold.so.1"
    assert found["etc/os-release"][1] == b"ID=test\n"
    for alias in ("bin", "sbin", "lib", "lib64"):
        assert (found[alias][0].issym(), found[alias][0].linkname) == (True, f"usr/{alias}")
        assert found[f"usr/{alias}"][0].isdir()
    assert not [name for name in found if name.startswith(("lib/", "bin/", "usr/share/doc/"))]


def test_owner_time_and_permissions_are_fixed(tmp_path: Path) -> None:
    found = rootfs(tmp_path, GOOD)
    assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry, _ in found.values()} == {
        (0, 0, "", "", 0)
    }
    modes = {name: entry.mode for name, (entry, _) in found.items()}
    assert (modes["usr/bin/su"], modes["var/mail"], modes["etc"]) == (0o755, 0o775, 0o755)
    assert (modes["tmp"], modes["var/tmp"], modes["root"]) == (0o1777, 0o1777, 0o700)
    assert found["etc/passwd"][1].startswith(b"root:x:0:0:")


def test_hard_links_stay_links_to_one_file(tmp_path: Path) -> None:
    found = rootfs(tmp_path, GOOD)
    assert (found["usr/bin/su-again"][0].islnk(), found["usr/bin/su-again"][0].linkname) == (True, "usr/bin/su")
    assert found["usr/bin/su-again"][1] == b"su"


def test_every_parent_comes_before_its_children(tmp_path: Path) -> None:
    seen: set[str] = set()
    (tmp_path / "x").mkdir()
    target = tmp_path / "sorted.tar"
    with target.open("wb") as file:
        write_rootfs(put(tmp_path / "x", GOOD), file, never)
    with tarfile.open(target) as archive:
        for entry in archive:
            parent = entry.name.rpartition("/")[0]
            assert not parent or parent in seen
            assert entry.name not in seen
            seen.add(entry.name)


def test_the_order_of_packages_changes_nothing(tmp_path: Path) -> None:
    debs = {f"package-{number}": make_deb([regular(f"./usr/{number}", b"x" * number)]) for number in range(8)}
    packages = put(tmp_path, debs)
    digests = set()
    for seed in range(5):
        random.Random(seed).shuffle(packages)
        with io.FileIO(tmp_path / f"{seed}.tar", "wb") as file:
            digests.add(write_rootfs(packages, file, never))
    assert len(digests) == 1


def test_the_same_file_in_two_packages_is_kept_once(tmp_path: Path) -> None:
    same = {"a": make_deb([regular("./usr/x", b"1")]), "b": make_deb([directory("./usr/"), regular("./usr/x", b"1")])}
    assert rootfs(tmp_path, same)["usr/x"][1] == b"1"


@pytest.mark.parametrize(
    "members",
    [[regular("./usr/x", b"2")], [regular("./usr/x", b"1", 0o755)], [directory("./usr/x")], [link("./usr/x", "y")]],
    ids=["content", "mode", "directory", "link"],
)
def test_packages_that_disagree_about_a_name_are_both_named(tmp_path: Path, members: list[TarMember]) -> None:
    with pytest.raises(PackagesConflict, match=r"/usr/x is a file of one 1 and a .* of two 1"):
        rootfs(tmp_path, {"one 1": make_deb([regular("./usr/x", b"1")]), "two 1": make_deb(members)})


@pytest.mark.parametrize(
    "members",
    [
        [regular("../etc/passwd", b"x")],
        [regular("/etc/passwd", b"x")],
        [link("./out", "/etc"), regular("./out/passwd", b"x")],
        [link("./hard", "../../etc/shadow", tarfile.LNKTYPE)],
        [regular("./file", b"x"), regular("./file/below", b"x")],
    ],
    ids=["dot-dot", "absolute", "through-a-link", "hard-link-outside", "below-a-file"],
)
def test_a_hostile_package_reaches_nothing_outside(tmp_path: Path, members: list[TarMember]) -> None:
    with pytest.raises(UnsafePath) as caught:
        rootfs(tmp_path, {"hostile 1": make_deb(members)})
    assert caught.value.where == "hostile 1"


def test_a_link_through_another_packages_link_is_refused_too(tmp_path: Path) -> None:
    debs = {"a": make_deb([link("./etc/x", "/usr")]), "b": make_deb([directory("./etc/x/"), regular("./etc/x/y", b"")])}
    with pytest.raises((UnsafePath, PackagesConflict)):
        rootfs(tmp_path, debs)


def test_devices_and_dangling_hard_links_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedPackage, match="device"):
        rootfs(tmp_path, {"x": make_deb([link("./dev/sda", "", tarfile.BLKTYPE)])})
    with pytest.raises(MalformedPackage, match="hard link"):
        rootfs(tmp_path, {"x": make_deb([link("./hard", "./nothing", tarfile.LNKTYPE)])})


def test_only_top_level_aliases_are_followed() -> None:
    names = ["lib/x", "lib", "usr/lib/x", "opt/lib/x", "lib64/ld.so", "library/x"]
    assert [merged_path(name) for name in names] == [
        "usr/lib/x",
        "lib",
        "usr/lib/x",
        "opt/lib/x",
        "usr/lib64/ld.so",
        "library/x",
    ]


def test_the_archive_is_what_docker_load_reads_and_its_id_is_known_beforehand(tmp_path: Path) -> None:
    made = image(tmp_path, GOOD)
    with tarfile.open(tmp_path / "base.tar") as archive:
        members = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    (manifest,) = json.loads(members["manifest.json"])
    configuration = members[manifest["Config"]]
    assert manifest["RepoTags"] == ["test-base:1"]
    assert made.image_id == "sha256:" + hashlib.sha256(configuration).hexdigest()
    layer = "sha256:" + hashlib.sha256(members[manifest["Layers"][0]]).hexdigest()
    assert json.loads(configuration)["rootfs"]["diff_ids"] == [layer] == [made.rootfs_sha256]
    assert json.loads(configuration)["created"] == "2023-11-14T22:13:20Z"
    assert json.loads(configuration)["config"]["Labels"] == {"a": "1", "b": "2"}
    assert "LC_ALL=C.UTF-8" in json.loads(configuration)["config"]["Env"]


def test_the_same_packages_give_the_same_archive_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert image(tmp_path / "a", GOOD) == image(tmp_path / "b", dict(reversed(GOOD.items())))
    assert (tmp_path / "a/base.tar").read_bytes() == (tmp_path / "b/base.tar").read_bytes()


def test_a_kept_layer_is_used_again_without_the_packages(tmp_path: Path) -> None:
    first = image(tmp_path, GOOD)
    for _, path in put(tmp_path, GOOD):
        path.write_bytes(b"gone")
    packages = [(label, tmp_path / "absent") for label in GOOD]
    again = write_base_image(
        packages,
        tmp_path / "again.tar",
        reference="test-base:1",
        labels={},
        epoch=0,
        rootfs=tmp_path / "kept.tar",
        check=never,
    )
    assert again.rootfs_sha256 == first.rootfs_sha256


@pytest.mark.parametrize("damage", ["layer", "digest", "digest-absent"])
def test_a_damaged_layer_is_made_anew(tmp_path: Path, damage: str) -> None:
    first = image(tmp_path, GOOD)
    kept, digest = tmp_path / "kept.tar", tmp_path / "kept.tar.sha256"
    for path in (kept, digest):
        path.chmod(0o644)
    if damage == "layer":
        kept.write_bytes(kept.read_bytes().replace(b"ID=test", b"ID=evil"))
    elif damage == "digest":
        digest.write_bytes(b"0" * 64 + b"\n")
    else:
        digest.unlink()
    assert image(tmp_path, GOOD) == first
    assert b"ID=evil" not in (tmp_path / "base.tar").read_bytes()


@pytest.mark.slow
@pytest.mark.archive
@pytest.mark.docker
def test_an_image_of_real_packages_loads_under_its_known_id_and_runs(tmp_path: Path) -> None:
    store, mirror = MaterialStore(tmp_path / "store"), Mirror(None)
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    names = ["base-files", "bash", "coreutils", "dash"]
    groups = [MaterialGroup(name="base", suite="trixie", packages=list(names), dependencies=True)]
    lock = lock_groups(groups, store, mirror, keyring, never)
    store.ensure(lock.packages, mirror, never)
    reference = f"tee-portal-test-base:{uuid.uuid4().hex}"
    made = write_base_image(
        [(package.label, store.path(package.digest)) for package in lock.group("base")],
        tmp_path / "base.tar",
        reference=reference,
        labels={"org.tee-portal.test": reference},
        epoch=1_700_000_000,
        rootfs=tmp_path / "rootfs.tar",
        check=never,
    )
    docker = ["docker", "--host", settings.DOCKER_HOST]
    subprocess.run([*docker, "load", "-i", str(tmp_path / "base.tar")], check=True, capture_output=True)
    try:
        inspected = subprocess.run([*docker, "image", "inspect", reference], check=True, capture_output=True).stdout
        assert json.loads(inspected)[0]["Id"] == made.image_id
        said = subprocess.run(
            [
                *docker,
                "run",
                "--rm",
                "--network",
                "none",
                reference,
                "/bin/sh",
                "-c",
                "id -un && readlink /bin /lib64 && stat -c %a /tmp && echo $LC_ALL && bash --version | head -c 8",
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert said.split() == ["root", "usr/bin", "usr/lib64", "1777", "C.UTF-8", "GNU", "bash"]
    finally:
        subprocess.run([*docker, "rmi", reference], check=True, capture_output=True)
