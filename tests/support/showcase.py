"""A portal in which there is one of everything that pages show: the demo's releases, and what its end leaves out."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from tests.support.portal import Portal

# Nobody renews the lease of the rebuild that runs on.
_LEASE = {"TEE_PORTAL_LEASE_SECONDS": "3600"}
_LEFT_OUT = shutil.ignore_patterns(
    "demo", "docker", "work", "materials", "log", "run", "tools", "venv", "test", "mirror", "celerybeat-schedule"
)


@dataclass(frozen=True)
class Showcase:
    """A portal, and where in it things lie by name."""

    portal: Portal
    places: dict[str, str]


def make_showcase(finished: Path, root: Path) -> Showcase:
    """A copy of the data that a demo left in ``finished``, with what ``showcase_data`` adds."""
    data = root / "data"
    shutil.copytree(finished, data, ignore=_LEFT_OUT)
    address = {"TEE_PORTAL_DATA_DIR": str(data), "DATABASE_URL": f"sqlite://{data}/portal.sqlite3"}
    portal = Portal(root, settings.DOCKER_HOST, settings.MATERIAL_STORE, {**address, **_LEASE})
    fill = "from tests.support.showcase_data import fill; fill()"
    told = portal.manage("shell", "--no-imports", "--command", fill)
    return Showcase(portal, json.loads(told.strip().splitlines()[-1]))
