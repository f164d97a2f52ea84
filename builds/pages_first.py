"""Pages before logs: a thread that computes a page has its process to itself, as far as readers of logs can wait.

Threads of a process share one interpreter lock, so hundreds of readers who poll would add their time to the page that
somebody waits for. They wait for it instead: a moment that nobody who reads a log notices.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.http import HttpRequest, HttpResponse

LONGEST_WAIT = 0.1
"""Seconds. However many pages are asked for, logs are read too."""


class _Pages:
    """How many threads of this process compute a page, and a way to wait until none does."""

    def __init__(self) -> None:
        self._count = 0
        self._none = threading.Condition()
        self._thread = threading.local()

    def begin(self) -> None:
        self._thread.is_page = True
        with self._none:
            self._count += 1

    def end(self) -> None:
        """The thread computes no page, or none any more. To end twice is no fault."""
        if not getattr(self._thread, "is_page", False):
            return
        self._thread.is_page = False
        with self._none:
            self._count -= 1
            if self._count == 0:
                self._none.notify_all()

    def wait_for_none(self, seconds: float) -> None:
        with self._none:
            self._none.wait_for(lambda: self._count == 0, timeout=seconds)


_PAGES = _Pages()
_ONE_LOG = threading.Lock()


def pages_first(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: every request counts as a page until it turns out to be a reader of a log (``after_pages``)."""

    def middleware(request: HttpRequest) -> HttpResponse:
        _PAGES.begin()
        try:
            return get_response(request)
        finally:
            _PAGES.end()

    return middleware


def give_way() -> None:
    """This request computes no page from here on, though it may wait long for what it does compute."""
    _PAGES.end()


@contextmanager
def after_pages() -> Iterator[None]:
    """Work on a log: one thread at a time, when no page is computed, and after ``LONGEST_WAIT`` in any case."""
    give_way()
    deadline = time.monotonic() + LONGEST_WAIT
    is_first = _ONE_LOG.acquire(timeout=LONGEST_WAIT)
    try:
        _PAGES.wait_for_none(deadline - time.monotonic())
        yield
    finally:
        if is_first:
            _ONE_LOG.release()
