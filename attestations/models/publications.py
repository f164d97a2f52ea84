"""Releases that their publishers announce: who may, from where assets may come, and what became of each."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from attestations.domain.publication import (
    DEFAULT_PORT,
    HELD_STATES,
    LIVE_STATES,
    PublicationForm,
    PublicationState,
    host_of_assets,
)
from attestations.domain.publication_errors import AssetAddressRefused
from builds.models import ApiToken, Project, Release
from builds.models.base import choices

_LIVE = [state.value for state in LIVE_STATES]
_HELD = [state.value for state in HELD_STATES]
_ENDED = [PublicationState.IMPORTED.value, PublicationState.REFUSED.value]


class ProjectPublisher(models.Model):
    """That an account may announce releases of a project, with a token of scope ``release:publish``. Staff may all.

    It says who may ask the portal to look; whom to believe says ``ExpectedPublisher``.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="publishers")
    account = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="published_projects")
    granted_by = models.CharField(max_length=150, blank=True)
    granted_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["project__name", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "account"], name="project_publisher_once"),
        ]

    def __str__(self) -> str:
        return f"{self.project} {self.account}"


class AssetHost(models.Model):
    """A host from which a project's assets may be fetched, and to which they may be redirected.

    A project without any takes them from where its source is (``default_hosts``).
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="asset_hosts")
    host = models.CharField(max_length=253)
    """A lower-case name, or an IP address without brackets."""
    port = models.PositiveIntegerField(default=DEFAULT_PORT)

    class Meta:
        ordering: ClassVar = ["project__name", "host", "port"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "host", "port"], name="asset_host_once"),
            models.CheckConstraint(condition=Q(port__gte=1, port__lte=65535), name="asset_host_port"),
            models.CheckConstraint(condition=Q(host__regex=r"^[0-9a-z_.:-]+$"), name="asset_host_name"),
        ]

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def clean(self) -> None:
        try:
            self.host = host_of_assets(self.host)
        except AssetAddressRefused as error:
            raise ValidationError({"host": error.what}) from error


class Publication(models.Model):
    """An announced release. The row is the queue: whoever works on it holds it by a lease."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="publications")
    tag = models.CharField(max_length=200)
    commit = models.CharField(max_length=40, blank=True)
    form = models.CharField(max_length=20, choices=choices(PublicationForm))
    account = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="publications")
    """None once the account was deleted; its name stays."""
    account_name = models.CharField(max_length=150)
    token_name = models.CharField(max_length=80)
    token = models.ForeignKey(ApiToken, models.SET_NULL, null=True, related_name="publications")
    files = models.JSONField(default=list)
    """``{name, url, sha256, size}`` of each: ``url`` empty for one that was sent, ``sha256`` empty and ``size`` null
    while nothing says them."""
    state = models.CharField(max_length=20, choices=choices(PublicationState), default=PublicationState.QUEUED)
    received_bytes = models.PositiveBigIntegerField(default=0)
    """Of the assets that are fetched, so far."""
    announced_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, default=timezone.now)
    """None while somebody has it, and once it has ended."""
    claim = models.UUIDField(null=True)
    """Who works on it right now; one at a time, until ``claimed_until``."""
    claimed_until = models.DateTimeField(null=True)
    release = models.ForeignKey(Release, models.CASCADE, null=True, related_name="publications")
    problem = models.JSONField(null=True)
    """Why it was refused, or why its newest try failed, as a named error."""

    class Meta:
        ordering: ClassVar = ["-announced_at", "pk"]
        indexes: ClassVar = [
            models.Index(fields=["next_try_at"], condition=Q(next_try_at__isnull=False), name="publication_due"),
            models.Index(fields=["claimed_until"], condition=Q(claim__isnull=False), name="publication_held"),
            models.Index(fields=["project", "-announced_at"], name="publication_of_project"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(state__in=_HELD, claim__isnull=False, claimed_until__isnull=False)
                | ~Q(state__in=_HELD) & Q(claim__isnull=True, claimed_until__isnull=True),
                name="publication_claim_whole",
            ),
            models.CheckConstraint(
                condition=Q(state=PublicationState.QUEUED.value, next_try_at__isnull=False)
                | ~Q(state=PublicationState.QUEUED.value) & Q(next_try_at__isnull=True),
                name="publication_waits_or_not",
            ),
            models.CheckConstraint(
                condition=Q(state__in=_ENDED, ended_at__isnull=False) | Q(state__in=_LIVE, ended_at__isnull=True),
                name="publication_end",
            ),
            models.CheckConstraint(
                condition=Q(state=PublicationState.IMPORTED.value, release__isnull=False, problem__isnull=True)
                | Q(state=PublicationState.REFUSED.value, release__isnull=True, problem__isnull=False)
                | Q(state__in=_LIVE, release__isnull=True),
                name="publication_outcome",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.project} {self.tag}"

    def get_absolute_url(self) -> str:
        """Where a program asks how it stands."""
        return reverse("api-1:publication", args=[self.pk])
