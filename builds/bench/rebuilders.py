"""What the queue, the agents and the verdicts cost, on PostgreSQL, with processes as they are deployed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from builds.bench.rebuilder_store import CONTENT
from builds.bench.rebuilderd_reference import Reference
from builds.bench.timing import until
from builds.demo import processes
from builds.domain.errors import PortalError
from tee_portal.env import BASE_DIR

_KILLED_JOBS = 200
_TRIES = 50
_BETWEEN_TRIES = 0.03
_TEXT = """\
| What | Ours | Reference | Ratio | Bound |
| --- | --- | --- | --- | --- |
{rows}

The build of these jobs copies one file, so that what is measured is everything around a build: signed claim, progress,
log, signature, handing in, comparison and rows, each agent a process, the portal as it is served, on PostgreSQL.
Queued to verdict is one job at a time while an agent polls every {poll} s, up to the derivation of the verdict that is
signed.
{reference}
{claims}
{verdicts}
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """One run in ``work`` against the PostgreSQL server at ``server``; ``cache`` keeps what is fetched."""

    work: Path
    cache: Path
    server: str
    say: Callable[[str], None]

    def measure(self) -> str:
        """The rebuilders' part of the page."""
        reference = Reference()
        self.say("rebuilderd, which then waits for a killed worker meanwhile")
        with reference.measured(self.work / "rebuilderd", self.cache):
            rows = self._rows(reference)
        self.say("claims and verdicts")
        return _TEXT.format(
            rows="\n".join(rows),
            poll=settings.ENVIRONMENT.claim_retry_seconds,
            reference=reference.text(),
            claims=_claims_text(self._store("claims", self.work / "claim-keys", count=2000)),
            verdicts=_verdicts_text(self._store("verdicts", self.work / "verdict-keys", count=1000)),
        )

    def _rows(self, reference: Reference) -> list[str]:
        with self._portal() as portal:
            keys = self.work / "keys"
            self._store("operators", keys, count=4)
            self.say("a job at a time, queued to verdict")
            rows = [reference.latency_row("seconds from queued to verdict, one job", self._latencies(portal, keys))]
            for agents in (1, 2, 4):
                self.say(f"{agents} agents")
                what = f"jobs a minute, {agents} {'agent' if agents == 1 else 'agents'}"
                rows.append(reference.rate_row(what, self._throughput(portal, keys, agents), agents, "200"))
            self.say("an agent is killed")
            back, done = self._killed(portal, keys)
        self.say("rebuilderd's killed worker")
        what = f"seconds until a killed agent's job is another's ({done} of {_KILLED_JOBS} jobs done)"
        return [*rows, reference.lost_row(what, back, "90 s")]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": self.server,
            "TEE_PORTAL_DATA_DIR": str(self.work / "data"),
            "TEE_PORTAL_LOCAL_REBUILDS": "false",
            # All ask from one address, as fast as they can.
            "TEE_PORTAL_AGENT_REQUESTS_PER_MINUTE": "1000000000",
            "TEE_PORTAL_READS_PER_MINUTE": "1000000000",
        }

    @contextmanager
    def _portal(self) -> Iterator[str]:
        self._store("places", self.work / "keys", count=0)
        port = processes.free_port(0)
        address = f"http://127.0.0.1:{port}"
        bind = ("--bind", f"127.0.0.1:{port}", "--workers", "2")
        with ExitStack() as stack:
            stack.enter_context(self._process([*_program("gunicorn"), "tee_portal.wsgi", *bind], "web"))
            worker = ("--app", "tee_portal", "worker", "--beat", "--concurrency", "1", "--loglevel", "WARNING")
            stack.enter_context(self._process([*_program("celery"), *worker], "worker"))
            until("the web server", lambda: processes.answers(address + "/"))
            yield address

    @contextmanager
    def _agent(self, portal: str, keys: Path, number: int) -> Iterator[subprocess.Popen[bytes]]:
        source = self.work / "kernel"
        source.write_bytes(CONTENT)
        command = [sys.executable, "-m", "builds.bench.copying_agent", portal, str(keys / f"{number}.pem")]
        arguments = [str(self.work / f"home-{number}"), str(source), settings.DOCKER_HOST]
        with self._process([*command, *arguments], f"agent-{number}") as running:
            yield running

    @contextmanager
    def _process(self, command: list[str], name: str) -> Iterator[subprocess.Popen[bytes]]:
        with processes.running(command, BASE_DIR, self.work / f"{name}.log", self.environment) as running:
            yield running

    def _latencies(self, portal: str, keys: Path) -> list[float]:
        taken = []
        with self._agent(portal, keys, 0):
            for number in range(9):
                prefix = f"l{number}-"
                self._store("places", keys, count=1, prefix=prefix)
                ((queued, _, judged),) = self._done(prefix, 1)
                taken.append(judged - queued)
        # The first also waited for the agent's start.
        return taken[1:]

    def _throughput(self, portal: str, keys: Path, agents: int) -> float:
        """Jobs a minute, from the first start to the last verdict."""
        prefix, jobs = f"t{agents}-", 100 * agents
        self._store("places", keys, count=jobs, prefix=prefix)
        with ExitStack() as stack:
            for number in range(agents):
                stack.enter_context(self._agent(portal, keys, number))
            times = self._done(prefix, jobs)
        spent = max(judged for *_, judged in times) - min(started for _, started, _ in times)
        return jobs / spent * 60

    def _killed(self, portal: str, keys: Path) -> tuple[float, int]:
        """Seconds until the job of a killed agent is another's, and how many jobs were done in the end."""
        prefix = "k"
        with ExitStack() as stack:
            self._store("places", keys, count=_KILLED_JOBS, prefix=prefix)
            killed = self._kill_one_that_holds_a_job(portal, keys, prefix)
            stack.enter_context(self._agent(portal, keys, 1))
            until("all jobs", lambda: self._received(prefix)["done"] >= _KILLED_JOBS)
            answer = self._received(prefix)
        return max(started for _, started, _ in answer["times"]) - killed, answer["done"]

    def _kill_one_that_holds_a_job(self, portal: str, keys: Path, prefix: str) -> float:
        """When it was stopped. One killed between two jobs leaves none behind and would measure nothing."""
        with self._agent(portal, keys, 0) as agent:
            until("a job to be done", lambda: self._received(prefix)["done"] > 0)
            for _ in range(_TRIES):
                # Held still while it is looked at, because a job takes a fraction of a second.
                agent.send_signal(signal.SIGSTOP)
                stopped = time.time()
                if self._received(prefix)["held"]:
                    agent.kill()
                    agent.wait()
                    return stopped
                agent.send_signal(signal.SIGCONT)
                time.sleep(_BETWEEN_TRIES)
        raise PortalError("no agent was killed while it held a job", where="benchmark")

    def _done(self, prefix: str, count: int) -> list[tuple[float, float, float]]:
        until(f"{count} jobs", lambda: self._received(prefix)["done"] >= count, pause=4.0 if count > 1 else 0.05)
        return [(row[0], row[1], row[2]) for row in self._received(prefix)["times"]]

    def _received(self, prefix: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._store("received", self.work / "keys", prefix=prefix)
        return answer

    def _store(self, part: str, keys: Path, *, count: int = 1, prefix: str = "v") -> Any:
        command = [sys.executable, "manage.py", "bench_rebuilders", part, str(keys)]
        finished = subprocess.run(
            [*command, "--count", str(count), "--prefix", prefix],
            cwd=BASE_DIR,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            raise PortalError(f"{part} failed: {finished.stderr.strip()[-300:]}", where="benchmark")
        return json.loads(finished.stdout)


def _program(name: str) -> list[str]:
    return [str(Path(sys.executable).parent / name)]


def _claims_text(figures: Mapping[str, float]) -> str:
    rate = figures["claimed"] / figures["seconds"]
    return (
        f"\n{figures['agents']} agents polling {figures['queued']} queued jobs, each claim signed and checked:"
        f" **{rate:.0f} claims a second**, {figures['twice']} of {figures['claimed']} handed out twice.\n"
    )


def _verdicts_text(figures: list[Mapping[str, float]]) -> str:
    return "\n".join(
        f"A verdict over {entry['results']} results of {entry['operators']} operators:"
        f" **{entry['seconds'] * 1000:.0f} ms** in {entry['queries']} queries.\n"
        for entry in figures
    )
