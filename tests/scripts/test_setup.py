"""scripts/setup and the files it installs from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = [ROOT / "requirements.lock", ROOT / "scripts/uv.lock"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "scripts", tmp_path / "clone/scripts")
    shutil.copy(ROOT / "requirements.lock", tmp_path / "clone")
    return tmp_path / "clone"


def setup(clone: Path, *arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path, "HOME": str(clone / "home"), "DOCKER_HOST": "unix:///given"}
    command = ["/bin/bash", str(clone / "scripts/setup"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def stub(directory: Path, name: str, script: str) -> None:
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def programs_without(directory: Path, *missing: str) -> str:
    """A PATH with this machine's programs except some."""
    directory.mkdir()
    for source in (Path("/usr/bin"), Path("/bin")):
        for program in source.iterdir():
            link = directory / program.name
            if program.name not in missing and not link.is_symlink():
                link.symlink_to(program)
    return str(directory)


def test_who_may_not_install_is_told_the_one_command(clone: Path, tmp_path: Path) -> None:
    stub(tmp_path / "stubs", "id", "echo 1000")
    path = f"{tmp_path / 'stubs'}:{programs_without(tmp_path / 'programs', 'xz', 'id')}"

    refused = setup(clone, "runtime", path=path)

    assert refused.returncode == 1
    assert re.fullmatch(
        r"setup: packages are missing; run as root: apt-get update && "
        r"apt-get install -y --no-install-recommends [a-z0-9. -]*xz-utils[a-z0-9. -]*\n",
        refused.stderr,
    )


def test_an_unknown_need_is_refused(clone: Path) -> None:
    refused = setup(clone, "everything", path=os.environ["PATH"])

    assert (refused.returncode, refused.stderr) == (1, "setup: usage: scripts/setup [runtime|test]\n")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_every_package_by_hash_and_names_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^ *#.*\n", "", text).strip())

    assert "://" not in text
    assert "--index" not in text
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==[^ ]+ ", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
