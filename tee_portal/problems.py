"""Errors as problem documents (RFC 9457): the one shape in which the API refuses anything."""

from __future__ import annotations

import json

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from builds.domain.errors import PortalError
from builds.public_address import public_base

PROBLEM_TYPE = "application/problem+json"
_LONGEST_INSTANCE = 300


def problem(
    request: HttpRequest, error: PortalError, status: int, members: dict[str, object] | None = None
) -> HttpResponse:
    """The document of a named error; ``members`` are more extension members, which replace none of the others.

    ``code``, ``what``, ``where`` and ``todo`` are extension members too, as the portal names errors everywhere.
    """
    document: dict[str, object] = {
        **(members or {}),
        "type": problem_address(request, error.code),
        "title": title_of(error.code),
        "status": status,
        "detail": error.what,
        "instance": request.path[:_LONGEST_INSTANCE],
        **error.as_dict(),
    }
    return HttpResponse(json.dumps(document), content_type=PROBLEM_TYPE, status=status)


def problem_address(request: HttpRequest, code: str) -> str:
    """Where the page about a code is."""
    path = reverse("problem", args=[code])
    try:
        return public_base(request) + path
    except DisallowedHost:
        # Asked for by a name that is not the portal's, which is not to be repeated.
        return path


def title_of(code: str) -> str:
    """The same for every occurrence of a problem, as RFC 9457 asks."""
    return code.replace("-", " ").capitalize()
