"""Writes a running rebuild into the database: stages, log while it grows, and the lease."""

from __future__ import annotations

import threading
import time
import uuid
from types import TracebackType
from typing import Self

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from builds.domain.errors import PortalError
from builds.domain.lifecycle import StageState
from builds.domain.logtext import LineSplitter
from builds.models import LogChunk, RebuildStage
from builds.pipeline.control import Cancelled, ClaimLost
from builds.services.rebuilding import Claim, renew

_FLUSH_SECONDS = 0.5
_FLUSH_CHARACTERS = 32 * 1024
_RENEWALS_PER_LEASE = 3
_CANCEL_POLL_SECONDS = 1.0


class Heartbeat:
    """Renews a claim's lease from its own thread, so that a long step does not look like a dead worker.

    It also notices a request to cancel within about a second.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._stop = threading.Event()
        self.cancelled = threading.Event()
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{claim.rebuild_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raise ``ClaimLost`` or ``Cancelled`` when the rebuild must stop."""
        where = f"rebuild {self._claim.rebuild_id}"
        if self.lost.is_set():
            raise ClaimLost("the claim on this rebuild has lapsed", where=where)
        if self.cancelled.is_set():
            raise Cancelled("the rebuild was cancelled", where=where)

    def _run(self) -> None:
        interval = min(_CANCEL_POLL_SECONDS, settings.LEASE_SECONDS / _RENEWALS_PER_LEASE)
        renewed_at = time.monotonic()
        while not self._stop.wait(interval):
            try:
                answer = renew(self._claim)
            except (OperationalError, InterfaceError):
                # The database is away for a moment; the lease decides how long a moment may be.
                connection.close()
                if time.monotonic() - renewed_at < settings.LEASE_SECONDS:
                    continue
                answer = None
            if answer is None:
                self.lost.set()
                break
            renewed_at = time.monotonic()
            if answer is False:
                self.cancelled.set()
        connection.close()


class DatabaseObserver:
    """The pipeline's observer: rows for stages, append-only chunks for the log."""

    def __init__(self, rebuild_id: uuid.UUID, heartbeat: Heartbeat) -> None:
        self._rebuild_id = rebuild_id
        self._heartbeat = heartbeat
        self._lines = LineSplitter()
        self._buffer: list[str] = []
        self._buffered = 0
        self._flushed_at = time.monotonic()
        self._sequence = 0
        self._position = 0

    def stage_started(self, name: str) -> None:
        self._flush_all()
        self._position += 1
        RebuildStage.objects.create(
            rebuild_id=self._rebuild_id, position=self._position, name=name, started_at=timezone.now()
        )

    def stage_ended(self, name: str, *, exit_code: int | None) -> None:
        self._end(StageState.SUCCEEDED, exit_code, None)

    def stage_failed(self, name: str, error: PortalError, *, exit_code: int | None) -> None:
        state = StageState.FAILED
        if isinstance(error, Cancelled):
            state = StageState.CANCELLED
        elif isinstance(error, ClaimLost):
            state = StageState.LOST
        self._append([f"{error.code}: {error}"])
        self._end(state, exit_code, error)

    def log(self, text: str) -> None:
        self._append(self._lines.feed(text))
        if self._buffered >= _FLUSH_CHARACTERS or time.monotonic() - self._flushed_at >= _FLUSH_SECONDS:
            self._flush()

    def check(self) -> None:
        self._heartbeat.check()
        if self._buffered and time.monotonic() - self._flushed_at >= _FLUSH_SECONDS:
            self._flush()

    def _end(self, state: StageState, exit_code: int | None, error: PortalError | None) -> None:
        self._flush_all()
        RebuildStage.objects.filter(
            rebuild_id=self._rebuild_id, position=self._position, state=StageState.RUNNING
        ).update(
            state=state,
            ended_at=timezone.now(),
            exit_code=exit_code,
            error=error.as_dict() if error is not None else None,
        )

    def _append(self, lines: list[str]) -> None:
        self._buffer.extend(lines)
        self._buffered += sum(len(line) + 1 for line in lines)

    def _flush_all(self) -> None:
        self._append(self._lines.flush())
        self._flush()

    def _flush(self) -> None:
        self._flushed_at = time.monotonic()
        if not self._buffer:
            return
        text = "".join(f"{line}\n" for line in self._buffer)
        self._buffer.clear()
        self._buffered = 0
        self._sequence += 1
        LogChunk(rebuild_id=self._rebuild_id, sequence=self._sequence, stage_position=self._position, text=text).save()
