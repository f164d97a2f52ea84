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

import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import NoReturn

from services.engine import an_engine, stop_engine
from services.processes import STOPPING, Interrupted, Process, Refused, dies_with_us, spawn
from services.records import LOGS, RECORDS, is_unused, mutex
from services.servers import own_run, reap_killed_runs, start_postgres, start_redis

COMMAND_STOP_SECONDS = 90.0
SI_KERNEL = 0x80
"""``si_code`` of a signal from the terminal: it went to the whole foreground group, the command included."""


def _supervise(command: Sequence[str], environment: Mapping[str, str], services: Sequence[Process]) -> int:
    """Run the command in the foreground, hand signals on to it, and return its exit code."""
    child = spawn([*dies_with_us(signal.SIGTERM), "--", *command], environment, name="command")
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
    with mutex():
        reap_killed_runs()
        if any(RECORDS.glob("run-*")) or not is_unused(RECORDS / "engine-users"):
            raise Refused("another run of this clone is going on; end it first")
        stop_engine()


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
        wants_redis = "--redis" in wanted and not environment.get("REDIS_URL")
        wants_postgres = "--postgres" in wanted and not environment.get("TEST_POSTGRES_URL")
        if wants_redis or wants_postgres:
            record, directory = stack.enter_context(own_run())
            if wants_redis:
                process, environment["REDIS_URL"] = start_redis(record, directory)
                services.append(process)
            if wants_postgres:
                process, environment["TEST_POSTGRES_URL"] = start_postgres(record, directory)
                services.append(process)
        if "--docker" in wanted:
            engine, environment["DOCKER_HOST"] = stack.enter_context(an_engine())
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
