"""Answers that a reader keeps for a while and asks for again: 304 while they are the same."""

from __future__ import annotations

import hashlib
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import http_date


def conditional(
    request: HttpRequest, response: HttpResponse, *, seconds: int, changed_at: datetime | None = None
) -> HttpResponse:
    """The whole answer, or 304 when the reader has it: by its entity tag, else by when it changed.

    ``seconds`` is how long anybody may keep it without asking. The tag is the digest of the bytes, so that every
    server gives the same one.
    """
    etag = f'"{hashlib.sha256(response.content).hexdigest()}"'
    moment = int(changed_at.timestamp()) if changed_at is not None else None
    response["ETag"] = etag
    response["Cache-Control"] = f"public, max-age={seconds}"
    if moment is not None:
        response["Last-Modified"] = http_date(moment)
    if response.status_code != 200:  # noqa: PLR2004 - only what is there can be unchanged
        return response
    return get_conditional_response(request, etag, moment, response) or response
