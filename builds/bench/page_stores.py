"""Databases for what is measured on a full portal, each with the processes that fill and ask it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from builds.bench.page_store import Scale
from builds.demo import processes
from builds.domain.errors import PortalError
from tee_portal.env import BASE_DIR

_NAME = "bench_pages"


@dataclass(frozen=True, slots=True)
class Store:
    """A database with the processes that fill and ask it."""

    data: Path
    address: str

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "DATABASE_URL": self.address, "TEE_PORTAL_DATA_DIR": str(self.data)}

    def ask(self, *arguments: str) -> Any:
        """What ``manage.py bench_pages`` prints, as JSON."""
        return json.loads(self.manage("bench_pages", *arguments))

    def manage(self, *arguments: str) -> str:
        """What ``manage.py`` prints; ``PortalError`` when it fails."""
        done = subprocess.run(
            self._command(*arguments), cwd=BASE_DIR, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PortalError(f"{' '.join(arguments[:2])} failed: {done.stderr[-2000:]}", where="benchmark")
        return done.stdout

    def fill(self, scale: Scale) -> None:
        self.ask("fill", *(str(number) for number in asdict(scale).values()))

    @contextmanager
    def started(self, *arguments: str) -> Iterator[None]:
        with processes.running(
            self._command("bench_pages", *arguments), BASE_DIR, self.data / f"{arguments[0]}.log", self.environment
        ):
            yield

    def _command(self, *arguments: str) -> list[str]:
        self.data.mkdir(parents=True, exist_ok=True)
        return [sys.executable, "manage.py", *arguments]


@contextmanager
def database(server: str) -> Iterator[str]:
    """A database of its own on the server; dropped at the end."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {_NAME}")
        connection.execute(f"CREATE DATABASE {_NAME}")
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{_NAME}"))
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {_NAME} WITH (FORCE)")
