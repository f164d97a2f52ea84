"""Lists a page at a time: where the next one is, as a header field (RFC 8288) beside the cursor in the body."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path

from builds.public_address import public_base


def lead_on(request: HttpRequest, response: HttpResponse, parameter: str, cursor: object) -> None:
    """Add ``Link: <...>; rel="next"``: the address that was asked, with ``parameter`` set to ``cursor``.

    Nothing for a cursor that is None, as the last page has none.
    """
    if cursor is None:
        return
    asked = request.GET.copy()
    asked[parameter] = str(cursor)
    address = f"{public_base(request)}{escape_uri_path(request.path)}?{asked.urlencode()}"
    response["Link"] = f'<{address}>; rel="next"'
