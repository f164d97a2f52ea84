"""Locking and authenticating: against a small archive signed here, and against the real one."""

from __future__ import annotations

import hashlib
import io
import lzma
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.digest import Digest
from builds.domain.materials import LockedIndex, LockedPackage, MaterialsLock, parse_lock, render_lock
from builds.domain.recipe import MaterialGroup, MetaPackage
from builds.pipeline import archive_evidence
from builds.pipeline.archive_evidence import IndexRefused, read_packages, verify_release
from builds.pipeline.debian_archive import PackageUnknown, authenticate, lock_groups
from builds.pipeline.material_store import MaterialStore, MirrorUnreachable
from builds.pipeline.mirror import Mirror
from tests.pipeline.local_archive import LocalArchive, SigningKey, locked, make_deb, never, regular, served, signing_key

DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TOOL = make_deb([regular("./usr/bin/tool", b"tool")])
LIBRARY = make_deb([regular("./usr/lib/library", b"library")])
KERNEL = make_deb([regular("./boot/vmlinuz", b"kernel")])
OTHER = make_deb([regular("./usr/bin/other", b"other")])


@pytest.fixture(scope="module")
def key() -> Iterator[SigningKey]:
    with signing_key() as made:
        yield made


@pytest.fixture(scope="module")
def stranger() -> Iterator[SigningKey]:
    with signing_key() as made:
        yield made


@pytest.fixture
def archive(tmp_path: Path, key: SigningKey) -> LocalArchive:
    made = LocalArchive(tmp_path / "archive", key)
    made.add("testing", "tool", TOOL, depends="library (>= 1)")
    made.add("testing", "library", LIBRARY)
    made.add("testing", "kernel-6.12.0-amd64", KERNEL)
    made.add("testing", "kernel-amd64", OTHER, depends="kernel-6.12.0-amd64 (= 1.0), tool")
    made.add("next", "library", OTHER, version="2.0")
    made.publish("testing")
    made.publish("next")
    return made


@pytest.fixture
def mirror(archive: LocalArchive) -> Iterator[Mirror]:
    with served(archive.root) as address:
        yield Mirror(address)


@pytest.fixture
def store(tmp_path: Path) -> MaterialStore:
    return MaterialStore(tmp_path / "store")


def group(
    *packages: str | MetaPackage, name: str = "base", suite: str = "testing", dependencies: bool = False
) -> MaterialGroup:
    return MaterialGroup(name=name, suite=suite, packages=list(packages), dependencies=dependencies)


@pytest.fixture
def lock(store: MaterialStore, mirror: Mirror, key: SigningKey) -> MaterialsLock:
    return lock_groups([group("tool", dependencies=True)], store, mirror, key.keyring, never)


def reason(lock: MaterialsLock, store: MaterialStore, keyring: Path, mirror: Mirror | None = None) -> str:
    """The one reason why nothing in the lock is authenticated."""
    answers = authenticate(lock, store, keyring, mirror=mirror)
    assert answers.keys() == {package.sha256 for package in lock.packages}
    assert not any(answer.authenticated for answer in answers.values())
    (sentence,) = {answer.sentence for answer in answers.values()}
    return sentence


def with_index(lock: MaterialsLock, **changes: object) -> MaterialsLock:
    return lock.model_copy(update={"indexes": [lock.indexes[0].model_copy(update=changes)]})


def test_a_group_is_resolved_with_its_dependencies(lock: MaterialsLock) -> None:
    assert [package.label for package in lock.group("base")] == ["library 1.0 (amd64)", "tool 1.0 (amd64)"]
    assert parse_lock(render_lock(lock)) == lock.model_copy(
        update={"packages": sorted(lock.packages, key=lambda package: package.identity)}
    )


def test_the_lock_names_the_index_its_date_and_its_signers(lock: MaterialsLock, archive: LocalArchive) -> None:
    (index,) = lock.indexes
    release = (archive.root / "dists/testing/InRelease").read_bytes()
    assert index.release_sha256 == hashlib.sha256(release).hexdigest()
    assert index.packages_sha256 == hashlib.sha256(archive.packages_text("testing")).hexdigest()
    assert index.release_date == lock.locked_at == datetime(2026, 9, 12, 7, 55, 41, tzinfo=UTC)
    assert [len(key) for key in index.signed_by] == [40]


def test_locking_twice_gives_the_same_bytes(
    lock: MaterialsLock, store: MaterialStore, mirror: Mirror, key: SigningKey
) -> None:
    again = lock_groups([group("tool", dependencies=True)], store, mirror, key.keyring, never)
    assert render_lock(again) == render_lock(lock)


