"""A whole portal as it is deployed: its own database, web server, worker and Redis, as real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tee_portal.env import BASE_DIR
from tests.support.sources import Repository

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for[T](what: str, look: Callable[[], T | None], seconds: float = 60) -> T:
    """The first thing ``look`` gives that is neither None nor False."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None and found is not False:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} seconds for {what}")


@contextmanager
def process(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        running = subprocess.Popen(
            command, cwd=BASE_DIR, env=dict(environment), stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


@dataclass
class Portal:
    """Talks to the portal only as its users do: commands and HTTP."""

    root: Path
    docker_host: str
    material_store: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def redis_socket(self) -> Path:
        return self.root / "redis.sock"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "TEE_PORTAL_DATA_DIR": str(self.root / "data"),
            "TEE_PORTAL_MATERIAL_STORE": str(self.material_store),
            "REDIS_URL": f"redis+socket://{self.redis_socket}",
            "DOCKER_HOST": self.docker_host,
            "DATABASE_URL": f"sqlite://{self.root}/portal.sqlite3",
            # Tests that wait ask ten times a second.
            "TEE_PORTAL_READS_PER_MINUTE": "6000",
            **self.settings,
        }

    def manage(self, *arguments: str, ok: bool = True) -> str:
        """Run a management command; its output, and its error when it was to fail."""
        finished = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE_DIR,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (finished.returncode == 0) == ok, finished.stdout + finished.stderr
        return finished.stdout + finished.stderr

    @contextmanager
    def redis(self) -> Iterator[subprocess.Popen[bytes]]:
        command = ["redis-server", "--port", "0", "--unixsocket", str(self.redis_socket), "--save", ""]
        with process(command, self.environment, self.root / "redis.log") as running:
            wait_for("Redis", self.redis_socket.exists)
            yield running

    @contextmanager
    def web(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [str(BIN / "gunicorn"), "tee_portal.wsgi", "--bind", f"127.0.0.1:{self.port}"]
        with process(command, self.environment, self.root / "web.log") as running:
            wait_for("the web server", self._answers, 180)
            yield running

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [str(BIN / "celery"), "--app", "tee_portal", "worker", "--beat", "--concurrency", "1"]
        with process([*command, "--loglevel", "INFO"], self.environment, self.root / "worker.log") as running:
            yield running

    def get(self, path: str) -> Any:
        return requests.get(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=10).json()

    def text(self, path: str) -> str:
        return requests.get(f"http://127.0.0.1:{self.port}/{path}", timeout=10).text

    def rebuilds(self, tag: str) -> list[dict[str, Any]]:
        """Rebuilds of a release, oldest first."""
        found: list[dict[str, Any]] = self.get(f"releases/small/{tag}")["rebuilds"]
        return sorted(found, key=lambda rebuild: rebuild["queued_at"])

    def follow(self, rebuild: str, *states: str, seconds: float = 90) -> dict[str, Any]:
        """The rebuild once its state is one of ``states``."""

        def look() -> dict[str, Any] | None:
            answer: dict[str, Any] = self.get(f"rebuilds/{rebuild}")
            return answer if answer["state"] in states else None

        return wait_for(f"rebuild to be {states}", look, seconds)

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/", timeout=10).ok
        except (requests.ConnectionError, requests.Timeout):
            return False


def publish(directory: Path, repository: Repository, kernel_sha256: str, kernel: bytes, tag: str = "v1") -> Path:
    """A published release of a small repository: a manifest that names a kernel, and the kernel."""
    directory.mkdir(parents=True)
    manifest = {
        "version": "1.0",
        "katana_version": tag,
        "source_date_epoch": 1_700_000_000,
        "git_commit": repository.commit,
        "components": {"kernel_sha256": kernel_sha256},
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))
    (directory / "vmlinuz").write_bytes(kernel)
    return directory


def kill_hard(running: subprocess.Popen[bytes]) -> None:
    """Kill a process and those that it started, without warning."""
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    for pid in (running.pid, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    running.wait()
