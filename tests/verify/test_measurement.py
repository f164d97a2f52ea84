"""Deciding about a launch measurement: who signed it for which launch, and what the user's own files give."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from builds.domain.launch import LaunchConfiguration
from builds.domain.roles import BootMode
from builds.pipeline.measurement import MeasurementInputs, measure
from builds.verify.cli import main
from tests.support.statements import measured
from tests.verify.world import FOUR, TAG, World, rewrite


@pytest.fixture
def asked(world: World, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Run ``measurement``; the exit code and the finding about the measurement."""

    def ask(value: str, *arguments: str, key: bool = True) -> tuple[int, dict[str, Any]]:
        world.save()
        given = ["--portal-key", world.key_file(world.portal)] if key else []
        evidence = ["--evidence", str(world.evidence_file), "--json", "--any-age"]
        whose = [] if "--release" in arguments else ["--project", "enclave"]
        code = main(["measurement", value, *evidence, *given, *whose, *arguments])
        out = capsys.readouterr().out
        # What could not be asked has a name in place of findings.
        findings = json.loads(out).get("findings", [])
        return code, next((entry for entry in findings if entry["axis"] == "measurement"), {})

    return ask


type Ask = Callable[..., tuple[int, dict[str, Any]]]


def test_a_value_that_the_counted_operators_signed_is_found_with_its_launch(world: World, asked: Ask) -> None:
    code, finding = asked(world.value)
    assert code == 0
    assert "direct_kernel, 4 vCPUs, EPYC-v4" in finding["reason"]
    assert finding["saidBy"].count("key sha256:") == 2


def test_it_may_be_pasted_as_tools_print_it(world: World, asked: Ask) -> None:
    pairs = [world.value[start : start + 2] for start in range(0, 96, 2)]
    for text in (f"0x{world.value.upper()}", " ".join(pairs), ":".join(pairs).upper(), f"  {world.value}\n"):
        assert asked(text)[0] == 0


@pytest.mark.parametrize("text", ["", "0x", "0" * 95, "0" * 97, "g" * 96, "\uff10" * 96, "00" * 32])
def test_what_is_no_measurement_is_not_checked(asked: Ask, text: str) -> None:
    assert asked(text) == (2, {})


def test_a_value_that_nobody_signed_is_no_mismatch_and_not_allowed(asked: Ask) -> None:
    code, finding = asked("a" * 96)
    assert (code, finding["state"]) == (2, "could not check")
    assert "which is no mismatch" in finding["reason"]


EVIL = "console=ttyS0 rdinit=/bin/sh"


def test_what_one_of_several_operators_signed_is_not_relied_on(world: World, asked: Ask) -> None:
    """Neither for a launch that nobody else measured nor for another value of one that all did."""
    rogue = {**measured("b" * 96), "name": "own", "commandLine": EVIL}
    world.statements.clear()
    world.rebuilt_by("ada", measurements=[measured(world.value), rogue])
    world.rebuilt_by("ben")
    code, finding = asked("b" * 96)
    assert (code, finding["state"]) == (1, "failed")
    assert "Too few operators signed it" in finding["reason"]
    pinned = (*world.pin("ada", "ben"), "--min-operators", "2")
    assert asked("b" * 96, *pinned)[0] == 1
    assert asked(world.value)[0] == asked(world.value, *pinned)[0] == 0
    world.rebuilt_by("ben", measurements=[measured("c" * 96)], finished=datetime.now(UTC))
    assert asked(world.value)[1]["state"] == "failed"


def test_a_launch_that_only_the_users_documents_name_is_nobodys_word(world: World, asked: Ask) -> None:
    """Whoever gives the files gives them too: the release's honest evidence says nothing of that launch."""
    evil = measure(
        MeasurementInputs(world.files / "ovmf.fd", world.files / "vmlinuz", world.files / "initrd.img", EVIL), FOUR
    ).hex
    rewrite(world.files / "expected-measurement.json", lambda held: held["components"].update(cmdline=EVIL))
    files = ("--files", str(world.files))
    code, finding = asked(evil, *files)
    assert (code, finding["state"]) == (1, "failed")
    code, finding = asked(evil, *files, "--vcpus", "4")
    assert (code, finding["state"]) == (1, "failed")
    assert asked(world.value, *files)[0] == 0


def test_without_a_key_nobodys_word_is_checked(world: World, asked: Ask) -> None:
    code, finding = asked(world.value, key=False)
    assert (code, finding["state"]) == (2, "could not check")


def test_a_denied_releases_value_is_denied_though_it_is_signed(world: World, asked: Ask) -> None:
    world.passed = False
    code, finding = asked(world.value)
    assert (code, finding["state"]) == (1, "ok")


def test_with_files_it_is_recomputed_and_an_altered_file_gives_another(world: World, asked: Ask) -> None:
    files = ("--files", str(world.files))
    assert asked(world.value, *files)[0] == 0
    assert asked("a" * 96, *files)[1]["state"] == "failed"
    world.save()
    (world.files / "vmlinuz").write_bytes(b"another kernel")
    code, finding = asked(world.value, *files)
    # Nobody rebuilt these files, so that nobody says how they are launched either.
    assert (code, finding["state"]) == (1, "could not check")


def test_an_own_launch_is_recomputed_from_files_alone(world: World, asked: Ask) -> None:
    two = LaunchConfiguration(BootMode.DIRECT_KERNEL, 2, "EPYC-v4", 1, "qemu")
    inputs = MeasurementInputs(
        world.files / "ovmf.fd", world.files / "vmlinuz", world.files / "initrd.img", "console=ttyS0 quiet"
    )
    value = measure(inputs, two).hex
    own = ("--vcpus", "2", "--command-line", "console=ttyS0 quiet")
    assert asked(value, "--files", str(world.files), *own)[0] == 0
    assert asked(value, "--files", str(world.files))[0] == 1
    assert asked(value, *own) == (2, {})


def test_a_value_that_binds_firmware_only_is_denied(world: World, asked: Ask) -> None:
    entry = {"name": "disk", "bootMode": "uefi_disk", "vcpus": 4, "vcpuType": "EPYC-v4", "guestFeatures": 1}
    firmware = {**entry, "vmm": "qemu", "commandLine": "", "value": "e" * 96}
    world.statements.clear()
    for name in ("ada", "ben"):
        world.rebuilt_by(name, measurements=[firmware])
    code, finding = asked("e" * 96)
    assert (code, finding["state"]) == (1, "failed")
    assert "covers only ovmf" in finding["reason"]


def test_another_release_than_the_evidences_is_not_checked(world: World, asked: Ask) -> None:
    assert asked(world.value, "--release", f"enclave/{TAG}")[0] == 0
    assert asked(world.value, "--release", "enclave/v2")[0] == 2


def test_a_value_of_nobody_knows_whose_image_is_looked_up_and_not_allowed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.save()
    key = world.key_file(world.portal)
    look_up = ["measurement", world.value, "--evidence", str(world.evidence_file), "--portal-key", key, "--any-age"]
    assert main(look_up) == 2
    said = capsys.readouterr().out
    assert "direct_kernel, 4 vCPUs" in said
    assert "add --release PROJECT/TAG, or --project NAME" in said
    assert main([*look_up, "--files", str(world.files)]) == 2
    assert main([*look_up, "--project", "enclave"]) == 0
    assert main([*look_up, "--release", f"enclave/{TAG}"]) == 0
    assert main([*look_up, "--project", "other"]) == 2
    assert main([*look_up, "--project", "enclave", "--release", f"enclave/{TAG}"]) == 2
