"""Redis and PostgreSQL: one each per run."""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.processes import (
    PATH,
    Process,
    Refused,
    await_ready,
    dies_with_us,
    first_answer,
    last_line,
    program_path,
    spawn,
)
from services.records import LOGS, RECORDS, is_unused, make_directory, mutex, remove_recorded


@contextmanager
def own_run() -> Iterator[tuple[Path, Path]]:
    """The record and the directory of this run's own services, which are stopped at the end."""
    with mutex():
        reap_killed_runs()
        record = RECORDS / f"run-{secrets.token_hex(4)}"
        record.mkdir()
        owner = (record / "owner").open("w")
        fcntl.flock(owner, fcntl.LOCK_EX)
        directory = make_directory(record)
    try:
        yield record, directory
    finally:
        _stop_recorded(record)
        owner.close()


def reap_killed_runs() -> None:
    for record in RECORDS.glob("run-*"):
        if is_unused(record / "owner"):
            _stop_recorded(record)


def _stop_recorded(record: Path) -> None:
    for path in record.glob("*.process"):
        process = Process.recorded(path)
        if process is not None:
            # PostgreSQL waits for its clients on SIGTERM; on SIGINT it ends their sessions.
            process.stop(signal.SIGINT if process.name == "postgres" else signal.SIGTERM)
    remove_recorded(record)


def start_redis(record: Path, directory: Path) -> tuple[Process, str]:
    path = directory / "redis.sock"
    log = LOGS / "redis.log"
    command = [
        *dies_with_us(signal.SIGTERM), program_path("redis-server"), "--port", "0", "--unixsocket", str(path),
        "--unixsocketperm", "600", "--save", "", "--appendonly", "no", "--dir", str(directory),
    ]  # fmt: skip
    process = spawn(command, os.environ, log, name="redis-server")
    process.record(record / "redis.process")
    await_ready(process, lambda: first_answer(path, b"PING\r\n").startswith(b"+PONG"), log)
    return process, f"redis+socket://{path}?virtual_host=0"


def start_postgres(record: Path, directory: Path) -> tuple[Process, str]:
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
        program_path("setpriv"), *user, str(binaries / "initdb"), "--pgdata", str(home / "data"),
        "--username", "portal", "--auth", "trust", "--encoding", "UTF8", "--no-sync",
    ]  # fmt: skip
    with log.open("wb") as output:
        made = subprocess.run(initdb, env=environment, cwd=directory, stdout=output, stderr=output, check=False)
    if made.returncode != 0:
        raise Refused(f"initdb failed{last_line(log)}; its log is {log}")
    log = LOGS / "postgres.log"
    command = [
        *dies_with_us(signal.SIGINT), *user, str(binaries / "postgres"), "-D", str(home / "data"),
        "-c", "listen_addresses=", "-c", f"unix_socket_directories={home}", "-c", "fsync=off",
        "-c", "full_page_writes=off", "-c", "synchronous_commit=off",
    ]  # fmt: skip
    process = spawn(command, environment, log, name="postgres")
    process.record(record / "postgres.process")
    ready = [str(binaries / "pg_isready"), "--quiet", "--host", str(home), "--username", "portal"]
    await_ready(
        process, lambda: subprocess.run(ready, env=environment, cwd=directory, check=False).returncode == 0, log
    )
    return process, f"postgresql://portal@/postgres?host={home}"


def _postgres_binaries() -> Path:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return debian[-1].parent if debian else Path(program_path("initdb")).resolve().parent


def _unprivileged_account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Refused("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
