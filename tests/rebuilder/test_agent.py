"""One job's trouble ends that job: the agent goes on, and what it signed is not lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builds.domain.requests import ReleaseName
from builds.pipeline.reporting import Reporter
from builds.rebuilder import commands
from builds.rebuilder.cli import main
from builds.rebuilder.home import NotWritten
from tests.support.false_portal import FalsePortal, false_portal
from tests.support.lone_agent import TAKEN, Desk, claim_document, desk, job_document

ASKED = ReleaseName(project="enclave", tag="v1.0.0")


def honest(path: str) -> bytes:
    if path.startswith("/api/v1/claims"):
        return json.dumps(claim_document(job_document())).encode()
    if path.startswith("/api/v1/jobs/"):
        return json.dumps(job_document()).encode()
    return TAKEN if path.startswith("/api/v1/statements") else b'{"answer": "go-on"}'


@pytest.fixture
def portal() -> Iterator[FalsePortal]:
    with false_portal(honest) as server:
        yield server


@pytest.fixture
def at(portal: FalsePortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with desk(tmp_path, portal.address, monkeypatch) as made:
        yield made


def raising(error: Exception) -> Callable[[Reporter], None]:
    def instead(_: Reporter) -> None:
        raise error

    return instead


def test_an_agent_that_is_told_to_end_does_so_however_long_the_portals_lease_is(at: Desk, portal: FalsePortal) -> None:
    long = claim_document(job_document(), leaseSeconds=3600, heartbeatSeconds=3600)
    portal.body = lambda path: json.dumps(long).encode() if path.endswith("/claims") else honest(path)

    def build(reporter: Reporter) -> None:
        portal.status = 503
        reporter.stage_started("build")
        at.agent.stop()
        reporter.check()

    at.instead = build
    began = time.monotonic()
    assert at.agent.work() == 0
    assert time.monotonic() - began < 15
    assert any("whoever runs the rebuilder stopped it" in line for line in at.said)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file", "a\x1b[31m"), "failed: unforeseen: FileNotFoundError"),
        (ValueError("no number"), "failed: unforeseen: ValueError: no number (enclave v1.0.0)"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), "failed: unforeseen: UnicodeEncodeError"),
        (OSError(28, "No space left on device", "/x"), "failed: disk-full"),
    ],
)
def test_a_job_that_fails_as_nobody_foresaw_is_reported_and_the_next_one_is_done(
    at: Desk, portal: FalsePortal, error: Exception, said: str
) -> None:
    at.instead = raising(error)
    assert at.agent.work(once=True) == 0
    assert any(line.startswith(said) for line in at.said), at.said
    assert any(path.endswith("/failure") for path in portal.asked)
    at.instead = lambda _: None
    assert at.agent.work(once=True) == 1


def test_a_statement_that_cannot_be_kept_is_handed_in_all_the_same(at: Desk, portal: FalsePortal) -> None:
    at.home.statements.rmdir()
    assert at.agent.work(once=True) == 1
    assert any(path.startswith("POST /api/v1/statements") for path in portal.asked)
    assert any("not-written" in line for line in at.said)
    assert list(at.home.outbox.iterdir()) == []


def test_the_outbox_has_a_statement_before_anything_else_is_done_with_it(
    at: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []

    def keep(*_: object) -> Path:
        waiting.append(len(list(at.home.outbox.glob("*.json"))))
        raise NotWritten("it cannot be kept", where="test")

    monkeypatch.setattr(at.agent, "keep", keep)
    assert at.agent.work(once=True) == 1
    assert waiting == [1]


def test_a_statement_for_which_there_is_no_place_at_all_is_handed_in_all_the_same(
    at: Desk, portal: FalsePortal
) -> None:
    at.home.outbox.rmdir()
    at.home.statements.rmdir()
    assert at.agent.work(once=True) == 1
    assert any(path.startswith("POST /api/v1/statements") for path in portal.asked)


def test_where_the_portal_is_away_as_well_nobody_is_told_that_it_was_kept(at: Desk, portal: FalsePortal) -> None:
    at.home.outbox.rmdir()

    def away(_: Reporter) -> None:
        portal.status = 503

    at.instead = away
    assert at.agent.work(once=True) == 0
    assert any(line.startswith("signed and not delivered") for line in at.said)


def test_the_release_with_the_longest_tag_is_rebuilt_kept_and_known_again(at: Desk, portal: FalsePortal) -> None:
    tag = "a/" * 99 + "a"
    portal.body = lambda path: (
        json.dumps(claim_document(job_document(tag=tag))).encode() if path.endswith("/claims") else honest(path)
    )
    assert at.agent.work(ReleaseName(project="enclave", tag=tag)) == 1
    assert at.home.statement_path("enclave", tag).is_file()


def test_a_directory_that_is_not_there_is_named_before_anything_is_built(at: Desk, tmp_path: Path) -> None:
    with pytest.raises(NotWritten, match="there is no such directory"):
        commands.rebuild(at.agent, at.client, ASKED, tmp_path / "none" / "x.json", at.said.append)
    assert at.rebuilt == []


def test_a_place_that_this_machine_refuses_is_one_line_and_not_a_traceback(
    at: Desk, portal: FalsePortal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    said = ("--once", "--portal", portal.address, "--key", str(tmp_path / "key.pem"), "--data", str(tmp_path / "file"))
    assert main(said) == 2
    assert capsys.readouterr().err.startswith("unforeseen: FileExistsError")
