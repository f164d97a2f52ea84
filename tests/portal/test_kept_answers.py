"""An answer is given again while what it follows from is the same, for a moment, and to nobody who asks too often."""

from __future__ import annotations

import threading
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
from tee_portal.kept_answers import State, kept_or_made, note_state

_SOON = 5.0


class Operation:
    """Answers with how often it ran, and follows from ``text``."""

    def __init__(self, *, status: int = 200, size: int = 0) -> None:
        self.text, self.ran = "one", 0
        self.making: Callable[[], None] = lambda: None
        self._status, self._size = status, size

    def __call__(self, request: HttpRequest) -> HttpResponse:
        made = note_state(request, State(self.text, lambda _request: self.text))
        if made is not None:
            return made
        self.making()
        self.ran += 1
        return HttpResponse(f"{self.ran}".ljust(self._size), status=self._status)


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
        return note_state(request, State("one", text)) or HttpResponse("1")

    assert [asked(make) for _ in range(10)] == ["1"] * 10
    assert read == [0]
    now += 0.11
    assert [asked(make) for _ in range(10)] == ["1"] * 10
    assert read == [1]


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
        raise error

    def make(request: HttpRequest) -> HttpResponse:
        note_state(request, State("one", read))
        made.append(1)
        return HttpResponse(f"{len(made)}")

    made: list[int] = []
    assert [asked(make), asked(make)] == ["1", "2"]


@pytest.mark.parametrize("is_kept", [False, True])
def test_while_one_makes_an_answer_the_others_wait_for_it(is_kept: bool) -> None:
    operation, begun, may_end = Operation(), threading.Event(), threading.Event()
    if is_kept:
        assert asked(operation) == "1"
        operation.text = "two"

    def making() -> None:
        begun.set()
        assert may_end.wait(_SOON)

    operation.making = making
    before = operation.ran
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(asked, operation)
        assert begun.wait(_SOON)
        others = [pool.submit(asked, operation) for _ in range(4)]
        may_end.set()
        answers = [first.result(_SOON), *(other.result(_SOON) for other in others)]
    assert answers == [f"{before + 1}"] * 5
    assert operation.ran == before + 1


def test_an_answer_that_others_waited_for_is_not_kept_for_longer_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(kept_answers.time, "monotonic", lambda: now)
    operation = Operation()
    assert asked(operation) == "1"
    now += A_MOMENT - 0.01
    request = RequestFactory().get("/api/v1/x", headers={"Host": "testserver"})
    assert cast("HttpResponse", kept_answers._made("another", request, operation)).content == b"1"
    request.META[kept_answers._MAKING].release()
    now += 0.02
    assert asked(operation) == "2"


def test_who_waited_in_vain_makes_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_answers, "_WAIT_SECONDS", 0.01)
    operation, begun, may_end = Operation(), threading.Event(), threading.Event()

    def making() -> None:
        if not begun.is_set():
            begun.set()
            assert may_end.wait(_SOON)

    operation.making = making
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(asked, operation)
        assert begun.wait(_SOON)
        assert asked(operation) == "1"
        may_end.set()
        assert first.result(_SOON) == "2"


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
    assert client.head(address).content == b""
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
