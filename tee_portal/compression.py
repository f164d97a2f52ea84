"""Compression for who asks for it, and for nobody who refuses it (RFC 9110, section 12.5.3)."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import patch_vary_headers


class AskedCompression(GZipMiddleware):
    """Django's compresses wherever the word gzip stands, also in ``gzip;q=0``."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not accepts_gzip(request.headers.get("Accept-Encoding", "")):
            patch_vary_headers(response, ("Accept-Encoding",))
            return response
        compressed: HttpResponseBase = super().process_response(request, response)
        return compressed


def accepts_gzip(header: str) -> bool:
    """Whether gzip is named with a weight that is a number above zero."""
    for entry in header.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        if name == "gzip":
            return all(_is_positive(parameter) for parameter in parameters if parameter.startswith("q="))
    return False


def _is_positive(parameter: str) -> bool:
    try:
        return float(parameter.removeprefix("q=")) > 0
    except ValueError:
        return False
