"""Logs and stages that strangers send: plain text of a bounded size, shown as text, and truthful about what is gone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from builds.domain.progress import MAX_PIECE_CHARACTERS, MAX_PIECES, Answer, LogPiece, Progress
from builds.models import LogChunk, Rebuild, RebuildStage, Release
from builds.services.rebuilding import Claim
from builds.services.recording import record_progress, stored_log_sha256
from tests.support.attacks import Trace, claim_of, hand_in, post, refusal, signed
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db

GIGABYTE = 10**9
MOST = 1024 * 1024


@pytest.fixture
def release(make_release: Callable[..., Release], settings: Any) -> Release:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"max_log_bytes": MOST})
    return make_release()


@pytest.fixture
def held(release: Release) -> Claim:
    return claim_of(operator_named("mallory"), release)


def rebuild_of(held: Claim) -> Rebuild:
    return Rebuild.objects.get(pk=held.rebuild_id)


def progress(held: Claim, *pieces: tuple[int, str], **members: Any) -> Any:
    log = [{"sequence": sequence, "stagePosition": 0, "text": text} for sequence, text in pieces]
    return post(f"/api/v1/rebuilds/{held.rebuild_id}/progress", json.dumps({"log": log, **members}).encode(), held)


def kept(held: Claim) -> str:
    return "".join(rebuild_of(held).log_chunks.values_list("text", flat=True))


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[31mred\x1b[0m",
        "\x1b]0;title\x07",
        "nul \x00 here",
        "\x9b2J",
        "over\rwritten",
        "a\u202egnp.exe",
        "\u2066isolated",
        "\x7f",
    ],
)
def test_a_log_that_would_drive_a_terminal_is_refused_whole(release: Release, held: Claim, text: str) -> None:
    before = Trace.of(release)
    answered, code, what = refusal(progress(held, (1, "harmless\n"), (2, text)))
    assert (answered, code) == (400, "malformed-job")
    assert "log.1.text" in what
    assert Trace.of(release) == before
    assert progress(held, (1, "harmless\n")).status_code == 200


def test_html_in_a_log_is_shown_as_the_text_it_is(held: Claim, client: Client) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)> &lt; {{ 7 }} ]]>\n"
    stage = {"position": 1, "name": "<b>build</b>", "state": "running", "startedAt": timezone.now().isoformat()}
    assert progress(held, (1, hostile), stages=[stage]).status_code == 200
    page = client.get(f"/rebuilds/{held.rebuild_id}/").content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;build&lt;/b&gt;" in page
    assert "<script>alert(1)" not in page
    assert "<b>build" not in page
    raw = client.get(f"/rebuilds/{held.rebuild_id}/log")
    assert raw.headers["Content-Type"].startswith("text/plain")
    assert raw.headers["X-Content-Type-Options"] == "nosniff"


def pieces_of(total: int, size: int) -> Iterator[Progress]:
    """Progress with ``total`` characters of log, as an agent would send it."""
    text = ("x" * 99 + "\n") * (size // 100)
    sequence = 0
    while sequence * len(text) < total:
        yield Progress(
            log=tuple(
                LogPiece(sequence=sequence + number, stage_position=0, text=text) for number in range(1, MAX_PIECES + 1)
            )
        )
        sequence += MAX_PIECES


def test_of_a_gigabyte_of_log_no_more_is_kept_than_the_setting_says_and_the_log_says_so(held: Claim) -> None:
    answers = {record_progress(held, told) for told in pieces_of(GIGABYTE, MAX_PIECE_CHARACTERS)}
    assert answers == {Answer.GO_ON}
    text = kept(held)
    assert MOST * 0.9 < len(text.encode()) <= MOST
    assert text.endswith(f"[the log is longer than {MOST} bytes: the rest is not kept]\n")
    assert text.count("not kept") == 1
    assert rebuild_of(held).log_complete is False


def test_a_flood_of_small_and_empty_pieces_is_bounded_too(held: Claim) -> None:
    for start in range(0, 10_000, MAX_PIECES):
        log = tuple(LogPiece(sequence=start + number, stage_position=0, text="") for number in range(1, MAX_PIECES + 1))
        record_progress(held, Progress(log=log))
    assert LogChunk.objects.count() <= MOST // 128 + 1
    assert rebuild_of(held).log_complete is False


def test_characters_of_many_bytes_are_counted_by_their_bytes(held: Claim) -> None:
    text = "\N{SNOWMAN}" * (MAX_PIECE_CHARACTERS // 2)
    for number in range(1, 30):
        assert progress(held, (number, text)).status_code == 200
    assert len(kept(held).encode()) <= MOST


def test_after_the_cut_nothing_is_added_however_small(held: Claim) -> None:
    for told in pieces_of(2 * MOST, MAX_PIECE_CHARACTERS):
        record_progress(held, told)
    before = kept(held)
    assert progress(held, (9_000_000, "x")).status_code == 200
    assert kept(held) == before


def test_a_log_that_was_cut_stays_incomplete_also_when_its_kept_part_is_what_was_signed(
    release: Release, held: Claim
) -> None:
    for told in pieces_of(2 * MOST, MAX_PIECE_CHARACTERS):
        record_progress(held, told)
    digest = stored_log_sha256(rebuild_of(held))
    assert hand_in(signed(release, "mallory", log=digest).as_bytes(), held).status_code == 201
    assert rebuild_of(held).log_complete is False
    assert Trace.of(release).reproduced == 1


@pytest.mark.parametrize(
    ("sent", "complete"),
    [
        (["one\n", "two\n"], True),
        (["one\n"], False),
        (["one\n", "2\n"], False),
        ([], None),
    ],
)
def test_a_log_is_complete_exactly_when_it_is_the_one_that_was_signed(
    release: Release, held: Claim, sent: list[str], complete: bool | None
) -> None:
    progress(held, *enumerate(sent, start=1))
    digest = hashlib.sha256(b"one\ntwo\n").hexdigest()
    assert hand_in(signed(release, "mallory", log=digest).as_bytes(), held).status_code == 201
    assert rebuild_of(held).log_complete is complete


def test_a_piece_that_comes_again_with_other_words_changes_nothing(held: Claim) -> None:
    progress(held, (1, "first\n"))
    assert progress(held, (1, "second\n"), (2, "third\n")).status_code == 200
    assert kept(held) == "first\nthird\n"


def test_a_piece_that_comes_after_later_ones_is_not_put_before_lines_that_were_read(held: Claim) -> None:
    progress(held, (1, "a\n"), (3, "c\n"))
    assert progress(held, (2, "b\n"), (4, "d\n")).status_code == 200
    assert kept(held) == "a\nc\nd\n"
    lines = rebuild_of(held).log_chunks.values_list("last_line", "end_byte")
    assert list(lines) == [(1, 2), (2, 4), (3, 6)]


def test_a_piece_twice_in_one_report_is_stored_once(held: Claim) -> None:
    assert progress(held, (1, "first\n"), (1, "second\n")).status_code == 200
    assert LogChunk.objects.count() == 1


@pytest.mark.parametrize(
    "members",
    [
        {"log": [{"sequence": n, "stagePosition": 0, "text": ""} for n in range(1, MAX_PIECES + 2)]},
        {"log": [{"sequence": 0, "stagePosition": 0, "text": ""}]},
        {"log": [{"sequence": 10**12, "stagePosition": 0, "text": ""}]},
        {"log": [{"sequence": 1, "stagePosition": 1000, "text": ""}]},
        {"log": [{"sequence": 1, "stagePosition": 0, "text": "x" * (MAX_PIECE_CHARACTERS + 1)}]},
        {"stages": [{"position": 65, "name": "x", "state": "running", "startedAt": "2026-01-01T00:00:00Z"}]},
        {"stages": [{"position": 1, "name": "x" * 101, "state": "running", "startedAt": "2026-01-01T00:00:00Z"}]},
        {"stages": [{"position": 1, "name": "x\ny", "state": "running", "startedAt": "2026-01-01T00:00:00Z"}]},
        {"stages": [{"position": 1, "name": "x", "state": "running", "startedAt": "0001-01-01T00:00:00+14:00"}]},
        {"stages": [{"position": 1, "name": "x", "state": "succeeded", "startedAt": "2026-01-01T00:00:00Z"}]},
        {"stages": [{"position": 1, "name": "x", "state": "won", "startedAt": "2026-01-01T00:00:00Z"}]},
        {"outcome": "reproduced"},
    ],
)
def test_progress_beyond_its_format_is_refused_whole(release: Release, held: Claim, members: dict[str, Any]) -> None:
    before = Trace.of(release)
    answer = post(f"/api/v1/rebuilds/{held.rebuild_id}/progress", json.dumps(members).encode(), held)
    assert refusal(answer)[:2] == (400, "malformed-job")
    assert Trace.of(release) == before
    assert not RebuildStage.objects.exists()


def test_progress_larger_than_the_most_is_refused_before_it_is_read(release: Release, held: Claim) -> None:
    before = Trace.of(release)
    answer = post(f"/api/v1/rebuilds/{held.rebuild_id}/progress", b"{" + b" " * 17_000_000 + b"}", held)
    assert refusal(answer)[:2] == (413, "limit-exceeded")
    assert Trace.of(release) == before


def test_stages_and_log_say_nothing_about_the_verdict(release: Release, held: Claim) -> None:
    before = Trace.of(release)
    stage = {"position": 1, "name": "reproduced", "state": "failed", "startedAt": timezone.now().isoformat()}
    told = {"endedAt": timezone.now().isoformat(), "exitCode": 0}
    assert progress(held, (1, "5 of 5 reproduced\n"), stages=[{**stage, **told}]).status_code == 200
    assert Trace.of(release).verdict == before.verdict
