"""Pages about a project."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from attestations.services.project_page import project_page


@require_safe
def project(request: HttpRequest, project: str) -> HttpResponse:
    return render(request, "builds/project.html", {"page": project_page(project)})
