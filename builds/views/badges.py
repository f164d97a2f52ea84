"""Badges: the verdict of today in a few words, to be embedded elsewhere."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from attestations.services import standing
from builds.conditional import conditional
from builds.domain.badge import NOTHING_KNOWN, Badge, badge_of
from builds.domain.badge_svg import badge_svg
from builds.domain.comparison import RebuildOutcome
from builds.models import Release
from builds.snapshot import one_snapshot

_KEPT_SECONDS = 60
# Opened by itself an SVG is a document: this one may load and run nothing, whatever is written in it.
_POLICY = "default-src 'none'; frame-ancestors 'none'"


@require_safe
@one_snapshot()
def badge(request: HttpRequest, project: str, form: str, tag: str | None = None) -> HttpResponse:
    """The badge of a release, or of the project's newest; 404 with a badge that says so when there is none.

    ``form`` is ``svg``, or ``json`` for shields.io.
    """
    found = _release(project, tag)
    shown = _badge(found) if found is not None else NOTHING_KNOWN
    response = _drawn(shown) if form == "svg" else JsonResponse(shown.as_shields())
    response.status_code = 200 if found is not None else 404
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    response["X-Content-Type-Options"] = "nosniff"
    return conditional(request, response, seconds=_KEPT_SECONDS)


def _drawn(shown: Badge) -> HttpResponse:
    response = HttpResponse(badge_svg(shown), content_type="image/svg+xml; charset=utf-8")
    response["Content-Security-Policy"] = _POLICY
    return response


def _release(project: str, tag: str | None) -> Release | None:
    """That release, or the project's newest."""
    releases = Release.objects.with_evidence().filter(project__name=project)
    if tag is not None:
        return releases.filter(tag=tag).first()
    return releases.in_order().first()


def _badge(release: Release) -> Badge:
    """From the verdict as it is now, never from a record of it."""
    view, _ = standing.judged_view(release)
    differing = [
        row.role.value
        for row in view.components
        if row.comparison is not None and row.comparison.outcome is not RebuildOutcome.REPRODUCED
    ]
    return badge_of(release.tag, view.verdict, differing)
