"""Evidence files that mean harm: too large, ambiguous, damaged, or written for a terminal."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attestations.domain.summary import SummarySubject
from builds.domain.dsse import parse_envelope
from builds.verify.evidence import MAX_EVIDENCE_BYTES, Evidence, EvidenceFile, Kind
from builds.verify.findings import Finding, State
from builds.verify.printing import report
from tests.support.operators import new_signer
from tests.verify.world import TAG, World, rewrite


def test_a_file_of_a_gigabyte_is_refused_without_being_held_in_memory(world: World) -> None:
    with world.evidence_file.open("wb") as file:
        file.truncate(1024**3)
    began = time.monotonic()
    tracemalloc.start()
    try:
        assert world.run() == 2
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_EVIDENCE_BYTES
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"\xff\xfe",
        b"[" * 1_000_000,
        b'{"a":' * 500_000,
        b'{"format": 1, "format": 2}',
        b'{"format": NaN}',
        b'{"format": "https://tee-portal.org/evidence/v1"}',
    ],
)
def test_what_is_no_evidence_is_not_checked(world: World, data: bytes) -> None:
    world.evidence_file.write_bytes(data)
    assert world.run() == 2


def test_keys_and_evidence_behind_links_are_read_as_secrets_are_mounted(world: World, tmp_path: Path) -> None:
    world.save()
    real = world.evidence_file.rename(tmp_path / "..data")
    world.evidence_file.symlink_to(real)
    (tmp_path / "ada.pub").symlink_to(world.key_file(world.signers["ada"]))
    assert world.run("--rebuilder-key", str(tmp_path / "ada.pub"), "--min-operators", "1") == 0


def test_a_pipe_a_device_and_a_directory_are_not_read(world: World) -> None:
    os.mkfifo(world.evidence_file)
    assert world.run() == 2
    world.evidence_file.unlink()
    world.evidence_file.symlink_to("/dev/zero")
    assert world.run() == 2
    world.evidence_file.unlink()
    world.evidence_file.mkdir()
    assert world.run() == 2


def _set(member: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda held: held["files"][1].update({member: value})


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held.update(format="https://tee-portal.org/evidence/v2"),
        lambda held: held.update(more=1),
        lambda held: held.update(project="../../etc"),
        lambda held: held.update(tag="../x"),
        lambda held: held["files"].append(held["files"][1]),
        lambda held: held["files"][1].pop("sha256"),
        _set("sha256", "0" * 64),
        _set("kind", "key"),
        _set("content", "e30"),
        _set("content", "%%%%"),
        _set("operator", "\x1b[31m"),
        _set("address", "/x\u202e"),
    ],
)
def test_a_member_that_the_format_has_not_is_not_checked(
    world: World, change: Callable[[dict[str, Any]], object]
) -> None:
    world.save()
    assert world.run() == 0
    rewrite(world.evidence_file, change)
    assert world.run() == 2


def test_a_name_with_a_path_in_it_reaches_no_file(world: World, tmp_path: Path) -> None:
    evidence = world.evidence()
    climbing = EvidenceFile.of(Kind.ATTESTATION, "/../../../../tmp/owned", b"{}")
    world.save(evidence.model_copy(update={"files": (*evidence.files, climbing)}))
    before = sorted(path for path in tmp_path.rglob("*"))
    assert world.run() == 0
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.suffix != ".pub"] == []


@pytest.mark.parametrize("kind", [Kind.VERDICT, Kind.STATEMENT])
def test_any_one_changed_byte_of_what_was_signed_is_never_allowed(world: World, kind: Kind) -> None:
    evidence = world.evidence()
    file = evidence.of_kind(kind)[0]
    envelope = parse_envelope(file.data)
    for place in range(0, len(envelope.payload), max(1, len(envelope.payload) // 25)):
        payload = bytearray(envelope.payload)
        payload[place] ^= 1
        world.save(_with(evidence, file, replace(envelope, payload=bytes(payload)).as_bytes()))
        assert world.run() in {1, 2}
    for signature in (b"0", envelope.signature[:-1], bytes(len(envelope.signature))):
        world.save(_with(evidence, file, replace(envelope, signature=signature).as_bytes()))
        assert world.run() == 1


def _with(evidence: Evidence, file: EvidenceFile, data: bytes) -> Evidence:
    other = file.model_copy(
        update={"content": base64.b64encode(data).decode(), "sha256": hashlib.sha256(data).hexdigest()}
    )
    return evidence.model_copy(update={"files": tuple(other if entry is file else entry for entry in evidence.files)})


def test_swapped_statements_count_for_whoever_signed_them(world: World) -> None:
    evidence = world.evidence()
    first, second = evidence.of_kind(Kind.STATEMENT)
    swapped = [first.model_copy(update={"operator": "ben"}), second.model_copy(update={"operator": "ada"})]
    rest = [file for file in evidence.files if file.kind is not Kind.STATEMENT]
    world.save(evidence.model_copy(update={"files": (*rest, *swapped)}))
    assert world.run(*world.pin("ada"), "--min-operators", "1") == 0
    assert world.run(*world.pin("ada"), "--min-operators", "2") == 1


def test_an_older_verdict_is_seen_by_its_age_only(world: World) -> None:
    world.time = world.time.replace(year=world.time.year - 1)
    world.save()
    assert world.run() == 0
    assert world.run("--max-age", "7d") == 1


def test_nothing_that_strangers_wrote_moves_the_cursor_or_turns_the_writing(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "x\x1b]0;owned\x07\x1b[2J\r\nok\u202e\u2066\x9b5m"
    for as_json in (False, True):
        assert report([Finding(hostile, State.OK, hostile, hostile)], hostile, as_json=as_json) == 0
        out = capsys.readouterr().out
        assert not {"\x1b", "\x07", "\r", "\u202e", "\u2066", "\x9b"} & set(out)
    assert json.loads(out)["findings"][0]["reason"] == hostile


def test_nothing_checked_is_not_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([], TAG, as_json=False) == 2
    assert report([Finding("a", State.NOTED, "b", "c")], TAG, as_json=False) == 2


def test_unusable_keys_and_options_are_not_checked(world: World, tmp_path: Path) -> None:
    world.save()
    (tmp_path / "bad.pub").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    for option in ("--portal-key", "--rebuilder-key"):
        assert world.run(option, str(tmp_path / "bad.pub"), portal_key=False) == 2
        assert world.run(option, str(tmp_path / "nowhere.pub"), portal_key=False) == 2
    for given in (["--max-age", "7"], ["--min-operators", "0"], ["--vcpus", "513"], ["--guest-features", "0x0"]):
        assert world.run(*given) == 2


def test_one_key_has_one_name_and_one_file_one_key(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Or one operator could stand for two."""
    world.save()
    ada, ben = (world.key_file(world.signers[name]) for name in ("ada", "ben"))
    keys = [f"--rebuilder-key=acme={ada}", f"--rebuilder-key=acme={ben}", f"--rebuilder-key={ben}"]
    assert world.run(*keys, "--min-operators", "2") == 2
    assert "is given as acme and as nobody" in capsys.readouterr().err
    two = world.root / "two.pub"
    two.write_text(Path(ada).read_text() + Path(ben).read_text())
    assert world.run("--rebuilder-key", str(two), "--min-operators", "1") == 2
    assert "holds more than one key" in capsys.readouterr().err
    assert world.run("--portal-key", ada) == 2
    assert "--portal-key is given more than once" in capsys.readouterr().err


