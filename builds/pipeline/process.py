"""Running foreign programs: bounded in time and output, cancellable, without a shell."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from builds.domain.errors import LimitExceeded, PortalError

_POLL_SECONDS = 0.2
_KEPT_OUTPUT_BYTES = 64 * 1024
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
    nothing here reads the environment. Raises ``LimitExceeded`` after ``timeout`` seconds and
    ``ProgramMissing`` when there is no such program.
    """
    with_environment = ["env", *(f"{name}={value}" for name, value in overrides.items()), *command]
    deadline = time.monotonic() + timeout
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(with_environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd)
        try:
            while True:
                try:
                    exit_code = process.wait(_POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    check()
                if time.monotonic() > deadline:
                    raise LimitExceeded(f"{command[0]} ran longer than {timeout:.0f} seconds", where=command[0])
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if exit_code == _NOT_FOUND:
            raise ProgramMissing(f"{command[0]} is not installed", where=command[0])
        return Finished(exit_code, _head(out), _head(err))


def _head(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_KEPT_OUTPUT_BYTES).decode("utf-8", "replace")
