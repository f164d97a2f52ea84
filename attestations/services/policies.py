"""Which policy each release was last judged by, for the record."""

from __future__ import annotations

from collections.abc import Sequence

from attestations.models import VerdictRecord
from builds.models import Release


def recorded_policies(releases: Sequence[Release]) -> dict[int, str]:
    """SHA-256 of the policy document of each release's newest verdict, by primary key; none without a record."""
    rows = VerdictRecord.objects.filter(release__in=releases).order_by("at", "pk")
    return dict(rows.values_list("release", "policy_sha256"))
