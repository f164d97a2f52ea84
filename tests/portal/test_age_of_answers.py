"""How old a kept answer is: a cache takes that from how long it may keep it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from builds.operation_rules import A_MOMENT
from tee_portal import kept_answers
from tee_portal.kept_answers import kept_or_made
from tests.portal.operations_of_tests import SOON, HeldOperation, Making, Operation


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


def test_who_waited_for_an_answer_is_told_how_old_it_has_become(
    monkeypatch: pytest.MonkeyPatch, making_lock: Making
) -> None:
    now = 1000.0
    monkeypatch.setattr(kept_answers.time, "monotonic", lambda: now)
    operation = HeldOperation()
    operation.hold()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(answered, operation)
        assert operation.begun.wait(SOON)
        other = pool.submit(answered, operation)
        making_lock.wait_for(1)
        now += 2 * A_MOMENT
        operation.may_end.set()
        assert [first.result(SOON)["Age"], other.result(SOON)["Age"]] == ["10", "10"]
