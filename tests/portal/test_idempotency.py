"""A request that is sent twice with its key is done once, and answered the same."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from attestations.models import Webhook
from builds import tasks
from builds.domain.access import Scope
from builds.models import AnsweredRequest, Rebuild, Release
from builds.services import idempotency, running
from tests.portal.test_claim_attacks import at_once
from tests.support.accounts import token_of

pytestmark = pytest.mark.django_db
HOOK = {"url": "https://hooks.example.org/verdicts"}


@pytest.fixture(autouse=True)
def hinted(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    told: list[uuid.UUID] = []
    monkeypatch.setattr(tasks, "hint", told.append)
    return told


def sent(path: str, body: dict[str, Any], secret: str, key: str | None) -> Any:
    headers = {"Authorization": f"Bearer {secret}"} | ({"Idempotency-Key": key} if key is not None else {})
    return Client().post(f"/api/v1{path}", body, content_type="application/json", headers=headers)


def wish(release: Release) -> dict[str, str]:
    return {"project": release.project.name, "tag": release.tag}


def test_the_second_answer_is_the_first_and_nothing_is_done_again(make_release: Callable[..., Release]) -> None:
    secret, body = token_of("ada").secret, wish(make_release())
    first = sent("/rebuilds", body, secret, "one")
    Rebuild.objects.update(state="cancelled", finished_at=timezone.now())
    again = sent("/rebuilds", body, secret, "one")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert first["Location"] == again["Location"]
    assert ("Idempotency-Replayed" in first, again["Idempotency-Replayed"]) == (False, "true")
    assert Rebuild.objects.count() == 1
    assert sent("/rebuilds", body, secret, "two").json()["id"] != first.json()["id"]


def test_a_key_is_good_for_one_request_of_one_account(make_release: Callable[..., Release]) -> None:
    secret = token_of("ada").secret
    one, other = wish(make_release("v1")), wish(make_release("v2"))
    first = sent("/rebuilds", one, secret, "key").json()
    refused = sent("/rebuilds", other, secret, "key")
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency-key-reused")
    elsewhere = sent(f"/rebuilds/{first['id']}/cancel", one, secret, "key")
    assert elsewhere.json()["code"] == "idempotency-key-reused"
    assert sent("/rebuilds", other, token_of("bob").secret, "key").status_code == 201


def test_a_request_that_was_refused_may_come_again_with_its_key(make_release: Callable[..., Release]) -> None:
    release = make_release()
    secret = token_of("ada").secret
    Release.objects.update(recipe_roles=[])
    assert sent("/rebuilds", wish(release), secret, "key").status_code == 409
    Release.objects.update(recipe_roles=["kernel"])
    assert sent("/rebuilds", wish(release), secret, "key").status_code == 201
    assert AnsweredRequest.objects.count() == 1


def test_a_key_is_forgotten_after_a_day(make_release: Callable[..., Release]) -> None:
    secret, body = token_of("ada").secret, wish(make_release())
    sent("/rebuilds", body, secret, "key")
    AnsweredRequest.objects.update(at=timezone.now() - timedelta(hours=24))
    assert "Idempotency-Replayed" not in sent("/rebuilds", body, secret, "key")
    AnsweredRequest.objects.update(at=timezone.now() - timedelta(hours=24))
    assert idempotency.forget_old() == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "ümlaut"])
def test_a_key_of_no_use_is_refused(make_release: Callable[..., Release], key: str) -> None:
    assert sent("/rebuilds", wish(make_release()), token_of("ada").secret, key).status_code == 422


@pytest.mark.django_db(transaction=True)
def test_the_same_request_many_times_at_once_is_done_once(make_release: Callable[..., Release]) -> None:
    release = make_release()
    running.local_rebuilder()
    secret = token_of("ada").secret
    answers = at_once(*[lambda: sent("/rebuilds", wish(release), secret, "key") for _ in range(5)])
    assert [answer.status_code for answer in answers] == [201] * 5
    assert len({answer.content for answer in answers}) == 1
    assert sorted("Idempotency-Replayed" in answer for answer in answers) == [False, True, True, True, True]
    assert (Rebuild.objects.count(), AnsweredRequest.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_workers_hear_of_a_rebuild_once_it_is_stored(
    make_release: Callable[..., Release], hinted: list[uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make_release()
    monkeypatch.setattr(tasks, "hint", lambda pk: hinted.append(pk) if AnsweredRequest.objects.get().status else None)
    made = sent("/rebuilds", wish(release), token_of("ada").secret, "key")
    assert [str(pk) for pk in hinted] == [made.json()["id"]]


def test_a_retry_is_a_new_rebuild_of_the_same_release(make_release: Callable[..., Release]) -> None:
    secret = token_of("ada").secret
    first = sent("/rebuilds", wish(make_release()), secret, None).json()
    early = sent(f"/rebuilds/{first['id']}/retry", {}, secret, None)
    assert (early.status_code, early.json()["code"]) == (409, "rebuild-not-ended")
    Rebuild.objects.update(state="cancelled", finished_at=timezone.now())
    made = sent(f"/rebuilds/{first['id']}/retry", {}, secret, None)
    assert (made.status_code, made.json()["tag"]) == (201, first["tag"])
    assert made.json()["id"] != first["id"]


def test_a_webhook_is_made_once_and_its_secret_shown_once(db: None) -> None:
    secret = token_of("ada", [Scope.MANAGE_WEBHOOKS]).secret
    made = sent("/webhooks", HOOK, secret, "key")
    assert made.status_code == 201
    assert made.json()["secret"].startswith("whsec_")
    assert made["Cache-Control"] == "no-store"
    again = sent("/webhooks", HOOK, secret, "key")
    assert (again.status_code, again.json()) == (201, made.json() | {"secret": None})
    assert made.json()["secret"] not in str(AnsweredRequest.objects.values())
    assert Webhook.objects.count() == 1


def test_webhooks_are_listed_without_secrets_and_deleted_by_their_owner_alone(db: None) -> None:
    mine, other = (token_of(name, [Scope.MANAGE_WEBHOOKS]).secret for name in ("ada", "bob"))
    made = sent("/webhooks", HOOK, mine, None).json()
    address = f"/api/v1/webhooks/{made['id']}"

    def asked(method: str, path: str, secret: str) -> Any:
        return Client().generic(method, path, headers={"Authorization": f"Bearer {secret}"})

    assert asked("GET", "/api/v1/webhooks", other).json()["webhooks"] == []
    (listed,) = asked("GET", "/api/v1/webhooks", mine).json()["webhooks"]
    assert listed == {name: value for name, value in made.items() if name != "secret"}
    assert asked("DELETE", address, other).status_code == 404
    assert asked("DELETE", address, mine).status_code == 204
    assert not Webhook.objects.exists()


def test_a_webhook_to_a_private_address_is_refused_by_name(db: None) -> None:
    secret = token_of("ada", [Scope.MANAGE_WEBHOOKS]).secret
    refused = sent("/webhooks", {"url": "https://127.0.0.1/x"}, secret, "key")
    assert (refused.status_code, refused.json()["code"]) == (400, "webhook-private-address")
    assert sent("/webhooks", HOOK, token_of("ada").secret, None).json()["code"] == "scope-missing"
