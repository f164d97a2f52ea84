"""What kept answers about releases follow from: any stamp that moves is seen, whichever is the largest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from attestations.services.answer_version import releases_state
from builds.models import Project, Release
from tee_portal import kept_answers

pytestmark = pytest.mark.django_db

type MakeRelease = Callable[..., Release]


@pytest.fixture
def releases(make_release: MakeRelease) -> list[Release]:
    made = [make_release(f"v1.0.{number}") for number in range(3)]
    now = timezone.now().replace(microsecond=0)
    for number, release in enumerate(made):
        stamped(release, evidence_changed_at=now + timedelta(hours=number), judged_at=now + timedelta(hours=number))
    return made


def stamped(release: Release, **stamps: datetime | None) -> None:
    Release.objects.filter(pk=release.pk).update(**stamps)


@pytest.mark.parametrize("stamp", ["evidence_changed_at", "judged_at"])
@pytest.mark.parametrize("moved", [timedelta(microseconds=1), timedelta(seconds=-1), timedelta(days=-1)])
def test_any_stamp_that_moves_is_seen(releases: list[Release], stamp: str, moved: timedelta) -> None:
    project = releases[0].project_id
    seen = {(releases_state(), releases_state(project))}
    for release in releases:
        release.refresh_from_db()
        stamped(release, **{stamp: getattr(release, stamp) + moved})
        seen.add((releases_state(), releases_state(project)))
    assert len({whole for whole, _ in seen}) == len({own for _, own in seen}) == 1 + len(releases)


@pytest.mark.parametrize("stamp", ["evidence_changed_at", "judged_at"])
def test_two_that_move_as_far_in_opposite_directions_are_seen(releases: list[Release], stamp: str) -> None:
    before, moved = releases_state(), timedelta(seconds=5, microseconds=7)
    for release, step in ((releases[0], moved), (releases[1], -moved)):
        release.refresh_from_db()
        stamped(release, **{stamp: getattr(release, stamp) + step})
    assert releases_state() != before


def test_a_stamp_that_goes_and_a_release_that_goes_are_seen(releases: list[Release]) -> None:
    seen = [releases_state()]
    stamped(releases[0], judged_at=None)
    seen.append(releases_state())
    releases[1].delete()
    seen.append(releases_state())
    Release.objects.all().delete()
    seen.append(releases_state())
    assert len(set(seen)) == len(seen)


def test_the_state_of_one_project_is_not_moved_by_another(releases: list[Release]) -> None:
    elsewhere = Project.objects.create(name="elsewhere", source_url="https://example.org/elsewhere")
    before, whole = releases_state(elsewhere.pk), releases_state()
    stamped(releases[0], evidence_changed_at=timezone.now() - timedelta(days=9))
    assert releases_state(elsewhere.pk) == before
    assert releases_state() != whole


@pytest.mark.parametrize("path", ["releases", "export/policy", "export/policy?project=enclave"])
def test_new_evidence_with_an_earlier_stamp_has_the_answer_made_anew(
    releases: list[Release], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_answers, "UNASKED_SECONDS", 0.0)
    client = Client()
    assert client.get(f"/api/v1/{path}").status_code == 200
    assert _statements(client, path) <= 2
    stamped(releases[0], evidence_changed_at=timezone.now() - timedelta(days=1))
    assert _statements(client, path) > 2


def _statements(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as made:
        assert client.get(f"/api/v1/{path}").status_code == 200
    return len(made)
