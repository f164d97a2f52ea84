"""scripts/with-services against real processes, in a clone of its own with a deep path."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PATIENCE = 60.0


class Clone:
    """A directory with the scripts, and the runs that a test started there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "scripts").mkdir(parents=True)
        (root / ".venv/bin").mkdir(parents=True)
        (root / ".venv/bin/python").symlink_to(sys.executable)
        for name in ("with-services", "with_services.py"):
            shutil.copy(SCRIPTS / name, root / "scripts")
        shutil.copytree(SCRIPTS / "services", root / "scripts/services", ignore=shutil.ignore_patterns("__pycache__"))
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in {"REDIS_URL", "DOCKER_HOST", "TEST_POSTGRES_URL", "DATABASE_URL"}
        }
        self._runs: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        run = subprocess.Popen(
            [str(self.root / "scripts/with-services"), *arguments],
            env=self.environment | environment,
            cwd="/",
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._runs.append(run)
        return run

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        run = self.start(*arguments, **environment)
        output, errors = run.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(arguments, run.returncode, output, errors)

    def processes(self) -> list[tuple[str, int]]:
        """Name and pid of every recorded process."""
        records = sorted((self.root / "var/run").glob("*/*.process"))
        return [(name, int(pid)) for name, pid, _ in (record.read_text().split(maxsplit=2) for record in records)]

    def directories(self) -> list[Path]:
        return [Path(record.read_text()) for record in sorted((self.root / "var/run").glob("*/directory"))]

    def close(self) -> None:
        for run in self._runs:
            if run.poll() is None:
                run.send_signal(signal.SIGTERM)
            run.communicate(timeout=PATIENCE)
        self.run("--stop")


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    with closing(Clone(tmp_path / "a clone" / ("deep" * 20))) as made:
        yield made


def running(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def says(run: subprocess.Popen[str]) -> str:
    assert run.stdout is not None
    return run.stdout.readline().rstrip("\n")


def engine_pings(address: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(address.removeprefix("unix://"))
            client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in client.recv(64)
    except OSError:
        return False


def waits(variable: str) -> list[str]:
    """A command that prints a variable and ends on SIGTERM with 5, on SIGINT with 6."""
    script = f'trap "exit 5" TERM; trap "exit 6" INT; echo "${variable}"; while :; do sleep 0.05; done'
    return ["--", "bash", "-c", script]


# The command.


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_commands_exit_code_is_returned(clone: Clone, code: int) -> None:
    assert clone.run("--", "sh", "-c", f"exit {code}").returncode == code


def test_a_command_ended_by_a_signal_gives_128_and_its_number(clone: Clone) -> None:
    assert clone.run("--", "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL


def test_arguments_reach_the_command_unchanged(clone: Clone) -> None:
    assert clone.run("--", "printf", "<%s>", "a b", "--", "$HOME", "").stdout == "<a b><--><$HOME><>"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--redis"], "no -- before a command"),
        (["--redis", "--"], "no command"),
        (["--mysql", "--", "true"], "unknown option --mysql"),
        (["--", "no-such-program"], "there is no program no-such-program"),
    ],
)
def test_a_wrong_call_gets_one_line(clone: Clone, arguments: list[str], sentence: str) -> None:
    refused = clone.run(*arguments)

    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 5), (signal.SIGINT, 6)])
def test_a_signal_reaches_the_command_and_services_stop(clone: Clone, number: signal.Signals, code: int) -> None:
    run = clone.start("--redis", *waits("REDIS_URL"))
    says(run)
    [(_, redis)] = clone.processes()
    [directory] = clone.directories()

    run.send_signal(number)

    assert run.wait(PATIENCE) == code
    assert not running(redis)
    assert not directory.exists()
    assert clone.processes() == []


