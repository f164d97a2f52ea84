"""Answers kept for conditional requests: GitHub does not count a 304 against the rate limit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol


class ETagStore(Protocol):
    """Where answers are kept between requests. ``body`` is opaque: the client's own form of an answer."""

    def get(self, url: str) -> tuple[str, bytes] | None:
        """The entity tag and body last put under ``url``."""

    def put(self, url: str, etag: str, body: bytes) -> None:
        """Keep both, in place of what was there."""


class MemoryETags:
    """Keeps the most recently used answers of this process, up to ``max_bytes`` in all. Safe between threads."""

    def __init__(self, max_bytes: int = 32 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, url: str) -> tuple[str, bytes] | None:
        with self._lock:
            if url in self._held:
                self._held.move_to_end(url)
            return self._held.get(url)

    def put(self, url: str, etag: str, body: bytes) -> None:
        with self._lock:
            if url in self._held:
                self._bytes -= len(self._held.pop(url)[1])
            self._held[url] = (etag, body)
            self._bytes += len(body)
            while self._bytes > self._max_bytes:
                self._bytes -= len(self._held.popitem(last=False)[1][1])