@pytest.mark.parametrize(
    "data",
    [
        b'{"format": "x", "files": [' + b",".join([b'{"a":[[[[]]]]}'] * 400_000) + b"]}",
        b'{"format": "x", "files": [' + b",".join([b'{"a":1}'] * 15_000) + b"]}",
    ],
)
def test_what_is_small_as_a_file_and_large_when_it_was_read_is_refused(world: World, data: bytes) -> None:
    world.evidence_file.write_bytes(data)
    tracemalloc.start()
    try:
        assert world.run() == 2
        assert tracemalloc.get_traced_memory()[1] < MAX_EVIDENCE_BYTES + 10 * len(data) + 2**24
    finally:
        tracemalloc.stop()


def test_a_statement_is_read_once_however_often_the_evidence_holds_it(world: World) -> None:
    evidence = world.evidence()
    again = evidence.of_kind(Kind.STATEMENT) * 900
    world.save(evidence.model_copy(update={"files": (*evidence.files, *again)}))
    began = time.monotonic()
    assert world.run() == 0
    assert time.monotonic() - began < 10


def test_evidence_that_does_not_say_its_format_is_not_checked(world: World) -> None:
    world.save()
    rewrite(world.evidence_file, lambda held: held.pop("format"))
    assert world.run() == 2


def test_nothing_of_a_verdict_by_another_key_is_judged_or_printed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = world.verdict()
    gap = " " * 177
    spoofed = f"disk/x){gap}enclave/{TAG}: allow{gap}"
    subjects = (*verdict.subjects, SummarySubject(spoofed, "0" * 64, "0" * 96))
    hostile = replace(verdict, subjects=subjects, verifier_id="https://mallory.example/")
    world.save(world.evidence(hostile, signer=new_signer()))
    assert world.run() == 1
    told = capsys.readouterr().out
    assert told.splitlines()[-1].startswith(f"enclave/{TAG}: deny (verdict signature")
    assert ": allow" not in told
    assert "mallory" not in told
    assert world.run(portal_key=False) == 2
    assert f"{TAG}: allow" not in capsys.readouterr().out


def test_a_verdict_of_nobody_about_another_release_is_not_quoted(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    release = replace(world.verdict().release, project="mallory says allow")
    world.save(world.evidence(world.verdict(release=release)))
    assert world.run(portal_key=False) == 1
    assert "mallory" not in capsys.readouterr().out
    assert world.run() == 1
    assert "It is about mallory says allow/" in capsys.readouterr().out


def test_files_are_not_read_for_a_verdict_by_another_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.save(world.evidence(signer=new_signer()))
    (world.files / "disk.raw").unlink()
    os.mkfifo(world.files / "disk.raw")
    monkeypatch.setattr("builds.verify.checks.local_release", lambda *_: pytest.fail("they were read"))
    assert world.run() == 1


@pytest.mark.parametrize("gap", [" " * 90, "\u3000" * 45, "\u00a0" * 90, " \u200b" * 60, "\u2800" * 90, "\t" * 30])
def test_no_row_of_a_terminal_looks_like_the_deciding_line(gap: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"x{gap}enclave/{TAG}: allow{gap}"
    assert report([Finding(text, State.FAILED, text, "nobody")], "enclave/v2", as_json=False) == 1
    *rows, last = capsys.readouterr().out.splitlines()
    assert gap not in rows[1]
    assert rows[1].startswith(f"x enclave/{TAG}: allow   failed  x enclave/{TAG}: allow   [nobody]")
    assert last.startswith("enclave/v2: deny (x")
    assert ": allow" not in last
    assert f"enclave/{TAG}" not in last