def test_groups_of_two_suites_do_not_mix(store: MaterialStore, mirror: Mirror, key: SigningKey) -> None:
    groups = [group("tool", dependencies=True), group("library", name="new", suite="next")]
    lock = lock_groups(groups, store, mirror, key.keyring, never)
    assert [package.label for package in lock.group("base")] == ["library 1.0 (amd64)", "tool 1.0 (amd64)"]
    assert [(package.label, package.suite) for package in lock.group("new")] == [("library 2.0 (amd64)", "next")]
    assert all(answer.authenticated for answer in authenticate(lock, store, key.keyring).values())


def test_a_metapackage_stands_for_the_dependency_it_names(
    store: MaterialStore, mirror: Mirror, key: SigningKey
) -> None:
    wanted = MetaPackage(metapackage="kernel-amd64", depends="kernel-*")
    lock = lock_groups([group(wanted, name="guest")], store, mirror, key.keyring, never)
    assert [package.name for package in lock.group("guest")] == ["kernel-6.12.0-amd64"]
    with pytest.raises(PackageUnknown, match="exactly one"):
        lock_groups([group(MetaPackage(metapackage="kernel-amd64", depends="*"))], store, mirror, key.keyring, never)


def test_an_unknown_package_or_suite_is_a_named_error(store: MaterialStore, mirror: Mirror, key: SigningKey) -> None:
    for dependencies in (True, False):
        with pytest.raises(PackageUnknown, match="nosuch"):
            lock_groups([group("nosuch", dependencies=dependencies)], store, mirror, key.keyring, never)
    with pytest.raises(MirrorUnreachable, match="nosuite"):
        lock_groups([group("tool", suite="nosuite")], store, mirror, key.keyring, never)
    with pytest.raises(PackageUnknown, match="no material group"):
        lock_groups([], store, mirror, key.keyring, never)


def test_an_unreachable_mirror_is_named(store: MaterialStore, key: SigningKey) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(MirrorUnreachable) as caught:
            lock_groups([group("tool")], store, Mirror(address), key.keyring, never)
    assert caught.value.where == address


def test_an_archive_signed_by_a_stranger_is_not_locked(
    store: MaterialStore, mirror: Mirror, archive: LocalArchive, key: SigningKey, stranger: SigningKey
) -> None:
    archive.publish("testing", key=stranger)
    with pytest.raises(IndexRefused, match="signature"):
        lock_groups([group("tool")], store, mirror, key.keyring, never)


def test_what_the_signed_index_names_is_authenticated_without_the_mirror(
    lock: MaterialsLock, store: MaterialStore, key: SigningKey
) -> None:
    answers = authenticate(lock, store, key.keyring)
    assert {answer.index for answer in answers.values()} != {None}
    for answer in answers.values():
        assert answer.authenticated
        assert (
            f"signed index of testing of 2026-09-12 07:55 UTC (InRelease sha256:{lock.indexes[0].release_sha256}"
            in answer.sentence
        )


def test_an_index_verified_with_another_keyring_authenticates_nothing(
    lock: MaterialsLock, store: MaterialStore, stranger: SigningKey, tmp_path: Path
) -> None:
    assert "no valid signature" in reason(lock, store, stranger.keyring)
    assert "NO_PUBKEY" in reason(lock, store, stranger.keyring) or "ERRSIG" in reason(lock, store, stranger.keyring)
    assert "there is no keyring" in reason(lock, store, tmp_path / "absent.gpg")


@pytest.mark.parametrize("forge", ["text-changed", "signature-removed", "unsigned-text-added", "empty"])
def test_a_forged_inrelease_authenticates_nothing(
    lock: MaterialsLock, store: MaterialStore, key: SigningKey, forge: str
) -> None:
    release = store.path(lock.indexes[0].release_digest).read_bytes()
    text = release.split(b"-----BEGIN PGP SIGNATURE")[0].split(b"\n\n", 1)[1]
    forged = {
        "text-changed": release.replace(b"Origin: Test", b"Origin: Fest"),
        "signature-removed": text,
        "unsigned-text-added": release.replace(b"Date: Sat, 12", b"Date: Sat, 19") + release,
        "empty": b"",
    }[forge]
    digest = store.add_bytes(forged)
    assert "was refused" in reason(with_index(lock, release_sha256=digest.hex), store, key.keyring)


