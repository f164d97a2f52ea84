"""rebuilderd, which orchestrates rebuilds as the portal does, run beside it with builds as small as ours.

Debian's own build in its standard settings: a daemon on SQLite and workers, each a process, whose backend copies
the one file that a package consists of. It is asked through its HTTP API, in the shapes of ``/api/v1``.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen
from typing import Annotated

import requests
from pydantic import AfterValidator, BaseModel, ValidationError

from builds.bench.debian_peers import PeerMissing, Programs, never, unpacked
from builds.bench.rebuilder_store import CONTENT
from builds.bench.timing import until
from builds.demo import processes
from builds.domain.frozen import first_problem
from builds.pipeline.process import run

_SUITE = "sid"
# Both programs and what they load; not sbuild and the like, which only real builds need.
_PACKAGES = ("rebuilderd", "rebuilderd-worker", "libc6", "libgcc-s1", "libsqlite3-0", "libzstd1")
_DAEMON = "usr/bin/rebuilderd"
_WORKER = "usr/bin/rebuilderd-worker"
# What was downloaded is not copied: the worker does not wait for its last bytes to be written, and one job in fifty
# on a busy machine would copy too few.
_BACKEND = """\
#!/bin/sh
exec cp {made} "$REBUILDERD_OUTDIR/"
"""
_FILE = "kernel"
_SOURCE = "source"
_SIGNUP = "of-this-run"
"""A worker registers itself only when it was given one."""
_START_SECONDS = 30.0
_REQUEST_SECONDS = 10.0
_RECORDS = 1000
"""The longest page its API gives."""
LOST_SECONDS = 900.0
"""How long a killed worker's job is waited for."""

# Its moments are UTC and do not say so.
type _Moment = Annotated[datetime, AfterValidator(lambda moment: moment.replace(tzinfo=UTC))]


class _Build(BaseModel):
    id: int
    name: str
    status: str
    started_at: _Moment
    built_at: _Moment


class _Builds(BaseModel):
    total: int
    records: list[_Build]


class _Queued(BaseModel):
    started_at: _Moment | None


class _Queue(BaseModel):
    records: list[_Queued]


def version(programs: Programs) -> str:
    """As the daemon tells it, ``rebuilderd 0.28.0``; ``PeerMissing`` when it does not run here."""
    done = run(programs.command(_DAEMON, "--version"), check=never, timeout=_START_SECONDS, overrides={})
    if done.exit_code != 0:
        raise PeerMissing(f"it does not run here: {done.stderr.strip()[-200:]}", where="rebuilderd")
    return done.stdout.strip()


def programs(cache: Path) -> Programs:
    """Debian's, kept in ``cache``; ``PeerMissing`` when the archive does not give them."""
    return Programs(unpacked(_SUITE, _PACKAGES, cache / "rebuilderd"))


@dataclass(frozen=True, slots=True)
class Daemon:
    """One that runs: ``work`` holds its and its workers' files; packages are fetched from the port ``files``."""

    programs: Programs
    work: Path
    port: int
    files: int

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"

    def address(self, file: str) -> str:
        return f"http://127.0.0.1:{self.files}/{file}"

    def queue(self, names: Collection[str]) -> None:
        """Register a package for each name; each is queued at once."""
        packages = [self._package(name) for name in names]
        origin = {"distribution": "debian", "release": "sid", "component": "main", "architecture": "amd64"}
        try:
            cookie = (self.work / "cookie").read_text(encoding="ascii").strip()
        except OSError as error:
            raise PeerMissing(f"it wrote no cookie: {error.strerror}", where="rebuilderd") from error
        self._ask("POST", "packages", {**origin, "packages": packages}, {"X-Auth-Cookie": cookie})

    def _package(self, name: str) -> dict[str, object]:
        # An address of its own each: packages with one address are one build to rebuilderd.
        made = {"name": name, "version": "1", "architecture": "amd64", "url": f"{self.address(_FILE)}?{name}"}
        return {"name": name, "version": "1", "url": f"{self.address(_SOURCE)}?{name}", "artifacts": [made]}

    def held(self) -> bool:
        """Whether a worker has a job and has not handed it in."""
        return any(record.started_at is not None for record in self._read(_Queue, "queue").records)

    def builds(self, names: Collection[str]) -> list[_Build]:
        """The finished ones among ``names``; ``PeerMissing`` if one was not reproduced: failures cost other times."""
        builds = [build for build in self._read(_Builds, "builds").records if build.name in names]
        for build in builds:
            if build.status != "GOOD":
                raise PeerMissing(f"its build of {build.name} ended {build.status}", where="rebuilderd")
        return builds

    def total(self) -> int:
        """How many builds it holds."""
        return self._read(_Builds, "builds").total

    def finished(self, names: Collection[str]) -> list[_Build]:
        """As many builds as there are names, once there are."""
        until(
            f"rebuilderd to end {len(names)} jobs",
            lambda: len({build.id for build in self.builds(names)}) == len(names),
            pause=0.2,
        )
        return self.builds(names)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The packages' files can be fetched."""
        folder = self.work / "files"
        command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(self.files)]
        with processes.running(command, folder, self.work / "files.log"):
            until(
                "the packages' files",
                lambda: processes.answers(self.address(_FILE)),
                pause=0.05,
                seconds=_START_SECONDS,
            )
            yield

    @contextmanager
    def worker(self, name: str) -> Iterator[Popen[bytes]]:
        """A worker of its own key. One that finds nothing to do sleeps for minutes, so queue before it starts."""
        folder = self.work / name
        folder.mkdir()
        _write_lines(
            folder / "worker.conf",
            f'endpoint = "http://127.0.0.1:{self.port}"',
            f'signup_secret = "{_SIGNUP}"',
            '[backend."debian"]',
            f'path = "{self.work / "copy"}"',
        )
        command = self.programs.command(_WORKER, "--config", "worker.conf", "connect")
        with processes.running(command, folder, self.work / f"{name}.log", _environment(self.work)) as running:
            yield running

    def _read[Shape: BaseModel](self, shape: type[Shape], what: str) -> Shape:
        try:
            return shape.model_validate_json(self._ask("GET", f"{what}?limit={_RECORDS}"))
        except ValidationError as error:
            raise PeerMissing(f"its answer is of another shape: {first_problem(error)}", where=what) from error

    def _ask(self, method: str, what: str, json: object = None, headers: dict[str, str] | None = None) -> bytes:
        try:
            answer = requests.request(
                method, f"{self.api}/{what}", json=json, headers=headers, timeout=_REQUEST_SECONDS
            )
            answer.raise_for_status()
        except requests.RequestException as error:
            raise PeerMissing(f"its API does not answer: {error}"[:300], where=what) from error
        return answer.content


