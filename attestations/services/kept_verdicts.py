"""Verdicts for lists: each derived from evidence, and kept for some seconds while nobody says the evidence changed."""

from __future__ import annotations

import time
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
from builds.snapshot import one_snapshot

KEPT_SECONDS = 30
"""How far behind a kept verdict may be with what changes it and is no evidence of the release: the clock, a trust
root, an expired key. New evidence is seen at once: it moves ``evidence_changed_at``, which is read each time."""
_RENEWED_SECONDS = 15
"""What is as old as this is derived anew with another of its page that has ended: the statements are the same for one
and for all, so that one reader in half a minute waits for a page's verdicts, not one for each of its releases."""
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
    by_key = store.get_many([_key(release) for release in releases])
    known: dict[int, _Entry] = {release.pk: by_key[key] for release in releases if (key := _key(release)) in by_key}
    found = {pk: entry.kept for pk, entry in known.items()}
    if len(found) < len(releases):
        now = time.monotonic()
        wanted = [pk for pk in (release.pk for release in releases) if _is_due(known.get(pk), now)]
        with one_snapshot():
            rows = list(Release.objects.with_evidence(attempts=False).filter(pk__in=wanted))
            publishers = publishers_of(rows)
        for row in rows:
            view = view_of(row, publishers[row.pk])
            found[row.pk] = KeptVerdict(view.verdict, view.measured, view.contradicts)
            store.set(_key(row), _Entry(found[row.pk], now), KEPT_SECONDS)
    return found


@dataclass(frozen=True, slots=True)
class _Entry:
    kept: KeptVerdict
    derived_at: float
    """Seconds of this process's monotonic clock, as the store is this process's."""


def _is_due(entry: _Entry | None, now: float) -> bool:
    return entry is None or now - entry.derived_at >= _RENEWED_SECONDS


def _key(release: Release) -> str:
    return f"{release.pk}:{release.evidence_changed_at.timestamp()}"
