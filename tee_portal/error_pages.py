"""What is answered when a question leads nowhere, may not be asked, or breaks the portal: pages in words, JSON by name.

The pages for 400 and 500 are made without request, database and context processors, since any of these may be what
is broken.
"""

from __future__ import annotations

from typing import ClassVar

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import requires_csrf_token

from builds.domain.errors import MalformedInput, PortalError
from builds.operation_rules import NOT_KEPT
from builds.services.absent import NotHere
from tee_portal.problems import problem

_API = "/api/"
_LONGEST_ADDRESS = 200


class NoSuchThing(PortalError):
    """An address that leads nowhere, or to something that is not there."""

    code: ClassVar[str] = "not-found"
    default_todo: ClassVar[str] = "Look at /api/v1/openapi.json for every address that there is."


class Refused(PortalError):
    """Something that the one who asks may not do."""

    code: ClassVar[str] = "forbidden"
    default_todo: ClassVar[str] = "Sign in as somebody who may, or ask an administrator."


class UnusableRequest(MalformedInput):
    """A request that cannot be answered at all: a foreign host name, too many fields."""

    code: ClassVar[str] = "bad-request"
    default_todo: ClassVar[str] = "Ask by the portal's own address, with fewer and smaller fields."


class InternalFault(PortalError):
    """The portal failed; its log says why, and a stranger is told no more."""

    code: ClassVar[str] = "internal-fault"
    default_todo: ClassVar[str] = "It says nothing about any release. Ask again later, and tell the portal's operator."


def absence(exception: Exception, path: str) -> NoSuchThing:
    """The error that the API answers 404 with; what to do about it fits what was asked for."""
    if isinstance(exception, NotHere):
        return NoSuchThing(str(exception), where=path, todo=exception.sought.api_todo)
    told = exception.args[0] if exception.args and isinstance(exception.args[0], str) else ""
    return NoSuchThing(told or "there is no such address", where=path)


def _is_for_programs(request: HttpRequest) -> bool:
    """Whether whoever asks reads no pages: the API's addresses have none, and elsewhere a browser says that it does."""
    accepted = request.headers.get("Accept", "text/html")
    return request.path.startswith(_API) or "text/html" not in accepted.lower()


def _kept_by_nobody(response: HttpResponse) -> HttpResponse:
    """What is not there may be there in a moment. Who asks decides in which form it is told."""
    response["Cache-Control"] = NOT_KEPT
    patch_vary_headers(response, ("Accept",))
    return response


@requires_csrf_token
def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A problem document for programs, for readers the page that says what was looked for."""
    if _is_for_programs(request):
        return _kept_by_nobody(problem(request, absence(exception, request.path[:_LONGEST_ADDRESS]), 404))
    told = exception if isinstance(exception, NotHere) else None
    context = {"sought": told.sought if told else None, "asked": told.asked if told else request.path}
    return _kept_by_nobody(HttpResponse(render_to_string("404.html", context, request), status=404))


@requires_csrf_token
def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _is_for_programs(request):
        return problem(request, Refused("you may not do this", where=request.path[:_LONGEST_ADDRESS]), 403)
    return HttpResponse(render_to_string("403.html", {}, request), status=403)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _plain(request, UnusableRequest("the request cannot be read", where=request.path[:_LONGEST_ADDRESS]), 400)


def failed(request: HttpRequest) -> HttpResponse:
    return _plain(request, InternalFault("the portal failed to answer", where=request.path[:_LONGEST_ADDRESS]), 500)


def _plain(request: HttpRequest, error: PortalError, status: int) -> HttpResponse:
    if _is_for_programs(request):
        return problem(request, error, status)
    return plain_page(error, status)


def plain_page(error: PortalError, status: int) -> HttpResponse:
    """A page that needs nothing but its template, for when the rest of the portal may be what is broken."""
    return HttpResponse(render_to_string(f"{status}.html", {"error": error}), status=status)
