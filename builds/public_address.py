"""Where the public finds this portal, and where its requests come from."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest

from builds.domain.access import address_of


def public_base(request: HttpRequest) -> str:
    """The portal's address without a slash at its end: as configured, else as it was asked for."""
    public: str | None = settings.ENVIRONMENT.public_url
    return public if public is not None else f"{request.scheme}://{request.get_host()}"


def asked_from(request: HttpRequest) -> str:
    """The address of who asks, as trusted proxies saw it (``builds.domain.access.address_of``)."""
    forwarded = request.headers.get("X-Forwarded-For", "")
    return address_of(request.META.get("REMOTE_ADDR", ""), forwarded, settings.ENVIRONMENT.trusted_proxies)