def test_text_around_the_signed_part_is_never_read(archive: LocalArchive, key: SigningKey) -> None:
    release = (archive.root / "dists/testing/InRelease").read_bytes()
    honest = verify_release(release, key.keyring)
    extra = b"SHA256:\n " + b"f" * 64 + b" 1 main/binary-amd64/Packages\n"
    for forged in (extra + release, release + extra):
        try:
            assert verify_release(forged, key.keyring).files == honest.files
        except IndexRefused:
            continue


def test_one_bad_signature_beside_a_good_one_is_refused(archive: LocalArchive, key: SigningKey) -> None:
    release = (archive.root / "dists/testing/InRelease").read_bytes()
    with pytest.raises(IndexRefused):
        verify_release(release + release.replace(b"Origin: Test", b"Origin: Fest"), key.keyring)


def test_a_weak_hash_is_no_valid_signature() -> None:
    line = f"[GNUPG:] VALIDSIG {'A' * 40} 2026-09-12 1 0 4 0 1 {{}} 01 {'B' * 40}\n"
    assert archive_evidence._good_keys(line.format(8)) == ("B" * 40,)
    assert archive_evidence._good_keys(line.format(2)) == ()
    assert archive_evidence._good_keys(line.format(8) + "[GNUPG:] EXPKEYSIG X y\n") == ()
    assert archive_evidence._good_keys("VALIDSIG\n") == ()


def test_a_package_that_the_index_does_not_name_is_not_authenticated(
    lock: MaterialsLock, store: MaterialStore, key: SigningKey
) -> None:
    smuggled = locked("other", OTHER)
    mixed = lock.model_copy(update={"packages": [*lock.packages, smuggled]})
    answers = authenticate(mixed, store, key.keyring)
    assert "does not name this package with this digest" in answers[smuggled.sha256].sentence
    assert sum(answer.authenticated for answer in answers.values()) == len(lock.packages)


@pytest.mark.parametrize(
    "change", [{"version": "9.9"}, {"size": 1}, {"path": "pool/main/x.deb"}, {"architecture": "all"}, {"name": "other"}]
)
def test_every_word_of_a_lock_entry_must_be_the_index_own(
    lock: MaterialsLock, store: MaterialStore, key: SigningKey, change: dict[str, object]
) -> None:
    package = lock.packages[0].model_copy(update=change)
    answers = authenticate(lock.model_copy(update={"packages": [package]}), store, key.keyring)
    assert not answers[package.sha256].authenticated


def test_a_package_that_claims_no_index_is_not_authenticated(
    lock: MaterialsLock, store: MaterialStore, key: SigningKey
) -> None:
    packages = [package.model_copy(update={"suite": None}) for package in lock.packages]
    assert "claims none" in reason(lock.model_copy(update={"packages": packages}), store, key.keyring)


def test_packages_that_was_tampered_with_authenticates_nothing(
    lock: MaterialsLock, store: MaterialStore, key: SigningKey
) -> None:
    path = store.path(Digest.sha256(lock.indexes[0].packages_sha256))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"Version: 1.0", b"Version: 1.1"))
    assert "damaged" in reason(lock, store, key.keyring)
    assert "absent" in reason(lock, store, key.keyring)


def test_a_lock_cannot_substitute_packages_of_its_own(
    lock: MaterialsLock, store: MaterialStore, key: SigningKey, archive: LocalArchive
) -> None:
    archive.add("testing", "other", OTHER)
    forged = store.add_bytes(archive.packages_text("testing"))
    assert "another main/binary-amd64/Packages" in reason(
        with_index(lock, packages_sha256=forged.hex), store, key.keyring
    )


def test_an_index_of_another_suite_or_date_is_refused(
    lock: MaterialsLock, store: MaterialStore, key: SigningKey, mirror: Mirror
) -> None:
    other = lock_groups([group("library", suite="next")], store, mirror, key.keyring, never).indexes[0]
    swapped = with_index(lock, release_sha256=other.release_sha256, packages_sha256=other.packages_sha256)
    assert "it is of next, not of testing" in reason(swapped, store, key.keyring)
    later = with_index(lock, release_date=datetime(2026, 10, 1, tzinfo=UTC))
    assert "the lock says 2026-10-01" in reason(later, store, key.keyring)


def test_missing_evidence_is_fetched_from_the_mirror_and_kept(
    lock: MaterialsLock, key: SigningKey, mirror: Mirror, tmp_path: Path
) -> None:
    empty = MaterialStore(tmp_path / "empty")
    assert "absent in the material store" in reason(lock, empty, key.keyring)
    assert all(answer.authenticated for answer in authenticate(lock, empty, key.keyring, mirror=mirror).values())
    assert all(answer.authenticated for answer in authenticate(lock, empty, key.keyring).values())


