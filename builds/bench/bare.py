"""The portal's web application with one address more, whose view returns a constant: what the API is measured beside.

gunicorn builds.bench.bare
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from tee_portal.urls import urlpatterns
from tee_portal.wsgi import application

ADDRESS = "/bench/constant"


def constant(_request: HttpRequest) -> HttpResponse:
    """The same bytes for everybody."""
    return HttpResponse(b'{"constant":true}', content_type="application/json")


# Before all others: how long the list of addresses is shall not count.
urlpatterns.insert(0, path(ADDRESS.removeprefix("/"), constant))

__all__ = ["application"]
