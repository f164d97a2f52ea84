"""Readers of logs wait for pages, a moment, and never for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.http import HttpRequest, HttpResponse

from builds import pages_first
from builds.pages_first import after_pages, give_way

_SOON = 5.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader waits for comes, or the test fails: it is not the wait that ends."""
    monkeypatch.setattr(pages_first, "LONGEST_WAIT", _SOON)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def _answered(view: Callable[[HttpRequest], HttpResponse]) -> HttpResponse:
    return pages_first.pages_first(view)(HttpRequest())


def _log(order: list[str]) -> Callable[[HttpRequest], HttpResponse]:
    def view(_request: HttpRequest) -> HttpResponse:
        with after_pages():
            order.append("log")
        return HttpResponse()

    return view


def test_a_log_is_read_when_the_page_that_is_computed_is_done(threads: ThreadPoolExecutor) -> None:
    order: list[str] = []
    begun, log_asked = threading.Event(), threading.Event()

    def page(_request: HttpRequest) -> HttpResponse:
        begun.set()
        assert log_asked.wait(_SOON)
        time.sleep(0.05)
        order.append("page")
        return HttpResponse()

    of_page = threads.submit(_answered, page)
    assert begun.wait(_SOON)
    of_log = threads.submit(_answered, _log(order))
    log_asked.set()
    of_page.result(_SOON)
    of_log.result(_SOON)
    assert order == ["page", "log"]


def test_a_page_that_never_ends_does_not_keep_a_log_from_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_first, "LONGEST_WAIT", 0.02)
    order: list[str] = []
    begun, may_end = threading.Event(), threading.Event()

    def page(_request: HttpRequest) -> HttpResponse:
        begun.set()
        assert may_end.wait(_SOON)
        return HttpResponse()

    with ThreadPoolExecutor(1) as pool:
        of_page = pool.submit(_answered, page)
        assert begun.wait(_SOON)
        _answered(_log(order))
        assert order == ["log"]
        assert not of_page.done()
        may_end.set()


def test_a_reader_of_a_log_who_waits_holds_no_other_reader_up(threads: ThreadPoolExecutor) -> None:
    gave_way, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def waiting(_request: HttpRequest) -> HttpResponse:
        give_way()
        gave_way.set()
        assert may_end.wait(_SOON)
        return HttpResponse()

    of_waiting = threads.submit(_answered, waiting)
    assert gave_way.wait(_SOON)
    began = time.monotonic()
    _answered(_log(order))
    assert order == ["log"]
    assert time.monotonic() - began < _SOON / 2
    may_end.set()
    of_waiting.result(_SOON)


def test_logs_are_read_one_at_a_time(threads: ThreadPoolExecutor) -> None:
    inside: list[int] = []
    most: list[int] = []

    def view(_request: HttpRequest) -> HttpResponse:
        with after_pages():
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()
        return HttpResponse()

    for running in [threads.submit(_answered, view) for _ in range(4)]:
        running.result(_SOON)
    assert most == [1, 1, 1, 1]


def test_a_view_that_fails_is_no_page_any_more() -> None:
    def failing(_request: HttpRequest) -> HttpResponse:
        raise RuntimeError("no page")

    with pytest.raises(RuntimeError, match="no page"):
        _answered(failing)
    began = time.monotonic()
    with after_pages():
        pass
    assert time.monotonic() - began < _SOON / 2
