"""Operations whose answers are kept, and the lock of whoever makes one, as tests hold them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from tee_portal.kept_answers import note_state

SOON = 5.0
"""Seconds; for what takes none."""


class Operation:
    """Answers with how often it ran, and follows from ``text``."""

    def __init__(self, *, status: int = 200, size: int = 0) -> None:
        self.text, self.ran = "one", 0
        self.making: Callable[[], None] = lambda: None
        self._status, self._size = status, size

    def __call__(self, request: HttpRequest) -> HttpResponse:
        made = note_state(request, lambda _request: self.text)
        if made is not None:
            return made
        self.making()
        self.ran += 1
        return HttpResponse(f"{self.ran}".ljust(self._size), status=self._status)


class HeldOperation(Operation):
    """Once it is held, it does not end before ``may_end``; ``begun`` says that it has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_end = threading.Event(), threading.Event()

    def hold(self, then: Callable[[], None] = lambda: None) -> None:
        """``then`` is done each time when it may end."""

        def making() -> None:
            self.begun.set()
            assert self.may_end.wait(SOON)
            then()

        self.making = making


class Making:
    """The lock of whoever makes an answer, which knows how many have come for it."""

    def __init__(self) -> None:
        self._lock, self._come = threading.Lock(), 0

    def acquire(self, *, blocking: bool = True, timeout: float = -1) -> bool:
        self._come += blocking
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()

    def wait_for(self, number: int) -> None:
        """Until so many wait besides the one who makes it."""
        ends = time.perf_counter() + SOON
        while self._come < number + 1:
            assert time.perf_counter() < ends
            time.sleep(0.005)
