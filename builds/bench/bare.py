"""The portal's web application with one address more, whose view returns a constant: what the API is measured beside.

gunicorn builds.bench.bare
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from tee_portal.wsgi import application


def constant(_request: HttpRequest) -> HttpResponse:
    """The same bytes for everybody."""
    return HttpResponse(b'{"constant":true}', content_type="application/json")


def _add() -> None:
    # Once the application is set up, which importing it did.
    from tee_portal.urls import urlpatterns  # noqa: PLC0415

    # Before all others: how long the list of addresses is shall not count.
    urlpatterns.insert(0, path("bench/constant", constant))


_add()

__all__ = ["application"]