def test_ctrl_c_reaches_the_command_once(clone: Clone) -> None:
    """The terminal signals the whole foreground group; handing it on as well would make it two."""
    counting = "n=0; trap 'n=$((n+1))' INT; echo ready; for _ in $(seq 20); do sleep 0.05; done; echo count=$n"
    pid, terminal = pty.fork()
    if pid == 0:
        program = str(clone.root / "scripts/with-services")
        os.execve(program, [program, "--redis", "--", "bash", "-c", counting], clone.environment)
    output = b""
    interrupted = False
    while b"count=" not in output or not output.endswith(b"\n"):
        output += os.read(terminal, 1024)
        if b"ready" in output and not interrupted:
            interrupted = True
            os.write(terminal, b"\x03")
    os.waitpid(pid, 0)
    os.close(terminal)

    assert b"count=1" in output


# Redis.


def test_redis_answers_the_command_and_is_gone_afterwards(clone: Clone) -> None:
    ask = (
        "import os, redis; path = os.environ['REDIS_URL'].removeprefix('redis+socket://').partition('?')[0];"
        "client = redis.Redis(unix_socket_path=path); print(client.ping(), client.config_get('port')['port'], path)"
    )
    done = clone.run("--redis", "--", sys.executable, "-c", ask)
    pong, port, path = done.stdout.split()

    assert (pong, port) == ("True", "0")
    assert len(path) < 100
    assert not Path(path).parent.exists()


def test_a_given_redis_is_used_and_none_started(clone: Clone) -> None:
    done = clone.run("--redis", "--", "sh", "-c", "echo $REDIS_URL; ls var/run 2>&1", REDIS_URL="redis://given/0")

    assert done.stdout.splitlines()[0] == "redis://given/0"
    assert not list((clone.root / "var/run").glob("run-*"))


def test_two_clones_do_not_collide(clone: Clone, tmp_path: Path) -> None:
    with closing(Clone(tmp_path / "other")) as other:
        first, second = clone.start("--redis", *waits("REDIS_URL")), other.start("--redis", *waits("REDIS_URL"))
        assert says(first) != says(second)
        [(_, redis)] = clone.processes()

        second.send_signal(signal.SIGTERM)

        assert second.wait(PATIENCE) == 5
        assert running(redis)


def test_a_killed_run_leaves_nothing_to_the_next(clone: Clone) -> None:
    run = clone.start("--redis", *waits("REDIS_URL"))
    says(run)
    [(_, redis)] = clone.processes()
    [directory] = clone.directories()
    run.kill()
    run.wait(PATIENCE)

    assert eventually(lambda: not running(redis))
    assert clone.run("--redis", "--", "true").returncode == 0
    assert not directory.exists()


def test_a_record_of_another_process_is_never_signalled(clone: Clone) -> None:
    """A pid may be given to somebody else after its process ended: the start time tells."""
    with subprocess.Popen(["sleep", "60"]) as bystander:
        record = clone.root / "var/run/run-stale"
        record.mkdir(parents=True)
        (record / "redis.process").write_text(f"redis-server {bystander.pid} some-boot:1\n")

        stopped = clone.run("--stop")

        assert stopped.returncode == 0
        assert bystander.poll() is None
        assert not record.exists()
        bystander.kill()


def test_stop_refuses_while_a_run_goes_on(clone: Clone) -> None:
    run = clone.start("--redis", *waits("REDIS_URL"))
    says(run)

    refused = clone.run("--stop")

    assert refused.returncode == 1
    assert "another run of this clone is going on" in refused.stderr
    assert run.poll() is None


