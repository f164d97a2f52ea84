"""How old a kept answer is: a cache takes that from how long it may keep it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from builds.operation_rules import A_MOMENT
from tee_portal import kept_answers
from tee_portal.kept_answers import kept_or_made
from tests.portal.test_kept_answers import Making, Operation

_SOON = 5.0


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Making:
    made = Making()
    monkeypatch.setattr(kept_answers, "_making_of", lambda _key: made)
    return made


def answered(make: Callable[[HttpRequest], HttpResponse]) -> HttpResponse:
    return cast("HttpResponse", kept_or_made(RequestFactory().get("/api/v1/x"), make))


def test_an_answer_says_how_many_seconds_ago_it_was_read_what_it_follows_from(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(kept_answers.time, "monotonic", lambda: now)
    operation = Operation()

    def takes() -> None:
        nonlocal now
        now += 1.2

    operation.making = takes
    assert answered(operation)["Age"] == "2"
    for passed, age in ((0.0, "2"), (0.5, "2"), (0.5, "3")):
        now += passed
        assert answered(operation)["Age"] == age
    now += 3
    assert answered(operation)["Age"] == "2", "it was made anew"


def test_who_waited_for_an_answer_is_told_how_old_it_has_become(monkeypatch: pytest.MonkeyPatch, lock: Making) -> None:
    now = 1000.0
    monkeypatch.setattr(kept_answers.time, "monotonic", lambda: now)
    operation, begun, may_end = Operation(), threading.Event(), threading.Event()

    def making() -> None:
        begun.set()
        assert may_end.wait(_SOON)

    operation.making = making
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(answered, operation)
        assert begun.wait(_SOON)
        other = pool.submit(answered, operation)
        lock.wait_for(1)
        now += 2 * A_MOMENT
        may_end.set()
        assert [first.result(_SOON)["Age"], other.result(_SOON)["Age"]] == ["10", "10"]
