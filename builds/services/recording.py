"""Writes what a running rebuild tells into the database: stages, log while it grows, and the lease."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Case, Exists, F, OuterRef, When, Window
from django.db.models.functions import RowNumber

from builds.domain.lifecycle import LIVE_STATES, RunState
from builds.domain.logtext import lines_of
from builds.domain.progress import Answer, LogPiece, Progress
from builds.models import LogChunk, Rebuild, RebuildStage
from builds.pipeline.reporting import SinkAway
from builds.services.rebuilding import Claim, renew

_PIECE_BYTES = 128
"""What a piece takes besides its text, so that a great many small ones are bounded too."""

KEPT_LOGS = 5
"""Of one operator and release: of runs that succeeded, and as many of others."""
_REMOVED_AT_ONCE = 100
_REMOVED = 0
"""The number of the piece that stands for a removed log; those of a log begin at 1."""
_REMOVED_TEXT = f"[removed: of each operator and release the logs of the newest {KEPT_LOGS} runs are kept]\n"


def record_progress(claim: Claim, progress: Progress) -> Answer:
    """Store progress of a running rebuild and renew its lease; what comes twice is stored once.

    ``GONE`` when the claim is gone, and then nothing is stored.
    """
    with transaction.atomic():
        # First, so that the row is locked and nobody can lose the rebuild while this writes.
        renewed = renew(claim)
        if renewed is None:
            return Answer.GONE
        for report in progress.stages:
            RebuildStage.objects.update_or_create(
                rebuild_id=claim.rebuild_id,
                position=report.position,
                defaults={
                    "name": report.name,
                    "state": report.state,
                    "started_at": report.started_at,
                    "ended_at": report.ended_at,
                    "exit_code": report.exit_code,
                    "error": report.error.model_dump() if report.error is not None else None,
                },
            )
        if progress.log:
            _store_log(claim, progress.log)
    return Answer.GO_ON if renewed else Answer.CANCELLED


def _store_log(claim: Claim, pieces: Iterable[LogPiece]) -> None:
    """Keep what is new, up to ``max_log_bytes`` of a rebuild; what is over is dropped for good, and the log says so."""
    rebuild = Rebuild.objects.only("log_complete").get(pk=claim.rebuild_id)
    if rebuild.log_complete is False:
        return
    most = settings.ENVIRONMENT.max_log_bytes
    end = LogEnd.of(rebuild)
    room = most - end.byte - _PIECE_BYTES * rebuild.log_chunks.count()
    stored = []
    for piece in _after(end, pieces):
        room -= len(piece.text.encode()) + _PIECE_BYTES
        if room < 0:
            last = f"[the log is longer than {most} bytes: the rest is not kept]\n"
            stored.append(end.chunk(rebuild, piece.sequence, piece.stage_position, last))
            Rebuild.objects.filter(pk=rebuild.pk).update(log_complete=False)
            break
        stored.append(end.chunk(rebuild, piece.sequence, piece.stage_position, piece.text))
        end = LogEnd.after(stored[-1])
    LogChunk.objects.bulk_create(stored)


def _after(end: LogEnd, pieces: Iterable[LogPiece]) -> list[LogPiece]:
    """What was not told before, in order. Pieces come in order, so one that is not after the last came already."""
    first: dict[int, LogPiece] = {}
    for piece in pieces:
        if piece.sequence > end.sequence:
            first.setdefault(piece.sequence, piece)
    return [first[sequence] for sequence in sorted(first)]


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Where a log ends so far: its last piece, how many lines it has, and how many bytes in UTF-8."""

    sequence: int = _REMOVED
    line: int = 0
    byte: int = 0

    @classmethod
    def of(cls, rebuild: Rebuild) -> Self:
        newest = rebuild.log_chunks.order_by("-sequence").values_list("sequence", "last_line", "end_byte").first()
        return cls(*newest) if newest is not None else cls()

    @classmethod
    def after(cls, chunk: LogChunk) -> Self:
        return cls(chunk.sequence, chunk.last_line, chunk.end_byte)

    def chunk(self, rebuild: Rebuild, sequence: int, stage_position: int, text: str) -> LogChunk:
        """The row of a piece that comes next; not saved."""
        return LogChunk(
            rebuild=rebuild,
            sequence=sequence,
            stage_position=stage_position,
            last_line=self.line + len(lines_of(text)),
            end_byte=self.byte + len(text.encode()),
            text=text,
        )


def drop_old_logs() -> int:
    """Remove what an operator's older runs of a release told, so that its logs are bounded however often it runs.

    The newest ``KEPT_LOGS`` that succeeded are kept, and as many that came to nothing. A removed log says so and is not
    complete; who ran what and how it ended stays. Returns how many were removed.
    """
    told = LogChunk.objects.filter(rebuild=OuterRef("pk"), sequence__gt=_REMOVED)
    rank = Window(
        RowNumber(),
        partition_by=[F("release"), F("rebuilder__operator"), Case(When(state=RunState.SUCCEEDED, then=1), default=0)],
        order_by=[F("finished_at").desc(), F("pk").desc()],
    )
    ended = Rebuild.objects.exclude(state__in=LIVE_STATES).filter(Exists(told)).annotate(rank=rank)
    old = list(ended.filter(rank__gt=KEPT_LOGS).order_by()[:_REMOVED_AT_ONCE])
    for rebuild in old:
        with transaction.atomic():
            Rebuild.objects.filter(pk=rebuild.pk).update(log_complete=False)
            rebuild.log_chunks.all().delete()
            LogEnd().chunk(rebuild, _REMOVED, 0, _REMOVED_TEXT).save()
    return len(old)


def stored_log_sha256(rebuild: Rebuild) -> str | None:
    """SHA-256 of the log that is kept, in hex; None when there is none."""
    digest = hashlib.sha256()
    any_text = False
    for text in rebuild.log_chunks.values_list("text", flat=True).iterator(chunk_size=50):
        digest.update(text.encode())
        any_text = True
    return digest.hexdigest() if any_text else None


class DatabaseSink:
    """Where the portal's own worker tells how its rebuild goes."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim

    def send(self, progress: Progress) -> Answer:
        try:
            return record_progress(self._claim, progress)
        except (OperationalError, InterfaceError) as error:
            # The database is away for a moment; the lease decides how long a moment may be.
            connection.close()
            raise SinkAway("the database does not answer", where=f"rebuild {self._claim.rebuild_id}") from error

    def close(self) -> None:
        connection.close()
