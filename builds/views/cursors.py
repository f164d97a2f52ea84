"""Where a page of a long list begins: a number in the address."""

from __future__ import annotations

from django.http import HttpRequest

from builds.services.absent import PAGE, NotHere

_DIGITS = 18  # of a BIGINT


def before(request: HttpRequest) -> int | None:
    """The number that rows come before; None for the first page, 404 for what is no number."""
    text = request.GET.get("before", "")
    if text and not (text.isascii() and text.isdigit()):
        raise NotHere(PAGE, text)
    return int(text[:_DIGITS]) if text else None
