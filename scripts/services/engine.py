"""The Docker engine: one per clone, shared by its runs."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from services.processes import (
    KILLED_SECONDS,
    PATH,
    Process,
    Refused,
    await_ready,
    first_answer,
    program_path,
    spawn,
    wait_until,
)
from services.records import LOGS, RECORDS, ROOT, is_unused, make_directory, mutex, remove_recorded, try_lock

ENGINE_DATA = ROOT / "var" / "docker" / "root"
ENGINE_RECORD = RECORDS / "engine"
USUAL_ENGINE_SOCKET = Path("/var/run/docker.sock")


@contextmanager
def an_engine() -> Iterator[tuple[Process | None, str]]:
    """An address of a Docker engine: the given one, the usual one, or the clone's own (then with its process)."""
    given = os.environ.get("DOCKER_HOST")
    if given:
        parts = urlsplit(given)
        if parts.scheme == "unix" and not _engine_answers(Path(parts.path)):
            raise Refused(f"no Docker engine answers at DOCKER_HOST={given}; start it, or unset DOCKER_HOST")
        yield None, given
    elif _engine_answers(USUAL_ENGINE_SOCKET):
        yield None, f"unix://{USUAL_ENGINE_SOCKET}"
    else:
        if os.geteuid() != 0:
            raise Refused(
                f"no Docker engine answers this user at {USUAL_ENGINE_SOCKET}, and starting one needs root;"
                " join its group or set DOCKER_HOST"
            )
        with ExitStack() as stack:
            with mutex():
                users = _join_engine(stack)
                process, path = _running_engine() or _start_engine(users)
            yield process, f"unix://{path}"


def _engine_answers(path: Path) -> bool:
    return b" 200 " in first_answer(path, b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")


def _join_engine(stack: ExitStack) -> int:
    ENGINE_RECORD.mkdir(parents=True, exist_ok=True)
    users = os.open(RECORDS / "engine-users", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(users, fcntl.LOCK_SH)
    stack.callback(_leave_engine, users)
    return users


def _leave_engine(users: int) -> None:
    """Give up the engine; stop it if no other run of the clone uses it."""
    with mutex():
        os.close(users)
        if is_unused(RECORDS / "engine-users"):
            stop_engine()


def _running_engine() -> tuple[Process, Path] | None:
    """The clone's engine if another run started it, even one that was killed since."""
    process = Process.recorded(ENGINE_RECORD / "dockerd.process")
    if process is None or not process.alive():
        return None
    path = Path((ENGINE_RECORD / "directory").read_text(encoding="utf-8")) / "docker.sock"
    return (process, path) if wait_until(lambda: _engine_answers(path), 10) else None


def _start_engine(users: int) -> tuple[Process, Path]:
    alone = try_lock(users)
    fcntl.flock(users, fcntl.LOCK_SH)
    if not alone:
        raise Refused(f"the engine that another run of this clone started does not answer; its log is in {LOGS}")
    stop_engine()  # what a killed engine left: containerd, mounts, a process that no longer answers
    dockerd = program_path("dockerd")
    ENGINE_DATA.mkdir(parents=True, exist_ok=True)
    directory = make_directory(ENGINE_RECORD)
    path = directory / "docker.sock"
    log = LOGS / "dockerd.log"
    command = [
        dockerd, "--data-root", str(ENGINE_DATA), "--exec-root", str(directory / "exec"),
        "--pidfile", str(directory / "docker.pid"), "--host", f"unix://{path}",
        # Builds run without network, so neither bridges nor firewall rules of this machine are touched.
        "--bridge=none", "--iptables=false", "--ip6tables=false",
    ]  # fmt: skip
    try:
        process = spawn(command, {**os.environ, "PATH": PATH}, log)
        process.record(ENGINE_RECORD / "dockerd.process")
        await_ready(process, lambda: _engine_answers(path), log)
    except BaseException:
        # Nobody else can have joined: the mutex is held.
        stop_engine()
        raise
    return process, path


def stop_engine() -> None:
    """Stop the clone's engine with all that belongs to it; does nothing where there is none."""
    process = Process.recorded(ENGINE_RECORD / "dockerd.process")
    if process is not None:
        process.stop()
    try:
        directory = (ENGINE_RECORD / "directory").read_text(encoding="utf-8")
    except FileNotFoundError:
        directory = ""
    if directory:
        # After an orderly end there are none of these.
        wait_until(lambda: not _kill_engine_leftovers(directory), KILLED_SECONDS)
        for mounted in _mounts_below(directory, str(ENGINE_DATA)):
            subprocess.run([program_path("umount"), "--lazy", mounted], check=False)
    remove_recorded(ENGINE_RECORD)


def _kill_engine_leftovers(directory: str) -> list[int]:
    """Kill containerd, its shims and containers of an engine that is gone; what was still there."""
    containers = ENGINE_DATA / "containers"
    ids = [path.name for path in containers.iterdir()] if containers.is_dir() else []
    processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found = [int(entry.name) for entry in processes if _belongs_to_engine(entry, directory, ids)]
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return found


def _belongs_to_engine(entry: Path, directory: str, containers: Sequence[str]) -> bool:
    """Tell by the directory, whose name is random, or by a container's id in the control group."""
    try:
        arguments = (entry / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
        groups = (entry / "cgroup").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    if not arguments[0]:  # a zombie, or a thread of the kernel
        return False
    daemon = Path(arguments[0]).name.startswith(("dockerd", "containerd"))
    return (daemon and any(f"{directory}/" in argument for argument in arguments)) or any(
        container in groups for container in containers
    )


def _mounts_below(*directories: str) -> list[str]:
    """Mount points inside the directories, innermost first (proc(5), mountinfo, field 5)."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        point = line.split()[4].encode("ascii", "backslashreplace").decode("unicode_escape")
        if any(point == directory or point.startswith(f"{directory}/") for directory in directories):
            found.append(point)
    return sorted(found, key=len, reverse=True)
