"""The demo's own web server and worker, started and stopped by it and nobody else's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests

from builds.domain.errors import PortalError

_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_PYTHON_BIN = Path(sys.executable).parent


def free_port(wanted: int) -> int:
    """``wanted`` if nothing listens there, else any free port of the loopback interface."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise PortalError("no free port on 127.0.0.1", where="demo", todo="Free a port and try again.")


@contextmanager
def web_server(base: Path, log: Path, port: int, notice: str) -> Iterator[str]:
    """Serve the portal on ``port``, with a notice on its pages; yields its address once it answers."""
    command = [str(_PYTHON_BIN / "gunicorn"), "tee_portal.wsgi", "--bind", f"127.0.0.1:{port}"]
    address = f"http://127.0.0.1:{port}/"
    with running(command, base, log, {**os.environ, "TEE_PORTAL_NOTICE": notice}) as process:
        deadline = time.monotonic() + _START_SECONDS
        while not answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise PortalError("the web server did not start", where=str(log), todo="Read that log.")
            time.sleep(0.2)
        yield address


@contextmanager
def worker(base: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Celery worker with one process, and the beat that runs the sweeper; it leaves rebuilding to the operators."""
    command = [
        str(_PYTHON_BIN / "celery"),
        "--app",
        "tee_portal",
        "worker",
        "--beat",
        "--concurrency",
        "1",
        "--loglevel",
        "INFO",
        "--without-gossip",
        "--without-mingle",
    ]
    with running(command, base, log, {**os.environ, "TEE_PORTAL_LOCAL_REBUILDS": "false"}) as process:
        yield process


@contextmanager
def running(
    command: list[str], base: Path, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in ``log``; stopped at the end. ``environment`` None is this process's own."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        # Its own session: Ctrl-C reaches the demo, which then stops its processes in order.
        process = subprocess.Popen(
            command,
            cwd=base,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def listens(port: int) -> bool:
    """Whether anything takes connections there on loopback."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=2).ok
    except requests.RequestException:
        return False