def test_a_missing_program_is_named_in_one_line(clone: Clone, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("setpriv", "sh", "dirname", "true"):
        (tools / name).symlink_to(str(shutil.which(name)))

    refused = clone.run("--redis", "--", "true", PATH=str(tools))

    assert refused.returncode == 1
    assert refused.stderr == "with-services: redis-server is not installed; run make setup\n"
    assert clone.directories() == []


def test_a_service_that_fails_to_start_is_named_with_its_log(clone: Clone, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    broken = tools / "redis-server"
    broken.write_text("#!/bin/sh\necho cannot do it >&2\nexit 1\n")
    broken.chmod(0o755)

    refused = clone.run("--redis", "--", "true", PATH=f"{tools}:{os.environ['PATH']}")

    assert refused.returncode == 1
    assert "redis-server ended while starting (cannot do it); its log is " in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_service_that_dies_under_the_command_is_reported(clone: Clone) -> None:
    kill = f"kill -KILL $(cut -d ' ' -f 2 '{clone.root}'/var/run/*/redis.process); sleep 0.3"
    done = clone.run("--redis", "--", "sh", "-c", kill)

    assert done.returncode == 0
    assert "redis-server ended while the command ran" in done.stderr


# PostgreSQL.


@pytest.mark.slow
@pytest.mark.postgres
def test_postgres_answers_the_command_and_is_gone_afterwards(clone: Clone) -> None:
    ask = (
        "import os, psycopg; connection = psycopg.connect(os.environ['TEST_POSTGRES_URL'], autocommit=True);"
        "connection.execute('CREATE DATABASE made'); connection.close(); print(os.environ['TEST_POSTGRES_URL'])"
    )
    done = clone.run("--postgres", "--", sys.executable, "-c", ask)

    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip().partition("host=")[2]).exists()


# The engine.


@pytest.fixture
def own_engine() -> None:
    if os.geteuid() != 0:
        pytest.skip("starting an engine needs root")
    if engine_pings("/var/run/docker.sock"):
        pytest.skip("this machine's engine answers, so none would be started")


def engine_of(clone: Clone) -> int:
    return next(pid for name, pid in clone.processes() if name == "dockerd")


def leftovers(directory: Path, clone: Clone) -> list[str]:
    """Mounts and processes that an engine would leave behind."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {directory}/" in line]
    mounts += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if clone.root.name in line]
    found = subprocess.run(["pgrep", "-f", f"{directory}/"], capture_output=True, text=True, check=False).stdout.split()
    return mounts + [pid for pid in found if running(int(pid))]


def test_a_given_engine_that_does_not_answer_is_named(clone: Clone) -> None:
    refused = clone.run("--docker", "--", "true", DOCKER_HOST="unix:///nonexistent/docker.sock")

    assert refused.returncode == 1
    assert "no Docker engine answers at DOCKER_HOST=unix:///nonexistent/docker.sock" in refused.stderr


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.usefixtures("own_engine")
def test_two_runs_share_the_clones_engine_and_the_last_one_stops_it(clone: Clone) -> None:
    first = clone.start("--docker", *waits("DOCKER_HOST"))
    address = says(first)
    engine = engine_of(clone)
    [directory] = clone.directories()
    second = clone.start("--docker", *waits("DOCKER_HOST"))
    assert says(second) == address

    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE) == 5
    assert engine_pings(address)
    assert engine_of(clone) == engine

    second.send_signal(signal.SIGTERM)
    assert second.wait(PATIENCE) == 5
    assert not running(engine)
    assert not directory.exists()
    assert leftovers(directory, clone) == []


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.usefixtures("own_engine")
def test_the_engine_of_a_killed_run_is_taken_over_and_stopped(clone: Clone) -> None:
    killed = clone.start("--docker", *waits("DOCKER_HOST"))
    address = says(killed)
    engine = engine_of(clone)
    [directory] = clone.directories()
    killed.kill()
    killed.wait(PATIENCE)

    done = clone.run("--docker", "--", "sh", "-c", "echo $DOCKER_HOST")

    assert done.stdout.strip() == address
    assert not running(engine)
    assert leftovers(directory, clone) == []


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.usefixtures("own_engine")
def test_what_a_killed_engine_leaves_is_cleared_away(clone: Clone) -> None:
    killed = clone.start("--docker", *waits("DOCKER_HOST"))
    address = says(killed)
    [directory] = clone.directories()
    os.kill(engine_of(clone), signal.SIGKILL)
    killed.kill()
    killed.wait(PATIENCE)
    assert leftovers(directory, clone) != []

    done = clone.run("--docker", "--", "sh", "-c", "echo $DOCKER_HOST")

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() not in {"", address}
    assert not directory.exists()
    assert leftovers(directory, clone) == []
