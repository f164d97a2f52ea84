"""What docs/verify.md shows is what the program prints, and its examples do what they promise."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from builds.domain.errors import PortalError
from builds.verify import chain, memory, mirror, walking, web
from tee_portal.env import BASE_DIR
from tests.verify.world import World

PAGE = (BASE_DIR / "docs" / "verify.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def without_what_varies(text: str) -> list[str]:
    """Keys and moments are of each run; digests of the files and the measurement are not."""
    text = re.sub(r"key sha256:[0-9a-f]{64}", "key", text)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "then", text).splitlines()


def test_every_code_of_asking_a_mirror_is_on_its_page() -> None:
    page = (BASE_DIR / "docs" / "mirror.md").read_text()
    told_as_another = {"lock-held", "malformed-input", "portal-unreachable", "signature-mismatch"}
    named = {
        thing.code
        for module in (chain, memory, mirror, walking, web)
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, PortalError) and thing is not PortalError
    }
    assert len(named) > 10
    assert [code for code in named - told_as_another if f"`{code}`" not in page] == []


def test_the_output_on_the_page_is_the_programs(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.save()
    assert world.run("--max-age", "7d") == 0
    assert without_what_varies(block("text")) == without_what_varies(capsys.readouterr().out)


@pytest.fixture
def program(world: World) -> Path:
    """The console script, as an installation makes it."""
    path = world.root / "bin" / "tee-portal-verify"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(BASE_DIR))} exec {sys.executable} -m builds.verify "$@"\n')
    path.chmod(0o755)
    world.save()
    return path


def alter(world: World) -> None:
    (world.files / "vmlinuz").write_bytes(b"another kernel")


def lose(world: World) -> None:
    world.evidence_file.unlink()


@pytest.mark.parametrize(("change", "code"), [(None, 0), (alter, 1), (lose, 2)])
def test_the_step_of_github_actions_fails_for_all_but_an_allow(
    world: World, program: Path, change: Any, code: int
) -> None:
    (step,) = yaml.safe_load(block("yaml"))
    key = world.root / step["env"]["PORTAL_KEY"]
    key.parent.mkdir()
    key.write_text(world.portal.public.pem)
    if change is not None:
        change(world)
    environment = {**os.environ, **step["env"], "PATH": f"{program.parent}:{os.environ['PATH']}"}
    # As runners run a step: https://docs.github.com/actions, "jobs.<job_id>.steps[*].shell".
    ran = subprocess.run(
        ["bash", "-e", "-c", step["run"]], cwd=world.root, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == code, ran.stdout + ran.stderr


@pytest.mark.parametrize("text", ["--help", "-h", "--any-age", ""])
def test_the_step_of_github_actions_reads_no_option_from_a_variable(world: World, program: Path, text: str) -> None:
    (step,) = yaml.safe_load(block("yaml"))
    assert "-- " in step["run"]
    key = world.root / step["env"]["PORTAL_KEY"]
    key.parent.mkdir()
    key.write_text(world.portal.public.pem)
    environment = {**os.environ, **step["env"], "RELEASE": text, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    ran = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=world.root, env=environment, check=False)
    assert ran.returncode == 2


@pytest.fixture
def unit() -> configparser.SectionProxy:
    reader = configparser.ConfigParser(interpolation=None, strict=True)
    reader.optionxform = str  # type: ignore[assignment,method-assign]
    reader.read_string(block("ini"))
    return reader["Service"]


@pytest.mark.parametrize(("change", "code"), [(None, 0), (alter, 1), (lose, 2)])
def test_the_command_before_a_unit_fails_for_all_but_an_allow(
    world: World, program: Path, unit: configparser.SectionProxy, change: Any, code: int
) -> None:
    places = {
        "/usr/local/bin/tee-portal-verify": str(program),
        "/srv/enclave/release": str(world.files),
        "/srv/enclave/evidence.json": str(world.evidence_file),
        "/etc/tee-portal/portal.pub": world.key_file(world.portal),
    }
    command = shlex.split(unit["ExecStartPre"])
    assert places.keys() <= set(command)
    if change is not None:
        change(world)
    ran = subprocess.run([places.get(part, part) for part in command], capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran.stdout + ran.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit_as_it_stands(program: Path, tmp_path: Path) -> None:
    text = block("ini").replace("/usr/local/bin/tee-portal-verify", str(program))
    path = tmp_path / "enclave.service"
    path.write_text(text.replace("/usr/local/bin/start-enclave", "/bin/true"))
    ran = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert str(path.name) not in ran.stderr
