"""Agents as they are deployed: processes with a home and a key of their own, beside a portal that knows them or not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tee_portal.env import BASE_DIR
from tests.support.portal import Portal, process


@dataclass(frozen=True)
class AgentProcess:
    """One operator's agent for one portal."""

    portal: Portal
    operator: str

    @property
    def home(self) -> Path:
        return self.portal.root / f"agent-{self.operator}"

    @property
    def key(self) -> Path:
        return self.portal.root / f"{self.operator}.pem"

    @property
    def log(self) -> Path:
        return self.portal.root / f"agent-{self.operator}.log"

    @property
    def outbox(self) -> list[Path]:
        return sorted((self.home / "outbox").glob("*.json"))

    def command(self, *arguments: str, portal: str | None = None) -> list[str]:
        return [
            *(sys.executable, "-m", "builds.rebuilder", *arguments),
            *("--portal", portal or self.portal.address, "--key", str(self.key), "--data", str(self.home)),
            *("--materials", str(self.portal.material_store), "--docker-host", self.portal.docker_host),
        ]

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run to the end; the output, with the exit code that was expected."""
        finished = subprocess.run(
            self.command(*arguments), cwd=BASE_DIR, capture_output=True, text=True, check=False, timeout=300
        )
        output = finished.stdout + finished.stderr
        assert finished.returncode == code, output
        return output

    def enrolled(self, *, accepted: bool = True) -> AgentProcess:
        """Make a key and make it known; an administrator accepts it."""
        keygen = [sys.executable, "-m", "builds.rebuilder", "keygen", str(self.key)]
        subprocess.run(keygen, cwd=BASE_DIR, check=True, capture_output=True)
        said = ("--operator", self.operator, "--name", self.operator.title(), "--contact", "a@example.invalid")
        self.run("enroll", *said, "--domain", "example.invalid", "--no-trial")
        if accepted:
            decided = ("--by", "Ada", "--identified-by", "met in person")
            self.portal.manage("operators", "accept", self.operator, *decided)
        return self

    @contextmanager
    def pausing(self, moment: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """Run until a moment (see ``pausing_agent``); the file appears when it is reached."""
        reached = self.portal.root / f"reached-{self.operator}"
        program, rest = self.command(*arguments)[:1], self.command(*arguments)[3:]
        command = [*program, "-m", "tests.support.pausing_agent", moment, str(reached), *rest]
        with process(command, self.portal.environment, self.log) as running:
            yield running, reached

    @contextmanager
    def running(self, *arguments: str, portal: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
        command = self.command(*arguments, portal=portal)
        with process(command, self.portal.environment, self.log) as running:
            yield running
