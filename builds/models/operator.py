"""Who rebuilds: operators, the rebuilders they run, and the keys these sign with."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from builds.domain.requests import ProofKind
from builds.models.base import SHA256_HEX, AppendOnly, choices
from builds.models.release import Project


class Operator(models.Model):
    """Somebody who answers for rebuilds; counts once however many rebuilders it runs."""

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=80, unique=True)
    contact = models.CharField(max_length=1000, blank=True)
    stated_affiliation = models.CharField(max_length=1000, blank=True)
    """Ties to a publisher in the operator's own words."""
    proof_kind = models.CharField(max_length=20, choices=choices(ProofKind), blank=True)
    proof_location = models.CharField(max_length=300, blank=True)
    identified_by = models.CharField(max_length=1000, blank=True)
    """How the administrator who accepted it knows who it is."""
    accepted_at = models.DateTimeField(null=True, blank=True)
    """None while pending: its results are shown and do not count."""
    accepted_by = models.CharField(max_length=200, blank=True)
    rejected_at = models.DateTimeField(null=True, blank=True)
    """Set for good when an administrator said no; why, and who, is among its decisions."""
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["slug"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(accepted_at__isnull=True) | Q(rejected_at__isnull=True), name="operator_one_answer"
            ),
            models.CheckConstraint(
                condition=Q(accepted_at__isnull=True, accepted_by="")
                | (Q(accepted_at__isnull=False) & ~Q(accepted_by="") & ~Q(identified_by="")),
                name="operator_accepted_by_somebody",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("operator", args=[self.slug])


class OperatorDecision(AppendOnly):
    """What an administrator decided about an operator; later decisions stand beside earlier ones."""

    operator = models.ForeignKey(Operator, models.CASCADE, related_name="decisions")
    at = models.DateTimeField(default=timezone.now)
    by = models.CharField(max_length=200)
    what = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)

    class Meta:
        ordering: ClassVar = ["at", "pk"]

    def __str__(self) -> str:
        return f"{self.what} by {self.by}: {self.reason}"


class Affiliation(models.Model):
    """An operator's tie to the publisher of a project: there its results do not count until the tie is ended."""

    operator = models.ForeignKey(Operator, models.CASCADE, related_name="affiliations")
    project = models.ForeignKey(Project, models.CASCADE, related_name="affiliations")
    what = models.CharField(max_length=500)
    stated_by = models.CharField(max_length=200)
    stated_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    """None while the tie holds; an ended one stays listed."""
    ended_by = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering: ClassVar = ["stated_at", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["operator", "project"], condition=Q(ended_at__isnull=True), name="affiliation_once"
            ),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, ended_by="") | (Q(ended_at__isnull=False) & ~Q(ended_by="")),
                name="affiliation_ended_by_somebody",
            ),
        ]

    def __str__(self) -> str:
        return self.what

    @property
    def holds(self) -> bool:
        return self.ended_at is None


class Rebuilder(models.Model):
    """A machine, or the program on it, that rebuilds for an operator."""

    name = models.SlugField(max_length=80)
    operator = models.ForeignKey(Operator, models.PROTECT, related_name="rebuilders")
    is_local = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["operator", "name"], name="rebuilder_once_per_operator"),
        ]

    def __str__(self) -> str:
        return self.name


class RebuilderKey(models.Model):
    """A public key that a rebuilder signs with. Private keys never come here."""

    rebuilder = models.ForeignKey(Rebuilder, models.PROTECT, related_name="keys")
    fingerprint = models.CharField(max_length=64, unique=True)
    """SHA-256 of the DER SubjectPublicKeyInfo, in hex."""
    algorithm = models.CharField(max_length=20)
    pem = models.TextField()
    enrolment = models.BinaryField(null=True)
    """The signed request it came with, as received; None for the portal's own worker."""
    endorsed_by = models.ForeignKey("self", models.PROTECT, null=True, related_name="endorsed")
    """The older key of the same operator that vouched for it (rotation)."""
    accepted_at = models.DateTimeField(null=True, blank=True)
    not_before = models.DateTimeField(default=timezone.now)
    not_after = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    """What came after this moment does not count; what came before stays, marked."""
    revocation_reason = models.CharField(max_length=1000, blank=True)

    class Meta:
        ordering: ClassVar = ["not_before", "pk"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(fingerprint__regex=SHA256_HEX), name="rebuilder_key_fingerprint"),
            models.CheckConstraint(
                condition=Q(not_after__isnull=True) | Q(not_after__gt=F("not_before")), name="rebuilder_key_period"
            ),
            models.CheckConstraint(
                condition=Q(revoked_at__isnull=True, revocation_reason="")
                | (Q(revoked_at__isnull=False) & ~Q(revocation_reason="")),
                name="rebuilder_key_revoked_with_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"sha256:{self.fingerprint}"
