"""Run a command with private services, and stop exactly those afterwards.

    scripts/with-services [--redis] [--docker] [--postgres] -- COMMAND...
    scripts/with-services --stop

A service is started only where none is given: ``REDIS_URL``, ``DOCKER_HOST`` and ``TEST_POSTGRES_URL``
override, and an engine that answers on Docker's usual socket is used as it is. The command gets these
variables; its exit code is returned (128 + n when signal n ended it).

Redis and PostgreSQL belong to one run. The engine belongs to the clone, because its data root does, and
two runs of one clone share it: the last one out stops it. Ownership is held by file locks, which the
kernel drops however a run ends; so the next run can tell what a killed one left behind. A process is
only signalled when its pid, its start time and the boot are the recorded ones.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "var" / "run"
LOGS = ROOT / "var" / "log"
ENGINE_DATA = ROOT / "var" / "docker" / "root"
ENGINE_RECORD = RECORDS / "engine"
USUAL_ENGINE_SOCKET = Path("/var/run/docker.sock")

START_SECONDS = {"redis-server": 15.0, "dockerd": 60.0, "postgres": 30.0}
STOP_SECONDS = {"redis-server": 10.0, "dockerd": 40.0, "postgres": 20.0}
KILLED_SECONDS = 10.0
COMMAND_STOP_SECONDS = 90.0
MUTEX_SECONDS = 150.0
POLL_SECONDS = 0.05

STOPPING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
SI_KERNEL = 0x80
"""``si_code`` of a signal from the terminal: it went to the whole foreground group, the command included."""

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
            _wait_until(lambda: not self.alive(), patience)
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


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
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


def _program(name: str) -> str:
    found = shutil.which(name, path=PATH)
    if found is None:
        raise Refused(f"{name} is not installed; run make setup")
    return found


def _spawn(
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


def _await(process: Process, ready: Callable[[], bool], log: Path) -> None:
    seconds = START_SECONDS[process.name]
    deadline = time.monotonic() + seconds
    while not ready():
        if not process.alive():
            raise Refused(f"{process.name} ended while starting{_last_line(log)}; its log is {log}")
        if time.monotonic() > deadline:
            raise Refused(f"{process.name} did not answer within {seconds:.0f} seconds; its log is {log}")
        _pause()


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({last[:300]})" if last else ""


def _answer(path: Path, request: bytes) -> bytes:
    """The first bytes that the server at a Unix socket answers; none if there is no such server."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(path))
            client.sendall(request)
            return client.recv(64)
    except OSError:
        return b""


