"""Every configuration that a release's files give a measurement for is found by its value."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from builds.domain.configuration import WantedConfiguration
from builds.domain.roles import BootMode
from builds.models import Component, IndexedMeasurement, MeasurementSeries, Release
from builds.services import measurement_index
from builds.services.configurations import measurement_of
from builds.services.measurement_index import MOST_COMBINATIONS, MOST_VCPUS
from tests.portal.test_configurations import wanted
from tests.support.vm_release import COMMAND_LINE
from tests.support.vm_world import World

pytestmark = pytest.mark.django_db


def value_of(release: Release, asked: WantedConfiguration) -> str:
    return measurement_of(Release.objects.with_evidence().get(pk=release.pk), asked).hex


def borrowed_from(world: World, make_release: Callable[..., Release]) -> Release:
    """Another release of the same project, with a command line and guest features of its own."""
    other = make_release("v9")
    other.launch_configurations.update(command_line="quiet", guest_features=0x21)
    Release.objects.filter(pk=other.pk).update(project=world.project)
    return other


def test_an_import_indexes_every_cpu_signature_with_1_to_128_processors(world: World) -> None:
    release = world.imported()
    # With kernel and command line, and firmware alone; five signatures.
    assert release.measurement_series.count() == 2 * 5
    assert IndexedMeasurement.objects.count() == 2 * 5 * 128
    assert Release.objects.get(pk=release.pk).measurements_indexed_at is not None


@pytest.mark.parametrize(
    ("vcpus", "vcpu_type", "named"),
    [
        (1, "EPYC-v4", "EPYC"),
        (128, "EPYC-Milan-v2", "EPYC-Milan"),
        (7, "EPYC-IBPB", "EPYC"),
        (2, "EPYC-Turin", "EPYC-Turin"),
    ],
)
def test_a_value_for_other_processors_is_found_with_all_names_of_their_kind(
    world: World, vcpus: int, vcpu_type: str, named: str
) -> None:
    release = world.imported()
    (found,) = measurement_index.hits(value_of(release, wanted(vcpus, vcpu_type)))
    assert (found.release_id, found.wanted) == (release.pk, wanted(vcpus, named))
    assert {vcpu_type, named} <= set(found.vcpu_types)


def test_firmware_alone_and_what_other_releases_of_the_project_boot_with_is_indexed(
    world: World, make_release: Callable[..., Release]
) -> None:
    borrowed_from(world, make_release)
    release = world.imported()
    for asked in (
        wanted(9, "EPYC", "", boot_mode=BootMode.UEFI_DISK),
        wanted(9, "EPYC", "quiet", guest_features=0x21),
        wanted(9, "EPYC", COMMAND_LINE, guest_features=0x21),
    ):
        (found,) = measurement_index.hits(value_of(release, asked))
        assert found.wanted == asked


def test_a_release_that_boots_differently_makes_its_siblings_due_and_the_sweep_fills_them(
    world: World, make_release: Callable[..., Release]
) -> None:
    first = world.imported()
    value = value_of(first, wanted(3, "EPYC", "quiet"))
    assert measurement_index.hits(value) == ()
    other = make_release("v9")
    Release.objects.filter(pk=other.pk).update(project=world.project)
    other.refresh_from_db()
    other.launch_configurations.update(command_line="quiet")
    measurement_index.fill_soon(other)
    assert measurement_index.fill_due(5) == 1
    assert [hit.wanted for hit in measurement_index.hits(value)] == [wanted(3, "EPYC", "quiet")]
    assert measurement_index.fill_due(5) == 0


def test_filling_again_adds_nothing(world: World) -> None:
    release = world.imported()
    assert measurement_index.fill(release.pk) == 0


def test_the_index_of_one_release_is_bounded_however_much_its_project_published(
    world: World, make_release: Callable[..., Release]
) -> None:
    for number in range(30):
        other = make_release(f"v{number}")
        other.launch_configurations.update(command_line=f"line {number}", guest_features=number * 2 + 1, vmm="gce")
    Release.objects.exclude(project=world.project).update(project=world.project)
    began = time.perf_counter()
    release = world.imported()
    taken = time.perf_counter() - began
    assert IndexedMeasurement.objects.count() == MOST_COMBINATIONS * 5 * MOST_VCPUS
    world.project.releases.exclude(pk=release.pk).delete()
    release.launch_configurations.update(command_line="another")
    assert measurement_index.fill(release.pk) == 0
    # With the import itself; the benchmark has the figure of the index alone.
    assert taken < 30


def test_a_value_that_begins_like_an_indexed_one_is_not_it(world: World) -> None:
    release = world.imported()
    value = value_of(release, wanted())
    assert measurement_index.hits(value[:16] + "0" * 80) == ()


def test_a_release_without_its_firmware_is_done_with_nothing(
    world: World, make_release: Callable[..., Release]
) -> None:
    release = make_release()
    Component.objects.filter(release=release).update(sha256="1" * 64)
    assert measurement_index.fill_due(5) == 1
    assert not MeasurementSeries.objects.exists()


def test_a_lookup_is_one_statement(world: World) -> None:
    value = value_of(world.imported(), wanted(9))
    with CaptureQueriesContext(connection) as captured:
        measurement_index.hits(value)
    assert len(captured) == 1


def test_firmware_that_is_kept_later_is_indexed_with_the_next_import(world: World) -> None:
    release = world.imported()
    MeasurementSeries.objects.all().delete()
    world.imported()
    assert release.measurement_series.count() == 10
