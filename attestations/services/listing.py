"""Releases that GitHub lists and that are not imported: shown at once, and never taken for judged ones."""

from __future__ import annotations

from collections.abc import Sequence

from attestations.models import FollowedRelease, Following

_MOST = 50


def not_imported() -> Sequence[FollowedRelease]:
    """The newest listed releases without evidence of their own, with the problem that keeps them away if any."""
    rows = FollowedRelease.objects.filter(release=None, following__is_enabled=True).select_related("following__project")
    return list(rows[:_MOST])


def followed() -> Sequence[Following]:
    """Followed repositories, with when they were last asked and why that failed."""
    return list(Following.objects.filter(is_enabled=True).select_related("project").order_by("repository")[:_MOST])
