"""Who may do what: tokens of accounts, what was asked with them, and failed sign-ins."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from builds.models.base import SHA256_HEX, AppendOnly
from builds.models.rebuild import Rebuild


class ApiToken(models.Model):
    """A secret that acts for an account within its scopes. Only its hash is kept: 256 random bits need no slow one."""

    account = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=80)
    scopes = models.JSONField(default=list)
    """Values of ``builds.domain.access.Scope``."""
    sha256 = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    """To within a minute."""
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(sha256__regex=SHA256_HEX), name="api_token_sha256"),
            models.CheckConstraint(condition=Q(expires_at__gt=F("created_at")), name="api_token_period"),
            models.CheckConstraint(condition=~Q(scopes=[]), name="api_token_may_something"),
        ]

    def __str__(self) -> str:
        return self.name


class RebuildRequest(AppendOnly):
    """That somebody asked for a rebuild: it was opened for them, or they joined one that was there."""

    account = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="rebuild_requests")
    """None once the account was deleted."""
    token = models.ForeignKey(ApiToken, models.SET_NULL, null=True, related_name="rebuild_requests")
    """None for a request from a page."""
    rebuild = models.ForeignKey(Rebuild, models.CASCADE, related_name="requests")
    joined = models.BooleanField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [models.Index(fields=["account", "at"], name="rebuild_request_of_account")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "rebuild"], name="rebuild_request_once"),
            models.UniqueConstraint(fields=["rebuild"], condition=Q(joined=False), name="rebuild_opened_by_one"),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} {self.rebuild_id}"


class AnsweredRequest(models.Model):
    """What an operation answered to a request with an ``Idempotency-Key``: the same one again changes nothing more."""

    account = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="answered_requests")
    key = models.CharField(max_length=255)
    request_sha256 = models.CharField(max_length=64)
    """Over method, path and body: a key is good for one request only."""
    status = models.PositiveSmallIntegerField(null=True)
    """None only within the transaction that answers it."""
    answer = models.TextField(blank=True)
    """JSON as it was sent: a database that takes JSON apart would give its members in another order."""
    at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "key"], name="answered_request_once"),
            models.CheckConstraint(condition=Q(request_sha256__regex=SHA256_HEX), name="answered_request_sha256"),
        ]

    def __str__(self) -> str:
        return self.key


class SignInAttempt(models.Model):
    """A sign-in that failed or is being looked at, kept while it is counted; nothing of it can be read back."""

    name_key = models.CharField(max_length=64)
    """A keyed hash of the account's name as it was given: what was typed there by mistake may be a password."""
    address_key = models.CharField(max_length=64)
    device_key = models.CharField(max_length=64, blank=True)
    """A keyed hash of what a browser shows that signed in to this account before; empty for every other."""
    at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["name_key", "at"], name="sign_in_by_name"),
            models.Index(fields=["address_key", "at"], name="sign_in_by_address"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S}"
