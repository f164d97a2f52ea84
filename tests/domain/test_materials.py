"""The lock: what it says, that it comes back the same, and what a hostile one gets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.materials import (
    MAX_LOCK_BYTES,
    LockedDownload,
    LockedImage,
    LockedIndex,
    LockedPackage,
    MalformedLock,
    MaterialsLock,
    merge_groups,
    parse_lock,
    render_lock,
)

WHEN = datetime(2026, 9, 12, 7, 55, 41, tzinfo=UTC)
sha256 = st.text("0123456789abcdef", min_size=64, max_size=64)
words = st.from_regex(r"[a-z0-9][a-z0-9.+-]{0,10}", fullmatch=True)
moments = st.integers(700_000_000, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def package(
    name: str = "libc6",
    digit: str = "a",
    *,
    version: str = "2.41-12",
    suite: str | None = "trixie",
    groups: Sequence[str] = ("base",),
) -> LockedPackage:
    return LockedPackage(
        name=name,
        version=version,
        architecture="amd64",
        suite=suite,
        sha256=digit * 64,
        size=10,
        path=f"pool/main/{name}_{version}.deb",
        groups=list(groups),
    )


def index(suite: str = "trixie") -> LockedIndex:
    return LockedIndex(
        suite=suite, release_sha256="1" * 64, release_date=WHEN, packages_sha256="2" * 64, signed_by=["AB" * 20]
    )


LOCK = MaterialsLock(locked_at=WHEN, indexes=[index()], packages=[package(), package("bash", "b")])


@st.composite
def locks(draw: st.DrawFn) -> MaterialsLock:
    suites = draw(st.lists(words, unique=True, max_size=3))
    names = draw(st.lists(words, unique=True, max_size=6))
    digests = draw(st.lists(sha256, unique=True, min_size=len(names) + 1, max_size=len(names) + 1))
    packages = [
        LockedPackage(
            name=name,
            version="1:2.0~rc1+b1-3",
            architecture=draw(st.sampled_from(["amd64", "all"])),
            suite=draw(st.sampled_from([*suites, None])),
            sha256=digest,
            size=draw(st.integers(1, 10**9)),
            path=f"pool/main/{name}.deb",
            groups=draw(st.lists(words, unique=True, min_size=1, max_size=3)),
        )
        for name, digest in zip(names, digests, strict=False)
    ]
    indexes = [
        LockedIndex(suite=suite, release_sha256=draw(sha256), release_date=draw(moments), packages_sha256=draw(sha256))
        for suite in suites
    ]
    downloads = [LockedDownload(name="x", url="https://example.org/x?y=1#z", sha256=digests[-1], size=1)]
    images = [LockedImage(name="rust:1.86.0", digest="sha256:" + "c" * 64)]
    return MaterialsLock(
        locked_at=draw(moments), indexes=indexes, packages=packages, downloads=downloads, images=images
    )


@given(locks())
def test_a_lock_comes_back_from_its_bytes_and_renders_to_the_same_bytes(lock: MaterialsLock) -> None:
    data = render_lock(lock)
    again = parse_lock(data)
    assert render_lock(again) == data
    assert {entry.sha256: set(entry.groups) for entry in again.packages} == {
        entry.sha256: set(entry.groups) for entry in lock.packages
    }
    assert again.locked_at == lock.locked_at


@given(st.permutations([package("a", "a"), package("b", "b"), package("c", "c")]))
def test_the_order_of_entries_does_not_change_the_bytes(packages: list[LockedPackage]) -> None:
    one = MaterialsLock(locked_at=WHEN, indexes=[index()], packages=packages)
    other = MaterialsLock(locked_at=WHEN, indexes=[index()], packages=sorted(packages, key=lambda entry: entry.name))
    assert render_lock(one) == render_lock(other)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_lock_or_a_named_error(data: bytes) -> None:
    with pytest.raises(MalformedLock):
        parse_lock(data)


def test_times_are_kept_in_utc_to_the_second() -> None:
    moment = datetime(2026, 9, 12, 9, 55, 41, 999, tzinfo=timezone(timedelta(hours=2)))
    lock = MaterialsLock(locked_at=moment)
    assert lock.locked_at == WHEN
    assert b"locked_at = 2026-09-12 07:55:41+00:00\n" in render_lock(lock)


def _edited(old: str, new: str) -> bytes:
    text = render_lock(LOCK).decode()
    assert old in text
    return text.replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("format = 1", "format = 2", "format"),
        ("a" * 64, "a" * 63, "sha256"),
        ("a" * 64, "A" * 64, "sha256"),
        ("a" * 64, "b" * 64, "locked twice"),
        ('name = "bash"', 'name = "libc6"', "locked twice"),
        ("size = 10", "size = -1", "size"),
        ("size = 10", "size = 0", "size"),
        ("size = 10", "size = 10.5", "size"),
        ("size = 10", f"size = {2**40}", "size"),
        ("size = 10", f"size = {'9' * 5000}", "not TOML"),
        ("pool/main/bash", "../main/bash", "path"),
        ("pool/main/bash", "/pool/main/bash", "path"),
        ("pool/main/bash", "pool/../../bash", "outside"),
        ("pool/main/bash", "pool/%2e%2e/bash", "path"),
        ("pool/main/bash", "pool/x?y/bash", "path"),
        ('suite = "trixie"\nsha256', 'suite = "sid"\nsha256', "suites without an index"),
        ('architecture = "amd64"', 'architecture = "arm64"', "architectures"),
        ("locked_at = 2026", "locked_at = 0001", "year"),
        ("+00:00", "", "timezone"),
        ('version = "2.41-12"', 'version = "2.41 12"', "version"),
        ("[[packages]]", "surprise = 1\n[[packages]]", "Extra"),
        ('groups = [\n    "base",\n]', "groups = []", "groups"),
    ],
)
def test_a_hostile_lock_is_refused_and_the_reason_is_named(old: str, new: str, says: str) -> None:
    with pytest.raises(MalformedLock) as caught:
        parse_lock(_edited(old, new))
    assert says in caught.value.what


def test_a_huge_lock_is_refused_before_it_is_read() -> None:
    with pytest.raises(MalformedLock, match="larger"):
        parse_lock(b"#" * (MAX_LOCK_BYTES + 1))


def test_deep_nesting_is_refused_by_name() -> None:
    with pytest.raises(MalformedLock):
        parse_lock(b"x = " + b"[" * 100_000)


def test_a_package_of_a_group_the_recipe_does_not_name_is_refused() -> None:
    assert parse_lock(render_lock(LOCK), groups=["base"]).groups == {"base"}
    with pytest.raises(MalformedLock, match="does not name"):
        parse_lock(render_lock(LOCK), groups=["guest"])


def test_two_versions_of_one_package_in_one_group_are_refused() -> None:
    with pytest.raises(ValueError, match="locked twice"):
        MaterialsLock(locked_at=WHEN, indexes=[index()], packages=[package(), package(digit="b", version="3")])


def test_two_versions_in_two_groups_are_accepted() -> None:
    other = package(digit="b", version="3", groups=["guest"])
    assert MaterialsLock(locked_at=WHEN, indexes=[index()], packages=[package(), other]).group("guest") == (other,)


def test_a_group_without_packages_is_a_named_error() -> None:
    assert [entry.name for entry in LOCK.group("base")] == ["bash", "libc6"]
    with pytest.raises(MalformedLock, match="'guest'"):
        LOCK.group("guest")


def test_a_package_may_be_of_no_suite() -> None:
    lock = MaterialsLock(locked_at=WHEN, indexes=[index()], packages=[package(suite=None)])
    assert parse_lock(render_lock(lock)).packages[0].suite is None


def test_the_same_package_of_two_groups_becomes_one_entry() -> None:
    assert merge_groups([package(groups=["guest"]), package()])[0].groups == ["base", "guest"]
    with pytest.raises(MalformedLock, match="two different digests"):
        merge_groups([package(), package(digit="b")])
