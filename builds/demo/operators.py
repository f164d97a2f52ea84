"""The demo's independent operators: agents as third parties run them, each a process with its own home and key."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from builds.demo import processes
from builds.domain.errors import PortalError
from builds.domain.lifecycle import RunState
from builds.models import Operator, Rebuild, Release
from builds.rebuilder.home import AgentHome, key_path
from builds.services import operators, workshop
from tee_portal.env import BASE_DIR

NAMES = ("alder", "birch", "cedar")
_PROGRAM = Path(sys.executable).parent / "tee-portal-rebuilder"
_IDENTIFIED = "the demo started its agent on this machine; nobody independent is behind it"
_ENROL_SECONDS = 60
_REBUILD_SECONDS = 3600
_POLL_SECONDS = 0.5


class OperatorFailed(PortalError):
    """An operator's agent did not do what the demo started it for."""

    code = "demo-operator-failed"
    default_todo = "Read the agent's log."


@dataclass(frozen=True, slots=True)
class DemoOperator:
    """One operator; ``root`` holds its key, its agent's home and its log, ``portal`` is the address it knows."""

    name: str
    root: Path
    portal: str

    @property
    def home(self) -> AgentHome:
        return AgentHome(self.root / "home", settings.MATERIAL_STORE)

    @property
    def log(self) -> Path:
        return self.root / "agent.log"

    def enrol(self) -> None:
        """Make a key, ask the portal to know it, and be accepted: in the demo we are the administrator too."""
        key = self.root / "key.pem"
        if not key.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            self._run([str(_PROGRAM), "keygen", str(key)])
        said = ("--operator", self.name, "--name", f"Demo operator {self.name.title()}")
        where = ("--contact", f"{self.name}@demo.invalid", "--domain", f"{self.name}.demo.invalid")
        self._run(self._command("enroll", *said, *where, "--no-trial"))
        known = operators.find_operator(self.name)
        if known.accepted_at is None:
            operators.accept_operator(known, by="make demo", identified_by=_IDENTIFIED)

    def rebuilding(self, tags: Iterable[str], project: str) -> list[str]:
        """The command that rebuilds these releases and hands the signed statements in."""
        named = [argument for tag in tags for argument in ("--release", tag)]
        return self._command(*named, "--project", project)

    def leave_statement(self, release: Release, evidence: Path) -> None:
        """Copy the signed statement about a release, and the public key beside it, to where scripts look."""
        kept = self.home.statement_path(release.project.name, release.tag)
        target = evidence / f"{release.tag}-{self.name}.rebuild.sigstore.json"
        target.write_bytes(kept.read_bytes())
        key_path(target).write_bytes(key_path(kept).read_bytes())

    def _command(self, *arguments: str) -> list[str]:
        return [
            *(str(_PROGRAM), *arguments, "--portal", self.portal, "--key", str(self.root / "key.pem")),
            *("--data", str(self.home.root), "--materials", str(self.home.materials)),
            *("--docker-host", settings.DOCKER_HOST, "--keyring", str(settings.ARCHIVE_KEYRING)),
            *("--mirror", workshop.mirror().base),
        ]

    def _run(self, command: list[str]) -> None:
        finished = subprocess.run(
            command, cwd=BASE_DIR, capture_output=True, text=True, check=False, timeout=_ENROL_SECONDS
        )
        with self.log.open("a", encoding="utf-8") as log:
            log.write(finished.stdout + finished.stderr)
        if finished.returncode:
            raise OperatorFailed(f"{self.name}: {finished.stderr.strip()[-400:]}", where=str(self.log))


def rebuild_all(team: list[DemoOperator], releases: list[Release], say: Callable[[str], None]) -> None:
    """Let every operator rebuild every release that it has no result of yet, all operators at the same time."""
    missing = {operator.name: [row for row in releases if not _has(operator, row)] for operator in team}
    for release in releases:
        if not any(release in rows for rows in missing.values()):
            say(f"{release.tag} was rebuilt before")
    with ExitStack() as stack:
        agents = {}
        for operator in team:
            if rows := missing[operator.name]:
                command = operator.rebuilding([row.tag for row in rows], rows[0].project.name)
                agents[operator] = stack.enter_context(processes.running(command, BASE_DIR, operator.log))
                say(f"{operator.name} rebuilds {' and '.join(row.tag for row in rows)}, pid {agents[operator].pid}")
        _follow(agents, releases, say)


def _has(operator: DemoOperator, release: Release) -> bool:
    results = Rebuild.objects.filter(release=release, state=RunState.SUCCEEDED, statement__isnull=False)
    kept = operator.home.statement_path(release.project.name, release.tag)
    return kept.is_file() and results.filter(rebuilder__operator__slug=operator.name).exists()


def _follow(
    agents: Mapping[DemoOperator, subprocess.Popen[bytes]], releases: list[Release], say: Callable[[str], None]
) -> None:
    """Print what the agents reach until all have ended; raises ``OperatorFailed`` when one could not."""
    deadline = time.monotonic() + _REBUILD_SECONDS
    told = set(_reached(releases))
    while True:
        running = [operator for operator, process in agents.items() if process.poll() is None]
        for entry in _reached(releases):
            if entry not in told:
                told.add(entry)
                name, tag, what = entry
                say(f"  {name:<6} {tag}: {what}")
        if not running:
            break
        if time.monotonic() > deadline:
            raise OperatorFailed(f"not done after {_REBUILD_SECONDS} seconds", where=str(running[0].log))
        time.sleep(_POLL_SECONDS)
    for operator, process in agents.items():
        if process.returncode:
            raise OperatorFailed(f"{operator.name} ended with exit code {process.returncode}", where=str(operator.log))


def _reached(releases: list[Release]) -> Iterable[tuple[str, str, str]]:
    """Operator, tag and what its newest run came to, in words."""
    known = dict(Operator.objects.values_list("pk", "slug"))
    rows = Rebuild.objects.filter(release__in=releases, rebuilder__isnull=False).select_related("rebuilder", "release")
    for rebuild in rows.prefetch_related("stages"):
        operator = known[rebuild.rebuilder.operator_id] if rebuild.rebuilder is not None else ""
        for stage in rebuild.stages.all():
            yield operator, rebuild.release.tag, stage.name
        if rebuild.run_state.is_final:
            yield operator, rebuild.release.tag, rebuild.run_state.value
