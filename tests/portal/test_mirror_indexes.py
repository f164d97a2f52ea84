"""The indexes of the mirror: what is in the database is found by them, at any depth and after any change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from attestations.domain.mirror import KEY_DIGITS
from attestations.services import mirror_changes, mirror_measurements
from builds.models import IndexedMeasurement, MeasurementSeries, Release
from builds.pipeline.measurement import signature_of
from builds.services import measurement_index
from tests.portal.mirroring import Mirror
from tests.support.mirrors import objects
from tests.support.operators import MEASUREMENT
from tests.support.vm_world import World

pytestmark = pytest.mark.django_db

type MakeRelease = Callable[..., Release]


def test_a_removed_release_is_gone_from_every_index(mirror: Mirror, make_release: MakeRelease) -> None:
    make_release("v1")
    release = make_release("v2")
    mirror.publish()
    release.delete()
    mirror.publish()
    found = mirror.assert_whole()
    assert set(found.releases) == {"enclave/v1"}
    assert {change.tag for page in found.pages for change in page.changes} == {"v1"}


def test_full_pages_of_changes_never_change_and_only_the_newest_are_named(
    mirror: Mirror, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_changes, "PAGE", 3)
    monkeypatch.setattr(mirror_changes, "MOST_PAGES", 2)
    seen: list[str] = []
    for number in range(11):
        make_release(f"v{number}")
        mirror.publish()
        found = mirror.assert_whole()
        tags = [change.tag for page in found.pages for change in page.changes]
        seen.append(f"v{number}")
        assert tags == seen[found.feed.first * 3 :]
        assert found.feed.first == max(0, len(seen) // 3 - 2)
        assert [page.number for page in found.pages] == list(
            range(found.feed.first, found.feed.first + len(found.pages))
        )


def test_every_measurement_that_is_indexed_is_found_with_its_releases(mirror: Mirror, world: World) -> None:
    release = world.imported()
    mirror.publish()
    found = mirror.assert_whole()
    name = f"katana-tee-vm/{release.tag}"
    series = MeasurementSeries.objects.filter(release=release)
    values = [bytes(row.digests)[at : at + 48].hex() for row in series for at in range(0, len(row.digests), 48)]
    # The published value is one of them.
    assert found.root.measurements.entries == len(values) + 1 == 1281
    named = {key: names for shard in found.measurements for key, names in shard.values}
    assert {value[:KEY_DIGITS] for value in values} == named.keys()
    assert set(named.values()) == {(name,)}
    held = found.series[name].series
    for value in values[::50]:
        (hit,) = measurement_index.hits(value)
        (one,) = [(entry, vcpus) for entry in held if (vcpus := entry.vcpus_of(value)) is not None]
        assert one[1] == hit.wanted.launch.vcpus
        assert (one[0].boot_mode, one[0].vmm) == (hit.wanted.launch.boot_mode, hit.wanted.launch.vmm)
        assert one[0].vcpu_types == hit.vcpu_types


@pytest.mark.parametrize(("most", "digits"), [(2048, 0), (100, 2), (1, 3)])
def test_an_index_of_any_depth_holds_the_same(
    mirror: Mirror, world: World, monkeypatch: pytest.MonkeyPatch, most: int, digits: int
) -> None:
    monkeypatch.setattr(mirror_measurements, "_MOST_IN_SHARD", most)
    world.imported()
    mirror.publish()
    found = mirror.assert_whole()
    assert found.root.measurements.digits == digits
    assert sum(len(shard.values) for shard in found.measurements) == 1280
    assert mirror.publish().written == 0
    gone = next(path for path, data in objects(mirror.directory).items() if b"mirror/measurements/v1" in data)
    (mirror.directory / gone).unlink()
    mirror.publish()
    mirror.assert_whole()


@pytest.mark.parametrize(("most", "digits"), [(1000, 0), (40, 2), (0.4, 3), (0.02, 4)])
def test_series_that_come_and_go_change_the_shards_that_they_touch(
    mirror: Mirror, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch, most: float, digits: int
) -> None:
    monkeypatch.setattr(mirror_measurements, "_MOST_IN_SHARD", most)
    shared = hashlib.sha384(b"firmware alone").digest()

    def indexed(release: Release, *values: bytes) -> None:
        series = MeasurementSeries.objects.create(
            release=release,
            basis=hashlib.sha256(b"".join(values)).hexdigest(),
            boot_mode="direct_kernel",
            cpu_signature=signature_of("EPYC-v4"),
            guest_features=1,
            vmm="qemu",
            digests=b"".join(values),
        )
        for vcpus, value in enumerate(values, 1):
            key = int.from_bytes(value[:8], signed=True)
            IndexedMeasurement.objects.create(series=series, vcpus=vcpus, key=key)
        Release.objects.filter(pk=release.pk).update(measurements_indexed_at=timezone.now())

    for number in range(4):
        release = make_release(f"v{number}")
        values = [hashlib.sha384(f"{number} {vcpus}".encode()).digest() for vcpus in range(12)]
        indexed(release, shared, *values)
        mirror.publish()
        found = mirror.assert_whole()
        held = {key: names for shard in found.measurements for key, names in shard.values}
        # With the one that all of them published.
        assert held[MEASUREMENT[:KEY_DIGITS]] == held[shared.hex()[:KEY_DIGITS]]
        assert len(held) == 2 + 12 * (number + 1)
        # The newest release first.
        assert held[shared.hex()[:KEY_DIGITS]] == tuple(f"enclave/v{older}" for older in range(number, -1, -1))
    assert found.root.measurements.digits == digits
    release.delete()
    mirror.publish()
    assert len([key for shard in mirror.assert_whole().measurements for key, _ in shard.values]) == 38
    other = make_release("v9")
    indexed(other, *(hashlib.sha384(f"9 {vcpus}".encode()).digest() for vcpus in range(3)))
    mirror.publish()
    assert len([key for shard in mirror.assert_whole().measurements for key, _ in shard.values]) == 41


def test_the_statements_of_a_publication_do_not_grow_with_the_releases(
    mirror: Mirror, make_release: MakeRelease
) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            mirror.publish()
        return len(queries)

    for number in range(3):
        make_release(f"v{number}")
    mirror.publish()
    few = asked()
    for number in range(3, 40):
        make_release(f"v{number}")
    mirror.publish()
    assert asked() == few
