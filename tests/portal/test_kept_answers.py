"""An answer is given again while what it follows from is the same, for a moment, and to nobody who asks too often."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from builds.domain.roles import Role
from builds.models import Rebuild, Release
from builds.operation_rules import A_MOMENT
from builds.services.absent import RELEASE, NotHere
from tee_portal import kept_answers
from tee_portal.kept_answers import AnswerTakesLong, kept_or_made, note_state
from tests.portal.operations_of_tests import SOON, HeldOperation, Making, Operation


def asked(make: Callable[[HttpRequest], HttpResponse], path: str = "/api/v1/x", host: str = "testserver") -> str:
    request = RequestFactory().get(path, headers={"Host": host})
    return cast("HttpResponse", kept_or_made(request, make)).content.decode().strip()


def test_an_answer_is_given_again_until_what_it_follows_from_is_another() -> None:
    operation = Operation()
    assert [asked(operation), asked(operation)] == ["1", "1"]
    operation.text = "two"
    assert [asked(operation), asked(operation)] == ["2", "2"]


def test_after_a_moment_it_is_made_anew_whatever_it_follows_from(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(kept_answers.time, "monotonic", lambda: now)
    operation = Operation()
    assert asked(operation) == "1"
    now += A_MOMENT - 0.01
    assert asked(operation) == "1"
    now += 0.02
    assert asked(operation) == "2"


def test_for_a_tenth_of_a_second_nobody_asks_what_it_follows_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_answers, "UNASKED_SECONDS", 0.1)
    now, read = 1000.0, [0]
    monkeypatch.setattr(kept_answers.time, "monotonic", lambda: now)

    def text(_request: HttpRequest) -> str:
        read[0] += 1
        return "one"

    def make(request: HttpRequest) -> HttpResponse:
        return note_state(request, text) or HttpResponse("1")

    assert [asked(make) for _ in range(10)] == ["1"] * 10
    assert read == [1]
    now += 0.11
    assert [asked(make) for _ in range(10)] == ["1"] * 10
    assert read == [2]


@pytest.mark.parametrize("other", ["/api/v1/x?a=1", "/api/v1/y", "/api/v1/x/"])
def test_another_question_has_an_answer_of_its_own(other: str) -> None:
    operation = Operation()
    assert [asked(operation), asked(operation, other), asked(operation)] == ["1", "2", "1"]


def test_who_asks_by_another_name_of_the_portal_gets_links_to_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ALLOWED_HOSTS", ["testserver", "localhost"])
    operation = Operation()
    assert [asked(operation), asked(operation, host="localhost"), asked(operation)] == ["1", "2", "1"]


@pytest.mark.parametrize("operation", [Operation(status=404), Operation(status=503), Operation(size=5 * 1024 * 1024)])
def test_failures_and_very_large_answers_are_not_kept(operation: Operation) -> None:
    assert [asked(operation), asked(operation)] == ["1", "2"]


def test_what_states_nothing_is_not_kept() -> None:
    operation = Operation()
    operation.text = ""
    assert [asked(operation), asked(operation)] == ["1", "2"]


@pytest.mark.parametrize("error", [OperationalError("away"), NotHere(RELEASE, "gone")])
def test_a_state_that_cannot_be_read_is_no_reason_to_answer_as_before(error: Exception) -> None:
    def read(_request: HttpRequest) -> str:
        if made:
            raise error
        return "one"

    def make(request: HttpRequest) -> HttpResponse:
        note_state(request, read)
        made.append(1)
        return HttpResponse(f"{len(made)}")

    made: list[int] = []
    assert asked(make) == "1"
    with pytest.raises(type(error)):
        asked(make)


@pytest.mark.parametrize("is_kept", [False, True])
def test_while_one_makes_an_answer_the_others_wait_for_it(is_kept: bool) -> None:
    operation = HeldOperation()
    if is_kept:
        assert asked(operation) == "1"
        operation.text = "two"
    operation.hold()
    before = operation.ran
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(asked, operation)
        assert operation.begun.wait(SOON)
        others = [pool.submit(asked, operation) for _ in range(4)]
        operation.may_end.set()
        answers = [first.result(SOON), *(other.result(SOON) for other in others)]
    assert answers == [f"{before + 1}"] * 5
    assert operation.ran == before + 1


def test_an_answer_that_others_waited_for_is_not_kept_for_longer_by_them(
    monkeypatch: pytest.MonkeyPatch, making_lock: Making
) -> None:
    now = 1000.0
    monkeypatch.setattr(kept_answers.time, "monotonic", lambda: now)
    operation = HeldOperation()
    operation.hold()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(asked, operation)
        assert operation.begun.wait(SOON)
        now += A_MOMENT - 0.01
        other = pool.submit(asked, operation)
        making_lock.wait_for(1)
        now += 1
        operation.may_end.set()
        # The other came when that answer was not too old, and is told no other one for its own waiting.
        assert [first.result(SOON), other.result(SOON)] == ["1", "1"]
    operation.making = lambda: None
    assert asked(operation) == "2"


def test_however_long_an_answer_takes_one_request_makes_it(
    monkeypatch: pytest.MonkeyPatch, making_lock: Making
) -> None:
    """Longer than an answer is kept: each of those who wait would make it too, for long after they have gone."""
    now = 1000.0
    monkeypatch.setattr(kept_answers.time, "monotonic", lambda: now)
    operation = HeldOperation()
    operation.hold()
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(asked, operation)
        assert operation.begun.wait(SOON)
        others = [pool.submit(asked, operation) for _ in range(4)]
        making_lock.wait_for(4)
        now += 3 * A_MOMENT
        operation.may_end.set()
        assert [waiter.result(SOON) for waiter in (first, *others)] == ["1"] * 5


def test_what_changes_while_an_answer_is_made_has_it_made_once_more_for_all_who_came_before(
    making_lock: Making,
) -> None:
    """Not once for each of them: what was begun after they came is what they would have been told."""
    operation = HeldOperation()

    def another() -> None:
        """Each time that an answer is made."""
        operation.text += "."

    operation.hold(another)
    with ThreadPoolExecutor(7) as pool:
        first = pool.submit(asked, operation)
        assert operation.begun.wait(SOON)
        others = [pool.submit(asked, operation) for _ in range(6)]
        making_lock.wait_for(6)
        operation.may_end.set()
        assert first.result(SOON) == "1"
        assert {other.result(SOON) for other in others} == {"2"}


def test_shortly_before_an_answer_ends_one_request_makes_the_next_and_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(kept_answers.time, "monotonic", lambda: now)
    operation = HeldOperation()

    def takes_a_second() -> None:
        nonlocal now
        now += 1

    operation.making = takes_a_second
    assert asked(operation) == "1"
    now = 1000.0 + A_MOMENT - 2.01
    assert asked(operation) == "1"
    now = 1000.0 + A_MOMENT - 1.99
    operation.hold()
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(asked, operation)
        assert operation.begun.wait(SOON)
        assert asked(operation) == "1"
        operation.may_end.set()
        assert renewing.result(SOON) == "2"
    assert asked(operation) == "2"


def test_who_waited_in_vain_is_told_so_and_makes_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_answers, "_WAIT_SECONDS", 0.01)
    operation = HeldOperation()
    operation.hold()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(asked, operation)
        assert operation.begun.wait(SOON)
        with pytest.raises(AnswerTakesLong):
            asked(operation)
        operation.may_end.set()
        assert first.result(SOON) == "1"
    assert asked(operation) == "1"


def test_a_maker_that_fails_leaves_the_answer_to_the_next() -> None:
    operation = Operation()

    def making() -> None:
        raise OperationalError("away")

    operation.making = making
    with pytest.raises(OperationalError):
        asked(operation)
    operation.making = lambda: None
    assert asked(operation) == "1"


@pytest.mark.django_db
def test_an_answer_that_takes_long_is_503_by_name(
    client: Client, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "/api/v1/releases"
    monkeypatch.setattr(kept_answers, "_WAIT_SECONDS", 0.01)
    making = kept_answers._making_of(f"http://testserver {address}?")
    with making:
        refused = client.get(address)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    assert refused.headers["Cache-Control"] == "no-store"
    assert refused.json()["code"] == "answer-takes-long"
    assert client.get(address).status_code == 200


ADDRESSES = ("/api/v1/releases", "/api/v1/releases/enclave/v1.0.0/verdict", "/api/v1/export/policy")


@pytest.mark.django_db
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_kept_answer_costs_one_statement_and_is_the_same(
    client: Client, make_release: Callable[..., Release], address: str
) -> None:
    make_release()
    first = client.get(address)
    assert first.status_code == 200
    with CaptureQueriesContext(connection) as captured:
        again = client.get(address)
    assert len(captured) == 1
    assert again.content == first.content
    own = {"RateLimit"}
    assert {name: value for name, value in again.items() if name not in own} == {
        name: value for name, value in first.items() if name not in own
    }
    assert again["RateLimit"] != first["RateLimit"]


@pytest.mark.django_db
@pytest.mark.parametrize("address", ADDRESSES)
def test_who_has_a_kept_answer_is_told_304_with_its_fields(
    client: Client, make_release: Callable[..., Release], address: str
) -> None:
    make_release()
    tag = client.get(address)["ETag"]
    unchanged = client.get(address, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content, unchanged["ETag"]) == (304, b"", tag)
    assert unchanged["RateLimit"]
    head = client.head(address)
    assert head.content == b""
    assert (unchanged["Age"], head["Age"]) == ("1", "1")
    assert client.get(address).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("address", ADDRESSES)
def test_new_evidence_is_in_the_next_answer(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild], address: str
) -> None:
    release = make_release()
    before = client.get(address)
    make_rebuild(release, by="ash", changed=(Role.INITRD,))
    with CaptureQueriesContext(connection) as captured:
        after = client.get(address)
    assert len(captured) > 1
    if "export" not in address:
        assert after.content != before.content


@pytest.mark.django_db
def test_who_asks_too_often_is_refused_a_kept_answer_too(
    client: Client, make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_release()
    monkeypatch.setattr(settings, "ENVIRONMENT", settings.ENVIRONMENT.model_copy(update={"reads_per_minute": 3}))
    answers = [client.get(ADDRESSES[0], REMOTE_ADDR="192.0.2.77") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1]["Content-Type"] == "application/problem+json"
