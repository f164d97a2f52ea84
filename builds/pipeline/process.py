"""Running foreign programs: bounded in time and output, cancellable, without a shell."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from builds.domain.errors import LimitExceeded, PortalError

_POLL_SECONDS = 0.2
_KEPT_OUTPUT_BYTES = 64 * 1024
_MOST_OUTPUT_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_NOT_FOUND = 127
"""env(1)'s exit code for a command that is not there."""


class ProgramMissing(PortalError):
    """A program the pipeline needs is not installed."""

    code: ClassVar[str] = "program-missing"
    default_todo: ClassVar[str] = "Install it on the worker; the README lists what a worker needs."


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished program: its exit code and the first 64 KiB of each stream, undecodable bytes replaced."""

    exit_code: int
    stdout: str
    stderr: str


def run(
    command: Sequence[str],
    *,
    check: Callable[[], None],
    timeout: float,
    overrides: Mapping[str, str],
    cwd: Path | None = None,
) -> Finished:
    """Run ``command`` to its end, calling ``check`` five times a second; killed when that raises.

    The child inherits this process's environment with ``overrides`` on top, set by env(1), so that
    nothing here reads the environment. Raises ``LimitExceeded`` after ``timeout`` seconds or 64 MiB of
    output, and ``ProgramMissing`` when there is no such program.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        watch = _Watch(command[0], check, timeout, (out, err))
        with _started(command, overrides, cwd, out, err) as process:
            exit_code = _wait(process, watch)
        return _finished(command[0], exit_code, _head(out), _head(err))


def run_reading(
    command: Sequence[str],
    take: Callable[[bytes], None],
    *,
    check: Callable[[], None],
    timeout: float,
    overrides: Mapping[str, str],
    cwd: Path | None = None,
) -> Finished:
    """As ``run``, but ``take`` gets the output as it comes, however much there is; killed when that raises."""
    with tempfile.TemporaryFile() as err:
        watch = _Watch(command[0], check, timeout, (err,))
        with _started(command, overrides, cwd, subprocess.PIPE, err) as process, _output(process) as out:
            ready = select.poll()
            ready.register(out, select.POLLIN)
            while True:
                if not ready.poll(_POLL_SECONDS * 1000):
                    watch.look()
                    continue
                piece = os.read(out.fileno(), _PIECE_BYTES)
                if not piece:
                    break
                take(piece)
                watch.look_now_and_then()
            exit_code = _wait(process, watch)
        return _finished(command[0], exit_code, "", _head(err))


class _Watch:
    """What a running program is held against, five times a second."""

    def __init__(self, name: str, check: Callable[[], None], timeout: float, written: Sequence[IO[bytes]]) -> None:
        self._name = name
        self._check = check
        self._timeout = timeout
        self._written = written
        self._deadline = time.monotonic() + timeout
        self._next = time.monotonic() + _POLL_SECONDS

    def look(self) -> None:
        self._check()
        if time.monotonic() > self._deadline:
            raise LimitExceeded(f"{self._name} ran longer than {self._timeout:.0f} seconds", where=self._name)
        # Only its beginning is kept, but all of it lies on the disk until the program ends.
        if any(os.fstat(file.fileno()).st_size > _MOST_OUTPUT_BYTES for file in self._written):
            raise LimitExceeded(f"{self._name} wrote more than {_MOST_OUTPUT_BYTES} bytes", where=self._name)

    def look_now_and_then(self) -> None:
        if time.monotonic() >= self._next:
            self.look()
            self._next = time.monotonic() + _POLL_SECONDS


@contextmanager
def _started(
    command: Sequence[str], overrides: Mapping[str, str], cwd: Path | None, out: IO[bytes] | int, err: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """The running program; killed when it still runs at the end."""
    with_environment = ["env", *(f"{name}={value}" for name, value in overrides.items()), *command]
    process = subprocess.Popen(with_environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def _output(process: subprocess.Popen[bytes]) -> Iterator[IO[bytes]]:
    if process.stdout is None:
        raise TypeError("the program was started without a pipe")
    with process.stdout as out:
        yield out


def _wait(process: subprocess.Popen[bytes], watch: _Watch) -> int:
    while True:
        try:
            return process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            watch.look()


def _finished(name: str, exit_code: int, stdout: str, stderr: str) -> Finished:
    if exit_code == _NOT_FOUND:
        raise ProgramMissing(f"{name} is not installed", where=name)
    return Finished(exit_code, stdout, stderr)


def _head(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_KEPT_OUTPUT_BYTES).decode("utf-8", "replace")
