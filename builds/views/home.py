"""The first page: search, the latest releases, and what happened of late."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from attestations.services import happenings, release_list, strip

LATEST = 6
CELLS = 12


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    rows = release_list.latest(LATEST)
    projects = {row.release.project_id for row in rows}
    context = {
        "rows": rows,
        "strips": strip.strips_of(projects, CELLS).values(),
        "happenings": happenings.happenings(),
        "days": happenings.DAYS,
    }
    return render(request, "builds/home.html", context)
