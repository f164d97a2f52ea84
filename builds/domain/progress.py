"""What a running rebuild tells while it runs: its stages and pieces of its log, as values that also travel as JSON."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from builds.domain.frozen import CamelCase, Utc
from builds.domain.lifecycle import StageState
from builds.domain.printable import Line

MAX_PIECE_CHARACTERS = 64 * 1024
MAX_PIECES = 200
MAX_STAGES = 64

# Characters that ``logtext.plain_line`` lets through, and line ends.
_PLAIN = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]*$"

LogText = Annotated[str, StringConstraints(pattern=_PLAIN, max_length=MAX_PIECE_CHARACTERS)]


class FailureReport(CamelCase):
    """A named error: what happened, where, and what to do."""

    code: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,60}$")]
    what: Annotated[str, StringConstraints(pattern=_PLAIN, max_length=4000)]
    where: Annotated[str, StringConstraints(pattern=_PLAIN, max_length=1000)]
    todo: Annotated[str, StringConstraints(pattern=_PLAIN, max_length=1000)]


class StageReport(CamelCase):
    """How one stage stands; ``position`` counts from 1. A later report of a position replaces the earlier one."""

    position: Annotated[int, Field(ge=1, le=MAX_STAGES)]
    name: Annotated[Line, StringConstraints(min_length=1, max_length=100)]
    state: StageState
    started_at: Utc
    ended_at: Utc | None = None
    exit_code: Annotated[int, Field(ge=-1000, le=1000)] | None = None
    error: FailureReport | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.state is StageState.RUNNING) != (self.ended_at is None):
            raise ValueError("a stage has an end exactly when it is not running")
        return self


class LogPiece(CamelCase):
    """Part of the log; pieces are numbered from 1 without gaps, so that one that comes twice is one."""

    sequence: Annotated[int, Field(ge=1, le=10_000_000)]
    stage_position: Annotated[int, Field(ge=0, le=MAX_STAGES)]
    text: LogText


class Progress(CamelCase):
    """What happened since the last report; empty, it only says that the rebuild goes on."""

    stages: tuple[StageReport, ...] = Field(default=(), max_length=MAX_STAGES)
    log: tuple[LogPiece, ...] = Field(default=(), max_length=MAX_PIECES)


class Answer(StrEnum):
    """What whoever keeps the rebuild says to progress."""

    GO_ON = "go-on"
    CANCELLED = "cancelled"
    GONE = "gone"
