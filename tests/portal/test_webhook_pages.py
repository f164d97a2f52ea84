"""An account's webhooks: nobody sees another's, secrets are shown once, and what became of each message is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from attestations.domain.delivery import DeliveryState
from attestations.models import Webhook, WebhookDelivery
from attestations.services import telling
from attestations.services import webhooks as service
from attestations.services.verdicts import record_verdict
from attestations.services.webhooks import MOST_WEBHOOKS
from builds.models import Release

pytestmark = pytest.mark.django_db

URL = "https://example.org/hook"
LIST = "/account/webhooks/"

type MakeRelease = Callable[..., Release]


@pytest.fixture
def owner(db: None, client: Client) -> User:
    user = User.objects.create_user("ada")
    client.force_login(user)
    return user


def text(response: HttpResponse) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def added(client: Client, url: str = URL, project: str = "") -> HttpResponse:
    return client.post(LIST, {"url": url, "project": project})


def secret_in(response: HttpResponse) -> str:
    found = re.search(r"whsec_[A-Za-z0-9+/]{43}=", response.content.decode())
    assert found is not None
    return found[0]


def test_who_is_not_signed_in_is_sent_to_sign_in(client: Client, settings: Any) -> None:
    settings.LOGIN_URL = "/signin/"
    webhook, _ = service.add(User.objects.create_user("ben").pk, URL, None)
    for address in (LIST, webhook.get_absolute_url()):
        answer = client.get(address)
        assert (answer.status_code, answer["Location"]) == (302, f"/signin/?next={address}")
    for what in ("secret", "delete", "test", "switch-on", "switch-off", "1/again"):
        assert client.post(f"{webhook.get_absolute_url()}{what}")["Location"].startswith("/signin/")
    assert Webhook.objects.get().disabled_at is None


def test_the_empty_list_says_what_to_do(client: Client, owner: User) -> None:
    assert "You have no webhook yet. Add the address of a receiver below" in text(client.get(LIST))


def test_a_secret_is_shown_once_and_kept_by_no_cache(client: Client, owner: User) -> None:
    made = added(client)
    secret = secret_in(made)
    webhook = Webhook.objects.get()
    assert "no-store" in made["Cache-Control"]
    for address in (LIST, webhook.get_absolute_url()):
        page = client.get(address)
        assert "no-store" in page["Cache-Control"]
        assert "whsec_" not in page.content.decode()
    again = client.post(f"{webhook.get_absolute_url()}secret")
    assert "no-store" in again["Cache-Control"]
    assert secret_in(again) != secret
    assert "The earlier secret signs every message too for 24 hours" in text(again)
    assert "The earlier secret signs too until" in text(client.get(webhook.get_absolute_url()))


def test_nobody_sees_or_changes_anothers_webhook(client: Client, owner: User, make_release: MakeRelease) -> None:
    webhook, _ = service.add(User.objects.create_user("ben").pk, f"{URL}/of-ben", None)
    record_verdict(make_release().pk)
    number = WebhookDelivery.objects.get().pk
    assert "of-ben" not in client.get(LIST).content.decode()
    assert client.get(webhook.get_absolute_url()).status_code == 404
    for what in ("secret", "delete", "test", "switch-off", "switch-on", f"{number}/again"):
        assert client.post(f"{webhook.get_absolute_url()}{what}").status_code == 404
    mine, _ = service.add(owner.pk, URL, None)
    assert client.post(f"{mine.get_absolute_url()}{number}/again").status_code == 404
    unchanged = Webhook.objects.get(pk=webhook.pk)
    assert (bytes(unchanged.secret), unchanged.disabled_at) == (bytes(webhook.secret), None)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.org/", "The address is not https"),
        ("https://127.0.0.1/", "The host&#x27;s address 127.0.0.1 is not a public one"),
        ("https://ada:pw@example.org/", "The address holds a name or password"),
        ("https://example.org:25/", "The address names port 25"),
        ('"><script>alert(1)</script>', "The address names no host"),
        ("https://x/" + "a" * 10_000, "An address has at most 500 visible ASCII characters"),
    ],
)
def test_an_address_that_is_refused_stands_in_the_form_again_with_the_reason(
    client: Client, owner: User, url: str, words: str
) -> None:
    answer = added(client, url)
    assert answer.status_code == 400
    assert words in text(answer)
    assert "<script>alert" not in answer.content.decode()
    assert 'aria-describedby="url-help url-error"' in answer.content.decode()
    assert not Webhook.objects.exists()


@pytest.mark.parametrize("name", ["\0", "enclave\0", "nobody", "<b>"])
def test_a_project_that_cannot_be_is_not_found_on_any_database(client: Client, owner: User, name: str) -> None:
    assert added(client, project=name).status_code == 404
    assert not Webhook.objects.exists()


def test_an_account_has_at_most_ten_and_no_two_alike(client: Client, owner: User, make_release: MakeRelease) -> None:
    make_release()
    assert added(client).status_code == 200
    assert "has a webhook like this already" in text(added(client))
    assert added(client, project="enclave").status_code == 200
    assert "has a webhook like this already" in text(added(client, project="enclave"))
    assert added(client, project="nobody").status_code == 404
    for number in range(2, MOST_WEBHOOKS):
        added(client, f"{URL}/{number}")
    page = client.get(LIST)
    assert "10 of at most 10" in text(page)
    assert "You have 10 webhooks, the most an account may have." in text(page)
    assert 'name="url"' not in page.content.decode()
    assert added(client, f"{URL}/more").status_code == 400
    assert Webhook.objects.count() == MOST_WEBHOOKS
    client.force_login(User.objects.create_user("ben"))
    assert added(client).status_code == 200


def test_a_webhook_is_switched_off_and_on_and_deleted(client: Client, owner: User, make_release: MakeRelease) -> None:
    added(client)
    webhook = Webhook.objects.get()
    record_verdict(make_release().pk)
    page = client.post(f"{webhook.get_absolute_url()}switch-off", follow=True)
    assert "switched off since" in text(page)
    assert "its owner switched it off" in text(page)
    assert WebhookDelivery.objects.get().state == DeliveryState.GIVEN_UP
    refused = client.post(f"{webhook.get_absolute_url()}test", follow=True)
    assert "It is switched off, so nothing is sent" in text(refused)
    assert "It is told of every change" in text(client.post(f"{webhook.get_absolute_url()}switch-on", follow=True))
    gone = client.post(f"{webhook.get_absolute_url()}delete", follow=True)
    assert "The webhook was deleted" in text(gone)
    assert not WebhookDelivery.objects.exists()


def test_nothing_is_changed_by_following_a_link(client: Client, owner: User) -> None:
    added(client)
    address = Webhook.objects.get().get_absolute_url()
    for what in ("secret", "delete", "test", "switch-on", "switch-off", "1/again"):
        assert client.get(f"{address}{what}").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(owner)
    assert strict.post(f"{address}delete").status_code == 403


def test_one_test_waits_at_a_time(client: Client, owner: User) -> None:
    added(client)
    address = Webhook.objects.get().get_absolute_url()
    first = client.post(f"{address}test", follow=True)
    assert "A test is sent within a few seconds." in text(first)
    assert "a test" in text(first)
    assert "A test is waiting to be sent" in text(client.post(f"{address}test", follow=True))
    taken = telling.claim_next()
    assert taken is not None
    assert b'"type": "test"' in taken.body


def test_the_list_says_state_answer_and_next_try_of_each_message_and_sends_one_again(
    client: Client, owner: User, make_release: MakeRelease
) -> None:
    added(client)
    webhook = Webhook.objects.get()
    record_verdict(make_release().pk)
    delivery = WebhookDelivery.objects.get()
    problem = {"code": "webhook-not-accepted", "what": "the receiver answered 500", "where": "x", "todo": "Look."}
    WebhookDelivery.objects.update(
        state=DeliveryState.FAILED, attempts=3, status=500, milliseconds=1234, tried_at=timezone.now(),
        answer='<script>alert("x")</script>\u202e', problem=problem,
    )  # fmt: skip
    page = client.get(webhook.get_absolute_url())
    assert '<span class="state bad">failed</span>' in page.content.decode()
    said = text(page)
    for words in ("enclave v1.0.0 : deny", "next try", "took 1.2 s", "status 500", "The receiver answered 500. Look."):
        assert words in said
    assert "<script>alert" not in page.content.decode()
    assert "\u202e" not in page.content.decode()
    waits = client.post(f"{webhook.get_absolute_url()}{delivery.pk}/again", follow=True)
    assert "This message is waiting to be sent" in text(waits)
    WebhookDelivery.objects.update(state=DeliveryState.GIVEN_UP, next_try_at=None)
    again = client.post(f"{webhook.get_absolute_url()}{delivery.pk}/again", follow=True)
    assert "The message is sent again within a few seconds." in text(again)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 0)
    taken = telling.claim_next()
    assert taken is not None
    assert taken.delivery.message_id == delivery.message_id


def test_older_deliveries_are_on_later_pages_and_queries_do_not_grow_with_them(
    client: Client, owner: User, make_release: MakeRelease
) -> None:
    def asked(address: str) -> tuple[str, int]:
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(address)
        assert answer.status_code == 200
        return answer.content.decode(), len(queries)

    added(client)
    webhook = Webhook.objects.get()
    record_verdict(make_release().pk)
    record = WebhookDelivery.objects.get().verdict
    _, one = asked(webhook.get_absolute_url())
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(webhook=webhook, verdict=record, message_id=f"verdict_{n}", state=DeliveryState.DELIVERED)
        for n in range(59)
    )
    seen: list[str] = []
    address: str | None = webhook.get_absolute_url()
    while address is not None:
        page, count = asked(address)
        assert count == one <= 12
        seen += re.findall(r'class="digest">(verdict_[0-9a-f]+)<', page)
        older = re.search(r'href="(\?before=[0-9]+)"', page)
        address = f"{webhook.get_absolute_url()}{older[1]}" if older is not None else None
    assert len(seen) == len(set(seen)) == 60
    assert client.get(f"{webhook.get_absolute_url()}?before=x").status_code == 404
    _, few = asked(LIST)
    for number in range(8):
        service.add(owner.pk, f"{URL}/{number}", None)
    assert asked(LIST)[1] == few <= 12
