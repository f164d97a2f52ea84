"""Logs as a recorder leaves them in the database, without anybody who runs."""

from __future__ import annotations

from collections.abc import Iterable

from builds.models import LogChunk, Rebuild
from builds.services.recording import LogEnd


def keep_log(rebuild: Rebuild, pieces: Iterable[str], *, stage: int = 1) -> None:
    """Append pieces to what a rebuild has told so far."""
    end, rows = LogEnd.of(rebuild), []
    for text in pieces:
        rows.append(end.chunk(rebuild, end.sequence + 1, stage, text))
        end = LogEnd.after(rows[-1])
    LogChunk.objects.bulk_create(rows)
