"""Numbers that stand in addresses: where a page of a long list begins, and which line is asked for."""

from __future__ import annotations

from django.http import HttpRequest

from builds.services.absent import PAGE, NotHere

_DIGITS = 18  # of a BIGINT
_MOST = 10**9


def cursor(request: HttpRequest, name: str = "before") -> int | None:
    """The number beyond which rows come; None for the first page, 404 for what is no number."""
    text = request.GET.get(name, "")
    if text and not _is_number(text):
        raise NotHere(PAGE, text)
    return int(text[:_DIGITS]) if text else None


def number(request: HttpRequest, name: str, missing: int) -> int:
    """What a reader wrote in a field for a number; ``missing`` for what is none."""
    text = request.GET.get(name, "")
    return min(int(text[:_DIGITS]), _MOST) if _is_number(text) else missing


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
