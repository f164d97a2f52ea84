"""Tells webhooks of recorded verdicts. A delivery's row is the queue; tasks are hints that one may be due.

Whoever sends holds the webhook by a lease, so that a receiver gets one message at a time and a slow one keeps no other
waiting. A worker that dies loses its lease, and what it held is sent again under the same message id.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from celery import current_app
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError

from attestations.domain.changes import verdict_uuid
from attestations.domain.delivery import (
    MOST_ATTEMPTS,
    DeliveryState,
    ReleaseAddresses,
    is_accepted,
    is_redirect,
    retry_delay,
    trial_body,
    verdict_body,
)
from attestations.domain.internet import InternetAddress
from attestations.domain.webhook_address import parse_address
from attestations.domain.webhook_errors import (
    WebhookGone,
    WebhookNotAccepted,
    WebhookRedirected,
    WebhookSecretUnreadable,
    WebhookUnreachable,
)
from attestations.domain.webhook_signature import signed_headers
from attestations.models import VerdictRecord, Webhook, WebhookDelivery
from attestations.services.changes import change_of
from attestations.webhook_http import Answer, WebhookSender
from attestations.webhook_secrets import SecretBox
from builds.domain.errors import PortalError

logger = logging.getLogger(__name__)

AT_ONCE = 8
LEASE = timedelta(seconds=30)  # three times what one delivery may take
_ROUND_SECONDS = 20.0
_KEPT = timedelta(days=30)
_GONE = 410


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that is ours to send, until the lease ends."""

    webhook: Webhook
    delivery: WebhookDelivery
    address: InternetAddress
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of one try."""

    answer: Answer | None
    problem: PortalError | None
    milliseconds: int


def insecure_hosts() -> frozenset[str]:
    named: str = settings.ENVIRONMENT.webhook_insecure_hosts
    return frozenset(entry.strip() for entry in named.split(",") if entry.strip())


def secret_box() -> SecretBox:
    return SecretBox(settings.SECRET_KEY)


def enqueue(record: VerdictRecord) -> int:
    """A row for each webhook that wants this verdict; how many. Call it in the transaction that makes the record."""
    release = record.release
    message_id = f"verdict_{verdict_uuid(release.project.name, release.tag, record.at, record.basis).hex}"
    wanted = Webhook.objects.filter(
        Q(project__isnull=True) | Q(project=release.project_id), disabled_at__isnull=True, owner__is_active=True
    )
    rows = WebhookDelivery.objects.bulk_create(
        WebhookDelivery(webhook_id=pk, verdict=record, message_id=message_id, next_try_at=timezone.now())
        for pk in wanted.values_list("pk", flat=True)
    )
    if rows:
        transaction.on_commit(hint)
    return len(rows)


def hint() -> None:
    """Ask a worker to send what is due, by the task's name: services do not know tasks. It may be lost."""
    try:
        current_app.send_task("attestations.tasks.send_webhooks")
    except OperationalError as error:
        logger.warning("broker unreachable, webhooks wait for the schedule: %s", error)


def send_due(sender: WebhookSender, chance: Callable[[], float] = random.random) -> int:
    """Send what is due, several receivers at a time, for about as long as a round may take; how many tries."""
    until = time.monotonic() + _ROUND_SECONDS
    running: dict[Future[Sent], Claimed] = {}
    tries = 0
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook") as pool:
        while True:
            while len(running) < AT_ONCE and time.monotonic() < until and (claimed := claim_next()) is not None:
                running[pool.submit(_sent, sender, claimed)] = claimed
            if not running:
                return tries
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                settle(running.pop(future), future.result(), chance())
                tries += 1


def claim_next() -> Claimed | None:
    """The next message to send: of the webhook that waited longest, its oldest; None when nothing is due."""
    passed: set[uuid.UUID] = set()
    while True:
        webhook_id = _next_webhook(passed)
        if webhook_id is None:
            return None
        passed.add(webhook_id)
        claimed = _claim(webhook_id)
        if claimed is not None:
            return claimed


