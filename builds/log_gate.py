"""How many readers of whole logs a process serves at once, so that the others' pages keep their threads and time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ClassVar, Concatenate, Self

from django.db import connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from builds.domain.errors import PortalError
from builds.pages_first import after_pages, give_way

WORKING = threading.BoundedSemaphore(1)
_IN_LINE = threading.BoundedSemaphore(8)
MOST_DOWNLOADS = 2
"""Of one process: a reader who takes a log slowly keeps a thread as long."""
DOWNLOADS = threading.BoundedSemaphore(MOST_DOWNLOADS)
_WAITING = threading.BoundedSemaphore(6)
"""For one of those: who waits keeps a thread too, and fewer than a process has."""
PATIENCE = 10.0
PACE = 0.005
"""Seconds between two blocks of a download, which are left to pages."""
SHORT = 64 * 1024
"""Bytes that take no longer to read than a page does."""
RETRY_AFTER = 2
PLAIN = "text/plain; charset=utf-8"


class LogReadersWait(PortalError):
    """As many read whole logs as one process serves at once. Nothing is wrong with the log."""

    code: ClassVar[str] = "log-readers-wait"
    default_todo: ClassVar[str] = "Ask again after the seconds that Retry-After names."
    retry_after: ClassVar[int] = RETRY_AFTER


def one_at_a_time[**P](
    view: Callable[Concatenate[HttpRequest, P], HttpResponseBase],
) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """A view that reads much of a log: in one process one works, some wait in line, and more are told to come again."""

    @wraps(view)
    def waiting(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        give_way()
        with _place() as is_given:
            if not is_given:
                return busy()
            with after_pages():
                return view(request, *args, **kwargs)

    return waiting


def busy() -> HttpResponse:
    text = "Many read logs here just now. Try again in a few seconds; nothing is wrong with the log.\n"
    headers = {"Retry-After": str(RETRY_AFTER), "Cache-Control": "no-store"}
    return HttpResponse(text, content_type=PLAIN, status=503, headers=headers)


@contextmanager
def _place() -> Iterator[bool]:
    if WORKING.acquire(blocking=False):
        given = True
    elif _IN_LINE.acquire(blocking=False):
        try:
            # A connection of one who waits is of use to somebody else.
            if not connection.in_atomic_block:
                connection.close()
            given = WORKING.acquire(timeout=PATIENCE)
        finally:
            _IN_LINE.release()
    else:
        given = False
    try:
        yield given
    finally:
        if given:
            WORKING.release()


def whole_log(blocks: Iterator[bytes], length: int, headers: dict[str, str]) -> HttpResponseBase:
    """A log of ``length`` bytes: at once when it is short, else as it is read.

    Raises ``LogReadersWait`` when others have all places of those who wait for a long one, and as many wait as may.
    """
    if length <= SHORT:
        with after_pages():
            return HttpResponse(b"".join(blocks), content_type=PLAIN, headers=headers)
    give_way()
    if not _has_place():
        raise LogReadersWait("many read whole logs just now", where="this log")
    return StreamingHttpResponse(_Held(blocks, DOWNLOADS), content_type=PLAIN, headers=headers)


def _has_place() -> bool:
    if DOWNLOADS.acquire(blocking=False):
        return True
    if not _WAITING.acquire(blocking=False):
        return False
    try:
        return DOWNLOADS.acquire(timeout=PATIENCE / 2)
    finally:
        _WAITING.release()


class _Held:
    """Blocks of an answer, with a place that is given back when the answer is closed, however it ends."""

    def __init__(self, blocks: Iterator[bytes], place: threading.Semaphore) -> None:
        self._blocks = blocks
        self._place: threading.Semaphore | None = place

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        # Read one at a time and with a pause, sent as slowly as its reader takes it.
        time.sleep(PACE)
        with WORKING, after_pages():
            return next(self._blocks)

    def close(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.release()
