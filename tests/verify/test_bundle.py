"""Collecting evidence: from the portal itself over HTTP, and from servers that mean harm."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attestations.services.portal_key import portal_key
from builds.models import Release
from builds.verify import portal as collecting
from builds.verify import web
from builds.verify.cli import main
from builds.verify.evidence import Kind, read_evidence
from tee_portal.env import BASE_DIR
from tests.portal.conftest import make_release, project  # noqa: F401 - fixtures
from tests.support.attacks import hand_in, signed
from tests.support.false_portal import false_portal
from tests.support.operators import new_signer


@pytest.mark.django_db(transaction=True)
def test_a_portals_evidence_is_saved_byte_for_byte_and_checked_without_it(
    make_release: Callable[..., Release],  # noqa: F811
    live_server: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    release = make_release()
    statements = [signed(release, name).as_bytes() for name in ("ada", "ben")]
    for statement in statements:
        assert hand_in(statement).status_code == 201
    saved = tmp_path / "evidence.json"
    assert main(["bundle", "enclave/v1.0.0", "-o", str(saved), "--portal", live_server.url]) == 0
    evidence = read_evidence(saved)
    assert sorted(file.data for file in evidence.of_kind(Kind.STATEMENT)) == sorted(statements)
    assert {file.operator for file in evidence.of_kind(Kind.REBUILDER_KEY)} == {"ada", "ben"}
    document = evidence.only(Kind.DOCUMENT)
    assert document is not None
    assert document.data == release.manifest == b"{}"
    key = tmp_path / "portal.pub"
    key.write_text(portal_key().public.pem)
    files = tmp_path / "release"
    files.mkdir()
    (files / "manifest.json").write_text(json.dumps(manifest()))
    capsys.readouterr()
    arguments = ["--files", str(files), "--evidence", str(saved), "--portal-key", str(key), "--json"]
    assert main(["release", "enclave/v1.0.0", *arguments]) == 1
    found = {entry["axis"]: entry["state"] for entry in json.loads(capsys.readouterr().out)["findings"]}
    assert found["verdict signature"] == "ok"
    assert found["policy"] == "ok"
    assert found["verdict"] == "failed"
    assert found["file kernel"] == "could not check"


def manifest() -> dict[str, Any]:
    return {
        "version": "1.0",
        "katana_version": "v1.0.0",
        "source_date_epoch": 1_700_000_000,
        "git_commit": "c" * 40,
        "components": {},
    }


@pytest.mark.django_db(transaction=True)
def test_a_release_without_a_signed_verdict_is_saved_and_said_to_lack_it(
    make_release: Callable[..., Release],  # noqa: F811
    live_server: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_release()
    saved = tmp_path / "evidence.json"
    assert main(["bundle", "enclave/v1.0.0", "-o", str(saved), "--portal", live_server.url]) == 2
    assert "no-verdict" in capsys.readouterr().err
    assert read_evidence(saved).only(Kind.VERDICT) is None
    assert main(["bundle", "enclave/v9", "-o", str(tmp_path / "none"), "--portal", live_server.url]) == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "address",
    [
        "http://portal.example",
        "ftp://127.0.0.1",
        "portal.example",
        "https://",
        "http://127.0.0.1@evil.example",
        "http://[",
        "https://a:99999999",
        "https://portal.example?token=x",
        "https://portal.example#x",
        "https://xn--/",
        "https://xn--a.example/",
        f"https://{'a' * 64}.example/",
        "https://a..b/",
        "https://.example",
        "https://\ud800.example",
    ],
)
def test_only_https_is_asked_and_http_of_this_machine(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "enclave/v1", "-o", str(tmp_path / "e"), "--portal", address]) == 2
    assert "not-a-portal" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--portal", "--mirror"])
@pytest.mark.parametrize(
    "address",
    [
        "https://user:hunter2@portal.example",
        "https://hunter2@portal.example",
        "http://u:hunter2@127.0.0.1:1/",
        "u:hunter2@[",
    ],
)
def test_a_password_in_an_address_is_refused_and_told_to_nobody(
    option: str, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "portal.pub"
    key.write_text(new_signer().public.pem)
    saved = tmp_path / "e"
    given = ["--portal-key", str(key)] if option == "--mirror" else []
    assert main(["bundle", "enclave/v1", "-o", str(saved), option, address, *given]) == 2
    said = capsys.readouterr()
    assert "not-a-portal" in said.err
    assert "hunter2" not in said.err + said.out
    assert not saved.exists()


VERDICTS = {"verdict": {"bundle": "/verdicts/1", "policy": "/policies/1", "key": "/portal-keys/1"}}
RELEASE: dict[str, Any] = {
    "document_digest": "sha256:" + "a" * 64,
    "results": [],
    "attestations": {"components": [], "stray": []},
}


def answering(verdicts: Any = VERDICTS, release: Any = RELEASE, data: bytes = b"x") -> Callable[[str], bytes | None]:
    def body(path: str) -> bytes | None:
        if path.startswith("/mirror/"):
            return None
        if path.startswith("/api/v1/verdicts/"):
            return json.dumps(verdicts).encode()
        return json.dumps(release).encode() if path.startswith("/api/") else data

    return body


def collected(body: Callable[[str], bytes | None], tmp_path: Path, **served: Any) -> tuple[int, list[str]]:
    with false_portal(body, **served) as server:
        code = main(["bundle", "enclave/v1", "-o", str(tmp_path / "e"), "--portal", server.address])
        return code, server.asked


def link(path: Path) -> None:
    path.with_name("victim").write_text("precious")
    path.symlink_to("victim")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, link])
def test_nothing_but_a_plain_file_is_replaced_and_nobody_is_asked_before(
    make: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "e")
    before = sorted((path.name, path.lstat().st_mode) for path in tmp_path.iterdir())
    code, asked = collected(answering(), tmp_path)
    assert (code, asked) == (2, [])
    assert "unusable-output" in capsys.readouterr().err
    assert sorted((path.name, path.lstat().st_mode) for path in tmp_path.iterdir()) == before
    assert not (tmp_path / "e").is_symlink() or (tmp_path / "e").read_text() == "precious"


def test_standard_output_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bundle", "enclave/v1", "-o", "-", "--portal", "https://portal.invalid"]) == 2
    assert "-o FILE" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("before", "after"), [(None, 0o644), (0o600, 0o600), (0o664, 0o664)])
def test_a_file_that_is_replaced_keeps_its_permissions_and_a_new_one_is_readable(
    before: int | None, after: int, tmp_path: Path
) -> None:
    if before is not None:
        (tmp_path / "e").write_text("older")
        (tmp_path / "e").chmod(before)
    assert collected(answering(), tmp_path)[0] == 0
    assert (tmp_path / "e").stat().st_mode & 0o777 == after
    assert [path.name for path in tmp_path.iterdir()] == ["e"]
    assert read_evidence(tmp_path / "e").tag == "v1"


def test_each_file_is_asked_for_once_at_the_portal_itself(tmp_path: Path) -> None:
    code, asked = collected(answering(), tmp_path)
    assert code == 0
    files = ["documents/" + "a" * 64, "policies/1", "verdicts/1", "portal-keys/1"]
    assert asked[2:] == [f"GET /{file}" for file in [*files, "mirror/checkpoint.json"]]


@pytest.mark.parametrize(
    "place", ["https://evil.example/v", "//evil.example/v", "/../x", "/a b", "v", "@evil.example", "/x?y"]
)
def test_an_answer_that_points_elsewhere_is_not_followed(place: str, tmp_path: Path) -> None:
    code, asked = collected(answering({"verdict": {**VERDICTS["verdict"], "bundle": place}}), tmp_path)
    assert code == 2
    assert len(asked) <= 4


@pytest.mark.parametrize("changed", [{"operator_slug": "\x1b[31m"}, {"statement": "../x"}, {"key": "/"}])
def test_a_result_with_names_that_no_portal_gives_is_refused(changed: dict[str, str], tmp_path: Path) -> None:
    result = {"operator_slug": "ada", "statement": "b" * 64, "key": "c" * 64, **changed}
    code, asked = collected(answering(release={**RELEASE, "results": [result]}), tmp_path)
    assert (code, len(asked)) == (2, 2)


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    code, asked = collected(answering(), tmp_path, status=302, Location="http://127.0.0.1:1/")
    assert code == 2
    assert len(asked) == 1


@pytest.mark.parametrize(
    "answer",
    [b"[" * 100_000, b'{"verdict": null, "verdict": null}', b"\xff", b"", b"null", b'{"verdict": {"bundle": 1}}'],
)
def test_an_answer_that_is_no_portals_is_refused(answer: bytes, tmp_path: Path) -> None:
    code, _ = collected(lambda _: answer, tmp_path)
    assert code == 2
    assert not (tmp_path / "e").exists()


def test_a_file_larger_than_any_may_be_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(collecting, "MAX_FILE_BYTES", 1000)
    assert collected(answering(data=b"x" * 1001), tmp_path)[0] == 2
    assert "limit-exceeded" in capsys.readouterr().err
    monkeypatch.setattr(collecting, "MAX_TOTAL_BYTES", 2500)
    assert collected(answering(data=b"x" * 1000), tmp_path)[0] == 2


@pytest.mark.parametrize("dripping", ["drips", "drips_headers"])
def test_a_portal_that_sends_a_little_now_and_then_ends_with_the_time_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dripping: str
) -> None:
    monkeypatch.setattr(web, "_ALL_SECONDS", 0.3)
    began = time.monotonic()
    assert collected(answering(), tmp_path, **{dripping: True})[0] == 2
    assert time.monotonic() - began < 10
    assert "longer than 0.3 seconds" in capsys.readouterr().err


def test_a_name_that_the_system_never_resolves_ends_with_the_time_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered = threading.Event()

    def never(*_: object, **__: object) -> list[object]:
        answered.wait(60)
        return []

    monkeypatch.setattr(web, "_ALL_SECONDS", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", never)
    assert main(["bundle", "enclave/v1", "-o", str(tmp_path / "e"), "--portal", "https://portal.invalid"]) == 2
    answered.set()
    assert "portal-unreachable" in capsys.readouterr().err


def test_a_compressed_answer_is_refused(tmp_path: Path) -> None:
    assert collected(answering(), tmp_path, Content_Encoding="gzip")[0] == 2


def test_what_a_portal_says_moves_no_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = {"verdict": {**VERDICTS["verdict"], "bundle": "\x1b]0;owned\x07\u202e/x"}}
    assert collected(answering(hostile), tmp_path)[0] == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_the_program_loads_neither_django_nor_sigstore_nor_docker() -> None:
    program = (
        "import sys; from builds.verify import cli\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}"
        " & {'django', 'ninja', 'celery', 'sigstore', 'docker', 'tuf', 'tee_portal', 'psycopg', 'redis'}))"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=BASE_DIR, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
