"""Sending what is due to the receivers of webhooks, as the worker does, with little patience."""

from __future__ import annotations

from django.utils import timezone

from attestations.models import WebhookDelivery
from attestations.services import telling
from attestations.webhook_http import WebhookSender


def send(chance: float = 0.5) -> int:
    return telling.send_due(WebhookSender(seconds=1), lambda: chance)


def delivery() -> WebhookDelivery:
    return WebhookDelivery.objects.get()


def make_due() -> None:
    """As if the next try's time had come."""
    WebhookDelivery.objects.filter(next_try_at__isnull=False).update(next_try_at=timezone.now())
