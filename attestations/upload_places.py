"""How many bodies of announcements a process takes at once: each keeps a thread for as long as its sender likes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from attestations.domain.publication_errors import UploadsBusy

MOST_UPLOADS = 4
"""Of one process, which has some twenty threads (gunicorn.conf.py)."""
MOST_OF_AN_ACCOUNT = 2
"""So that one publisher's token, in whatever hands, leaves places for the others."""
_MOST_WAITING = 6
"""Who waits keeps a thread too."""


class UploadPlaces:
    """Safe between threads. Who finds no place waits for ``patience`` seconds: most bodies are here in less."""

    def __init__(self, most: int = MOST_UPLOADS, each: int = MOST_OF_AN_ACCOUNT, patience: float = 2.0) -> None:
        self._most = most
        self._each = each
        self._patience = patience
        self._waiting = 0
        self._taken: Counter[int] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def place(self, account: int) -> Iterator[None]:
        """For the account of this primary key; ``UploadsBusy`` when it gets none, before a byte of a body is read."""
        with self._changed:
            if not self._is_free(account) and not self._becomes_free(account):
                raise UploadsBusy("as many announcements are being sent as are taken at once", where="this portal")
            self._taken[account] += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken[account] -= 1
                # Gone accounts are not remembered.
                self._taken += Counter()
                self._changed.notify_all()

    def _is_free(self, account: int) -> bool:
        return self._taken.total() < self._most and self._taken[account] < self._each

    def _becomes_free(self, account: int) -> bool:
        if self._waiting >= _MOST_WAITING:
            return False
        self._waiting += 1
        try:
            return self._changed.wait_for(lambda: self._is_free(account), self._patience)
        finally:
            self._waiting -= 1


PLACES = UploadPlaces()
