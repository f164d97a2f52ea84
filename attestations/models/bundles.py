"""Bundles as received, where they were found, and what was found about them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from builds.domain.evidence import AttestationState
from builds.domain.roles import Role
from builds.models import Release
from builds.models.base import SHA256_HEX, AppendOnly, choices, hex_or_empty


class BundleRecord(AppendOnly):
    """A Sigstore bundle: its bytes as they were received, keyed by their digest."""

    sha256 = models.CharField(max_length=64, unique=True)
    content = models.BinaryField()
    received_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(sha256__regex=SHA256_HEX), name="bundle_sha256"),
        ]

    def __str__(self) -> str:
        return f"sha256:{self.sha256}"


class Sighting(AppendOnly):
    """Where a bundle was found, and which component of which release it was found for."""

    bundle = models.ForeignKey(BundleRecord, models.PROTECT, related_name="sightings")
    release = models.ForeignKey(Release, models.CASCADE, related_name="attestation_sightings")
    role = models.CharField(max_length=20, choices=choices(Role), blank=True)
    """Empty when none of the release's components is among the bundle's subjects."""
    source = models.CharField(max_length=300)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["seen_at", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["bundle", "release", "role"], name="sighting_once"),
        ]

    def __str__(self) -> str:
        return f"{self.bundle} for {self.role or 'nothing'}"


class FindingRecord(AppendOnly):
    """One judgement of one sighting, with what it was made with. The newest one counts, all are kept."""

    sighting = models.ForeignKey(Sighting, models.CASCADE, related_name="findings")
    found_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=20, choices=choices(AttestationState))
    reason = models.TextField()
    checks = models.JSONField()
    """``[step, state, detail]`` in their order."""
    clauses = models.JSONField()
    """``[name, expected, found, state]`` in their order."""
    verifier = models.CharField(max_length=60)
    trust_root = models.CharField(max_length=60, blank=True)
    trust_root_sha256 = models.CharField(max_length=64, blank=True)
    basis = models.CharField(max_length=64)
    """sha256 over verifier, trust roots, policy and file digests: when it changes, the finding is made anew."""

    # Claims that cryptography vouches for; empty unless the signature held.
    signer = models.CharField(max_length=2000, blank=True)
    issuer = models.CharField(max_length=500, blank=True, db_index=True)
    repository = models.CharField(max_length=500, blank=True, db_index=True)
    commit = models.CharField(max_length=64, blank=True, db_index=True)
    ref = models.CharField(max_length=500, blank=True)
    workflow = models.CharField(max_length=500, blank=True, db_index=True)
    run_url = models.CharField(max_length=500, blank=True, db_index=True)
    runner_environment = models.CharField(max_length=60, blank=True)
    predicate_type = models.CharField(max_length=300, blank=True)
    subject_name = models.CharField(max_length=300, blank=True)
    through = models.CharField(max_length=140, blank=True)
    """The attested container's digest, when the component itself is no subject."""
    log_kind = models.CharField(max_length=40, blank=True)
    log_index = models.BigIntegerField(null=True, db_index=True)
    log_id = models.CharField(max_length=64, blank=True)
    log_inclusion = models.CharField(max_length=60, blank=True)
    integrated_at = models.DateTimeField(null=True, db_index=True)
    signed_at = models.DateTimeField(null=True)
    time_source = models.CharField(max_length=80, blank=True)

    class Meta:
        ordering: ClassVar = ["found_at", "pk"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(basis__regex=SHA256_HEX), name="finding_basis"),
            models.CheckConstraint(condition=hex_or_empty("trust_root_sha256", SHA256_HEX), name="finding_root"),
        ]

    def __str__(self) -> str:
        return f"{self.sighting}: {self.state}"


class Inquiry(AppendOnly):
    """One question to GitHub about one component, and its answer; a failed question is no absence."""

    release = models.ForeignKey(Release, models.CASCADE, related_name="attestation_inquiries")
    role = models.CharField(max_length=20, choices=choices(Role))
    digest = models.CharField(max_length=140)
    source = models.CharField(max_length=300)
    asked_at = models.DateTimeField(default=timezone.now)
    found = models.PositiveIntegerField(null=True)
    """How many bundles the answer held; null when there was no answer."""
    problem = models.JSONField(null=True)

    class Meta:
        ordering: ClassVar = ["asked_at", "pk"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(found__isnull=True, problem__isnull=False) | Q(found__isnull=False, problem__isnull=True),
                name="inquiry_answered_or_failed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.digest}"
