"""Arguments that mean harm or mean nothing: what came as data is never an allow, and no option is silently idle."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from builds.verify.cli import main
from tee_portal.env import BASE_DIR
from tests.verify.world import TAG, World

NAME = f"enclave/{TAG}"


@pytest.mark.parametrize("text", ["-h", "--help", "--he", "--h", "--js", "--any", "-hx"])
def test_no_value_of_a_variable_allows(world: World, text: str) -> None:
    world.save()
    evidence = ["--evidence", str(world.evidence_file), "--portal-key", world.key_file(world.portal), "--any-age"]
    for given in (
        ["release", text, "--files", str(world.files), *evidence],
        ["release", NAME, "--files", text, *evidence],
        ["release", NAME, "--files", str(world.files), *evidence, text],
        ["release", "--files", str(world.files), *evidence, "--", text],
        ["measurement", text, *evidence],
        ["measurement", *evidence, "--", text],
        ["bundle", text, "-o", str(world.root / "e.json"), "--portal", "http://127.0.0.1:1"],
        [text, "release"],
        ["release", text],
    ):
        assert main(given) == 2, given


def test_help_with_nothing_else_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == main(["-h"]) == 0
    assert "ACTION" in capsys.readouterr().out
    assert main(["release", "--help"]) == 2
    assert "PROJECT/TAG" in capsys.readouterr().out


@pytest.mark.parametrize(
    "given",
    [
        ["--any-a"],
        ["--min-op", "1"],
        ["--js"],
        ["--vcpu", "4"],
    ],
)
def test_an_abbreviated_option_is_none(world: World, given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    world.save()
    assert world.run(*given) == 2
    assert capsys.readouterr().err.startswith("misused: ")


@pytest.mark.parametrize(
    ("option", "one", "two"),
    [
        ("--files", ".", "/"),
        ("--evidence", "a", "b"),
        ("--min-operators", "2", "1"),
        ("--max-age", "1h", "7d"),
        ("--command-line", "a", ""),
        ("--vcpus", "4", "2"),
        ("--vcpu-type", "EPYC-v4", "EPYC-v3"),
        ("--guest-features", "1", "3"),
        ("--portal-key", "a", "b"),
    ],
)
def test_an_option_is_given_once(
    world: World, option: str, one: str, two: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.save()
    assert world.main(option, one, option, two, portal_key=False) == 2
    assert f"{option} is given more than once" in capsys.readouterr().err


def test_an_option_that_does_nothing_is_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.save()
    assert world.run("--state", str(world.root / "seen.json")) == 2
    assert "(--state)" in capsys.readouterr().err
    saved = ["bundle", NAME, "-o", str(world.root / "e.json"), "--portal", "http://127.0.0.1:1"]
    assert main([*saved, "--portal-key", world.key_file(world.portal)]) == 2
    assert "(--portal-key)" in capsys.readouterr().err


@pytest.mark.parametrize("features", ["2", "0x10", "0x0"])
def test_guest_features_without_sev_snp_are_none(
    world: World, features: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.save()
    assert world.run("--guest-features", features) == 2
    assert capsys.readouterr().err.startswith("misused: ")
    assert world.run("--guest-features", "0x1") == 0


@pytest.mark.parametrize("kilobytes", [25_000, 40_000, 60_000])
def test_a_start_with_too_little_memory_is_no_deny(world: World, kilobytes: int) -> None:
    world.save()
    limit = kilobytes * 1024

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    ran = subprocess.run(
        [sys.executable, "-m", "builds.verify", *world.arguments("--any-age")],
        preexec_fn=bound,
        env={**os.environ, "PYTHONPATH": str(BASE_DIR)},
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.count(b"\n") == 1


def test_a_package_that_is_missing_is_no_deny(world: World, tmp_path: Path) -> None:
    world.save()
    (tmp_path / "pydantic").mkdir()
    (tmp_path / "pydantic" / "__init__.py").write_text("raise SystemExit(0)\n")
    ran = subprocess.run(
        [sys.executable, "-m", "builds.verify", *world.arguments("--any-age")],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{BASE_DIR}"},
        capture_output=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr.split(b":")[0]) == (2, b"unforeseen")


def test_the_console_script_starts_as_the_module_does() -> None:
    assert 'tee-portal-verify = "builds.verify.__main__:run"' in (BASE_DIR / "pyproject.toml").read_text()
