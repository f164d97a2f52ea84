"""Bytes as answers: downloaded, never rendered, and the same for ever at an address that names their digest."""

from __future__ import annotations

from django.http import HttpResponse

BLOB_TYPE = "application/octet-stream"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
ENVELOPE_TYPE = "application/vnd.dsse.envelope+json"
PEM_TYPE = "application/x-pem-file"
FOREVER = "public, max-age=31536000, immutable"


def raw_file(content: bytes, name: str, content_type: str) -> HttpResponse:
    """An answer that a browser saves as ``name`` and takes for nothing else."""
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": FOREVER,
        "X-Content-Type-Options": "nosniff",
    }
    return HttpResponse(content, content_type=content_type, headers=headers)
