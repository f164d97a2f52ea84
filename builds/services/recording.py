"""Writes what a running rebuild tells into the database: stages, log while it grows, and the lease."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, Case, Count, Exists, F, Func, OuterRef, Sum, When, Window
from django.db.models.functions import RowNumber
from django.db.models.sql.compiler import SQLCompiler

from builds.domain.lifecycle import LIVE_STATES, RunState
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


class _Octets(Func):
    """The bytes of a text in UTF-8; PostgreSQL knows them without reading it."""

    function = "OCTET_LENGTH"
    output_field = BigIntegerField()

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> tuple[str, Any]:
        return self.as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **context)


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
    new = {piece.sequence: piece for piece in pieces}
    kept = rebuild.log_chunks.filter(sequence__in=new).values_list("sequence", flat=True)
    for sequence in list(kept):
        del new[sequence]
    room = most - _size(rebuild)
    stored = []
    for piece in new.values():
        room -= len(piece.text.encode()) + _PIECE_BYTES
        if room < 0:
            stored.append(_chunk(rebuild, piece, f"[the log is longer than {most} bytes: the rest is not kept]\n"))
            Rebuild.objects.filter(pk=rebuild.pk).update(log_complete=False)
            break
        stored.append(_chunk(rebuild, piece, piece.text))
    LogChunk.objects.bulk_create(stored)


def _size(rebuild: Rebuild) -> int:
    """What the log that is kept takes, in bytes."""
    found = rebuild.log_chunks.aggregate(text=Sum(_Octets("text"), default=0), pieces=Count("pk"))
    return int(found["text"]) + _PIECE_BYTES * int(found["pieces"])


def _chunk(rebuild: Rebuild, piece: LogPiece, text: str) -> LogChunk:
    return LogChunk(rebuild=rebuild, sequence=piece.sequence, stage_position=piece.stage_position, text=text)


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
            LogChunk(rebuild=rebuild, sequence=_REMOVED, stage_position=0, text=_REMOVED_TEXT).save()
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