def settle(claimed: Claimed, sent: Sent, chance: float) -> None:
    """Write down what came of a try and let go of the webhook, unless the lease ended and somebody else has it."""
    now = timezone.now()
    delivery = claimed.delivery
    with transaction.atomic():
        if not _release(claimed.webhook, now):
            logger.warning("the lease of webhook %s ended before its answer came", claimed.webhook.pk)
            return
        problem = sent.problem or _refusal(claimed.address.where, sent.answer)
        delivery.tried_at = now
        delivery.milliseconds = sent.milliseconds
        delivery.status = sent.answer.status if sent.answer is not None else None
        delivery.answer = sent.answer.text if sent.answer is not None else ""
        delivery.problem = problem.as_dict() if problem is not None else None
        is_off = Webhook.objects.filter(pk=claimed.webhook.pk, disabled_at__isnull=False).exists()
        attempts = MOST_ATTEMPTS if is_off else delivery.attempts
        delivery.state, delivery.next_try_at = _next_state(attempts, problem, now, chance)
        delivery.save()
        if isinstance(problem, WebhookGone):
            switch_off(claimed.webhook, problem)


def switch_off(webhook: Webhook, reason: PortalError) -> None:
    """Send nothing more: what waits is given up for this reason."""
    with transaction.atomic():
        Webhook.objects.filter(pk=webhook.pk).update(disabled_at=timezone.now(), disabled_because=reason.as_dict())
        waiting = WebhookDelivery.objects.filter(webhook=webhook, next_try_at__isnull=False)
        waiting.update(state=DeliveryState.GIVEN_UP, next_try_at=None, problem=reason.as_dict())


def drop_old(now: datetime) -> int:
    """Forget deliveries that ended long ago; how many."""
    old = WebhookDelivery.objects.filter(next_try_at__isnull=True, made_at__lt=now - _KEPT)
    return old.delete()[0]


def _free(now: datetime) -> Q:
    return Q(claimed_until__isnull=True) | Q(claimed_until__lt=now)


def _next_webhook(passed: set[uuid.UUID]) -> uuid.UUID | None:
    now = timezone.now()
    wanted = Webhook.objects.filter(_free(now), disabled_at__isnull=True, owner__is_active=True)
    due = wanted.filter(deliveries__next_try_at__lte=now).exclude(pk__in=passed)
    return due.order_by(F("last_tried_at").asc(nulls_first=True), "pk").values_list("pk", flat=True).first()


def _claim(webhook_id: uuid.UUID) -> Claimed | None:
    """Take the webhook and its oldest due message, or nothing when somebody else was first."""
    now, claim = timezone.now(), uuid.uuid4()
    free = Webhook.objects.filter(_free(now), pk=webhook_id, disabled_at__isnull=True)
    if not free.update(claim=claim, claimed_until=now + LEASE):
        return None
    webhook = Webhook.objects.get(pk=webhook_id)
    delivery = webhook.deliveries.filter(next_try_at__lte=now).order_by("pk").first()
    if delivery is None:
        _release(webhook, None)
        return None
    if delivery.attempts >= MOST_ATTEMPTS:
        _give_up(webhook, delivery, now)
        return None
    try:
        return _prepared(webhook, delivery, now)
    except PortalError as error:
        _cannot_send(webhook, delivery, error, now)
        return None


def _prepared(webhook: Webhook, delivery: WebhookDelivery, now: datetime) -> Claimed:
    """The message with its headers. The try is counted before it is made: also one that kills its worker ends."""
    address = parse_address(webhook.url, insecure_hosts())
    body = _body(webhook, delivery)
    secrets = list(_secrets(webhook, now))
    delivery.attempts += 1
    delivery.save(update_fields=["attempts"])
    headers = signed_headers(delivery.message_id, int(now.timestamp()), body, secrets)
    return Claimed(webhook, delivery, address, {"Content-Type": "application/json", **headers}, body)


