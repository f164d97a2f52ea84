"""What is answered when a question leads nowhere, may not be asked, or breaks the portal: pages in words, JSON by name.

The pages for 400 and 500 are made without request, database and context processors, since any of these may be what
is broken.
"""

from __future__ import annotations

from typing import ClassVar

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.csrf import requires_csrf_token

from builds.domain.errors import MalformedInput, PortalError
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
    return NoSuchThing(told or "the API has no such address", where=path)


@requires_csrf_token
def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The API's addresses answer as the API does, others with the page that says what was looked for."""
    if request.path.startswith(_API):
        return problem(request, absence(exception, request.path[:_LONGEST_ADDRESS]), 404)
    told = exception if isinstance(exception, NotHere) else None
    context = {"sought": told.sought if told else None, "asked": told.asked if told else request.path}
    return HttpResponse(render_to_string("404.html", context, request), status=404)


@requires_csrf_token
def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(_API):
        return problem(request, Refused("you may not do this", where=request.path[:_LONGEST_ADDRESS]), 403)
    return HttpResponse(render_to_string("403.html", {}, request), status=403)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _plain(request, UnusableRequest("the request cannot be read", where=request.path[:_LONGEST_ADDRESS]), 400)


def failed(request: HttpRequest) -> HttpResponse:
    return _plain(request, InternalFault("the portal failed to answer", where=request.path[:_LONGEST_ADDRESS]), 500)


def _plain(request: HttpRequest, error: PortalError, status: int) -> HttpResponse:
    if request.path.startswith(_API):
        return problem(request, error, status)
    return plain_page(error, status)


def plain_page(error: PortalError, status: int) -> HttpResponse:
    """A page that needs nothing but its template, for when the rest of the portal may be what is broken."""
    return HttpResponse(render_to_string(f"{status}.html", {"error": error}), status=status)
