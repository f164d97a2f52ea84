"""What a release lacks, for its publisher."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from attestations.services import standing
from builds.public_address import public_base
from builds.services import missing
from builds.snapshot import one_snapshot


@require_safe
@one_snapshot()
def what_is_missing(request: HttpRequest, project: str) -> HttpResponse:
    choice = missing.choose(project, request.GET.get("tag", ""))
    if choice.release is None:
        return render(request, "builds/missing.html", {"choice": choice})
    view, attested = standing.judged_view(choice.release)
    page = missing.missing_page(
        choice,
        view,
        portal=public_base(request),
        repository=attested.watch.following.repository if attested.watch is not None else "",
    )
    return render(request, "builds/missing.html", {"choice": choice, "page": page})
