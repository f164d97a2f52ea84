"""scripts/suite: both lanes and the run on PostgreSQL decide, all of it is shown, and a stopped suite stops them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
LANES = ["slow", "sqlite", "postgres"]
PYTEST = """#!/bin/sh
lane=$(basename "$TEE_PORTAL_DATA_DIR")
echo $$ >"$TEE_PORTAL_DATA_DIR/pid"
echo "$lane ran on ${DATABASE_URL:-sqlite} with $*"
[ "$lane" != "$HANGS" ] || exec sleep 300
[ "$lane" != "$FAILS" ]
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    shutil.copy(SCRIPTS / "suite", tmp_path / "scripts")
    python = tmp_path / ".venv/bin/python"
    python.write_text(PYTEST)
    python.chmod(0o755)
    return tmp_path


def start(clone: Path, *arguments: str, fails: str = "", hangs: str = "") -> subprocess.Popen[str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("TEE_PORTAL_", "DATABASE_"))}
    environment = {**known, "TEST_POSTGRES_URL": "postgresql://here", "FAILS": fails, "HANGS": hangs}
    command = ["/bin/bash", str(clone / "scripts/suite"), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("fails", ["", *LANES])
def test_the_suite_fails_when_any_of_its_runs_does_and_shows_every_one(clone: Path, fails: str) -> None:
    running = start(clone, fails=fails)
    output, errors = running.communicate(timeout=60)
    assert errors == ""
    assert running.returncode == (1 if fails else 0)
    where = {"slow": "sqlite", "sqlite": "sqlite", "postgres": "postgresql://here"}
    for lane in LANES:
        assert output.count(f"{lane} ran on {where[lane]} with -m pytest") == 1


def test_chosen_tests_are_one_plain_run(clone: Path) -> None:
    (clone / "var/test/chosen").mkdir(parents=True)
    output, _ = start(clone, "tests/domain", "-q").communicate(timeout=60)
    assert output == "chosen ran on sqlite with -m pytest tests/domain -q\n"


@pytest.mark.parametrize("hangs", LANES)
def test_a_suite_that_is_stopped_leaves_nothing_running(clone: Path, hangs: str) -> None:
    running = start(clone, hangs=hangs)
    written = clone / "var/test" / hangs / "pid"
    deadline = time.monotonic() + 30
    while not written.exists() or not written.read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=30)
    assert running.returncode == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(written.read_text()), 0)
