"""A PostgreSQL server and a Docker engine of a test's own, which it may stop, kill and start again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from builds.pipeline.engine import DockerEngine
from builds.pipeline.engine_types import EngineUnreachable
from tests.support.portal import wait_for

_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


@dataclass
class Server:
    """One daemon; ``stop`` and ``start`` as an administrator would."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    stop_signal: signal.Signals
    is_ready: Callable[[], bool]
    running: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.running = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd="/", start_new_session=True,
            )  # fmt: skip
        wait_for(self.command[0], self.is_ready)

    def stop(self) -> None:
        if self.running is not None and self.running.poll() is None:
            self.running.send_signal(self.stop_signal)
            self.running.wait(60)


@contextmanager
def own_postgres() -> Iterator[tuple[Server, str]]:
    """A server on a Unix socket, and the URL of its database."""
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parts[-2]))
    home = Path(tempfile.mkdtemp(prefix="tee-portal-pg-"))
    user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        account = pwd.getpwnam("postgres")
        os.chown(home, account.pw_uid, account.pw_gid)
        ids = ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
        user = [shutil.which("setpriv", path=_PATH) or "setpriv", *ids]
    environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": str(home)}
    made = [*user, str(binaries / "initdb"), "--pgdata", str(home / "data"), "--username", "portal"]
    options = ["--auth", "trust", "--encoding", "UTF8", "--no-sync"]
    subprocess.run([*made, *options], env=environment, cwd="/", check=True, capture_output=True)
    quick = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={home}", "-c", "fsync=off"]
    command = [*user, str(binaries / "postgres"), "-D", str(home / "data"), *quick]
    ready = [str(binaries / "pg_isready"), "--quiet", "--host", str(home), "--username", "portal"]

    def is_ready() -> bool:
        return subprocess.run(ready, env=environment, check=False).returncode == 0

    server = Server(command, environment, home.with_suffix(".log"), signal.SIGINT, is_ready)
    server.start()
    try:
        yield server, f"postgresql://portal@/postgres?host={home}"
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
        server.log.unlink()


@contextmanager
def own_engine() -> Iterator[tuple[Server, str]]:
    """An engine without bridge and firewall rules, and its address; its data is removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="tee-portal-engine-"))
    socket = home / "docker.sock"
    places = ["--data-root", str(home / "root"), "--exec-root", str(home / "exec"), "--pidfile", str(home / "pid")]
    network = ["--host", f"unix://{socket}", "--bridge=none", "--iptables=false", "--ip6tables=false"]
    command = [shutil.which("dockerd", path=_PATH) or "dockerd", *places, *network]
    environment = {**os.environ, "PATH": _PATH}
    server = Server(command, environment, home / "log", signal.SIGTERM, lambda: _answers(f"unix://{socket}"))
    server.start()
    try:
        yield server, f"unix://{socket}"
    finally:
        server.stop()
        time.sleep(0.5)
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if line.split()[4].startswith(f"{home}/"):
                subprocess.run(["umount", "--lazy", line.split()[4]], check=False)
        shutil.rmtree(home, ignore_errors=True)


def _answers(address: str) -> bool:
    try:
        DockerEngine(address).close()
    except EngineUnreachable:
        return False
    return True
