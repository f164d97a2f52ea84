"""What verdicts were, and the keys that signed them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from builds.domain.comparison import RebuildOutcome
from builds.domain.evidence import AttestationState, MeasurementState
from builds.domain.verdict import Decision
from builds.models import Release
from builds.models.base import SHA256_HEX, AppendOnly, choices


class PortalKey(AppendOnly):
    """A public key that the portal has signed verdicts with; kept, so that old ones can always be checked."""

    fingerprint = models.CharField(max_length=64, unique=True)
    """SHA-256 of the DER SubjectPublicKeyInfo, in hex."""
    pem = models.TextField()
    first_used_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["first_used_at", "pk"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(fingerprint__regex=SHA256_HEX), name="portal_key_fingerprint"),
        ]

    def __str__(self) -> str:
        return f"sha256:{self.fingerprint}"


class VerdictRecord(AppendOnly):
    """What a release's verdict was from a moment on, with its signed summary. History: never edited."""

    release = models.ForeignKey(Release, models.CASCADE, related_name="verdicts")
    at = models.DateTimeField()
    decision = models.CharField(max_length=10, choices=choices(Decision))
    outcome = models.CharField(max_length=20, choices=choices(RebuildOutcome), blank=True)
    """Empty while nobody's rebuild counted."""
    attestation = models.CharField(max_length=20, choices=choices(AttestationState), blank=True)
    """The most alarming state of its components; empty when that is not known: none, or a record of before."""
    measurement = models.CharField(max_length=20, choices=choices(MeasurementState), blank=True)
    """Of all launch configurations together; empty when none was published, or for a record of before."""
    needed = models.PositiveIntegerField()
    reproduced = models.PositiveIntegerField()
    contradicting = models.PositiveIntegerField()
    failed = models.PositiveIntegerField()
    conditions = models.JSONField()
    """``[key, state, sentence]`` of each condition."""
    sentence = models.TextField()
    basis = models.CharField(max_length=64)
    """SHA-256 over what makes it another verdict than the one before."""
    policy = models.BinaryField()
    """The policy document that the summary names by its digest."""
    policy_sha256 = models.CharField(max_length=64)
    key = models.ForeignKey(PortalKey, models.PROTECT, null=True, related_name="verdicts")
    envelope = models.BinaryField(null=True)
    """The DSSE envelope of the signed summary; None for a release of which no byte is known: nothing to speak of."""
    payload_sha256 = models.CharField(max_length=64, db_index=True, null=True)  # noqa: DJ001 - empty is no digest
    """Several records may have one: a verdict that comes back within a second is stated by the same bytes."""

    class Meta:
        ordering: ClassVar = ["at", "pk"]
        indexes: ClassVar = [
            models.Index(fields=["policy_sha256"], name="verdict_policy"),
            models.Index(fields=["release", "-at", "-id"], name="verdict_newest_first"),
            models.Index(fields=["at"], name="verdict_by_time"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(basis__regex=SHA256_HEX) & Q(policy_sha256__regex=SHA256_HEX), name="verdict_digests"
            ),
            models.CheckConstraint(
                condition=Q(key__isnull=True, envelope__isnull=True, payload_sha256__isnull=True)
                | Q(key__isnull=False, envelope__isnull=False, payload_sha256__regex=SHA256_HEX),
                name="verdict_signed_whole",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.release} {self.decision} {self.at:%Y-%m-%d %H:%M}"
