"""Pages about one value: a launch measurement, and the digest of a component or file."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from attestations.services import standing
from builds.domain.digest import Digest
from builds.domain.errors import MalformedInput
from builds.domain.search import Kind, recognise
from builds.services.digest_page import digest_page
from builds.services.measurement_page import measurement_page
from builds.services.recognised import recognition_of
from builds.services.search import near_digests
from builds.snapshot import one_snapshot


@require_safe
@one_snapshot()
def measurement(request: HttpRequest, value: str) -> HttpResponse:
    query = recognise(value)
    known = query.value(Kind.SHA384)
    if known and known != value:
        return redirect("measurement", known, permanent=True)
    if known:
        page = measurement_page(known, publishers_of=standing.publishers_of)
        if page.matches:
            return render(request, "builds/measurement.html", {"page": page})
    recognition = recognition_of(known) if known else None
    context = {
        "value": known or query.text,
        "is_whole": bool(known),
        "near": near_digests(known or query.hexadecimal),
        "recognition": recognition,
    }
    is_found = recognition is not None and bool(recognition.found)
    return render(request, "builds/measurement_unknown.html", context, status=200 if is_found else 404)


@require_safe
def component(request: HttpRequest, algorithm: str, value: str) -> HttpResponse:
    try:
        digest = Digest.parse(f"{algorithm.lower()}:{value}")
    except MalformedInput:
        query = recognise(value)
        return _unknown_component(request, f"{algorithm}:{query.text}", query.hexadecimal, is_whole=False)
    if (digest.algorithm, digest.hex) != (algorithm, value):
        return redirect("component", digest.algorithm, digest.hex, permanent=True)
    page = digest_page(digest)
    if page.is_known:
        return render(request, "builds/component.html", {"page": page})
    return _unknown_component(request, str(digest), digest.hex, is_whole=True)


def _unknown_component(request: HttpRequest, value: str, hexadecimal: str, *, is_whole: bool) -> HttpResponse:
    context = {"value": value, "is_whole": is_whole, "near": near_digests(hexadecimal)}
    return render(request, "builds/component_unknown.html", context, status=404)
