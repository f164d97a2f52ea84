"""View-models of the pages about an account's webhooks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.http import Http404
from django.utils import timezone

from attestations.models import Webhook, WebhookDelivery
from attestations.services.webhooks import MOST_WEBHOOKS
from builds.models import Project

SHOWN_DELIVERIES = 25
_NOT_SHOWN = ("verdict__policy", "verdict__envelope", "verdict__conditions", "verdict__sentence")


@dataclass(frozen=True, slots=True)
class WebhooksPage:
    """An account's webhooks, the projects that one can be about, and the most it may have."""

    webhooks: tuple[Webhook, ...]
    projects: tuple[Project, ...]
    most: int = MOST_WEBHOOKS

    @property
    def is_full(self) -> bool:
        return len(self.webhooks) >= self.most


@dataclass(frozen=True, slots=True)
class WebhookPage:
    """One webhook and a page of its deliveries, newest first; ``older`` is the cursor of the next page or None."""

    webhook: Webhook
    deliveries: tuple[WebhookDelivery, ...]
    older: int | None
    earlier_secret_signs: bool


def webhooks_page(owner_id: int) -> WebhooksPage:
    mine = Webhook.objects.filter(owner=owner_id).select_related("project").order_by("created_at", "pk")
    return WebhooksPage(tuple(mine), tuple(Project.objects.only("name").order_by("name")))


def own_webhook(owner_id: int, webhook_id: uuid.UUID) -> Webhook:
    """The account's webhook; 404 when there is none, or when it is somebody else's."""
    found = Webhook.objects.filter(owner=owner_id, pk=webhook_id).select_related("project").first()
    if found is None:
        raise Http404("this account has no such webhook")
    return found


def webhook_page(webhook: Webhook, before: int | None) -> WebhookPage:
    rows = webhook.deliveries.select_related("verdict__release__project").defer(
        *_NOT_SHOWN, "verdict__release__manifest"
    )
    if before is not None:
        rows = rows.filter(pk__lt=before)
    page = list(rows.order_by("-pk")[: SHOWN_DELIVERIES + 1])
    older = page[SHOWN_DELIVERIES - 1].pk if len(page) > SHOWN_DELIVERIES else None
    until = webhook.earlier_secret_until
    return WebhookPage(webhook, tuple(page[:SHOWN_DELIVERIES]), older, until is not None and until > timezone.now())
