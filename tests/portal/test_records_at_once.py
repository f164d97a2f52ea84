"""Verdicts that change several times within a second, and releases whose record fails in a way nobody foresaw."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from attestations.models import VerdictRecord
from attestations.services import verdicts
from attestations.services.verdicts import record_all, record_due, record_verdict
from builds.models import Project, Release
from tests.support.attacks import hand_in, signed
from tests.support.records import records

pytestmark = pytest.mark.django_db

type MakeRelease = Callable[..., Release]


def test_a_verdict_that_comes_back_within_a_second_is_recorded_by_the_same_signed_bytes(
    make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, second = make_release(), datetime.now(UTC).replace(microsecond=0)
    for microseconds, operators in enumerate((2, 3, 2), start=1):
        moment = second + timedelta(microseconds=microseconds)
        monkeypatch.setattr(timezone, "now", lambda moment=moment: moment)
        Project.objects.update(needed_operators=operators)
        assert record_verdict(release.pk) is not None
    first, between, again = VerdictRecord.objects.order_by("at")
    assert first.payload_sha256 == again.payload_sha256 != between.payload_sha256
    assert (bytes(first.envelope or b""), first.key) == (bytes(again.envelope or b""), again.key)
    monkeypatch.undo()
    client = Client()
    served = client.get(f"/verdicts/{again.payload_sha256}.dsse.json")
    assert (served.status_code, served.content) == (200, bytes(first.envelope or b""))
    assert client.get(f"/verdicts/{again.payload_sha256}.vsa.sigstore.json").status_code == 200
    history = client.get(f"/api/v1/verdicts/{release.project.name}/{release.tag}").json()["history"]
    assert [entry["needed"] for entry in history] == [2, 3, 2]
    assert client.get(release.get_absolute_url()).status_code == 200


@pytest.fixture
def faulty(make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch) -> Release:
    """A release whose verdict is derived by a program with a fault."""
    bad, derived = make_release(), verdicts.judged_view

    def fails(release: Release) -> Any:
        if release.pk == bad.pk:
            raise ZeroDivisionError
        return derived(release)

    monkeypatch.setattr(verdicts, "judged_view", fails)
    return bad


@pytest.mark.parametrize("sweep", [record_due, record_all])
def test_an_unforeseen_fault_in_one_release_keeps_none_of_the_others_from_being_recorded(
    faulty: Release, make_release: MakeRelease, caplog: pytest.LogCaptureFixture, sweep: Callable[[], int]
) -> None:
    good = make_release("v2.0.0")
    assert sweep() == 1
    assert (len(records(faulty)), len(records(good))) == (0, 1)
    assert f"release {faulty.pk} is not recorded" in caplog.text
    assert Release.objects.get(pk=faulty.pk).judged_at is None


def test_an_accepted_statement_is_no_fault_of_its_sender(faulty: Release, caplog: pytest.LogCaptureFixture) -> None:
    assert hand_in(signed(faulty, "ada").as_bytes()).status_code == 201
    assert "is not recorded" in caplog.text
