"""Pages about one rebuild: how it goes, what it gave, what it was made from."""

from __future__ import annotations

import uuid

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from builds.domain.provenance import SLSA_PROVENANCE
from builds.models import Rebuild
from builds.services import rebuild_page, rebuilding
from builds.services.absent import the_rebuild
from builds.services.steering import may_steer


@require_safe
def rebuild(request: HttpRequest, rebuild_id: uuid.UUID) -> HttpResponse:
    page = rebuild_page.rebuild_page(rebuild_id)
    return render(request, "builds/rebuild.html", {"page": page, **_steering(request, page.status)})


@require_safe
def rebuild_progress(request: HttpRequest, rebuild_id: uuid.UUID) -> HttpResponse:
    """How it stands now, for a page that is open; 204 when its reader has seen all of that."""
    status = rebuild_page.run_status(rebuild_id, request.GET.get("seen", ""))
    if status is None:
        return HttpResponse(status=204)
    return render(request, "builds/partials/run_status.html", _steering(request, status) | {"was_live": True})


@require_POST
def cancel_rebuild(request: HttpRequest, rebuild_id: uuid.UUID) -> HttpResponse:
    stored = the_rebuild(Rebuild.objects.all(), rebuild_id)
    if not may_steer(request.user, stored):
        return redirect_to_login(stored.get_absolute_url())
    rebuilding.request_cancel(stored)
    return redirect(stored)


def _steering(request: HttpRequest, status: rebuild_page.RunStatus) -> dict[str, object]:
    context: dict[str, object] = {"status": status, "predicate_type": SLSA_PROVENANCE}
    return context | {"may_steer": may_steer(request.user, status.rebuild)}
