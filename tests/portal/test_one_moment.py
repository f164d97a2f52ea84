"""What is told of a release was true at one moment, whatever is committed while its evidence is read."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from attestations.local_sigstore import TrustDomain
from attestations.models import ExpectedPublisher, VerdictRecord
from attestations.services.verdicts import record_verdict
from builds import evidence_rows
from builds.models import Project, Rebuild, Release, ReleaseEvent
from builds.services.release_events import CHANGED_SINCE_IMPORT
from builds.snapshot import NoSnapshot, one_snapshot
from tests.portal.attested import attest_all

pytestmark = pytest.mark.django_db(transaction=True)

CHANGED = {"code": "changed-on-github", "what": "the tag names another commit", "where": "o/r", "todo": "Look."}


@pytest.fixture
def release(
    publisher: ExpectedPublisher,
    make_release: Callable[..., Release],
    make_rebuild: Callable[..., Rebuild],
    domain: TrustDomain,
) -> Release:
    """Denied, because it changed since its import; all else allows it."""
    made = make_release("v1.0.0")
    attest_all(made, domain)
    make_rebuild(made, by="alder")
    make_rebuild(made, by="birch")
    ReleaseEvent.objects.create(release=made, kind=CHANGED_SINCE_IMPORT, detail=CHANGED)
    return made


def elsewhere(act: Callable[[], Any]) -> None:
    """In a transaction of another connection."""

    def run() -> None:
        try:
            with transaction.atomic():
                act()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


@contextmanager
def denied_otherwise_meanwhile(monkeypatch: pytest.MonkeyPatch, release: Release) -> Iterator[list[int]]:
    """After the release was read, and before what belongs to it is: another reason denies it, and the first is gone."""
    load, times = evidence_rows.load_evidence, [0]

    def change() -> None:
        Project.objects.filter(pk=release.project_id).update(needed_operators=5)
        ReleaseEvent.objects.filter(release=release, kind=CHANGED_SINCE_IMPORT).delete()

    def loaded(releases: list[Release], *, attempts: bool) -> None:
        if not times[0]:
            elsewhere(change)
        times[0] += 1
        load(releases, attempts=attempts)

    monkeypatch.setattr(evidence_rows, "load_evidence", loaded)
    yield times


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/api/v1/releases/enclave/v1.0.0/verdict", r'^\{"decision": ?"(\w+)"'),
        ("/api/v1/releases/enclave/v1.0.0", r'"decision": ?"(\w+)"'),
        ("/api/v1/releases", r'"decision": ?"(\w+)"'),
        ("/releases/enclave/v1.0.0/", r'class="decision">(\w+)'),
        ("/releases/", r'data-of="Decision">.*?(deny|allow)'),
        ("/badges/enclave/v1.0.0.svg", r">(\w+)[^<>]*</text></g></svg>"),
    ],
)
def test_two_denials_are_no_allowance_to_whoever_asks_between_them(
    client: Client, release: Release, monkeypatch: pytest.MonkeyPatch, path: str, place: str
) -> None:
    with denied_otherwise_meanwhile(monkeypatch, release) as times:
        answer = client.get(path)
    assert answer.status_code == 200
    assert times[0]
    found = re.search(place, answer.text, re.DOTALL)
    assert found is not None, answer.text
    assert found[1].lower() == "deny"


def test_nor_are_they_one_that_is_signed(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    with denied_otherwise_meanwhile(monkeypatch, release) as times:
        record_verdict(release.pk)
    assert times[0]
    assert [record.decision for record in VerdictRecord.objects.filter(release=release)] == ["deny"]


def test_a_snapshot_sees_nothing_of_what_comes_after_its_first_statement(release: Release) -> None:
    project = Project.objects.filter(pk=release.project_id)
    with one_snapshot():
        before = project.values_list("needed_operators", flat=True).get()
        elsewhere(lambda: project.update(needed_operators=7))
        assert project.values_list("needed_operators", flat=True).get() == before
    assert project.values_list("needed_operators", flat=True).get() == 7


def test_evidence_that_is_read_without_one_is_a_mistake_that_is_told(release: Release) -> None:
    with pytest.raises(NoSnapshot):
        Release.objects.with_evidence().get(pk=release.pk)


def test_a_record_is_made_anew_when_somebody_else_changed_the_release_first(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    load, times = evidence_rows.load_evidence, [0]

    def loaded(releases: list[Release], *, attempts: bool) -> None:
        times[0] += 1
        if times[0] == 1:
            # What is counted below is written by both.
            elsewhere(lambda: Project.objects.filter(pk=release.project_id).update(needed_operators=1))
            Project.objects.filter(pk=release.project_id).update(needed_operators=3)
        load(releases, attempts=attempts)

    monkeypatch.setattr(evidence_rows, "load_evidence", loaded)
    record_verdict(release.pk)
    assert times[0] == 2
    assert Project.objects.get(pk=release.project_id).needed_operators == 1
