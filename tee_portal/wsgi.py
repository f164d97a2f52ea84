"""The WSGI application that gunicorn serves."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tee_portal.settings")

application = get_wsgi_application()

# Addresses load with the process, not with its first reader, who would wait for every verifier to be imported.
get_resolver().url_patterns  # noqa: B018
