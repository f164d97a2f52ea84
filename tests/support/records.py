"""The recorded verdicts of a release, and what they were signed over."""

from __future__ import annotations

from attestations.domain.summary import VerdictSummary, parse_summary
from attestations.models import VerdictRecord
from builds.domain.dsse import parse_envelope
from builds.models import Release


def records(release: Release) -> list[VerdictRecord]:
    """Oldest first."""
    return list(VerdictRecord.objects.filter(release=release).order_by("at", "pk"))


def summary_of(record: VerdictRecord) -> VerdictSummary:
    return parse_summary(parse_envelope(bytes(record.envelope or b"")).payload)
