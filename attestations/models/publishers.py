"""Who is expected to publish, which trust roots may vouch for it, and which repositories are followed."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from attestations.domain.policy import GITHUB_HOSTED, GITHUB_ISSUER, SLSA_PROVENANCE_V1
from builds.models import Project, Release
from builds.models.base import SHA256_HEX, AppendOnly


def public_good_only() -> list[str]:
    return ["public-good"]


def provenance_only() -> list[str]:
    return [SLSA_PROVENANCE_V1]


class TrustRootRecord(models.Model):
    """A trust root by the name an administrator gave it; its versions are kept apart and never change."""

    name = models.SlugField(max_length=60, unique=True)
    tuf_url = models.URLField(max_length=500, blank=True)
    """Where its TUF repository lies; empty for roots that are only files."""
    tuf_root = models.BinaryField(default=bytes)
    """The TUF root.json that refreshing begins with."""
    refreshed_at = models.DateTimeField(null=True)
    """When TUF last confirmed the current version; null means never."""
    problem = models.JSONField(null=True)
    """Why the last refresh failed, as a named error; null when it did not."""
    removed_at = models.DateTimeField(null=True)
    """Since when it vouches for nobody; its versions stay, for the findings that name them."""

    def __str__(self) -> str:
        return self.name


class TrustRootVersion(AppendOnly):
    """The bytes of a trust root as they came, and where from."""

    root = models.ForeignKey(TrustRootRecord, models.PROTECT, related_name="versions")
    content = models.BinaryField()
    sha256 = models.CharField(max_length=64)
    origin = models.CharField(max_length=500)
    added_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["added_at", "pk"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(sha256__regex=SHA256_HEX), name="trust_root_version_sha256"),
        ]

    def __str__(self) -> str:
        return f"{self.root.name} sha256:{self.sha256}"


class ExpectedPublisher(models.Model):
    """Who is expected to publish a project's releases: the fields of ``PublisherPolicy``, and whose roots count."""

    project = models.OneToOneField(Project, models.CASCADE, related_name="expected_publisher")
    issuer = models.CharField(max_length=300, default=GITHUB_ISSUER, blank=True)
    repository = models.CharField(max_length=300, blank=True)
    workflow = models.CharField(max_length=300, blank=True)
    ref = models.CharField(max_length=300, blank=True)
    build_signer = models.CharField(max_length=500, blank=True)
    runner_environment = models.CharField(max_length=60, default=GITHUB_HOSTED, blank=True)
    repository_id = models.CharField(max_length=40, blank=True)
    owner_id = models.CharField(max_length=40, blank=True)
    predicate_types = models.JSONField(default=provenance_only)
    san = models.CharField(max_length=500, blank=True)
    public_keys = models.TextField(blank=True)
    """PEM public keys that may sign instead of a certificate, one after the other."""
    trust_roots = models.JSONField(default=public_good_only)
    """Names of the trust roots that may vouch for this project's publisher."""

    def __str__(self) -> str:
        return f"publisher of {self.project.name}"


class Following(models.Model):
    """A GitHub repository whose releases are imported as they appear."""

    project = models.OneToOneField(Project, models.CASCADE, related_name="following")
    repository = models.CharField(max_length=140, unique=True)
    repository_id = models.CharField(max_length=40, blank=True)
    """As first seen: a name that is registered anew gets another number."""
    owner_id = models.CharField(max_length=40, blank=True)
    is_enabled = models.BooleanField(default=True)
    next_sync_at = models.DateTimeField(default=timezone.now)
    running_until = models.DateTimeField(null=True)
    """While this lies ahead a worker synchronises it; one that died is given up then."""
    synced_at = models.DateTimeField(null=True)
    problem = models.JSONField(null=True)
    """Why the last synchronisation failed, as a named error; null when it did not."""

    def __str__(self) -> str:
        return self.repository


class FollowedRelease(models.Model):
    """A release that GitHub lists, and what became of importing it."""

    following = models.ForeignKey(Following, models.CASCADE, related_name="releases")
    tag = models.CharField(max_length=200)
    commit = models.CharField(max_length=40, blank=True)
    published_at = models.DateTimeField(null=True)
    listed_at = models.DateTimeField(default=timezone.now)
    assets = models.JSONField(default=dict)
    """Name to digest as GitHub first said, or to the asset's number where it gave none."""
    downloaded = models.JSONField(default=dict)
    """Name to digest of the imported bytes, for those of which GitHub named none."""
    watched_at = models.DateTimeField(null=True)
    """When assets and tag were last seen to be those that were imported, or told to be others."""
    release = models.ForeignKey(Release, models.PROTECT, null=True, related_name="followed")
    problem = models.JSONField(null=True)
    attempts = models.PositiveIntegerField(default=0)

    class Meta:
        ordering: ClassVar = ["-published_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["following", "tag"], name="followed_release_once_per_tag"),
        ]

    def __str__(self) -> str:
        return self.tag


class StoredAnswer(models.Model):
    """GitHub's answer to one request with its ETag, so that asking again costs nothing when nothing changed."""

    url_sha256 = models.CharField(max_length=64, unique=True)
    etag = models.CharField(max_length=300)
    body = models.BinaryField()
    stored_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.url_sha256
