"""Feeds: what verdicts became."""

from __future__ import annotations

from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from attestations.atom import VerdictFeed, feed_of
from attestations.domain.changes import feed_urn
from attestations.services.changes import first_fingerprint, newest_changes
from builds.conditional import conditional
from builds.models import Project, Release
from builds.public_address import public_base
from builds.services.absent import PROJECT, the_one, the_release

_MOST = 50
_KEPT_SECONDS = 300
_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
"""When the feed of everything last changed while nothing was ever recorded."""


@require_safe
def feed(request: HttpRequest) -> HttpResponse:
    """Of every release."""
    return _answer(request, (), page=reverse("home"), name="TEE Portal", begun=_BEGINNING)


@require_safe
def project_feed(request: HttpRequest, project: str) -> HttpResponse:
    """Of one project's releases."""
    found = the_one(Project.objects.filter(name=project), PROJECT, project)
    page = reverse("project", args=[found.name])
    return _answer(request, (found.name,), page=page, name=found.name, begun=found.created_at, release__project=found)


@require_safe
def release_feed(request: HttpRequest, project: str, tag: str) -> HttpResponse:
    """Of one release."""
    found = the_release(Release.objects.select_related("project").defer("manifest"), project, tag)
    scope, page = (project, found.tag), found.get_absolute_url()
    return _answer(request, scope, page=page, name=str(found), begun=found.imported_at, release=found)


def _answer(
    request: HttpRequest, scope: tuple[str, ...], *, page: str, name: str, begun: datetime, **of: object
) -> HttpResponse:
    """The newest changes of what ``of`` names; ``begun`` is the feed's moment before the first."""
    changes = newest_changes(_MOST, **of)
    changed_at = changes[0].at if changes else begun
    content = feed_of(
        changes,
        base=public_base(request),
        path=request.path,
        page=page,
        name=name,
        urn=feed_urn(first_fingerprint(), *scope),
        changed_at=changed_at,
    )
    response = HttpResponse(content, content_type=VerdictFeed.content_type)
    response["X-Content-Type-Options"] = "nosniff"
    return conditional(request, response, seconds=_KEPT_SECONDS, changed_at=changed_at)