@contextmanager
def daemon(programs: Programs, work: Path) -> Iterator[Daemon]:
    """rebuilderd with an empty database in ``work``, listening on loopback; stopped at the end."""
    (work / "files").mkdir(parents=True)
    (work / "tmp").mkdir()
    for name in (_FILE, _SOURCE):
        (work / "files" / name).write_bytes(CONTENT)
    (work / "copy").write_text(_BACKEND.format(made=shlex.quote(str(work / "files" / _FILE))), encoding="utf-8")
    (work / "copy").chmod(0o755)
    started = Daemon(programs, work, processes.free_port(0), processes.free_port(0))
    _write_lines(
        work / "daemon.conf",
        "[http]",
        f'bind_addr = "127.0.0.1:{started.port}"',
        "[worker]",
        f'signup_secret = "{_SIGNUP}"',
    )
    with again(started):
        yield started


@contextmanager
def again(stopped: Daemon) -> Iterator[None]:
    """The daemon runs, on the database that it has."""
    command = stopped.programs.command(_DAEMON, "--config", "daemon.conf")
    with processes.running(command, stopped.work, stopped.work / "daemon.log", _environment(stopped.work)):
        queue = f"{stopped.api}/queue"
        until("rebuilderd to answer", lambda: processes.answers(queue), pause=0.05, seconds=_START_SECONDS)
        yield


def _environment(work: Path) -> dict[str, str]:
    # Nothing of this process's: no proxy stands before loopback, and no home's settings count.
    places = {"HOME": work, "TMPDIR": work / "tmp", "REBUILDERD_COOKIE_PATH": work / "cookie"}
    return {"PATH": os.defpath, **{name: str(place) for name, place in places.items()}}


def _write_lines(target: Path, *lines: str) -> None:
    target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one worker: jobs a minute from first start to last end; seconds from queued to verdict, a job at a time."""

    jobs_a_minute: float
    latencies: list[float]


def measure(programs: Programs, work: Path, *, jobs: int = 20, singles: int = 8) -> Figures:
    """Every figure is of jobs that were reproduced. About three seconds a job; raises ``PeerMissing``."""
    with daemon(programs, work) as peer, peer.serving():
        peer.queue(["first"])
        with peer.worker("worker"):
            peer.finished(["first"])
            latencies = [_latency(peer, f"single-{number}") for number in range(singles)]
            names = [f"job-{number}" for number in range(jobs)]
            peer.queue(names)
            builds = peer.finished(names)
    spent = max(build.built_at for build in builds) - min(build.started_at for build in builds)
    return Figures(jobs / spent.total_seconds() * 60, latencies)


def _latency(peer: Daemon, name: str) -> float:
    queued = time.time()
    peer.queue([name])
    (build,) = peer.finished([name])
    return build.built_at.timestamp() - queued


@contextmanager
def lost_job(programs: Programs, work: Path) -> Iterator[Callable[[], float | None]]:
    """A job whose worker was killed, and another worker that asks for it meanwhile.

    Call what is yielded for the seconds from the kill to the other's claim; it waits, and says None after
    ``LOST_SECONDS``. The job must then be reproduced, else ``PeerMissing``.
    """
    with daemon(programs, work) as peer, ExitStack() as stack:
        # A server that accepts and never answers: its job cannot end before the worker is killed.
        with socket.create_server(("127.0.0.1", peer.files)):
            peer.queue(["lost"])
            with peer.worker("killed") as worker:
                until("rebuilderd's worker to have a job", peer.held, pause=0.05, seconds=_START_SECONDS)
                worker.kill()
                worker.wait()
                killed = time.time()
        stack.enter_context(peer.serving())
        stack.enter_context(peer.worker("other"))

        def seconds() -> float | None:
            while not (builds := peer.builds(["lost"])):
                if time.time() > killed + LOST_SECONDS:
                    return None
                time.sleep(1.0)
            return builds[0].started_at.timestamp() - killed

        yield seconds
