"""Processes that are started here: told apart from later ones of the same pid, waited for, and stopped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = {"redis-server": 15.0, "dockerd": 60.0, "postgres": 30.0}
STOP_SECONDS = {"redis-server": 10.0, "dockerd": 40.0, "postgres": 20.0}
KILLED_SECONDS = 10.0
POLL_SECONDS = 0.05

STOPPING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
"""Daemons live in directories that a user's PATH may lack."""


class Refused(Exception):
    """What is in the way, as the one line that the user sees."""


class Interrupted(Exception):
    """A signal asked to stop while services were being started."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, slots=True)
class Process:
    """A process that this program started, told apart from a later one with the same pid."""

    name: str
    pid: int
    birth: str

    @classmethod
    def of(cls, name: str, pid: int) -> Process:
        return cls(name, pid, _birth(pid) or "")

    @classmethod
    def recorded(cls, path: Path) -> Process | None:
        try:
            name, pid, birth = path.read_text(encoding="ascii").split(maxsplit=2)
        except (FileNotFoundError, ValueError):  # no record, or one cut short by a crash of the machine
            return None
        return cls(name, int(pid), birth.strip())

    def record(self, path: Path) -> None:
        path.write_text(f"{self.name} {self.pid} {self.birth}\n", encoding="ascii")

    def alive(self) -> bool:
        return bool(self.birth) and _birth(self.pid) == self.birth

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask to end, wait a bounded time, then kill."""
        for attempt, patience in ((number, STOP_SECONDS[self.name]), (signal.SIGKILL, KILLED_SECONDS)):
            if not self.alive():
                break
            os.kill(self.pid, attempt)
            wait_until(lambda: not self.alive(), patience)
        _collect(self.pid)


def _birth(pid: int) -> str | None:
    """Boot and start time of a running process; none for one that is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _collect(pid: int) -> None:
    """Leave no zombie to an init that may not reap; an earlier run's process is not our child."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _pause() -> None:
    """Wait a moment of start-up, and end the start-up when a signal asks for it."""
    received = signal.sigtimedwait(STOPPING, POLL_SECONDS)
    if received is not None:
        raise Interrupted(received.si_signo)


def program_path(name: str) -> str:
    found = shutil.which(name, path=PATH)
    if found is None:
        raise Refused(f"{name} is not installed; run make setup")
    return found


def spawn(
    command: Sequence[str], environment: Mapping[str, str], log: Path | None = None, *, name: str | None = None
) -> Process:
    """Start a process with the signal state of a shell's child; with a ``log`` as a daemon of its own session."""
    actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = []
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
    pid = os.posix_spawn(
        command[0], list(command), environment,
        file_actions=actions, setsid=log is not None, setsigmask=(), setsigdef=(*STOPPING, signal.SIGPIPE),
    )  # fmt: skip
    return Process.of(name or Path(command[0]).name, pid)


def await_ready(process: Process, ready: Callable[[], bool], log: Path) -> None:
    seconds = START_SECONDS[process.name]
    deadline = time.monotonic() + seconds
    while not ready():
        if not process.alive():
            raise Refused(f"{process.name} ended while starting{last_line(log)}; its log is {log}")
        if time.monotonic() > deadline:
            raise Refused(f"{process.name} did not answer within {seconds:.0f} seconds; its log is {log}")
        _pause()


def last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({last[:300]})" if last else ""


def first_answer(path: Path, request: bytes) -> bytes:
    """The first bytes that the server at a Unix socket answers; none if there is no such server."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(path))
            client.sendall(request)
            return client.recv(64)
    except OSError:
        return b""


def dies_with_us(number: signal.Signals) -> list[str]:
    """Have the kernel send a signal should this process be killed (prctl(2), PR_SET_PDEATHSIG)."""
    return [program_path("setpriv"), "--pdeathsig", number.name.removeprefix("SIG")]
