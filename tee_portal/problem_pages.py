"""The pages that problem documents point to: one for each code, and their list."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from builds.services.absent import NotHere, Sought
from tee_portal.problem_kinds import known_problems

_PROBLEM = Sought(
    "problem",
    "A problem is named by the code that stands in the answer; the list has every one.",
    "problems",
    "Look at /problems/ for every code.",
)


@require_safe
def problems(request: HttpRequest) -> HttpResponse:
    return render(request, "builds/problems.html", {"kinds": known_problems().values()})


@require_safe
def problem(request: HttpRequest, code: str) -> HttpResponse:
    kind = known_problems().get(code)
    if kind is None:
        raise NotHere(_PROBLEM, code)
    return render(request, "builds/problem.html", {"kind": kind})
