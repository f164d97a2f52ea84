"""What runs of one clone write down for each other: locks, directories, and that there is one."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.processes import POLL_SECONDS, Refused

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "var" / "run"
LOGS = ROOT / "var" / "log"
MUTEX_SECONDS = 150.0


@contextmanager
def mutex() -> Iterator[None]:
    """One run of the clone at a time starts, adopts or stops what runs share."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    with (RECORDS / "mutex").open("w") as file:
        deadline = time.monotonic() + MUTEX_SECONDS
        while not try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise Refused(f"another run of this clone has been starting for {MUTEX_SECONDS:.0f} seconds; end it")
            time.sleep(POLL_SECONDS)
        yield


def try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_unused(path: Path) -> bool:
    """Whether no run holds the lock at ``path``; true for one that was never taken."""
    if not path.exists():
        return True
    with path.open() as file:
        return try_lock(file.fileno())


def make_directory(record: Path) -> Path:
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


def remove_recorded(record: Path) -> None:
    """Remove a recorded directory, then its record."""
    try:
        directory = Path((record / "directory").read_text(encoding="utf-8"))
    except FileNotFoundError:
        directory = None
    if directory is not None and directory.name.startswith("tee-portal-"):
        shutil.rmtree(directory, ignore_errors=True)
    shutil.rmtree(record, ignore_errors=True)
