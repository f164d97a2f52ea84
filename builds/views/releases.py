"""Pages about what was published: the releases, and one of them."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from attestations.services import history, listing, release_list, repeating, standing, strip, trust_roots
from builds.domain.printable import one_line
from builds.domain.release_filters import CHOICES, read_filters
from builds.models import Project, Release
from builds.public_address import public_base
from builds.raw_files import raw_file
from builds.services import release_report, reproducing, selecting
from builds.services.absent import DOCUMENT, the_one, the_release
from builds.services.material_pages import materials_page
from builds.snapshot import one_snapshot
from builds.views.cursors import cursor

STRIP_CELLS = 30
LABELS = {
    "decision": "Decision",
    "outcome": "Rebuilt files",
    "attestation": "Attestation",
    "measurement": "Launch measurement",
}


@require_safe
def releases(request: HttpRequest) -> HttpResponse:
    filters, refused = read_filters(request.GET.dict())
    projects = {name: pk for pk, name in Project.objects.order_by("name").values_list("pk", "name")}
    if filters.project and filters.project not in projects:
        refused = (*refused, f"There is no project {one_line(filters.project, 80)!r}.")
    before, after = cursor(request, "before"), cursor(request, "after")
    context: dict[str, object] = {
        "filters": filters,
        "refused": refused,
        "projects": projects,
        "choices": [(name, LABELS[name], states, getattr(filters, name)) for name, states in CHOICES.items()],
    }
    if not refused:
        context["page"] = release_list.release_list(filters, before=before, after=after)
    if filters.project in projects:
        context["strip"] = strip.strips_of([projects[filters.project]], STRIP_CELLS).get(projects[filters.project])
    if filters.is_empty and before is None and after is None:
        context |= {"waiting": listing.not_imported(), "followed": listing.followed()}
    return render(request, "builds/releases.html", context, status=400 if refused else 200)


@require_safe
@one_snapshot()
def release(request: HttpRequest, project: str, tag: str) -> HttpResponse:
    wanted = Release.objects.with_evidence().select_related("project__expected_publisher")
    found = the_release(wanted, project, tag)
    roots = trust_roots.known()
    view, attested = standing.judged_view(found, roots)
    portal = public_base(request)
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


@require_safe
def materials(request: HttpRequest, project: str, tag: str) -> HttpResponse:
    """Every material of the release with its digest and who vouches for it."""
    found = the_release(Release.objects.select_related("project"), project, tag)
    return render(request, "builds/materials.html", {"page": materials_page(found, cursor(request, "after") or 0)})


@require_safe
def document(request: HttpRequest, sha256: str) -> HttpResponse:
    """The bytes of a release's own document (manifest.json or build-info), by their digest."""
    rows = Release.objects.filter(manifest_sha256=sha256).only("manifest")
    found = the_one(rows, DOCUMENT, f"sha256:{sha256}")
    return raw_file(request, bytes(found.manifest), f"{sha256}.document", "application/octet-stream")
