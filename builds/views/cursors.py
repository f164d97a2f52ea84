"""Where a page of a long list begins: a number in the address."""

from __future__ import annotations

from django.http import Http404, HttpRequest

_DIGITS = 18  # of a BIGINT


def before(request: HttpRequest) -> int | None:
    """The number that rows come before; None for the first page, 404 for what is no number."""
    text = request.GET.get("before", "")
    if text and not (text.isascii() and text.isdigit()):
        raise Http404("before is not a number")
    return int(text[:_DIGITS]) if text else None