def test_a_newer_index_may_vouch_and_is_the_one_that_is_named(
    lock: MaterialsLock, key: SigningKey, mirror: Mirror, archive: LocalArchive, tmp_path: Path
) -> None:
    archive.add("testing", "other", OTHER)
    newer = hashlib.sha256(archive.publish("testing")).hexdigest()
    answers = authenticate(lock, MaterialStore(tmp_path / "empty"), key.keyring, mirror=mirror)
    assert {answer.index.release.hex for answer in answers.values() if answer.index} == {newer}


def test_a_forged_current_index_of_the_mirror_vouches_for_nothing(
    *, lock: MaterialsLock, key: SigningKey, stranger: SigningKey, mirror: Mirror, archive: LocalArchive, tmp_path: Path
) -> None:
    archive.publish("testing", key=stranger)
    assert "cannot be used: no valid signature" in reason(lock, MaterialStore(tmp_path / "a"), key.keyring, mirror)
    archive.publish("testing")
    packed = archive.root / "dists/testing/main/binary-amd64/Packages.xz"
    packed.write_bytes(lzma.compress(b"Package: forged\n"))
    assert "cannot be used: could not fetch" in reason(lock, MaterialStore(tmp_path / "b"), key.keyring, mirror)


def test_an_unreachable_mirror_leaves_materials_unauthenticated_with_the_reason(
    lock: MaterialsLock, key: SigningKey, tmp_path: Path
) -> None:
    said = reason(lock, MaterialStore(tmp_path / "empty"), key.keyring, Mirror("http://127.0.0.1:9"))
    assert "could not fetch dists/testing/InRelease" in said


@given(st.lists(st.text("ab\n: ", max_size=12), max_size=12), st.integers(1, 40))
def test_stanzas_are_found_wherever_the_chunks_are_cut(noise: list[str], chunk: int) -> None:

    stanzas = [
        f"Package: p{number}\nVersion: 1\nArchitecture: all\nFilename: p\nSize: 1\nSHA256: {'a' * 64}\nDescription: d\n"
        + "".join(f" {line}\n" for text in noise[number::3] for line in text.split("\n"))
        for number in range(3)
    ]
    data = "\n".join(stanzas).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_evidence, "_CHUNK", chunk)
        assert [entry.name for entry in read_packages(io.BytesIO(data))] == ["p0", "p1", "p2"]
        assert [entry.name for entry in read_packages(io.BytesIO(data), {"p1"})] == ["p1"]


@pytest.mark.slow
@pytest.mark.archive
def test_the_real_archive_locks_fetches_and_authenticates_a_small_group(store: MaterialStore) -> None:
    mirror = Mirror(None)
    groups = [
        group("busybox-static", name="guest", suite="trixie"),
        group("dash", name="base", suite="trixie", dependencies=True),
        group("ovmf-amdsev", name="firmware", suite="forky"),
    ]
    lock = lock_groups(groups, store, mirror, DEBIAN_KEYRING, never)
    assert {package.suite for package in lock.group("base")} == {"trixie"}
    assert {package.name for package in lock.group("base")} >= {"dash", "libc6"}
    assert [package.suite for package in lock.group("firmware")] == ["forky"]
    guest = lock.group("guest")
    assert store.ensure(guest, mirror, never) == 1
    answers = authenticate(lock, store, DEBIAN_KEYRING)
    assert all(answer.authenticated for answer in answers.values())


@pytest.mark.slow
@pytest.mark.archive
def test_the_real_archives_current_index_vouches_for_a_lock_whose_evidence_was_lost(
    store: MaterialStore, tmp_path: Path
) -> None:
    mirror = Mirror(None)
    lock = lock_groups([group("busybox-static", suite="trixie")], store, mirror, DEBIAN_KEYRING, never)
    answers = authenticate(lock, MaterialStore(tmp_path / "empty"), DEBIAN_KEYRING, mirror=mirror)
    assert all(answer.authenticated for answer in answers.values())


def test_two_components_of_one_suite_may_both_be_asked(
    lock: MaterialsLock, store: MaterialStore, key: SigningKey
) -> None:
    contrib: LockedIndex = lock.indexes[0].model_copy(update={"component": "contrib"})
    both = lock.model_copy(update={"indexes": [contrib, *lock.indexes]})
    packages: list[LockedPackage] = list(both.packages)
    assert all(authenticate(both, store, key.keyring)[package.sha256].authenticated for package in packages)
