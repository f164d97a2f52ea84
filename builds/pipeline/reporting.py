"""Tells whoever keeps a rebuild how it goes: stages, log and sign of life, from a thread of its own.

A sink that is away for a while loses nothing: what it has not taken is kept and sent again.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import ClassVar, Protocol, Self

from builds.domain.errors import PortalError
from builds.domain.lifecycle import StageState
from builds.domain.logtext import LineSplitter, plain_text
from builds.domain.progress import (
    MAX_PIECE_CHARACTERS,
    MAX_PIECES,
    Answer,
    FailureReport,
    LogPiece,
    Progress,
    StageReport,
)
from builds.pipeline.control import Cancelled, ClaimLost

_PIECES_AT_ONCE = min(16, MAX_PIECES)
# What a program that is told to end still waits for whoever is told: they may never answer.
_HURRY_SECONDS = 5.0


class SinkAway(PortalError):
    """Whoever keeps the rebuild cannot be told right now."""

    code: ClassVar[str] = "sink-away"
    default_todo: ClassVar[str] = "Nothing: it is told again shortly."


class ProgressSink(Protocol):
    """Where progress goes. ``send`` raises ``SinkAway`` when it should be tried again."""

    def send(self, progress: Progress) -> Answer: ...

    def close(self) -> None:
        """Called once, from the thread that sends."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between two signs of life, between log and its sending, and without any answer until all is lost."""

    heartbeat: float
    flush: float
    lease: float


