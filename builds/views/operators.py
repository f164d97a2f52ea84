"""Pages about who rebuilds: operators, their keys and signed statements, and the queue."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from builds.domain.provenance import SLSA_PROVENANCE
from builds.models import RebuilderKey
from builds.raw_files import BUNDLE_TYPE, ENVELOPE_TYPE, PEM_TYPE, raw_file
from builds.services import operator_pages
from builds.services.absent import REBUILDER_KEY, the_one
from builds.services.queue_page import next_places, queue_page, queue_token
from builds.views.cursors import cursor


@require_safe
def operators(request: HttpRequest) -> HttpResponse:
    return render(
        request,
        "builds/operators.html",
        {"standings": operator_pages.operator_standings(), "next_places": next_places()},
    )


@require_safe
def operator(request: HttpRequest, slug: str) -> HttpResponse:
    page = operator_pages.operator_page(slug, before=cursor(request))
    return render(request, "builds/operator.html", {"page": page})


@require_safe
def queue(request: HttpRequest) -> HttpResponse:
    """The queue; a page that is open asks with what it has ``seen`` and gets what changed, or 204."""
    seen = request.GET.get("seen", "")
    if not seen:
        return render(request, "builds/queue.html", {"queue": queue_page()})
    if seen == queue_token():
        return HttpResponse(status=204)
    return render(request, "builds/partials/queue_body.html", {"queue": queue_page()})


@require_safe
def statement(request: HttpRequest, sha256: str) -> HttpResponse:
    page = operator_pages.statement_page(sha256)
    return render(request, "builds/statement.html", {"page": page, "predicate_type": SLSA_PROVENANCE})


@require_safe
def statement_file(request: HttpRequest, sha256: str, form: str) -> HttpResponse:
    """A statement by its payload's digest: as received, as a Sigstore bundle, as an envelope; or its public key."""
    page = operator_pages.statement_page(sha256)
    stored = page.row.statement
    if form == "received":
        return raw_file(request, bytes(stored.content), f"{sha256}.received.json", "application/json")
    if form == "dsse":
        return raw_file(request, page.envelope.as_bytes(), f"{sha256}.dsse.json", ENVELOPE_TYPE)
    if form == "key":
        return raw_file(request, stored.key.pem.encode(), f"{sha256}.rebuild.pub", PEM_TYPE)
    return raw_file(request, page.bundle, f"{sha256}.rebuild.sigstore.json", BUNDLE_TYPE)


@require_safe
def key_file(request: HttpRequest, fingerprint: str) -> HttpResponse:
    """A rebuilder's public key by its fingerprint, also long after it was revoked."""
    key = the_one(RebuilderKey.objects.filter(fingerprint=fingerprint), REBUILDER_KEY, f"sha256:{fingerprint}")
    return raw_file(request, key.pem.encode(), f"{key.fingerprint}.pub", PEM_TYPE)
