"""One whole demo for the suite, as ``make demo DEMO_EXIT=1`` runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tee_portal.env import BASE_DIR
from tests.support.portal import free_port
from tests.support.showcase import Showcase, make_showcase

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@dataclass(frozen=True)
class FinishedDemo:
    """What a demo left: its data directory and verdicts."""

    data: Path

    @property
    def root(self) -> Path:
        return self.data / "demo"

    @property
    def verdicts(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads((self.root / "verdicts.json").read_bytes())
        return answer

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "TEE_PORTAL_DATA_DIR": str(self.data),
            "TEE_PORTAL_MATERIAL_STORE": str(settings.MATERIAL_STORE),
            "DATABASE_URL": f"sqlite://{self.data}/portal.sqlite3",
        }

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", "demo", "--exit", "--port", str(free_port())],
            cwd=BASE_DIR,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="session")
def demo() -> FinishedDemo:
    """The one that ``make demo DEMO_EXIT=1`` left where SUITE_FINISHED_DEMO says, or one of the suite's own."""
    if finished_in := os.environ.get("SUITE_FINISHED_DEMO"):
        return FinishedDemo(Path(finished_in))
    data = settings.DATA_DIR / "end-to-end"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    finished = FinishedDemo(data).run()
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    return FinishedDemo(data)


@pytest.fixture(scope="session")
def showcase(demo: FinishedDemo) -> Iterator[Showcase]:
    """The finished demo's data with what its end leaves out, behind a web server."""
    with tempfile.TemporaryDirectory(prefix="showcase-") as directory:
        made = make_showcase(demo.data, Path(directory))
        with made.portal.web():
            yield made


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The system's Chromium; as root it has no sandbox of its own."""
    return {**browser_type_launch_args, "executable_path": "/usr/bin/chromium", "args": QUIET}
