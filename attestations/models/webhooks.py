"""Who wants to be told of verdicts, and what became of telling them."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from attestations.domain.delivery import DeliveryState
from attestations.domain.webhook_address import MAX_ADDRESS_CHARACTERS
from attestations.models.verdicts import VerdictRecord
from builds.models import Project
from builds.models.base import choices


class Webhook(models.Model):
    """An address that is told of every recorded verdict of one project, or of all."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=MAX_ADDRESS_CHARACTERS)
    project = models.ForeignKey(Project, models.CASCADE, null=True, related_name="webhooks")
    """None means every project, also those to come."""
    secret = models.BinaryField()
    """Sealed (``attestations.webhook_secrets``); it must be had again, because every delivery is signed with it."""
    earlier_secret = models.BinaryField(null=True)
    """The one before, with which everything is signed too until ``earlier_secret_until``."""
    earlier_secret_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    disabled_at = models.DateTimeField(null=True)
    disabled_because = models.JSONField(null=True)
    """Why nothing is sent, as a named error."""
    last_tried_at = models.DateTimeField(null=True)
    claim = models.UUIDField(null=True)
    """Who is sending to it right now; one at a time, until ``claimed_until``."""
    claimed_until = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["created_at", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "url", "project"], name="webhook_once_of_project"),
            models.UniqueConstraint(
                fields=["owner", "url"], condition=Q(project__isnull=True), name="webhook_once_of_all"
            ),
            models.CheckConstraint(
                condition=Q(disabled_at__isnull=True, disabled_because__isnull=True)
                | Q(disabled_at__isnull=False, disabled_because__isnull=False),
                name="webhook_disabled_with_reason",
            ),
            models.CheckConstraint(
                condition=Q(claim__isnull=True, claimed_until__isnull=True)
                | Q(claim__isnull=False, claimed_until__isnull=False),
                name="webhook_claim_whole",
            ),
        ]

    def __str__(self) -> str:
        return self.url

    def get_absolute_url(self) -> str:
        return reverse("webhook", args=[self.pk])


class WebhookDelivery(models.Model):
    """One message for one webhook. The row is the queue: it waits while ``next_try_at`` is set."""

    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="deliveries")
    verdict = models.ForeignKey(VerdictRecord, models.CASCADE, null=True, related_name="deliveries")
    """None for a test."""
    message_id = models.CharField(max_length=80)
    """The same however often it is sent, by which a receiver knows it again."""
    made_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=20, choices=choices(DeliveryState), default=DeliveryState.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True)
    tried_at = models.DateTimeField(null=True)
    status = models.PositiveSmallIntegerField(null=True)
    """Of the newest answer; None when there was none."""
    milliseconds = models.PositiveIntegerField(null=True)
    answer = models.CharField(max_length=1000, blank=True)
    problem = models.JSONField(null=True)
    """Why the newest try failed, as a named error; null when it did not."""

    class Meta:
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [
            models.Index(fields=["next_try_at"], condition=Q(next_try_at__isnull=False), name="webhook_delivery_due"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["webhook", "message_id"], name="webhook_delivery_once"),
            models.CheckConstraint(
                condition=Q(
                    next_try_at__isnull=False, state__in=[DeliveryState.PENDING.value, DeliveryState.FAILED.value]
                )
                | Q(next_try_at__isnull=True, state__in=[DeliveryState.DELIVERED.value, DeliveryState.GIVEN_UP.value]),
                name="webhook_delivery_waits_or_is_done",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.message_id} {self.state}"
