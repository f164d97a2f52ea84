"""The search: straight to the one thing that a text names, or what fits and what was searched."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from attestations.services import search as attested
from builds.domain.search import MOST_CHARACTERS, recognise
from builds.services.search import search as find


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    pasted = request.GET.get("q", "")
    query = recognise(pasted)
    answer = find(query, more_hits=attested.digest_hits, more_sizes=attested.sizes)
    if answer.only:
        return redirect(answer.only)
    context = {"answer": answer, "pasted": query.text, "most": MOST_CHARACTERS}
    context["too_long"] = len(pasted) > MOST_CHARACTERS
    return render(request, "builds/search.html", context)
