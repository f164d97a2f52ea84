"""Finds a digest among Sigstore bundles and signed verdicts, for the search that builds begins."""

from __future__ import annotations

from django.urls import reverse

from attestations.models import BundleRecord, PortalKey, Sighting, VerdictRecord
from builds.domain.digest import Algorithm
from builds.services.digest_indexes import Searched
from builds.services.search import MOST_HITS, Hit


def digest_hits(value: str) -> list[Hit]:
    """Releases for which this bundle was seen or which this signed verdict is about, and keys of this portal.

    ``value`` is hexadecimal; only sha256 names such things.
    """
    if len(value) != Algorithm.SHA256.hex_length:
        return []
    seen = Sighting.objects.filter(bundle__sha256=value).select_related("release__project").order_by("pk")
    judged = VerdictRecord.objects.filter(payload_sha256=value).select_related("release__project")
    hits = [
        Hit(
            "release",
            str(row.release),
            row.release.get_absolute_url(),
            f"an attestation bundle seen for its {row.role or 'files'}",
        )
        for row in seen.defer("release__manifest")[:MOST_HITS]
    ]
    hits += [
        Hit(
            "release",
            str(row.release),
            f"{row.release.get_absolute_url()}#history",
            f"its signed verdict of {row.at:%Y-%m-%d %H:%M} UTC",
        )
        for row in judged.defer("policy", "envelope", "conditions", "release__manifest")
    ]
    if PortalKey.objects.filter(fingerprint=value).exists():
        hits.append(
            Hit(
                "key of this portal",
                value,
                reverse("portal-key-by-fingerprint", args=[value]),
                "its fingerprint",
                is_digest=True,
            )
        )
    return hits


def sizes() -> list[Searched]:
    """How many bundles and signed verdicts there are."""
    return [
        Searched("attestation bundles", BundleRecord.objects.count()),
        Searched("signed verdicts", VerdictRecord.objects.count()),
    ]
