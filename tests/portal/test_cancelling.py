"""Who may cancel a rebuild that somebody asked for, on the page and by token."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds import tasks
from builds.domain.lifecycle import RunState
from builds.domain.queue import MAX_ATTEMPTS
from builds.models import Rebuild, Release
from builds.services import queueing, rebuilding, requesting, running
from builds.services.requesting import NotYours, RebuildEnded
from builds.services.steering import may_steer
from tests.support.accounts import account_named, post_json, token_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "hint", lambda rebuild_id: True)


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    return make_release()


def test_whoever_asked_may_cancel_by_token_and_nobody_else(release: Release) -> None:
    ada, ben, root = token_of("ada").secret, token_of("ben").secret, token_of("root", is_staff=True).secret
    wish = {"project": release.project.name, "tag": release.tag}
    rebuild = post_json("/api/v1/rebuilds", wish, ada).json()["id"]
    post_json("/api/v1/rebuilds", wish, ben)
    cancel = f"/api/v1/rebuilds/{rebuild}/cancel"
    refused = post_json(cancel, {}, ben)
    assert (refused.status_code, refused.json()["code"]) == (403, "not-yours")
    assert post_json(cancel, {}).status_code == 401
    answer = post_json(cancel, {}, ada)
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    ended = post_json(cancel, {}, root)
    assert (ended.status_code, ended.json()["code"]) == (409, "rebuild-ended")
    assert post_json(f"/api/v1/rebuilds/{uuid.uuid4()}/cancel", {}, root).status_code == 404


def test_a_running_one_is_asked_to_stop_and_asking_again_changes_nothing(release: Release) -> None:
    rebuild = requesting.ask(release, account_named("ada")).rebuild
    rebuilding.claim(rebuild.pk, running.local_rebuilder(), "w")
    rebuild.refresh_from_db()
    for _ in range(2):
        answer = post_json(f"/api/v1/rebuilds/{rebuild.pk}/cancel", {}, token_of("ada").secret)
        assert answer.json() == {"id": str(rebuild.pk), "state": "running", "cancel_requested": True}
    assert rebuild.events.filter(kind="cancel-requested").count() == 1


def test_who_steers_a_rebuild(release: Release) -> None:
    ada, ben = account_named("ada"), account_named("ben")
    rebuild = requesting.ask(release, ada).rebuild
    assert may_steer(ada, rebuild)
    assert may_steer(account_named("root", is_staff=True), rebuild)
    assert not may_steer(ben, rebuild)
    assert not may_steer(AnonymousUser(), rebuild)
    assert not may_steer(account_named("gone", is_staff=True, is_active=False), rebuild)
    with pytest.raises(NotYours):
        requesting.cancel(rebuild, ben)
    requesting.cancel(rebuild, ada)
    with pytest.raises(RebuildEnded):
        requesting.cancel(rebuild, ada)


def test_what_somebody_asked_for_stays_theirs_when_it_is_tried_again(release: Release) -> None:
    ada = account_named("ada")
    place = requesting.ask(release, ada).rebuild
    for _ in range(MAX_ATTEMPTS - 1):
        Rebuild.objects.filter(pk=place.pk).update(state=RunState.CANCELLED, finished_at=timezone.now())
        again = queueing.open_again(place, timezone.now())
        assert again is not None
        place = again
        with CaptureQueriesContext(connection) as queries:
            assert may_steer(ada, place)
        assert len(queries) == 1
        assert not may_steer(account_named("ben"), place)
