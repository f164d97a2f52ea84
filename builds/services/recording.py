"""Writes what a running rebuild tells into the database: stages, log while it grows, and the lease."""

from __future__ import annotations

import hashlib

from django.db import InterfaceError, OperationalError, connection, transaction

from builds.domain.progress import Answer, Progress
from builds.models import LogChunk, Rebuild, RebuildStage
from builds.pipeline.reporting import SinkAway
from builds.services.rebuilding import Claim, renew


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
        LogChunk.objects.bulk_create(
            [
                LogChunk(
                    rebuild_id=claim.rebuild_id,
                    sequence=piece.sequence,
                    stage_position=piece.stage_position,
                    text=piece.text,
                )
                for piece in progress.log
            ],
            ignore_conflicts=True,
        )
    return Answer.GO_ON if renewed else Answer.CANCELLED


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
