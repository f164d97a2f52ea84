"""Pages about what was published: the releases, and one of them."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from attestations.services import history, listing, repeating, standing, trust_roots
from builds.models import Release
from builds.services import pages, release_report, reproducing, selecting
from builds.services.absent import PAGE, NotHere, the_release


@require_safe
def releases(request: HttpRequest) -> HttpResponse:
    before = request.GET.get("before", "")
    if before and not (before.isascii() and before.isdigit()):
        raise NotHere(PAGE, before)
    page = pages.release_page(publishers_of=standing.publishers_of, before=int(before[:18]) if before else None)
    worse = history.regressions(page.views)
    rows = [(view, worse.get(view.release.pk, "")) for view in page.views]
    context: dict[str, object] = {"rows": rows, "older": page.older}
    if not before:
        context |= {"waiting": listing.not_imported(), "followed": listing.followed()}
    return render(request, "builds/releases.html", context)


@require_safe
def release(request: HttpRequest, project: str, tag: str) -> HttpResponse:
    wanted = Release.objects.with_evidence().select_related("project__expected_publisher")
    found = the_release(wanted, project, tag)
    roots = trust_roots.known()
    view, attested = standing.judged_view(found, roots)
    portal = request.build_absolute_uri("/").rstrip("/")
    past = history.history_of(view)
    watch = attested.watch
    context = {
        "view": view,
        "configuration": selecting.selector_of(view, request.GET.dict()),
        "report": release_report.report_of(view, is_watched=watch is not None),
        "attested": attested,
        "history": past,
        "trust_roots": trust_roots.sentences(roots),
        "logs": trust_roots.log_names(roots),
        "steps": reproducing.steps_for(view, portal, watch.following.repository if watch is not None else ""),
        "commands": repeating.commands_for(found, attested, portal),
        "signed": repeating.verdict_check(past.newest, found, portal) if past.newest is not None else None,
    }
    return render(request, "builds/release.html", context)
