"""Deciding about a release from evidence and files: what allows, what denies, and what was not checked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builds.domain.roles import Role
from builds.verify.evidence import EvidenceFile, Kind
from tests.support.operators import new_signer
from tests.verify.printed import reason, states
from tests.verify.world import NAMES, World, rewrite, sha256


def test_signed_files_of_two_operators_that_the_portal_allows_are_allowed(
    world: World, printed: Callable[[], str]
) -> None:
    world.save()
    assert world.run("--max-age", "7d") == 0
    text = printed()
    assert text.splitlines()[-1] == "enclave/v1.0.0: allow"
    assert world.value in text
    assert "2 distinct operators rebuilt exactly these files; 2 needed.  [the portal's word]" in text


def test_the_json_says_what_the_table_says(world: World, printed: Callable[[], str]) -> None:
    world.save()
    assert world.run("--json") == 0
    document = json.loads(printed())
    assert (document["decision"], document["exitCode"]) == ("allow", 0)
    world.run()
    rows = printed().splitlines()[1:-1]
    assert len(rows) == len(document["findings"])
    for row, entry in zip(rows, document["findings"], strict=True):
        assert row.startswith(entry["axis"])
        assert entry["state"] in row


def test_without_the_portals_key_nothing_that_it_says_is_checked(world: World, printed: Callable[[], str]) -> None:
    world.save()
    assert world.run("--json", portal_key=False) == 2
    found = states(printed())
    said_by_the_portal = ("verdict signature", "verdict", "publisher", "policy", "rebuilders", "file kernel")
    assert {found[axis] for axis in said_by_the_portal} == {"could not check"}
    assert found["measurement"] == "could not check"


def test_pinned_keys_are_counted_without_the_portals_word(world: World, printed: Callable[[], str]) -> None:
    world.save()
    assert world.run("--json", *world.pin_named("ada", "ben"), "--min-operators", "2", portal_key=False) == 2
    assert states(printed())["rebuilders"] == "ok"


def test_pinned_keys_that_nobody_names_are_no_operators_of_their_own(world: World, printed: Callable[[], str]) -> None:
    world.save()
    unnamed = ("--json", *world.pin("ada", "ben"), "--min-operators")
    assert world.run(*unnamed, "2", portal_key=False) == 1
    assert reason(printed(), "rebuilders") == "1 operator rebuilt exactly these files; 2 needed."
    world.run(*unnamed, "1", portal_key=False)
    assert states(printed())["rebuilders"] == "ok"
    one_named = (*world.pin_named("ada"), *world.pin("ben"))
    assert world.run("--json", *one_named, "--min-operators", "2", portal_key=False) == 1


def test_what_nobody_signed_makes_no_operators_by_being_left_out(world: World) -> None:
    world.statements.clear()
    world.rebuilt_by("ada")
    world.rebuilt_by("ada-2", operator="ada")
    evidence = world.evidence(world.verdict(tally=world.verdict().tally.__class__(1, 2, 0, 0)))
    files = tuple(file.model_copy(update={"operator": None}) for file in evidence.files)
    for portal_key in (True, False):
        for given in (evidence, evidence.model_copy(update={"files": files})):
            world.save(given)
            assert world.run(*world.pin("ada", "ada-2"), "--min-operators", "2", portal_key=portal_key) == 1
    # The portal counted ben too: what it signed of the two keys still makes them one operator's.
    world.rebuilt_by("ben")
    evidence = world.evidence()
    files = tuple(
        file.model_copy(update={"operator": None})
        for file in evidence.files
        if file.kind is not Kind.STATEMENT or file.operator != "ben"
    )
    world.save(evidence.model_copy(update={"files": files}))
    assert world.run("--min-operators", "2") == 1


def test_a_verdict_by_another_key_is_denied_whatever_key_the_evidence_brings(
    world: World, printed: Callable[[], str]
) -> None:
    world.save(world.evidence(signer=new_signer()))
    assert world.run("--json") == 1
    assert states(printed())["verdict signature"] == "failed"


def test_a_denying_verdict_denies_also_when_nobody_checked_who_signed_it(
    world: World, printed: Callable[[], str]
) -> None:
    world.passed = False
    world.save()
    assert world.run("--json", portal_key=False) == 1
    assert "reproduced-by-enough-operators" in reason(printed(), "verdict")


@pytest.mark.parametrize("name", NAMES.values())
def test_a_file_that_differs_is_denied_and_one_that_is_missing_is_not_checked(world: World, name: str) -> None:
    world.save()
    path = world.files / name
    data = path.read_bytes()
    path.write_bytes(data + b"\0" * 4096)
    assert world.run() == 1
    path.unlink()
    assert world.run() == 2
    path.write_bytes(data)
    assert world.run() == 0


def test_a_file_that_only_the_verdict_names_and_that_is_missing_is_not_checked(world: World) -> None:
    rewrite(world.files / "manifest.json", lambda held: held["components"].pop("disk_image_sha256"))
    world.save()
    assert world.run() == 0
    (world.files / "disk.raw").unlink()
    assert world.run() == 2


def test_documents_that_are_not_the_portals_deny(world: World, printed: Callable[[], str]) -> None:
    world.save()
    rewrite(world.files / "manifest.json", lambda held: held.update(source_date_epoch=1))
    assert world.run("--json") == 1
    assert states(printed())["documents"] == "failed"


def test_a_directory_that_is_not_there_or_a_release_without_documents_is_not_checked(world: World) -> None:
    world.save()
    (world.files / "manifest.json").unlink()
    assert world.run() == 2
    assert world.run("--files", str(world.root / "nowhere")) == 2


def test_a_verdict_older_than_wanted_is_denied_and_one_of_the_future_too(world: World) -> None:
    world.save()
    assert [world.run("--max-age", age) for age in ("2h", "30m", "3000s", "1d")] == [0, 1, 1, 0]
    world.time = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    world.save()
    assert world.run() == 1


def test_how_old_a_verdict_may_be_is_for_the_user_to_say(world: World, printed: Callable[[], str]) -> None:
    world.save()
    assert world.main() == 2
    assert "Say how old it may be" in printed()
    assert world.main("--any-age") == 0
    assert world.main("--any-age", "--max-age", "7d") == 2


def test_a_release_without_the_portals_document_is_not_checked(world: World) -> None:
    evidence = world.evidence()
    rest = tuple(file for file in evidence.files if file.kind is not Kind.DOCUMENT)
    world.save(evidence.model_copy(update={"files": rest}))
    assert world.run() == 2


def test_files_that_are_no_part_of_the_release_are_named(world: World, printed: Callable[[], str]) -> None:
    for name in ("start.sh", "\x1b[31m"):
        (world.files / name).write_bytes(b"x")
    world.save()
    assert world.run("--json") == 0
    assert "Not looked at:" in (said := reason(printed(), "other files"))
    assert "start.sh" in said


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--min-operators", "x"], "misused"), (["--evidence", "/nowhere"], "unreadable-file"), (["--vcpus"], "misused")],
)
def test_what_could_not_be_asked_is_a_document_too(
    world: World, capsys: pytest.CaptureFixture[str], arguments: list[str], code: str
) -> None:
    world.save()
    assert world.run("--json", *arguments) == 2
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (found["decision"], found["exitCode"], found["code"]) == ("could not check", 2, code)
    assert told.err.startswith(f"{code}: ")


@pytest.mark.parametrize("how", ["closed", "gone", "full"])
@pytest.mark.parametrize("allowed", [True, False])
def test_where_the_output_goes_changes_no_decision(world: World, how: str, *, allowed: bool) -> None:
    world.passed = allowed
    world.save()
    command = [sys.executable, "-m", "builds.verify", *world.arguments("--any-age")]
    code = 0 if allowed else 1
    if how == "closed":
        ended = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], check=False, capture_output=True, timeout=60)
        assert (ended.returncode, ended.stderr) == (code, b"")
    elif how == "gone":
        script = '"$@" | true; exit ${PIPESTATUS[0]}'
        ended = subprocess.run(["bash", "-c", script, "bash", *command], check=False, capture_output=True, timeout=60)
        assert (ended.returncode, ended.stderr) == (code, b"")
    else:
        ended = subprocess.run(
            ["sh", "-c", '"$@" >/dev/full', "sh", *command], check=False, capture_output=True, timeout=60
        )
        assert (ended.returncode, ended.stderr.split(b":")[0]) == (2, b"cannot-print")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_program_that_is_ended_has_decided_nothing_and_leaves_nothing(
    world: World, tmp_path: Path, number: signal.Signals
) -> None:
    world.save()
    os.truncate(world.files / "disk.raw", 3 * 1024**3)
    # Without the key nobody's word is known on how large it is.
    (tmp_path / "work").mkdir()
    program = subprocess.Popen(
        [sys.executable, "-m", "builds.verify", *world.arguments("--any-age", portal_key=False)],
        env={**os.environ, "TMPDIR": str(tmp_path / "work")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until = time.monotonic() + 30
    while not list((tmp_path / "work").iterdir()) and time.monotonic() < until:
        time.sleep(0.01)
    program.send_signal(number)
    # As a terminal that closes, and whoever is impatient.
    program.send_signal(signal.SIGHUP)
    program.send_signal(signal.SIGTERM)
    _, said = program.communicate(timeout=30)
    assert (program.returncode, said.split(b":")[0]) == (2, b"interrupted")
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("changed", [{"tag": "v0.9.0"}, {"project": "other"}])
def test_a_verdict_of_another_release_denies(world: World, changed: dict[str, str]) -> None:
    release = world.verdict().release
    other = release.__class__(**{"project": release.project, "tag": release.tag, "commit": release.commit, **changed})
    world.save(world.evidence(world.verdict(release=other)))
    assert world.run() == 1


def test_evidence_of_another_release_is_none_of_this_one(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.save()
    rewrite(world.evidence_file, lambda held: held.update(tag="v0.9.0"))
    assert world.run() == 2
    assert "it is of enclave/v0.9.0" in capsys.readouterr().err


def test_a_policy_that_is_not_the_verdicts_denies_and_none_is_not_checked(world: World) -> None:
    evidence = world.evidence()
    rest = [file for file in evidence.files if file.kind is not Kind.POLICY]
    other = EvidenceFile.of(Kind.POLICY, "/policies/2", b"{}")
    world.save(evidence.model_copy(update={"files": (*rest, other)}))
    assert world.run() == 1
    world.save(evidence.model_copy(update={"files": tuple(rest)}))
    assert world.run() == 2


def test_a_published_measurement_that_the_files_do_not_give_denies(world: World) -> None:
    world.save()
    for name in ("expected-measurement.json", "manifest.json"):
        rewrite(world.files / name, lambda held: held.update(_put(held, "6" * 96)))
    (world.files / "expected-measurement.txt").write_text("6" * 96 + "\n")
    assert world.run() == 1


def _put(held: dict[str, Any], value: str) -> dict[str, Any]:
    if "components" in held and "git_commit" in held:
        return {"measurement": {**held["measurement"], "sev_snp_hex": value}}
    return {"measurement": value}


def test_a_measurement_that_a_counted_rebuilder_signed_otherwise_denies(world: World) -> None:
    document = {"name": "default", "bootMode": "direct_kernel", "vcpus": 4, "vcpuType": "EPYC-v4", "guestFeatures": 1}
    wrong = {**document, "vmm": "qemu", "commandLine": "console=ttyS0", "value": "f" * 96}
    world.rebuilt_by("cy", measurements=[wrong])
    world.save()
    assert world.run() == 1


def test_an_own_launch_is_recomputed_and_said_to_be_unpublished(world: World, printed: Callable[[], str]) -> None:
    world.save()
    assert world.run("--json", "--vcpus", "2", "--command-line", "console=ttyS0 quiet") == 0
    said = reason(printed(), "measurement")
    assert world.value not in said
    assert "Not signed; it follows from the same files." in said
    assert world.run("--json", "--vcpus", "4") == 0
    assert reason(printed(), "measurement").startswith(world.value)
    assert world.run("--vcpu-type", "Pentium") == 2


def test_own_guest_features_that_nobody_signed_deny_and_none_that_are_reserved_are_taken(
    world: World, printed: Callable[[], str]
) -> None:
    world.save()
    assert world.run("--guest-features", "0x1") == 0
    printed()
    assert world.run("--json", "--guest-features", "0x21", "--vouch-for-command-line") == 1
    assert "with guest features 0x21, but with 0x1" in reason(printed(), "measurement")
    for unusable in ("0x20", "0x2001", "0xffffffffffffffff"):
        assert world.run("--guest-features", unusable) == 2


def test_an_own_command_line_that_replaces_the_images_init_denies(world: World, printed: Callable[[], str]) -> None:
    world.save()
    assert world.run("--json", "--command-line", "console=ttyS0 rdinit=/bin/sh") == 1
    assert "another first program than the image's init: rdinit=/bin/sh" in reason(printed(), "measurement")


def test_firmware_that_cannot_be_measured_is_not_checked_though_everybody_signed_it(
    world: World, printed: Callable[[], str]
) -> None:
    other = bytes(4096)
    (world.files / NAMES[Role.OVMF]).write_bytes(other)
    rewrite(world.files / "manifest.json", lambda held: held["components"].update(ovmf_sha256=sha256(other)))
    world.statements.clear()
    for name in ("ada", "ben"):
        world.rebuilt_by(name)
    world.save()
    assert world.run("--json") == 2
    found = states(printed())
    assert {axis for axis, state in found.items() if state == "could not check"} == {"measurement"}
