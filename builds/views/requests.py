"""Asking for a rebuild: what it would be, and then its own live page."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from builds import tasks
from builds.domain.errors import PortalError
from builds.domain.printable import one_line
from builds.models import Release
from builds.services import requesting
from builds.services.absent import the_release
from builds.services.requesting import RebuildsExhausted
from builds.views.accounts import signed_in


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def request_rebuild(request: HttpRequest, project: str, tag: str) -> HttpResponse:
    """Say what will be done, and by POST do it. A second POST joins what the first began."""
    release = the_release(Release.objects.select_related("project"), project, tag)
    if request.method != "POST":
        return _confirm(request, release)
    try:
        asked = requesting.ask(release, signed_in(request))
    except RebuildsExhausted as error:
        response = _confirm(request, release, error, status=429)
        response["Retry-After"] = str(error.retry_after)
        return response
    except PortalError as error:
        return _confirm(request, release, error, status=409)
    if asked.joined:
        messages.info(request, f"A rebuild of {one_line(release.tag)} is {asked.rebuild.state} already: you joined it.")
    else:
        tasks.hint_requested(asked.rebuild)
        messages.success(request, f"Your rebuild of {one_line(release.tag)} is in the queue.")
    return redirect(asked.rebuild)


def _confirm(
    request: HttpRequest, release: Release, error: PortalError | None = None, status: int = 200
) -> HttpResponse:
    plan = requesting.plan(release, signed_in(request))
    context = {"plan": plan, "error": error or plan.refusal or plan.exhausted}
    return render(request, "builds/request_rebuild.html", context, status=status)
