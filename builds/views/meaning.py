"""The page that says what each word means."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from builds.domain.meanings import AXES


@require_safe
def meaning(request: HttpRequest) -> HttpResponse:
    return render(request, "builds/meaning.html", {"axes": AXES})
