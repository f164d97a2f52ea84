"""What is asked before any view is."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

type View = Callable[[HttpRequest], HttpResponse]


def refuse_nul(get_response: View) -> View:
    """No address holds NUL, which PostgreSQL cannot store or compare: such a question is answered 400."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if "\x00" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            body = {
                "code": "malformed-address",
                "what": "the address holds a NUL character",
                "where": request.path.replace("\x00", "%00")[:200],
                "todo": "Ask without it.",
            }
            return JsonResponse(body, status=400)
        return get_response(request)

    return middleware
