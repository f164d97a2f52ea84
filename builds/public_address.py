"""Where the public finds this portal."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def public_base(request: HttpRequest) -> str:
    """The portal's address without a slash at its end: as configured, else as it was asked for."""
    public: str | None = settings.ENVIRONMENT.public_url
    return public if public is not None else request.build_absolute_uri("/").rstrip("/")
