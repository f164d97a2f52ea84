"""Whoever asks again from where the last answer ended sees every recorded verdict once, in one order."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from attestations.domain.change_cursor import ChangeCursor, UnknownCursor
from attestations.models import VerdictRecord, Webhook, WebhookDelivery
from attestations.services import verdicts
from attestations.services.verdicts import record_verdict
from builds.models import Project, Rebuild, Release

pytestmark = pytest.mark.django_db

MakeRelease = Callable[..., Release]


def asked(since: str | None = None, **query: Any) -> dict[str, Any]:
    answer = Client().get("/api/v1/changes", ({"since": since} if since is not None else {}) | query)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    assert answer["Link"] == (
        f'<http://testserver/api/v1/changes?since={found["next"]}&limit={query.get("limit", 50)}>; rel="next"'
    )
    return found


def all_pages(limit: int) -> Iterator[dict[str, Any]]:
    since = None
    while True:
        page = asked(since, limit=limit)
        yield from page["changes"]
        since = page["next"]
        if not page["more"]:
            return


def test_every_recorded_verdict_is_told_once_in_the_order_of_recording(
    make_release: MakeRelease, make_rebuild: Callable[..., Rebuild]
) -> None:
    first, second = make_release("v1"), make_release("v2")
    for release in (first, second):
        record_verdict(release.pk)
    for by, release in (("alder", second), ("birch", first)):
        make_rebuild(release, by=by)
        record_verdict(release.pk)
    told = list(all_pages(limit=1))
    assert [(entry["tag"], entry["before"]) for entry in told] == [
        ("v1", None),
        ("v2", None),
        ("v2", "deny"),
        ("v1", "deny"),
    ]
    assert told == list(all_pages(limit=100))
    assert len({entry["id"] for entry in told}) == 4


def test_a_change_leads_to_the_verdict_of_its_moment_and_to_the_signed_summary(make_release: MakeRelease) -> None:
    release = make_release("v1/rc+1")
    record = record_verdict(release.pk)
    assert record is not None
    Project.objects.update(needed_operators=3)
    record_verdict(release.pk)
    told = asked()["changes"][0]
    verdict = Client().get(told["verdict"].removeprefix("http://testserver")).json()
    assert (verdict["tag"], verdict["signed"], verdict["derived"]) == (release.tag, told["signed"], "recorded")
    assert told["signed"]["digest"] == f"sha256:{record.payload_sha256}"
    assert told["sentence"] == record.sentence


def test_an_empty_answer_says_where_to_go_on_too(make_release: MakeRelease) -> None:
    assert asked() == {"changes": [], "next": "start", "more": False}
    release = make_release()
    record_verdict(release.pk)
    seen = asked()["next"]
    assert asked(seen) == {"changes": [], "next": seen, "more": False}
    Project.objects.update(needed_operators=3)
    record_verdict(release.pk)
    assert [entry["changed"][0] for entry in asked(seen)["changes"]] == ["3 operators are needed; 2 were."]


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_more_is_said_only_when_there_is_more(make_release: MakeRelease, limit: int) -> None:
    for number in range(3):
        record_verdict(make_release(f"v{number}").pk)
    page = asked(limit=limit)
    assert (len(page["changes"]), page["more"]) == (min(limit, 3), limit < 3)


@pytest.mark.parametrize("since", ["", "7", "0-", "-1", "9" * 25, "1-zzzz", "1-" + "a" * 16, "999-" + "a" * 16])
def test_a_cursor_whose_record_is_not_here_is_refused_since_what_followed_cannot_be_told(
    make_release: MakeRelease, since: str
) -> None:
    record_verdict(make_release().pk)
    answer = Client().get("/api/v1/changes", {"since": since})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown-cursor")


@given(st.integers(1, 2**63 - 1), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_a_cursor_is_read_as_it_was_written(number: int, basis: str) -> None:
    cursor = ChangeCursor.after(number, basis)
    assert ChangeCursor.parse(str(cursor)) == cursor
    assert ChangeCursor.parse(str(ChangeCursor())) == ChangeCursor()


@given(st.text(max_size=40))
def test_any_other_text_is_no_cursor(text: str) -> None:
    if text != "start" and not re.fullmatch(r"[1-9][0-9]{0,18}-[0-9a-f]{16}", text, re.ASCII):
        with pytest.raises(UnknownCursor):
            ChangeCursor.parse(text)


def test_the_order_is_that_of_webhooks(make_release: MakeRelease, owner: User) -> None:
    Webhook.objects.create(owner=owner, url="https://hooks.example.org/", secret=b"sealed")
    for number in range(3):
        record_verdict(make_release(f"v{number}").pk)
    sent = list(WebhookDelivery.objects.order_by("pk").values_list("message_id", flat=True))
    assert sent == [f"verdict_{entry['id'].replace('-', '')}" for entry in asked()["changes"]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_of_two_that_record_at_once_the_later_number_is_never_seen_first(
    make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first transaction has made its record and does not commit; the second must not become visible before it."""
    slow, quick = make_release("slow"), make_release("quick")
    record_verdict(make_release("first").pk)
    made, go_on = threading.Event(), threading.Event()
    append = verdicts._append

    def held(record: VerdictRecord) -> None:
        append(record)
        if record.release_id == slow.pk:
            made.set()
            assert go_on.wait(20)

    monkeypatch.setattr(verdicts, "_append", held)

    def record(release: Release) -> None:
        try:
            record_verdict(release.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=record, args=(release,)) for release in (slow, quick)]
    threads[0].start()
    assert made.wait(20)
    threads[1].start()
    threads[1].join(1)
    seen = asked()
    go_on.set()
    for thread in threads:
        thread.join()
    told = [*seen["changes"], *asked(seen["next"])["changes"]]
    assert [entry["tag"] for entry in told] == ["first", "slow", "quick"]
