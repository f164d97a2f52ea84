"""Bytes as answers: downloaded, never rendered, and the same for ever at an address that names their digest."""

from __future__ import annotations

import hashlib

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response

BLOB_TYPE = "application/octet-stream"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
ENVELOPE_TYPE = "application/vnd.dsse.envelope+json"
PEM_TYPE = "application/x-pem-file"
FOREVER = "public, max-age=31536000, immutable"


OPEN = "Access-Control-Allow-Origin"


def raw_file(request: HttpRequest, content: bytes, name: str, content_type: str) -> HttpResponse:
    """An answer that a browser saves as ``name`` and takes for nothing else; 304 for who has these bytes.

    Pages of other origins may read it, as they may ask the API that names its address.
    """
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": FOREVER,
        "X-Content-Type-Options": "nosniff",
    }
    etag = f'"{hashlib.sha256(content).hexdigest()}"'
    whole = HttpResponse(content, content_type=content_type, headers={**headers, "ETag": etag})
    answer = get_conditional_response(request, etag, None, whole) or whole
    answer[OPEN] = "*"
    return answer
