"""Pages that lay two of a kind beside each other."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from attestations.services import policies, standing
from builds.domain.provenance import MAX_MATERIALS
from builds.services import comparing, comparing_rebuilds
from builds.snapshot import one_snapshot


def _bounds(request: HttpRequest) -> dict[str, object]:
    """How many materials of each kind are listed: a few, or with ``all=1`` as many as a lock can hold."""
    most = MAX_MATERIALS if request.GET.get("all") == "1" else comparing.SHOWN_MATERIALS
    return {"most": most, "most_slice": f":{most}"}


@require_safe
@one_snapshot()
def compare_releases(request: HttpRequest, project: str) -> HttpResponse:
    wanted = request.GET.get("from", ""), request.GET.get("to", "")
    page = comparing.comparison_page(
        project, wanted, publishers_of=standing.publishers_of, policies_of=policies.recorded_policies
    )
    return render(request, "builds/compare_releases.html", {"page": page, **_bounds(request)})


@require_safe
def compare_rebuilds(request: HttpRequest) -> HttpResponse:
    page = comparing_rebuilds.rebuild_comparison_page(request.GET.get("from", ""), request.GET.get("to", ""))
    return render(request, "builds/compare_rebuilds.html", {"page": page, **_bounds(request)})
