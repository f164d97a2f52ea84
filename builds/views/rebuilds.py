"""Pages about one rebuild: its progress, its log, what it gave."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from builds.models import Rebuild
from builds.services import pages, rebuilding
from builds.services.absent import the_rebuild


@require_safe
def rebuild(request: HttpRequest, rebuild_id: uuid.UUID) -> HttpResponse:
    return render(request, "builds/rebuild.html", pages.rebuild_context(rebuild_id))


@require_safe
def rebuild_progress(request: HttpRequest, rebuild_id: uuid.UUID) -> HttpResponse:
    """The part of the rebuild page that a live page fetches again."""
    return render(request, "builds/partials/live.html", pages.rebuild_context(rebuild_id))


@require_safe
def rebuild_log(_request: HttpRequest, rebuild_id: uuid.UUID) -> HttpResponseBase:
    """The whole log as plain text, streamed chunk by chunk."""
    stored = _stored(rebuild_id)
    return StreamingHttpResponse(_log_text(stored), content_type="text/plain; charset=utf-8")


def _log_text(stored: Rebuild) -> Iterator[str]:
    yield from stored.log_chunks.values_list("text", flat=True).iterator()


@staff_member_required
@require_POST
def cancel_rebuild(_request: HttpRequest, rebuild_id: uuid.UUID) -> HttpResponse:
    stored = _stored(rebuild_id)
    rebuilding.request_cancel(stored)
    return redirect(stored)


def _stored(rebuild_id: uuid.UUID) -> Rebuild:
    return the_rebuild(Rebuild.objects.all(), rebuild_id)
