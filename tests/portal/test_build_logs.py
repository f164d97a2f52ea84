"""A log is read by line, followed, searched and taken away whole; nobody makes the portal read more than it shows."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds import log_gate
from builds.domain.lifecycle import RunState, StageState
from builds.models import Rebuild, RebuildStage, Release
from builds.services import build_logs, queueing, rebuilding, running
from tests.support.logs import keep_log

pytestmark = pytest.mark.django_db

LONG = ["x" * 40_000 + "\n"] * 2
"""A log that is read in blocks, as one that is longer than ``log_gate.SHORT``."""


@pytest.fixture
def rebuild(make_release: Callable[..., Release]) -> Rebuild:
    """A running one."""
    rebuild = queueing.request_rebuild(make_release(), running.local_rebuilder())
    assert rebuilding.claim(rebuild.pk, running.local_rebuilder(), "w") is not None
    return rebuild


def end(rebuild: Rebuild) -> None:
    Rebuild.objects.filter(pk=rebuild.pk).update(
        state=RunState.CANCELLED, finished_at=timezone.now(), lease_expires_at=None
    )


def stage(rebuild: Rebuild, position: int, name: str, state: StageState = StageState.SUCCEEDED) -> None:
    now = timezone.now()
    RebuildStage.objects.create(
        rebuild=rebuild, position=position, name=name, state=state, started_at=now, ended_at=now
    )


def numbered(count: int, pieces_of: int = 100) -> list[str]:
    """Lines ``line 1`` to ``line count`` in pieces."""
    lines = [f"line {number}\n" for number in range(1, count + 1)]
    return ["".join(lines[start : start + pieces_of]) for start in range(0, count, pieces_of)]


def shown(content: str) -> list[tuple[int, str]]:
    """The numbered lines of an answer."""
    found = re.findall(r'id="L(\d+)"><a [^>]*>(\d+)</a>([^\n]*)\n</span>', content)
    assert all(anchor == number for anchor, number, _ in found)
    return [(int(number), text) for _, number, text in found]


def page(client: Client, rebuild: Rebuild, query: str = "") -> str:
    answer = client.get(f"/rebuilds/{rebuild.pk}/log/{query}")
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize(("line", "first", "last"), [(1, 1, 500), (500, 1, 500), (501, 501, 1000), (1203, 1001, 1203)])
def test_a_page_holds_the_line_that_was_asked_for_under_its_own_address(
    client: Client, rebuild: Rebuild, line: int, first: int, last: int
) -> None:
    keep_log(rebuild, numbered(1203, pieces_of=70))
    content = page(client, rebuild, f"?line={line}")
    assert shown(content) == [(number, f"line {number}") for number in range(first, last + 1)]
    assert f'href="/rebuilds/{rebuild.pk}/log/?line={line}#L{line}"' in content
    assert f"Lines {first} to {last} of 1203" in content


@pytest.mark.parametrize("line", ["999999999999999999", "0", "-1", "x", "\u0663", ""])
def test_an_address_with_any_line_shows_some_page(client: Client, rebuild: Rebuild, line: str) -> None:
    keep_log(rebuild, numbered(3))
    assert len(shown(page(client, rebuild, f"?line={line}"))) == 3


def test_pieces_that_do_not_end_a_line_and_empty_ones_keep_the_numbers(client: Client, rebuild: Rebuild) -> None:
    keep_log(rebuild, ["a\nb", "", "", "c\n", "", "\n", "d"])
    assert shown(page(client, rebuild)) == [(1, "a"), (2, "b"), (3, "c"), (4, ""), (5, "d")]


def test_no_page_of_a_log_is_longer_than_its_bound_whatever_the_lines_hold(client: Client, rebuild: Rebuild) -> None:
    hostile = "<script>alert(1)</script>\t\u200f\x1b[31m" + "\N{SNOWMAN}" * 10_000
    keep_log(rebuild, [f"{hostile}\n"] * 500)
    content = page(client, rebuild)
    assert len(content.encode()) < 2_000_000
    assert "<script>alert" not in content
    assert "\u200f" not in content
    assert "\x1b" not in content
    assert "more characters stand in the plain text" in content
    assert len(shown(content)) == 500


def test_a_page_reads_only_the_pieces_that_hold_its_lines(rebuild: Rebuild) -> None:
    keep_log(rebuild, numbered(20_000))
    with CaptureQueriesContext(connection) as asked:
        lines = list(build_logs.lines_between(rebuild.pk, 10_001, 10_500))
    assert [number for number, _ in lines] == list(range(10_001, 10_501))
    assert len(asked) == 1
    with connection.cursor() as cursor:
        # PostgreSQL reads it through a cursor of its own, which is closed by now.
        cursor.execute(re.sub(r"^DECLARE .*? CURSOR .*?FOR ", "", asked[0]["sql"]))
        assert len(cursor.fetchall()) == 5


def test_the_cost_of_a_page_does_not_grow_with_the_log(client: Client, rebuild: Rebuild) -> None:
    costs = []
    for _ in range(2):
        keep_log(rebuild, numbered(5_000))
        with CaptureQueriesContext(connection) as asked:
            page(client, rebuild, "?line=700")
        costs.append(len(asked))
    assert costs[0] == costs[1] <= 12


def test_who_follows_gets_new_lines_once_and_nothing_when_there_is_nothing(client: Client, rebuild: Rebuild) -> None:
    keep_log(rebuild, numbered(3))
    first = client.get(f"/rebuilds/{rebuild.pk}/log/tail?after=0")
    assert shown(first.text) == [(1, "line 1"), (2, "line 2"), (3, "line 3")]
    assert "/log/tail?after=3" in first.text
    nothing = client.get(f"/rebuilds/{rebuild.pk}/log/tail?after=3")
    assert (nothing.status_code, nothing.content) == (204, b"")
    keep_log(rebuild, ["more\n"])
    assert shown(client.get(f"/rebuilds/{rebuild.pk}/log/tail?after=3").text) == [(4, "more")]


def test_following_ends_with_the_run_and_never_before_its_last_line(client: Client, rebuild: Rebuild) -> None:
    keep_log(rebuild, numbered(2))
    end(rebuild)
    last = client.get(f"/rebuilds/{rebuild.pk}/log/tail?after=1").text
    assert shown(last) == [(2, "line 2")]
    assert "The log has ended." in last
    assert "hx-get" not in last
    assert "The log has ended." in client.get(f"/rebuilds/{rebuild.pk}/log/tail?after=2").text


def test_who_is_far_behind_gets_the_newest_lines_and_is_told_of_the_gap(client: Client, rebuild: Rebuild) -> None:
    keep_log(rebuild, numbered(10_000))
    answer = client.get(f"/rebuilds/{rebuild.pk}/log/tail?after=10").text
    assert len(shown(answer)) == build_logs.TAIL_LINES
    assert "[9490 lines left out here]" in answer
    assert "after=10000" in answer


def test_a_poll_of_a_long_log_costs_two_queries_and_one_when_nothing_is_new(client: Client, rebuild: Rebuild) -> None:
    keep_log(rebuild, numbered(10_000))
    for after, most in ((9_990, 2), (10_000, 1)):
        with CaptureQueriesContext(connection) as asked:
            client.get(f"/rebuilds/{rebuild.pk}/log/tail?after={after}")
        assert len(asked) == most


def test_a_search_finds_lines_whatever_their_case_and_says_how_far_it_came(client: Client, rebuild: Rebuild) -> None:
    keep_log(rebuild, numbered(1_000))
    keep_log(rebuild, ["An <ERROR> here\n"])
    content = page(client, rebuild, "?q=%3Cerror")
    assert shown(content) == [(1001, "An &lt;ERROR&gt; here")]
    assert "1001 of 1001 lines were searched" in content
    assert "No line holds" in page(client, rebuild, "?q=nowhere")


def test_a_search_stops_at_its_bound_and_goes_on_from_there(client: Client, rebuild: Rebuild) -> None:
    keep_log(rebuild, numbered(500))
    content = page(client, rebuild, "?q=line")
    assert [number for number, _ in shown(content)] == list(range(1, 201))
    assert "200 of 500 lines were searched, up to line 200" in content
    assert 'href="?q=line&amp;from=201"' in content
    assert [number for number, _ in shown(page(client, rebuild, "?q=line&from=401"))] == list(range(401, 501))


def test_a_search_whose_time_is_up_says_where_it_stopped(rebuild: Rebuild, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_log(rebuild, numbered(500))
    monkeypatch.setattr(build_logs, "_SECONDS", -1)
    found = build_logs.search(rebuild.pk, "nowhere", 1, 500)
    assert (found.hits, found.searched, found.next) == ((), 100, 101)


def test_the_first_error_of_the_failed_stage_is_shown_with_the_reason(client: Client, rebuild: Rebuild) -> None:
    stage(rebuild, 1, "source")
    stage(rebuild, 2, "materials", StageState.FAILED)
    keep_log(rebuild, ["warning: error: an old story\n"], stage=1)
    keep_log(rebuild, [*numbered(600), "E: Unable to locate package x\n", "E: more\n"], stage=2)
    jump = client.get(f"/rebuilds/{rebuild.pk}/log/?first-error")
    assert jump["Location"] == f"/rebuilds/{rebuild.pk}/log/?line=602&error#L602"
    content = page(client, rebuild, "?line=602&error")
    assert "Line 602 was chosen because apt or dpkg says that it failed." in content
    assert '<span class="line marked" id="L602">' in content
    assert re.search(r'\?line=2#L2">\s*<bdi class="foreign">materials</bdi>', content)


def test_a_log_without_an_error_says_so(client: Client, rebuild: Rebuild) -> None:
    keep_log(rebuild, numbered(3))
    assert "No line looks like an error." in page(client, rebuild, "?first-error")


def test_the_plain_text_is_every_byte_with_its_length_and_may_be_kept_once_the_run_has_ended(
    client: Client, rebuild: Rebuild
) -> None:
    pieces = [*numbered(5_000), "\N{SNOWMAN} no end"]
    keep_log(rebuild, pieces)
    address = f"/rebuilds/{rebuild.pk}/log"
    live = client.get(address)
    assert b"".join(live) == "".join(pieces).encode()  # type: ignore[arg-type]
    assert int(live["Content-Length"]) == len("".join(pieces).encode())
    assert "ETag" not in live
    end(rebuild)
    ended = client.get(f"{address}.txt")
    assert ended["Content-Disposition"] == f'attachment; filename="{rebuild.pk}.log.txt"'
    assert "immutable" in ended["Cache-Control"]
    assert list(ended)
    again = client.get(address, headers={"If-None-Match": ended["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.head(address)["Content-Length"] == ended["Content-Length"]


def test_a_download_is_read_in_blocks_of_a_bounded_size(rebuild: Rebuild) -> None:
    keep_log(rebuild, ["x" * 60_000] * 100)
    sizes = [len(block) for block in build_logs.blocks(rebuild.pk, 100 * 60_000)]
    assert sum(sizes) == 6_000_000
    assert max(sizes) <= 1_000_000


def test_more_readers_at_once_than_there_is_room_for_are_told_to_come_again(
    client: Client, rebuild: Rebuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_log(rebuild, LONG)
    monkeypatch.setattr(log_gate, "PATIENCE", 0.01)
    with log_gate.WORKING:
        answer = client.get(f"/rebuilds/{rebuild.pk}/log/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
    assert shown(page(client, rebuild))
    taken = [client.get(f"/rebuilds/{rebuild.pk}/log") for _ in range(log_gate.MOST_DOWNLOADS)]
    assert client.get(f"/rebuilds/{rebuild.pk}/log").status_code == 503
    for answer in taken:
        assert list(answer)
    assert list(client.get(f"/rebuilds/{rebuild.pk}/log"))


def test_the_api_gives_no_more_logs_at_once_than_the_pages_do(
    client: Client, rebuild: Rebuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_log(rebuild, LONG)
    monkeypatch.setattr(log_gate, "PATIENCE", 0.01)
    taken = [client.get(f"/api/v1/rebuilds/{rebuild.pk}/log") for _ in range(log_gate.MOST_DOWNLOADS)]
    assert client.get(f"/rebuilds/{rebuild.pk}/log").status_code == 503
    refused = client.get(f"/api/v1/rebuilds/{rebuild.pk}/log")
    assert (refused.status_code, refused["Retry-After"]) == (503, "2")
    assert (refused["Content-Type"], refused.json()["code"]) == ("application/problem+json", "log-readers-wait")
    for answer in taken:
        assert list(answer)
    assert list(client.get(f"/api/v1/rebuilds/{rebuild.pk}/log"))


def test_few_wait_for_a_download_and_the_others_are_told_at_once(
    client: Client, rebuild: Rebuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_log(rebuild, LONG)
    taken = [client.get(f"/rebuilds/{rebuild.pk}/log") for _ in range(log_gate.MOST_DOWNLOADS)]
    monkeypatch.setattr(log_gate, "_WAITING", threading.BoundedSemaphore(1))
    with log_gate._WAITING:
        began = time.monotonic()
        assert client.get(f"/rebuilds/{rebuild.pk}/log").status_code == 503
        assert time.monotonic() - began < 2
    for answer in taken:
        assert list(answer)


def test_a_short_log_needs_no_place_among_the_long_ones(client: Client, rebuild: Rebuild) -> None:
    keep_log(rebuild, numbered(3))
    places = [log_gate.DOWNLOADS.acquire(blocking=False) for _ in range(log_gate.MOST_DOWNLOADS)]
    try:
        assert all(places)
        answer = client.get(f"/rebuilds/{rebuild.pk}/log")
    finally:
        for _ in places:
            log_gate.DOWNLOADS.release()
    assert answer.content == "".join(numbered(3)).encode()


@pytest.mark.parametrize("address", ["", "?q=x", "?first-error", "tail"])
def test_a_log_of_no_rebuild_is_not_found(client: Client, address: str) -> None:
    assert client.get(f"/rebuilds/00000000-0000-0000-0000-000000000000/log/{address}").status_code == 404


def test_an_empty_log_says_what_it_is(client: Client, rebuild: Rebuild) -> None:
    assert "Nothing has been told yet." in page(client, rebuild)
    end(rebuild)
    assert "No log was handed in." in page(client, rebuild)
    assert client.get(f"/rebuilds/{rebuild.pk}/log").content == b""


def test_the_api_gives_the_same_bytes_as_the_page(client: Client, rebuild: Rebuild) -> None:
    keep_log(rebuild, numbered(3_000))
    told = client.get(f"/api/v1/rebuilds/{rebuild.pk}/log")
    assert b"".join(told) == "".join(numbered(3_000)).encode()  # type: ignore[arg-type]
    assert client.get("/api/v1/rebuilds/00000000-0000-0000-0000-000000000000/log").status_code == 404
