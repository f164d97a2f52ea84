"""What is asked before any view is."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from django.http import HttpRequest, HttpResponse, JsonResponse

from builds.domain.errors import MalformedInput

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
            return JsonResponse(error.as_dict(), status=400)
        return get_response(request)

    return middleware
