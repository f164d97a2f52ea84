"""What the owner of webhooks does with them. Secrets leave here once, when they are made."""

from __future__ import annotations

import secrets
import uuid
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.utils import timezone

from attestations.domain.delivery import DeliveryState
from attestations.domain.webhook_address import parse_address
from attestations.domain.webhook_errors import DeliveryWaits, TooManyWebhooks, WebhookKnown, WebhookSwitchedOff
from attestations.domain.webhook_signature import SECRET_BYTES, shown_secret
from attestations.models import Webhook, WebhookDelivery
from attestations.services import telling
from builds.models import Project

MOST_WEBHOOKS = 10
EARLIER_SECRET_HOURS = 24


def add(owner_id: int, url: str, project: Project | None) -> tuple[Webhook, str]:
    """A new webhook and its secret, which nobody can be shown again.

    Raises ``WebhookAddressRefused``, ``TooManyWebhooks``, ``WebhookKnown``.
    """
    address = parse_address(url.strip(), telling.insecure_hosts())
    secret = secrets.token_bytes(SECRET_BYTES)
    try:
        with transaction.atomic():
            # Two that come at once are counted one after the other.
            get_user_model().objects.select_for_update().get(pk=owner_id)
            if Webhook.objects.filter(owner=owner_id).count() >= MOST_WEBHOOKS:
                raise TooManyWebhooks(
                    f"this account has {MOST_WEBHOOKS} webhooks, the most it may have", where="webhooks"
                )
            made = Webhook.objects.create(
                owner_id=owner_id, url=url.strip(), project=project, secret=telling.secret_box().seal(secret)
            )
    except IntegrityError as error:
        raise WebhookKnown("this account has a webhook like this already", where=address.where) from error
    return made, shown_secret(secret)


def rotate(webhook: Webhook) -> str:
    """A new secret. The one before signs too for a day, so that a receiver can change without losing a message."""
    secret = secrets.token_bytes(SECRET_BYTES)
    Webhook.objects.filter(pk=webhook.pk).update(
        secret=telling.secret_box().seal(secret),
        earlier_secret=bytes(webhook.secret),
        earlier_secret_until=timezone.now() + timedelta(hours=EARLIER_SECRET_HOURS),
    )
    return shown_secret(secret)


def switch_off(webhook: Webhook) -> None:
    """Send nothing more, and give up what waits."""
    if webhook.disabled_at is None:
        telling.switch_off(webhook, WebhookSwitchedOff("its owner switched it off", where=webhook.url))


def switch_on(webhook: Webhook) -> None:
    """Tell it of what changes from now on; what was given up can be sent again one by one."""
    Webhook.objects.filter(pk=webhook.pk).update(disabled_at=None, disabled_because=None)


def send_test(webhook: Webhook) -> WebhookDelivery:
    """A message that says nothing about any release. Raises ``WebhookSwitchedOff`` and ``DeliveryWaits``."""
    with transaction.atomic():
        _locked(webhook)
        if webhook.deliveries.filter(verdict__isnull=True, next_try_at__isnull=False).exists():
            raise DeliveryWaits("a test is waiting to be sent", where=webhook.url)
        made = WebhookDelivery.objects.create(
            webhook=webhook, message_id=f"test_{uuid.uuid4().hex}", next_try_at=timezone.now()
        )
        transaction.on_commit(telling.hint)
    return made


def send_again(webhook: Webhook, number: int) -> WebhookDelivery | None:
    """Send an ended delivery once more, under the same message id; None when the webhook has no such delivery.

    Raises ``WebhookSwitchedOff`` and ``DeliveryWaits``.
    """
    with transaction.atomic():
        _locked(webhook)
        delivery = webhook.deliveries.filter(pk=number).first()
        if delivery is None:
            return None
        if delivery.next_try_at is not None:
            raise DeliveryWaits("this message is waiting to be sent", where=webhook.url)
        delivery.state, delivery.attempts, delivery.next_try_at = DeliveryState.PENDING, 0, timezone.now()
        delivery.save(update_fields=["state", "attempts", "next_try_at"])
        transaction.on_commit(telling.hint)
    return delivery


def _locked(webhook: Webhook) -> None:
    """Nobody switches it off or sends to it meanwhile. Raises ``WebhookSwitchedOff``."""
    if Webhook.objects.select_for_update().get(pk=webhook.pk).disabled_at is not None:
        raise WebhookSwitchedOff("it is switched off, so nothing is sent", where=webhook.url)
