"""Trust roots, expected publishers, bundles as received, and what was found about them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from attestations.domain.policy import GITHUB_HOSTED, GITHUB_ISSUER, SLSA_PROVENANCE_V1
from builds.domain.comparison import RebuildOutcome
from builds.domain.evidence import AttestationState
from builds.domain.roles import Role
from builds.domain.verdict import Decision
from builds.models import Project, Release
from builds.models.base import SHA256_HEX, AppendOnly, choices, hex_or_empty


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
    payload_sha256 = models.CharField(max_length=64, unique=True, null=True)  # noqa: DJ001 - unique where there is one

    class Meta:
        ordering: ClassVar = ["at", "pk"]
        indexes: ClassVar = [models.Index(fields=["policy_sha256"], name="verdict_policy")]
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
