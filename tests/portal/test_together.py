"""Rows that were read together are what Django reads one table at a time: every column, in the same order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, models
from django.test.utils import CaptureQueriesContext

from attestations.local_sigstore import TrustDomain
from attestations.models import BundleRecord, ExpectedPublisher, FindingRecord, Inquiry, Sighting
from builds.domain.roles import Role
from builds.models import (
    Affiliation,
    Component,
    EmbeddedFile,
    LaunchConfiguration,
    Measurement,
    Operator,
    Rebuild,
    RebuiltComponent,
    RebuiltFile,
    RebuiltMeasurement,
    Release,
    ReleaseEvent,
)
from builds.together import attach, together
from tests.portal.attested import attest_all
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db

TABLES: tuple[type[models.Model], ...] = (
    Affiliation,
    BundleRecord,
    Component,
    EmbeddedFile,
    ExpectedPublisher,
    FindingRecord,
    Inquiry,
    LaunchConfiguration,
    Measurement,
    Operator,
    Rebuild,
    RebuiltComponent,
    RebuiltFile,
    RebuiltMeasurement,
    ReleaseEvent,
    Sighting,
)


def columns(row: models.Model) -> dict[str, Any]:
    fields = row._meta.concrete_fields
    return {field.attname: getattr(row, field.attname) for field in fields if not isinstance(field, models.BinaryField)}


def test_every_column_of_every_table_comes_as_it_is_stored(
    release: Release, make_rebuild: Callable[..., Rebuild], domain: TrustDomain
) -> None:
    attest_all(release, domain)
    make_rebuild(release, by="alder", changed=(Role.INITRD,))
    operator_named("birch", accepted=False)
    Affiliation.objects.create(
        operator=Operator.objects.get(slug="birch"),
        project=release.project,
        what="\u202e\n\\ \"'{}é\u20ac",
        stated_by="Ada",
    )
    ReleaseEvent(release=release, kind="x", detail={"a": [1, None, {"b": '\u202e \\"é'}], "c": True}).save()
    Component.objects.filter(role=Role.DISK).update(size=2**40, problem={"what": "gone", "todo": ""})
    LaunchConfiguration.objects.update(guest_features=2**53 + 1, command_line=None)
    Inquiry(release=release, role=Role.DISK, digest="sha256:x", source="s", found=0).save()
    EmbeddedFile(
        release=release, container="c", path="p", size=0, sha256="a" * 64, sha384="b" * 96, is_elf=False
    ).save()
    with CaptureQueriesContext(connection) as queries:
        read = together(*(table._default_manager.all() for table in TABLES))
    # SQLite is asked once for each process whether it knows JSON.
    assert len([entry for entry in queries if "UNION ALL" in entry["sql"]]) == 1
    for table, rows in zip(TABLES, read, strict=True):
        stored = list(table._default_manager.all())
        assert stored, table
        if not table._meta.ordering:
            stored.sort(key=lambda row: row.pk)
        assert [columns(row) for row in rows] == [columns(row) for row in stored]
        assert all(type(row) is table for row in rows)


def test_what_is_attached_is_read_without_a_query_and_knows_its_parent(make_release: Callable[..., Release]) -> None:
    releases = [make_release(f"v{number}") for number in range(3)]
    ReleaseEvent(release=releases[0], kind="x", detail={}).save()
    components, events = together(Component.objects.all(), ReleaseEvent.objects.all())
    attach(releases, "components", components)
    attach(releases, "events", events)
    with CaptureQueriesContext(connection) as queries:
        for release in releases:
            assert {component.role for component in release.components.all()} == set(Role)
            assert all(component.release is release for component in release.components.all())
        assert [len(release.events.all()) for release in releases] == [1, 0, 0]
    assert len(queries) == 0


def test_a_query_that_can_find_nothing_gives_nothing(make_release: Callable[..., Release]) -> None:
    make_release()
    nothing, found = together(ReleaseEvent.objects.filter(pk__in=()), Component.objects.all())
    assert (len(nothing), len(found)) == (0, 5)
    assert together(ReleaseEvent.objects.filter(pk__in=()), Component.objects.filter(pk__in=[])) == ([], [])


def test_the_evidence_of_many_releases_is_loaded_in_four_statements(
    make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    for number in range(4):
        make_rebuild(make_release(f"v{number}"), by="alder")
    with CaptureQueriesContext(connection) as queries:
        releases = list(Release.objects.with_evidence())
    assert len(releases) == 4
    assert len(queries) == 4
