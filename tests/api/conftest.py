"""One portal behind its own web server for whoever asks the API as strangers do, with one of everything in it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings

from tests.support.portal import Portal

_MOST = "1000000"
_SETTINGS = {
    # How often somebody may ask has tests of its own.
    "TEE_PORTAL_READS_PER_MINUTE": _MOST,
    "TEE_PORTAL_WRITES_PER_MINUTE": _MOST,
    "TEE_PORTAL_AGENT_REQUESTS_PER_MINUTE": _MOST,
    "TEE_PORTAL_REBUILDS_PER_HOUR": _MOST,
    # Nobody renews the lease of a rebuild.
    "TEE_PORTAL_LEASE_SECONDS": "3600",
}


@dataclass(frozen=True)
class Served:
    """A portal that answers, and what is in it by name (``tests.support.api_data``)."""

    portal: Portal
    facts: dict[str, Any]

    @property
    def api(self) -> str:
        return f"{self.portal.address}/api/v1"

    def token(self, scope: str) -> str:
        secret: str = self.facts["tokens"][scope]
        return secret

    def get(self, path: str, **more: Any) -> requests.Response:
        return requests.get(f"{self.api}{path}", timeout=30, **more)


@pytest.fixture(scope="session")
def filled(firmware: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Where a portal's data is, with one of everything, and what is in it by name."""
    portal = _portal(tmp_path_factory.mktemp("filled"))
    portal.manage("migrate", "--verbosity", "0")
    fill = f"from tests.support.api_data import fill; fill({os.fspath(firmware)!r})"
    told = portal.manage("shell", "--no-imports", "--command", fill)
    return portal.root, json.loads(told.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def served(filled: tuple[Path, dict[str, Any]]) -> Iterator[Served]:
    """A copy of that behind a web server: what the tests of one file change, those of another do not see."""
    data, facts = filled
    # A socket's address is short.
    with tempfile.TemporaryDirectory(prefix="portal-") as directory:
        root = Path(directory, "root")
        shutil.copytree(data, root)
        portal = _portal(root)
        with portal.redis(), portal.web():
            yield Served(portal, facts)


def _portal(root: Path) -> Portal:
    return Portal(root, settings.DOCKER_HOST, settings.MATERIAL_STORE, _SETTINGS)
