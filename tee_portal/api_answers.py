"""What every answer under ``/api/`` has in common: entity tags, methods, and what other origins may read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import ClassVar

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags

from builds.domain.errors import PortalError
from builds.operation_rules import FOR_A_MOMENT, NOT_KEPT
from tee_portal.kept_answers import kept_or_made
from tee_portal.problems import problem

API = "/api/"
_EXPOSED = "Age, ETag, Link, RateLimit, RateLimit-Policy, Retry-After"
_PREFLIGHT_SECONDS = "86400"
_OK = 200

type View = Callable[[HttpRequest], HttpResponseBase]


class MethodNotAllowed(PortalError):
    """The address exists, and not for this method; ``Allow`` says for which."""

    code: ClassVar[str] = "method-not-allowed"
    default_todo: ClassVar[str] = "Use a method that the Allow header names; /api/v1/openapi.json has them all."


def api_answers(get_response: View) -> View:
    """Middleware. Stands inside the compression, whose output differs each time: a tag is of the plain bytes."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(API):
            return get_response(request)
        asked = request.method
        if asked == "OPTIONS":
            return _methods(request, get_response(request))
        if asked not in {"GET", "HEAD"}:
            return _named(request, get_response(request))
        # HEAD is answered as GET is; the server leaves the body away (RFC 9110, section 9.3.2).
        request.method = "GET"
        response = kept_or_made(request, lambda request: _read(_named(request, get_response(request))))
        if isinstance(response, HttpResponse) and response.status_code == _OK and _has_it(request, response["ETag"]):
            response = _unchanged(response)
        request.method = asked
        return _without_stream(response) if asked == "HEAD" else response

    return middleware


def _methods(request: HttpRequest, refused: HttpResponseBase) -> HttpResponseBase:
    """Any page may read what is public. None is told that it may do more, whoever is signed in beside it.

    ``refused`` is what the address says to OPTIONS, which no operation takes: what it takes instead, or that there is
    no such address.
    """
    if not isinstance(refused, HttpResponseNotAllowed):
        return refused
    allowed = _allowed(refused)
    response = HttpResponse(status=204, headers={"Allow": ", ".join(sorted(allowed)), "Cache-Control": NOT_KEPT})
    wanted = request.headers.get("Access-Control-Request-Method", "GET")
    if wanted in {"GET", "HEAD"} and "GET" in allowed:
        response["Access-Control-Allow-Origin"] = "*"
        response["Access-Control-Allow-Methods"] = "GET, HEAD"
        response["Access-Control-Allow-Headers"] = "If-None-Match"
        response["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS
    return response


def _named(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if not isinstance(response, HttpResponseNotAllowed):
        return response
    error = MethodNotAllowed(f"this address does not take {request.method}"[:100], where=request.path[:200])
    refused = problem(request, error, response.status_code)
    refused["Allow"] = ", ".join(sorted(_allowed(response)))
    refused["Cache-Control"] = NOT_KEPT
    return refused


def _allowed(response: HttpResponseNotAllowed) -> set[str]:
    """The methods that an address takes: HEAD wherever GET is."""
    allowed = {method.strip() for method in response["Allow"].split(",")}
    return allowed | {"OPTIONS"} | ({"HEAD"} if "GET" in allowed else set())


def _read(response: HttpResponseBase) -> HttpResponseBase:
    """An answer to GET: open to every origin, and with a tag by which it is known again."""
    response["Access-Control-Allow-Origin"] = "*"
    response["Access-Control-Expose-Headers"] = _EXPOSED
    patch_vary_headers(response, ("Accept-Encoding",))
    if "Cache-Control" not in response:
        response["Cache-Control"] = FOR_A_MOMENT if response.status_code == _OK else NOT_KEPT
    if isinstance(response, HttpResponse) and response.status_code == _OK and "ETag" not in response:
        response["ETag"] = f'"{hashlib.sha256(response.content).hexdigest()}"'
    return response


def _has_it(request: HttpRequest, etag: str) -> bool:
    """Compared weakly (RFC 9110, section 13.1.2): compression makes the tag of the same bytes a weak one."""
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return known == ["*"] or etag in {tag.removeprefix("W/") for tag in known}


def _unchanged(response: HttpResponse) -> HttpResponse:
    """The same answer as 304: without its bytes and what describes them, with every other field."""
    response.status_code = 304
    response.content = b""
    for name in ("Content-Type", "Content-Length"):
        response.headers.pop(name, None)
    return response


def _without_stream(response: HttpResponseBase) -> HttpResponseBase:
    """Nobody reads a whole log to leave it away."""
    if isinstance(response, HttpResponse):
        return response
    response.close()
    return HttpResponse(status=response.status_code, headers=dict(response.items()))
