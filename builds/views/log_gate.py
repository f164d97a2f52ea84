"""How many readers of whole logs a process serves at once, so that the others' pages keep their threads and time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

WORKING = threading.BoundedSemaphore(1)
_IN_LINE = threading.BoundedSemaphore(32)
MOST_DOWNLOADS = 4
"""Of one process: a reader who takes a log slowly keeps a thread as long."""
DOWNLOADS = threading.BoundedSemaphore(MOST_DOWNLOADS)
PATIENCE = 10.0
PACE = 0.005
"""Seconds between two blocks of a download, which are left to pages."""
RETRY_AFTER = 2


def one_at_a_time[**P](
    view: Callable[Concatenate[HttpRequest, P], HttpResponseBase],
) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """A view that reads much of a log: in one process one works, some wait in line, and more are told to come again."""

    @wraps(view)
    def waiting(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        with _place() as is_given:
            return view(request, *args, **kwargs) if is_given else busy()

    return waiting


def busy() -> HttpResponse:
    text = "Many read logs here just now. Try again in a few seconds; nothing is wrong with the log.\n"
    headers = {"Retry-After": str(RETRY_AFTER), "Cache-Control": "no-store"}
    return HttpResponse(text, content_type="text/plain; charset=utf-8", status=503, headers=headers)


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
