"""Rebuilders of one operator that ask at the same moment get what they would get one after another."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone

from builds.domain.lifecycle import RunState
from builds.models import Operator, Rebuild, Rebuilder, Release
from builds.services import queueing, rebuilding
from builds.services.queueing import Priority
from builds.services.rebuilding import new_token
from tests.portal.test_claim_attacks import at_once
from tests.support.attacks import claim_request, post
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db(transaction=True)

LABELS = [f"mallory-{number}" for number in range(4)]


def bodies() -> list[bytes]:
    return [claim_request(operator_named("mallory", rebuilder=label), new_token()) for label in LABELS]


def held() -> int:
    return Rebuild.objects.filter(state=RunState.RUNNING, rebuilder__operator__slug="mallory").count()


@pytest.mark.parametrize("again", range(3))
def test_rebuilders_of_one_operator_get_one_of_a_releases_two_places(
    make_release: Callable[..., Release], again: int
) -> None:
    make_release()
    Release.objects.update(materials_stored_at=timezone.now())
    assert queueing.open_missing_places() == 2
    answers = at_once(*[lambda body=body: post("/api/v1/claims", body) for body in bodies()])  # type: ignore[misc]
    assert sorted(answer.status_code for answer in answers) == [200, 204, 204, 204]
    assert held() == 1
    assert post("/api/v1/claims", claim_request(operator_named("ada"), new_token())).status_code == 200


def test_rebuilders_of_one_operator_get_no_more_than_its_bound(
    make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "MAX_LIVE_CLAIMS", 2)
    for number in range(4):
        queueing.open_place(make_release(f"v{number}"), Priority.NEW_RELEASE)
    answers = at_once(*[lambda body=body: post("/api/v1/claims", body) for body in bodies()])  # type: ignore[misc]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 204, 204]
    assert held() == 2


def test_the_portals_own_workers_are_held_to_the_same(
    make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "MAX_LIVE_CLAIMS", 1)
    operator_named("mallory")
    worker = Rebuilder.objects.get(operator=Operator.objects.get(slug="mallory"))
    places = [queueing.open_place(make_release(f"v{number}"), Priority.NEW_RELEASE) for number in range(2)]
    assert [rebuilding.claim(place.pk, worker, "host") is not None for place in places] == [True, False]