def _give_up(webhook: Webhook, delivery: WebhookDelivery, now: datetime) -> None:
    """The last try was begun and nobody wrote down what came of it."""
    with transaction.atomic():
        if _release(webhook, now):
            problem = WebhookUnreachable("the portal's worker was lost while it sent this", where=webhook.url)
            WebhookDelivery.objects.filter(pk=delivery.pk).update(
                state=DeliveryState.GIVEN_UP, next_try_at=None, problem=problem.as_dict()
            )


def _cannot_send(webhook: Webhook, delivery: WebhookDelivery, error: PortalError, now: datetime) -> None:
    """Neither secret nor address gets better by waiting."""
    logger.warning("webhook %s: %s", webhook.pk, error)
    with transaction.atomic():
        if _release(webhook, now):
            switch_off(webhook, error)


def _release(webhook: Webhook, tried_at: datetime | None) -> bool:
    """Let go of a webhook that is still ours; False when it is not."""
    own = Webhook.objects.filter(pk=webhook.pk, claim=webhook.claim)
    changes: dict[str, object] = {"claim": None, "claimed_until": None}
    if tried_at is not None:
        changes["last_tried_at"] = tried_at
    return bool(own.update(**changes))


def _secrets(webhook: Webhook, now: datetime) -> Iterator[bytes]:
    box = secret_box()
    yield box.open(bytes(webhook.secret))
    earlier, until = webhook.earlier_secret, webhook.earlier_secret_until
    if earlier is not None and until is not None and until > now:
        # One that cannot be opened is over: the receiver knows the newer one.
        with suppress(WebhookSecretUnreadable):
            yield box.open(bytes(earlier))


def _body(webhook: Webhook, delivery: WebhookDelivery) -> bytes:
    if delivery.verdict_id is None:
        return trial_body(str(webhook.pk), delivery.made_at)
    change = change_of(delivery.verdict_id)
    number = VerdictRecord.objects.filter(release=change.release, pk__lte=change.record.pk).count()
    return verdict_body(change.before, change.after, change.at, number, _about(change.record))


def _about(record: VerdictRecord) -> ReleaseAddresses:
    base: str = settings.ENVIRONMENT.public_url or ""
    release = record.release
    return ReleaseAddresses(
        project=release.project.name,
        tag=release.tag,
        commit=release.commit,
        release=f"{base}{release.get_absolute_url()}",
        bundle=f"{base}{reverse('vsa-bundle', args=[record.payload_sha256])}" if record.payload_sha256 else None,
    )


def _sent(sender: WebhookSender, claimed: Claimed) -> Sent:
    """In a thread of its own: it knows no database."""
    began = time.monotonic()
    answer, problem = None, None
    try:
        answer = sender.post(claimed.address, claimed.headers, claimed.body)
    except PortalError as error:
        problem = error
    return Sent(answer, problem, round((time.monotonic() - began) * 1000))


def _refusal(where: str, answer: Answer | None) -> PortalError | None:
    """What an answer's status means; None for one that accepts."""
    if answer is None or is_accepted(answer.status):
        return None
    if answer.status == _GONE:
        return WebhookGone("the receiver answered 410: it wants nothing any more", where=where)
    if is_redirect(answer.status):
        return WebhookRedirected(f"the receiver answered {answer.status}, another address", where=where)
    return WebhookNotAccepted(f"the receiver answered {answer.status}", where=where)


def _next_state(
    attempts: int, problem: PortalError | None, now: datetime, chance: float
) -> tuple[DeliveryState, datetime | None]:
    if problem is None:
        return DeliveryState.DELIVERED, None
    if attempts >= MOST_ATTEMPTS or isinstance(problem, WebhookGone):
        return DeliveryState.GIVEN_UP, None
    return DeliveryState.FAILED, now + retry_delay(attempts, chance)
