"""Messages of webhooks: sent again until they arrive or are given up, in order, and by no two workers at once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from attestations.domain.delivery import MOST_ATTEMPTS, DeliveryState
from attestations.models import Webhook, WebhookDelivery
from attestations.services import telling
from attestations.services import webhooks as service
from attestations.services.verdicts import record_verdict
from attestations.tasks import drop_old_deliveries, send_webhooks
from attestations.webhook_http import WebhookSender
from builds.models import Project, Rebuild, Release
from tests.portal.deliveries import delivery, make_due, send
from tests.support.receivers import Behaviour, answers, drips, floods, hangs

pytestmark = pytest.mark.django_db

type MakeRelease = Callable[..., Release]
type MakeRebuild = Callable[..., Rebuild]


def test_it_is_tried_again_later_and_later_under_the_same_name_and_then_given_up(
    owner: User, listening: Any, make_release: MakeRelease
) -> None:
    with listening(answers(500, b"broken")) as it:
        service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        waits = []
        for attempt in range(1, MOST_ATTEMPTS + 1):
            assert send() == 1
            tried = delivery()
            assert (tried.attempts, tried.status, tried.answer) == (attempt, 500, "broken")
            assert tried.problem is not None
            assert (tried.problem["code"], tried.problem["what"]) == (
                "webhook-not-accepted",
                "the receiver answered 500",
            )
            if attempt < MOST_ATTEMPTS:
                assert (tried.state, send()) == (DeliveryState.FAILED, 0)
                assert tried.next_try_at is not None
                assert tried.tried_at is not None
                waits.append((tried.next_try_at - tried.tried_at).total_seconds())
                make_due()
    assert waits == [15 * 4**step for step in range(MOST_ATTEMPTS - 1)]
    assert (delivery().state, delivery().next_try_at) == (DeliveryState.GIVEN_UP, None)
    assert len({got.id for got in it.received}) == 1
    assert len({got.body for got in it.received}) == 1


def test_what_failed_arrives_when_the_receiver_is_back(owner: User, listening: Any, make_release: MakeRelease) -> None:
    with listening(answers(503), answers(200)) as it:
        _, secret = service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        send()
        make_due()
        assert send() == 1
    sent = delivery()
    assert (sent.state, sent.attempts, sent.problem) == (DeliveryState.DELIVERED, 2, None)
    assert all(got.is_signed_with(secret) for got in it.received)


def test_410_ends_the_webhook_and_what_waits_for_it(owner: User, listening: Any, make_release: MakeRelease) -> None:
    with listening(answers(410)) as it:
        webhook, _ = service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        record_verdict(make_release("v2").pk)
        assert send() == 1
        assert len(it.received) == 1
    webhook.refresh_from_db()
    assert webhook.disabled_at is not None
    assert webhook.disabled_because is not None
    assert webhook.disabled_because["code"] == "webhook-gone"
    assert {row.state for row in WebhookDelivery.objects.all()} == {DeliveryState.GIVEN_UP}
    record_verdict(make_release("v3").pk)
    assert WebhookDelivery.objects.count() == 2


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (hangs, "webhook-too-slow"),
        (drips, "webhook-too-slow"),
        (answers(302, b"", Location="http://127.0.0.1:1/"), "webhook-redirected"),
    ],
    ids=["hangs", "drips", "redirects"],
)
def test_each_failure_is_named_in_the_list(
    owner: User, listening: Any, make_release: MakeRelease, behaviour: Behaviour, code: str
) -> None:
    with listening(behaviour) as it:
        service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        assert send() == 1
    failed = delivery()
    assert failed.problem is not None
    assert (failed.state, failed.problem["code"]) == (DeliveryState.FAILED, code)
    assert set(failed.problem) == {"code", "what", "where", "todo"}


def test_of_an_endless_answer_the_beginning_is_kept(owner: User, listening: Any, make_release: MakeRelease) -> None:
    with listening(floods) as it:
        service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        send()
    assert (delivery().state, delivery().answer) == (DeliveryState.DELIVERED, "x" * 1000)


@pytest.mark.parametrize("name", ["localhost.example", "private.example"])
def test_a_name_that_turned_private_is_not_connected_to(
    owner: User, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 443))])
    service.add(owner.pk, f"https://{name}/hook", None)
    record_verdict(make_release().pk)
    send()
    problem = delivery().problem
    assert problem is not None
    assert problem["code"] == "webhook-private-address"


def test_a_host_that_is_exempt_no_more_is_sent_nothing_and_says_why(
    owner: User, listening: Any, make_release: MakeRelease, settings: Any
) -> None:
    with listening() as it:
        webhook, _ = service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"webhook_insecure_hosts": ""})
        assert (send(), it.received) == (0, [])
    webhook.refresh_from_db()
    assert webhook.disabled_because is not None
    assert webhook.disabled_because["code"] == "webhook-not-https"
    assert delivery().state == DeliveryState.GIVEN_UP


def test_a_portal_whose_secret_key_changed_signs_nothing_and_says_so(
    owner: User, listening: Any, make_release: MakeRelease, settings: Any
) -> None:
    with listening() as it:
        webhook, _ = service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        settings.SECRET_KEY = "another"
        assert (send(), it.received) == (0, [])
        webhook.refresh_from_db()
        assert webhook.disabled_because is not None
        assert webhook.disabled_because["code"] == "webhook-secret-unreadable"
        secret = service.rotate(webhook)
        service.switch_on(webhook)
        assert service.send_again(webhook, delivery().pk) is not None
        assert send() == 1
    assert it.received[0].is_signed_with(secret)


def test_after_a_rotation_both_secrets_sign_for_a_day_and_then_the_new_one_alone(
    owner: User, listening: Any, make_release: MakeRelease
) -> None:
    with listening() as it:
        webhook, old = service.add(owner.pk, it.url, None)
        new = service.rotate(webhook)
        record_verdict(make_release().pk)
        send()
        Webhook.objects.update(earlier_secret_until=timezone.now() - timedelta(seconds=1))
        record_verdict(make_release("v2").pk)
        send()
    within, after = it.received
    assert (within.is_signed_with(old), within.is_signed_with(new)) == (True, True)
    assert (after.is_signed_with(old), after.is_signed_with(new)) == (False, True)
    assert old != new


def test_no_secret_lies_in_the_database_as_it_is(owner: User) -> None:
    webhook, secret = service.add(owner.pk, "https://example.org/hook", None)
    kept = bytes(Webhook.objects.get(pk=webhook.pk).secret)
    assert secret.removeprefix("whsec_").encode() not in kept
    assert telling.secret_box().open(kept) not in kept


def test_messages_come_in_the_order_of_what_they_tell(owner: User, listening: Any, make_release: MakeRelease) -> None:
    release = make_release()
    with listening() as it:
        service.add(owner.pk, it.url, None)
        for needed in range(3, 9):
            Project.objects.update(needed_operators=needed)
            record_verdict(release.pk)
        assert send() == 6
    assert [got.told["data"]["after"]["needed"] for got in it.received] == list(range(3, 9))
    assert [got.told["data"]["number"] for got in it.received] == list(range(1, 7))


def test_one_that_failed_does_not_hold_up_the_next_and_numbers_tell_their_order(
    owner: User, listening: Any, make_release: MakeRelease
) -> None:
    release = make_release()
    with listening(answers(500), answers(200)) as it:
        service.add(owner.pk, it.url, None)
        for needed in (3, 4):
            Project.objects.update(needed_operators=needed)
            record_verdict(release.pk)
        send()
        make_due()
        send()
    assert [got.told["data"]["number"] for got in it.received] == [1, 2, 1]


def test_a_receiver_that_hangs_keeps_no_other_waiting(owner: User, listening: Any, make_release: MakeRelease) -> None:
    release = make_release()
    with listening(hangs) as slow, listening() as quick:
        service.add(owner.pk, slow.url, None)
        service.add(owner.pk, quick.url, None)
        for needed in range(3, 8):
            Project.objects.update(needed_operators=needed)
            record_verdict(release.pk)
        telling.send_due(WebhookSender(seconds=0.5))
    assert len(quick.received) == 5
    assert quick.received[-1].at < slow.received[0].at + 0.4


def test_a_killed_workers_message_is_sent_again_when_its_lease_ends(
    owner: User, listening: Any, make_release: MakeRelease
) -> None:
    with listening() as it:
        service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        taken = telling.claim_next()
        assert taken is not None
        assert (telling.claim_next(), send()) == (None, 0)
        Webhook.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
        assert send() == 1
        assert it.received[0].id == taken.delivery.message_id
    assert (delivery().state, delivery().attempts) == (DeliveryState.DELIVERED, 2)


def test_a_worker_that_comes_back_after_its_lease_writes_nothing_over_the_others_word(
    owner: User, listening: Any, make_release: MakeRelease, caplog: pytest.LogCaptureFixture
) -> None:
    with listening() as it:
        service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        taken = telling.claim_next()
        assert taken is not None
        Webhook.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
        send()
    telling.settle(taken, telling.Sent(None, None, 5), 0.5)
    assert "the lease of webhook" in caplog.text
    assert (delivery().state, delivery().status) == (DeliveryState.DELIVERED, 204)


def test_a_message_whose_every_worker_dies_is_given_up_in_the_end(
    owner: User, listening: Any, make_release: MakeRelease
) -> None:
    with listening() as it:
        service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        for _ in range(MOST_ATTEMPTS):
            assert telling.claim_next() is not None
            Webhook.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
        assert send() == 0
    assert delivery().state == DeliveryState.GIVEN_UP
    assert delivery().problem is not None


@pytest.mark.django_db(transaction=True)
def test_workers_that_send_at_once_send_each_message_once(
    owner: User, listening: Any, make_release: MakeRelease
) -> None:
    release = make_release()
    ready, tries = threading.Barrier(4), []

    def work() -> None:
        ready.wait()
        try:
            tries.append(send())
        finally:
            connection.close()

    with listening() as it:
        service.add(owner.pk, it.url, None)
        service.add(owner.pk, f"{it.url}2", None)
        for needed in range(3, 8):
            Project.objects.update(needed_operators=needed)
            record_verdict(release.pk)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(tries) == len(it.received) == 10
    assert len({(got.path, got.id) for got in it.received}) == 10
    for path in ("/hook?of=tests", "/hook?of=tests2"):
        assert [got.told["data"]["number"] for got in it.received if got.path == path] == [1, 2, 3, 4, 5]


def test_switching_off_while_a_message_is_under_way_leaves_nothing_waiting(
    owner: User, listening: Any, make_release: MakeRelease
) -> None:
    with listening() as it:
        webhook, _ = service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        taken = telling.claim_next()
        assert taken is not None
        service.switch_off(webhook)
        telling.settle(taken, telling._sent(WebhookSender(seconds=1), taken), 0.5)
        assert delivery().state == DeliveryState.DELIVERED
        record_verdict(make_release("v2").pk)
    assert WebhookDelivery.objects.count() == 1


def test_a_webhook_that_is_deleted_while_a_message_is_under_way_is_gone(
    owner: User, listening: Any, make_release: MakeRelease
) -> None:
    with listening() as it:
        webhook, _ = service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        taken = telling.claim_next()
        assert taken is not None
        webhook.delete()
        telling.settle(taken, telling.Sent(None, None, 5), 0.5)
    assert not WebhookDelivery.objects.exists()


def test_claiming_costs_the_same_queries_for_one_webhook_and_for_many(owner: User, make_release: MakeRelease) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert telling.claim_next() is not None
        return len(queries)

    for number in range(10):
        service.add(owner.pk, f"https://example.org/{number}", None)
    record_verdict(make_release().pk)
    counts = {asked() for _ in range(10)}
    assert len(counts) == 1


def test_the_task_sends_and_forgets_what_ended_long_ago(owner: User, listening: Any, make_release: MakeRelease) -> None:
    with listening() as it:
        webhook, _ = service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        send_webhooks()
        assert len(it.received) == 1
    WebhookDelivery.objects.update(made_at=timezone.now() - timedelta(days=31))
    waiting = WebhookDelivery.objects.create(
        webhook=webhook,
        message_id=f"test_{uuid.uuid4().hex}",
        next_try_at=timezone.now(),
        made_at=timezone.now() - timedelta(days=31),
    )
    drop_old_deliveries()
    assert list(WebhookDelivery.objects.all()) == [waiting]
