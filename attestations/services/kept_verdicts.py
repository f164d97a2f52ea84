"""Verdicts for lists: each derived from evidence, and kept for some seconds while nobody says the evidence changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.core.cache import caches

from attestations.services.standing import publishers_of
from builds.domain.comparison import RebuildOutcome
from builds.domain.evidence import MeasurementState
from builds.domain.release_filters import Standing
from builds.domain.verdict import ReleaseVerdict
from builds.models import Release
from builds.services.evidence import view_of

KEPT_SECONDS = 10
"""How far behind a kept verdict may be with what changes it and is no evidence of the release: the clock, a trust
root, an expired key. New evidence is seen at once: it moves ``evidence_changed_at``, which is read each time."""
_SPREAD_SECONDS = 5
_STORE = "verdicts"


@dataclass(frozen=True, slots=True)
class KeptVerdict:
    """What a list shows of a release: its verdict, one state for all launch measurements (None when none was
    published), and whether the published files contradict their own manifest."""

    verdict: ReleaseVerdict
    measured: MeasurementState | None
    contradicts: bool

    @property
    def standing(self) -> Standing:
        verdict = self.verdict
        return Standing(verdict.decision, verdict.outcome or "", verdict.attestation or "", self.measured or "")

    @property
    def is_reproduced(self) -> bool:
        return self.verdict.outcome is RebuildOutcome.REPRODUCED


def verdicts_of(releases: Sequence[Release]) -> dict[int, KeptVerdict]:
    """The verdict of each release by its primary key; those that are not kept are derived in eight statements.

    The releases must have been read just now: it is by their ``evidence_changed_at`` that a kept verdict is known to
    be theirs.
    """
    store = caches[_STORE]
    keys = {_key(release): release.pk for release in releases}
    found: dict[int, KeptVerdict] = {keys[key]: kept for key, kept in store.get_many(keys).items()}
    missing = [release.pk for release in releases if release.pk not in found]
    if missing:
        rows = list(Release.objects.with_evidence(attempts=False).filter(pk__in=missing))
        publishers = publishers_of(rows)
        for row in rows:
            view = view_of(row, publishers[row.pk])
            found[row.pk] = KeptVerdict(view.verdict, view.measured, view.contradicts)
            # Not all at once: those of one page end one after the other.
            store.set(_key(row), found[row.pk], KEPT_SECONDS - row.pk % _SPREAD_SECONDS)
    return found


def _key(release: Release) -> str:
    return f"{release.pk}:{release.evidence_changed_at.timestamp()}"
