"""What is asked before any view is, and what is answered when the database does not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ClassVar

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils.cache import has_vary_header, patch_cache_control

from builds.domain.errors import MalformedInput, PortalError
from tee_portal.error_pages import plain_page
from tee_portal.problems import problem

logger = logging.getLogger(__name__)

type View = Callable[[HttpRequest], HttpResponse]


class MalformedAddress(MalformedInput):
    """An address that nothing can have."""

    code: ClassVar[str] = "malformed-address"
    default_todo: ClassVar[str] = "Ask without it."


def refuse_nul(get_response: View) -> View:
    """No address holds NUL, which PostgreSQL cannot store or compare: such a question is answered 400."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if "\x00" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            where = request.path.replace("\x00", "%00")[:200]
            error = MalformedAddress("the address holds a NUL character", where=where)
            return problem(request, error, 400) if _is_api(request) else plain_page(error, 400)
        return get_response(request)

    return middleware


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def keep_private(get_response: View) -> View:
    """A page made for somebody who signed in is for no shared cache, some of which do not heed ``Vary``."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if settings.SESSION_COOKIE_NAME in request.COOKIES and has_vary_header(response, "Cookie"):
            patch_cache_control(response, private=True)
        return response

    return middleware


class DatabaseUnreachable(PortalError):
    """The portal's database does not answer, so that nothing can be said about any release."""

    code: ClassVar[str] = "database-unreachable"
    default_todo: ClassVar[str] = "Ask again in a moment; nothing was changed, and nothing is said about any release."


class NameDatabaseFailures:
    """A database that is away is 503 by name, on pages and in the API: it is no verdict and no fault of the program."""

    def __init__(self, get_response: View) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, OperationalError | InterfaceError):
            return None
        logger.error("the database does not answer: %s", exception)
        error = DatabaseUnreachable("the database does not answer", where=request.path[:200])
        response = problem(request, error, 503) if _is_api(request) else plain_page(error, 503)
        response["Retry-After"] = "5"
        return response
