"""The material store: atomic, verified when added and when used, and what is said when a material cannot be had."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builds.domain.digest import Digest
from builds.domain.errors import DiskFull
from builds.domain.materials import LockedPackage
from builds.pipeline.material_store import MaterialDamaged, MaterialGone, MaterialStore, MirrorUnreachable
from builds.pipeline.mirror import Mirror
from tests.pipeline.local_archive import locked, make_deb, never, regular, served

DEB = make_deb([regular("./usr/bin/tool", b"tool")])
OTHER = make_deb([regular("./usr/bin/other", b"other")])


class Stopped(Exception):
    """What the check of these tests raises."""


@pytest.fixture
def store(tmp_path: Path) -> MaterialStore:
    return MaterialStore(tmp_path / "store")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def mirror(archive: Path) -> Iterator[Mirror]:
    archive.mkdir()
    with served(archive) as address:
        yield Mirror(address)


def publish(archive: Path, name: str, deb: bytes) -> LockedPackage:
    package = locked(name, deb)
    path = archive / package.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(deb)
    return package


def sha256(data: bytes) -> Digest:
    return Digest.sha256(hashlib.sha256(data).hexdigest())


def leftovers(store: MaterialStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.name.startswith((".new-", "fetch-"))]


def test_bytes_are_filed_under_their_digest_and_read_only(store: MaterialStore) -> None:
    path = store.verified(store.add_bytes(b"abc"))
    assert path == store.root / "sha256" / sha256(b"abc").hex[:2] / sha256(b"abc").hex
    assert path.read_bytes() == b"abc"
    assert path.stat().st_mode & 0o777 == 0o444


def test_bytes_of_another_digest_are_not_added(store: MaterialStore) -> None:
    with pytest.raises(MaterialDamaged, match="not sha256"):
        store.add_stream(io.BytesIO(b"abd"), sha256(b"abc"))
    assert not store.has(sha256(b"abc"))
    assert leftovers(store) == []


def test_a_damaged_stored_file_is_named_and_set_aside(store: MaterialStore) -> None:
    path = store.path(store.add_bytes(b"abc"))
    path.chmod(0o644)
    path.write_bytes(b"abX")
    with pytest.raises(MaterialDamaged, match="set aside") as caught:
        store.verified(sha256(b"abc"))
    assert str(path) in caught.value.where
    assert path.with_suffix(".damaged").read_bytes() == b"abX"
    with pytest.raises(FileNotFoundError):
        store.verified(sha256(b"abc"))


def test_adding_bytes_again_repairs_a_damaged_copy(store: MaterialStore) -> None:
    path = store.path(store.add_bytes(b"abc"))
    path.chmod(0o644)
    path.write_bytes(b"abX")
    assert store.verified(store.add_bytes(b"abc")).read_bytes() == b"abc"


def test_what_is_missing_is_fetched_once_and_reported(store: MaterialStore, mirror: Mirror, archive: Path) -> None:
    packages = [publish(archive, "tool", DEB), publish(archive, "other", OTHER)]
    said: list[tuple[int, int, str]] = []
    assert store.ensure(packages, mirror, never, lambda *what: said.append(what)) == 2
    assert said == [(1, 2, "tool 1.0 (amd64)"), (2, 2, "other 1.0 (amd64)")]
    assert store.ensure(packages, mirror, never) == 0
    assert store.verified(packages[0].digest).read_bytes() == DEB
    assert leftovers(store) == []


def test_a_stored_package_needs_no_mirror(store: MaterialStore) -> None:
    store.add_bytes(DEB)
    assert store.ensure([locked("tool", DEB)], Mirror("http://127.0.0.1:9"), never) == 0


def test_a_damaged_package_is_named_and_fetched_again(store: MaterialStore, mirror: Mirror, archive: Path) -> None:
    package = publish(archive, "tool", DEB)
    path = store.path(store.add_bytes(DEB))
    path.chmod(0o644)
    path.write_bytes(DEB[:-1])
    said: list[str] = []
    assert store.ensure([package], mirror, never, lambda done, total, what: said.append(what)) == 1
    assert "tool 1.0 (amd64): the stored copy was damaged" in said[0]
    assert store.verified(package.digest).read_bytes() == DEB


def test_a_package_that_is_gone_everywhere_is_named_with_version_and_digest(
    store: MaterialStore, mirror: Mirror
) -> None:
    with pytest.raises(MaterialGone) as caught:
        store.ensure([locked("tool", DEB, version="2.39-0ubuntu8.7")], mirror, never)
    text = str(caught.value)
    assert "tool 2.39-0ubuntu8.7" in text
    assert sha256(DEB).hex in text
    assert "newer version is no substitute" in text


def test_other_bytes_under_the_same_name_are_never_taken(store: MaterialStore, mirror: Mirror, archive: Path) -> None:
    package = publish(archive, "tool", DEB)
    (archive / package.path).write_bytes(OTHER)
    with pytest.raises(MaterialGone, match="locked digest"):
        store.ensure([package], mirror, never)
    assert not store.has(package.digest)


def test_what_was_fetched_before_a_failure_stays(store: MaterialStore, mirror: Mirror, archive: Path) -> None:
    good = publish(archive, "tool", DEB)
    with pytest.raises(MaterialGone):
        store.ensure([good, locked("other", OTHER)], mirror, never)
    assert store.has(good.digest)
    assert leftovers(store) == []


def test_a_mirror_that_does_not_answer_is_unreachable_and_nothing_is_gone(store: MaterialStore) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(MirrorUnreachable) as caught:
            store.ensure([locked("tool", DEB)], Mirror(address), never)
    assert caught.value.where == address


def test_fetching_stops_when_the_check_raises(store: MaterialStore, mirror: Mirror, archive: Path) -> None:
    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        store.ensure([publish(archive, "tool", DEB)], mirror, stop)
    assert leftovers(store) == []


def _add_many(root: Path) -> None:
    for number in range(40):
        MaterialStore(root).add_bytes(b"%d" % number * 100_000)


def test_two_processes_may_add_the_same_files_at_once(store: MaterialStore) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add_many, args=(store.root,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    for number in range(40):
        store.verified(sha256(b"%d" % number * 100_000))
    assert leftovers(store) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_is_named_and_leaves_nothing_half_written(small_disk: Path) -> None:
    store = MaterialStore(small_disk / "store")
    kept = store.add_bytes(b"abc")
    with pytest.raises(DiskFull) as caught:
        store.add_bytes(os.urandom(1024 * 1024))
    assert str(store.root) == caught.value.where
    assert store.verified(kept).read_bytes() == b"abc"
    assert leftovers(store) == []


def test_a_disk_that_fills_while_fetching_is_not_blamed_on_the_mirror(
    small_disk: Path, mirror: Mirror, archive: Path
) -> None:
    package = publish(archive, "tool", make_deb([regular("./big", os.urandom(1024 * 1024))]))
    with pytest.raises(DiskFull):
        MaterialStore(small_disk / "store").ensure([package], mirror, never)