def _engine_answers(path: Path) -> bool:
    return b" 200 " in _answer(path, b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")


@contextmanager
def _mutex() -> Iterator[None]:
    """One run of the clone at a time starts, adopts or stops what runs share."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    with (RECORDS / "mutex").open("w") as file:
        deadline = time.monotonic() + MUTEX_SECONDS
        while not _locked(file.fileno()):
            if time.monotonic() > deadline:
                raise Refused(f"another run of this clone has been starting for {MUTEX_SECONDS:.0f} seconds; end it")
            time.sleep(POLL_SECONDS)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unused(path: Path) -> bool:
    """Whether no run holds the lock at ``path``; true for one that was never taken."""
    if not path.exists():
        return True
    with path.open() as file:
        return _locked(file.fileno())


def _make_directory(record: Path) -> Path:
    """A directory with a short path (a Unix socket's is limited to 107 bytes), recorded before it exists."""
    base = Path("/tmp")  # the name is random, and making it fails if it exists
    if not os.access(base, os.W_OK | os.X_OK):
        base = Path(tempfile.gettempdir())
    directory = base / f"tee-portal-{secrets.token_hex(4)}"
    record.mkdir(parents=True, exist_ok=True)
    (record / "directory").write_text(str(directory), encoding="utf-8")
    directory.mkdir(mode=0o711)
    directory.chmod(0o711)  # an unprivileged PostgreSQL must reach its own part, whatever the umask
    return directory


def _remove(record: Path) -> None:
    """Remove a recorded directory, then its record."""
    try:
        directory = Path((record / "directory").read_text(encoding="utf-8"))
    except FileNotFoundError:
        directory = None
    if directory is not None and directory.name.startswith("tee-portal-"):
        shutil.rmtree(directory, ignore_errors=True)
    shutil.rmtree(record, ignore_errors=True)


# Redis and PostgreSQL: one each per run.


@contextmanager
def _own_run() -> Iterator[tuple[Path, Path]]:
    """The record and the directory of this run's own services, which are stopped at the end."""
    with _mutex():
        _reap_killed_runs()
        record = RECORDS / f"run-{secrets.token_hex(4)}"
        record.mkdir()
        owner = (record / "owner").open("w")
        fcntl.flock(owner, fcntl.LOCK_EX)
        directory = _make_directory(record)
    try:
        yield record, directory
    finally:
        _stop_recorded(record)
        owner.close()


def _reap_killed_runs() -> None:
    for record in RECORDS.glob("run-*"):
        if _unused(record / "owner"):
            _stop_recorded(record)


def _stop_recorded(record: Path) -> None:
    for path in record.glob("*.process"):
        process = Process.recorded(path)
        if process is not None:
            # PostgreSQL waits for its clients on SIGTERM; on SIGINT it ends their sessions.
            process.stop(signal.SIGINT if process.name == "postgres" else signal.SIGTERM)
    _remove(record)


def _start_redis(record: Path, directory: Path) -> tuple[Process, str]:
    path = directory / "redis.sock"
    log = LOGS / "redis.log"
    command = [
        *_dies_with_us(signal.SIGTERM), _program("redis-server"), "--port", "0", "--unixsocket", str(path),
        "--unixsocketperm", "600", "--save", "", "--appendonly", "no", "--dir", str(directory),
    ]  # fmt: skip
    process = _spawn(command, os.environ, log, name="redis-server")
    process.record(record / "redis.process")
    _await(process, lambda: _answer(path, b"PING\r\n").startswith(b"+PONG"), log)
    return process, f"redis+socket://{path}?virtual_host=0"


def _start_postgres(record: Path, directory: Path) -> tuple[Process, str]:
    binaries = _postgres_binaries()
    home = directory / "postgres"
    home.mkdir(mode=0o700)
    user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        account = _unprivileged_account()
        os.chown(home, account.pw_uid, account.pw_gid)
        user = ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
    # Nothing of the caller's may steer it: PGDATA, PGPORT, a HOME that the account cannot read.
    environment = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": str(home)}
    log = LOGS / "initdb.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    initdb = [
        _program("setpriv"), *user, str(binaries / "initdb"), "--pgdata", str(home / "data"), "--username", "portal",
        "--auth", "trust", "--encoding", "UTF8", "--no-sync",
    ]  # fmt: skip
    with log.open("wb") as output:
        made = subprocess.run(initdb, env=environment, cwd=directory, stdout=output, stderr=output, check=False)
    if made.returncode != 0:
        raise Refused(f"initdb failed{_last_line(log)}; its log is {log}")
    log = LOGS / "postgres.log"
    command = [
        *_dies_with_us(signal.SIGINT), *user, str(binaries / "postgres"), "-D", str(home / "data"),
        "-c", "listen_addresses=", "-c", f"unix_socket_directories={home}", "-c", "fsync=off",
        "-c", "full_page_writes=off", "-c", "synchronous_commit=off",
    ]  # fmt: skip
    process = _spawn(command, environment, log, name="postgres")
    process.record(record / "postgres.process")
    ready = [str(binaries / "pg_isready"), "--quiet", "--host", str(home), "--username", "portal"]
    _await(process, lambda: subprocess.run(ready, env=environment, cwd=directory, check=False).returncode == 0, log)
    return process, f"postgresql://portal@/postgres?host={home}"


def _postgres_binaries() -> Path:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return debian[-1].parent if debian else Path(_program("initdb")).resolve().parent


def _unprivileged_account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Refused("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def _dies_with_us(number: signal.Signals) -> list[str]:
    """Have the kernel send a signal should this process be killed (prctl(2), PR_SET_PDEATHSIG)."""
    return [_program("setpriv"), "--pdeathsig", number.name.removeprefix("SIG")]


# The engine: one per clone.


@contextmanager
def _engine() -> Iterator[tuple[Process | None, str]]:
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
            with _mutex():
                users = _join_engine(stack)
                process, path = _running_engine() or _start_engine(users)
            yield process, f"unix://{path}"


def _join_engine(stack: ExitStack) -> int:
    ENGINE_RECORD.mkdir(parents=True, exist_ok=True)
    users = os.open(RECORDS / "engine-users", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(users, fcntl.LOCK_SH)
    stack.callback(_leave_engine, users)
    return users


def _leave_engine(users: int) -> None:
    """Give up the engine; stop it if no other run of the clone uses it."""
    with _mutex():
        os.close(users)
        if _unused(RECORDS / "engine-users"):
            _stop_engine()


def _running_engine() -> tuple[Process, Path] | None:
    """The clone's engine if another run started it, even one that was killed since."""
    process = Process.recorded(ENGINE_RECORD / "dockerd.process")
    if process is None or not process.alive():
        return None
    path = Path((ENGINE_RECORD / "directory").read_text(encoding="utf-8")) / "docker.sock"
    return (process, path) if _wait_until(lambda: _engine_answers(path), 10) else None


def _start_engine(users: int) -> tuple[Process, Path]:
    alone = _locked(users)
    fcntl.flock(users, fcntl.LOCK_SH)
    if not alone:
        raise Refused(f"the engine that another run of this clone started does not answer; its log is in {LOGS}")
    _stop_engine()  # what a killed engine left: containerd, mounts, a process that no longer answers
    dockerd = _program("dockerd")
    ENGINE_DATA.mkdir(parents=True, exist_ok=True)
    directory = _make_directory(ENGINE_RECORD)
    path = directory / "docker.sock"
    log = LOGS / "dockerd.log"
    command = [
        dockerd, "--data-root", str(ENGINE_DATA), "--exec-root", str(directory / "exec"),
        "--pidfile", str(directory / "docker.pid"), "--host", f"unix://{path}",
        # Builds run without network, so neither bridges nor firewall rules of this machine are touched.
        "--bridge=none", "--iptables=false", "--ip6tables=false",
    ]  # fmt: skip
    try:
        process = _spawn(command, {**os.environ, "PATH": PATH}, log)
        process.record(ENGINE_RECORD / "dockerd.process")
        _await(process, lambda: _engine_answers(path), log)
    except BaseException:
        # Nobody else can have joined: the mutex is held.
        _stop_engine()
        raise
    return process, path


def _stop_engine() -> None:
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
        _wait_until(lambda: not _kill_engine_leftovers(directory), KILLED_SECONDS)
        for mounted in _mounts_below(directory, str(ENGINE_DATA)):
            subprocess.run([_program("umount"), "--lazy", mounted], check=False)
    _remove(ENGINE_RECORD)


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


# The command.


def _supervise(command: Sequence[str], environment: Mapping[str, str], services: Sequence[Process]) -> int:
    """Run the command in the foreground, hand signals on to it, and return its exit code."""
    child = _spawn([*_dies_with_us(signal.SIGTERM), "--", *command], environment, name="command")
    deadline: float | None = None
    while True:
        patience = 3600.0 if deadline is None else max(deadline - time.monotonic(), 0)
        received = signal.sigtimedwait({*STOPPING, signal.SIGCHLD}, patience)
        if received is None:
            if deadline is not None and child.alive():
                _say(f"{command[0]} did not end within {COMMAND_STOP_SECONDS:.0f} seconds and is killed")
                os.kill(child.pid, signal.SIGKILL)
                deadline = None
        elif received.si_signo == signal.SIGCHLD:
            status = _reaped(child, services)
            if status is not None:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        else:
            if received.si_code != SI_KERNEL and child.alive():
                os.kill(child.pid, received.si_signo)
            if received.si_signo != signal.SIGINT and deadline is None:
                deadline = time.monotonic() + COMMAND_STOP_SECONDS


def _reaped(child: Process, services: Sequence[Process]) -> int | None:
    """Collect ended children; the command's wait status once it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child.pid:
            found = status
        for service in services:
            if service.pid == pid:
                _say(f"{service.name} ended while the command ran; its log is in {LOGS}")


def _say(text: str) -> None:
    print(f"with-services: {text}", file=sys.stderr, flush=True)


def _stop_what_was_left() -> None:
    """Stop what killed runs of this clone left; refuse while another run is going on."""
    with _mutex():
        _reap_killed_runs()
        if any(RECORDS.glob("run-*")) or not _unused(RECORDS / "engine-users"):
            raise Refused("another run of this clone is going on; end it first")
        _stop_engine()


def _usage(problem: str) -> NoReturn:
    raise Refused(f"{problem}; usage: with-services [--redis] [--docker] [--postgres] -- COMMAND... | --stop")


def main(arguments: Sequence[str]) -> int:
    """Read the arguments, start what they want, run the command."""
    if list(arguments) == ["--stop"]:
        _stop_what_was_left()
        return 0
    if "--" not in arguments:
        _usage("no -- before a command")
    split = list(arguments).index("--")
    wanted, command = set(arguments[:split]), list(arguments[split + 1 :])
    if unknown := wanted - {"--redis", "--docker", "--postgres"}:
        _usage(f"unknown option {min(unknown)}")
    if not command:
        _usage("no command")
    if shutil.which(command[0]) is None:
        raise Refused(f"there is no program {command[0]}")

    # Blocked, so that they wait for the places that ask for them: no clean-up is ever cut short.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*STOPPING, signal.SIGCHLD})
    environment = dict(os.environ)
    services: list[Process] = []
    with ExitStack() as stack:
        start_redis = "--redis" in wanted and not environment.get("REDIS_URL")
        start_postgres = "--postgres" in wanted and not environment.get("TEST_POSTGRES_URL")
        if start_redis or start_postgres:
            record, directory = stack.enter_context(_own_run())
            if start_redis:
                process, environment["REDIS_URL"] = _start_redis(record, directory)
                services.append(process)
            if start_postgres:
                process, environment["TEST_POSTGRES_URL"] = _start_postgres(record, directory)
                services.append(process)
        if "--docker" in wanted:
            engine, environment["DOCKER_HOST"] = stack.enter_context(_engine())
            services += [engine] if engine is not None else []
        return _supervise(command, environment, services)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refused as refusal:
        _say(str(refusal))
        sys.exit(1)
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.number)