class Reporter:
    """The pipeline's observer. ``stops_when_gone`` ends the build when its claim went to somebody else.

    Without that, the build goes on: what it gives is evidence all the same.
    """

    def __init__(
        self, sink: ProgressSink, pace: Pace, *, stops_when_gone: bool = True, echo: Callable[[str], None] | None = None
    ) -> None:
        self._sink = sink
        self._pace = pace
        self._stops_when_gone = stops_when_gone
        self._echo = echo
        self._lock = threading.Condition()
        self._lines = LineSplitter()
        self._text: list[str] = []
        self._text_length = 0
        self._pieces: list[LogPiece] = []
        self._stages: dict[int, StageReport] = {}
        self._current: StageReport | None = None
        self._sequence = 0
        self._digest = hashlib.sha256()
        self._stopping = False
        self.cancelled = threading.Event()
        self.gone = threading.Event()
        self._interrupted_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        began = time.monotonic()
        while self._thread.is_alive() and not self._gives_up(began):
            self._thread.join(0.1)
        # One that hangs in an answer ends with it; nothing waits for that.
        self.gone.set()

    @property
    def log_sha256(self) -> str:
        """SHA-256 of the whole log as told, in hex."""
        with self._lock:
            return self._digest.hexdigest()

    def interrupt(self) -> None:
        """Stop the build at its next check; for whoever runs the program and wants it to end, also in a signal."""
        self._interrupted_at = time.monotonic()

    def check(self) -> None:
        """Raise ``ClaimLost`` or ``Cancelled`` when the rebuild must stop."""
        if self._interrupted_at is not None:
            raise Cancelled("whoever runs the rebuilder stopped it", where="rebuilder")
        if self.gone.is_set() and self._stops_when_gone:
            raise ClaimLost("the claim on this rebuild has lapsed", where="claim")
        if self.cancelled.is_set():
            raise Cancelled("the rebuild was cancelled", where="portal")

    def stage_started(self, name: str) -> None:
        with self._lock:
            self._end_line()
            position = self._current.position + 1 if self._current is not None else 1
            report = StageReport(position=position, name=name, state=StageState.RUNNING, started_at=_now())
            self._told(report)
        if self._echo is not None:
            self._echo(f"[{name}]\n")

    def stage_ended(self, name: str, *, exit_code: int | None) -> None:
        self._end(StageState.SUCCEEDED, exit_code, None)

    def stage_failed(self, name: str, error: PortalError, *, exit_code: int | None) -> None:
        state = StageState.FAILED
        if isinstance(error, Cancelled):
            state = StageState.CANCELLED
        elif isinstance(error, ClaimLost):
            state = StageState.LOST
        self.log(f"{error.code}: {error}\n")
        self._end(state, exit_code, error)

    def log(self, text: str) -> None:
        with self._lock:
            self._append(self._lines.feed(text))

    def settle(self) -> None:
        """Wait until everything so far is taken, the claim is gone, or the lease has passed without an answer.

        After ``interrupt`` no longer than a few seconds.
        """
        began = time.monotonic()
        with self._lock:
            self._end_line()
            self._lock.notify_all()
            while self._pending and not self.gone.is_set() and time.monotonic() < began + self._pace.lease:
                if self._gives_up(began):
                    self.gone.set()
                self._lock.wait(0.1)

    def _gives_up(self, began: float) -> bool:
        """Whether who waits since ``began`` waits no more because the program is to end."""
        return self._interrupted_at is not None and (
            time.monotonic() > max(began, self._interrupted_at) + _HURRY_SECONDS
        )

    def _end(self, state: StageState, exit_code: int | None, error: PortalError | None) -> None:
        with self._lock:
            self._end_line()
            if self._current is None:
                return
            report = bounded_report(error) if error is not None else None
            self._told(
                self._current.model_copy(
                    update={"state": state, "ended_at": _now(), "exit_code": exit_code, "error": report}
                )
            )

    def _told(self, report: StageReport) -> None:
        self._current = report
        self._stages[report.position] = report

    def _end_line(self) -> None:
        self._append(self._lines.flush())
        self._cut_piece()

    def _append(self, lines: list[str]) -> None:
        for line in lines:
            if self._text_length + len(line) + 1 > MAX_PIECE_CHARACTERS // 2:
                self._cut_piece()
            self._text.append(f"{line}\n")
            self._text_length += len(line) + 1
            if self._echo is not None:
                self._echo(f"{line}\n")

    def _cut_piece(self) -> None:
        if not self._text:
            return
        text = "".join(self._text)
        self._text.clear()
        self._text_length = 0
        self._digest.update(text.encode())
        self._sequence += 1
        position = self._current.position if self._current is not None else 0
        self._pieces.append(LogPiece(sequence=self._sequence, stage_position=position, text=text))

    @property
    def _pending(self) -> bool:
        return bool(self._pieces or self._stages or self._text)

    def _run(self) -> None:
        answered_at = time.monotonic()
        try:
            while not self.gone.is_set():
                progress, stopping = self._next()
                if progress.stages or progress.log or time.monotonic() - answered_at >= self._pace.heartbeat:
                    if self._send(progress):
                        answered_at = time.monotonic()
                    elif time.monotonic() - answered_at > self._pace.lease:
                        self.gone.set()
                if stopping and not self._pending:
                    break
        finally:
            self._sink.close()

    def _next(self) -> tuple[Progress, bool]:
        """What is to be told now, and whether the end has come."""
        with self._lock:
            if not self._stopping:
                self._lock.wait(self._pace.flush)
            self._cut_piece()
            progress = Progress(stages=tuple(self._stages.values()), log=tuple(self._pieces[:_PIECES_AT_ONCE]))
            return progress, self._stopping

    def _send(self, progress: Progress) -> bool:
        """Whether it was taken; what was not stays for the next time."""
        try:
            answer = self._sink.send(progress)
        except SinkAway:
            self._stop_soon()
            return False
        with self._lock:
            del self._pieces[: len(progress.log)]
            for report in progress.stages:
                if self._stages.get(report.position) is report:
                    del self._stages[report.position]
            self._lock.notify_all()
        if answer is Answer.GONE:
            self.gone.set()
        elif answer is Answer.CANCELLED:
            self.cancelled.set()
        return True

    def _stop_soon(self) -> None:
        """While stopping nobody waits between tries; do it here, so that a sink that is away is not hammered."""
        if self._stopping:
            time.sleep(self._pace.flush)


def bounded_report(error: PortalError) -> FailureReport:
    """The error within what a report may hold: it may quote what a hostile build printed."""
    limits = {"code": 60, "what": 4000, "where": 1000, "todo": 1000}
    return FailureReport(**{name: plain_text(text)[: limits[name]] for name, text in error.as_dict().items()})


def _now() -> datetime:
    return datetime.now(UTC)
