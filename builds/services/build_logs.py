"""Stored and growing logs, read in bounded parts: a line is found by the index, and what is not shown is not read."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import F, Max, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from builds.domain.lifecycle import RunState, StageState
from builds.domain.log_errors import LoudLine, first_error
from builds.domain.log_page import ShownLine, shown_lines
from builds.domain.logtext import lines_of
from builds.kept_statements import kept
from builds.models import LogChunk, Rebuild, RebuildStage
from builds.services.absent import REBUILD, NotHere

PAGE_LINES = 500
TAIL_LINES = 500
"""Of one answer to who follows a log; who is further behind than that is shown the newest and told what is left out."""
MAX_HITS = 200
MAX_QUERY_CHARACTERS = 200
_SECONDS = 0.5
"""How long one search may take."""
_BEFORE_ERROR, _AFTER_ERROR = 6, 18
_BLOCK_PIECES = 16
_PIECES_AT_ONCE = 20
_NEWEST_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class LogSize:
    """How a rebuild's log stands: the run's state, and how many lines and bytes there are."""

    state: RunState
    lines: int
    bytes: int

    @property
    def is_final(self) -> bool:
        return self.state.is_final


@dataclass(frozen=True, slots=True)
class Tail:
    """Lines that came after those that a reader has; ``next`` is what to ask with the next time."""

    lines: tuple[ShownLine, ...]
    left_out: int
    """Lines between what the reader has and these; they stand in the stored log."""
    next: int
    is_over: bool


@dataclass(frozen=True, slots=True)
class StageLines:
    """Where a stage's part of the log begins and ends, by line."""

    name: str
    state: StageState
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class LogParts:
    """How many lines a log has, and the stages that told something, in order."""

    total: int
    stages: tuple[StageLines, ...]

    @property
    def failed(self) -> StageLines | None:
        return next((stage for stage in self.stages if stage.state is StageState.FAILED), None)


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found: the lines, and how far it came before it had enough or its time was up."""

    query: str
    hits: tuple[ShownLine, ...]
    first: int
    searched_to: int
    total: int

    @property
    def searched(self) -> int:
        return max(self.searched_to - self.first + 1, 0)

    @property
    def next(self) -> int | None:
        """The line to go on from; None when everything was searched."""
        return self.searched_to + 1 if self.searched_to < self.total else None


@dataclass(frozen=True, slots=True)
class ErrorSearch:
    """The first line that looks like an error, or None; ``stopped_at`` is where time was up before the end."""

    found: LoudLine | None
    stopped_at: int | None


def log_size(rebuild_id: uuid.UUID) -> LogSize:
    """One query, or two while the log is empty; 404 when there is no such rebuild."""
    with connection.cursor() as cursor:
        cursor.execute(*kept(_newest_piece, rebuild_id))
        found = cursor.fetchone()
    if found is None:
        state = Rebuild.objects.filter(pk=rebuild_id).values_list("state", flat=True).first()
        if state is None:
            raise NotHere(REBUILD, str(rebuild_id))
        found = (state, 0, 0)
    return LogSize(RunState(found[0]), found[1], found[2])


def tail(rebuild_id: uuid.UUID, after: int) -> Tail | None:
    """What came after line ``after``; None when nothing did and more may come. One query or two."""
    # The state is read before the lines: what a run tells last is seen before it is said to be over.
    size = log_size(rebuild_id)
    if size.lines <= after:
        return Tail((), 0, size.lines, is_over=True) if size.is_final else None
    first = max(after + 1, size.lines - TAIL_LINES + 1)
    # The last piece that was there ends with the last line, so that none has to be looked for that holds it.
    pieces = _newest_pieces(rebuild_id, first, size.lines)
    lines = shown_lines(line for piece in pieces for line in _numbers(*piece) if line[0] >= first)
    return Tail(lines, first - after - 1, size.lines, is_over=size.is_final)


def page_of(line: int, total: int) -> tuple[int, int]:
    """The first and last line of the page that ``line`` stands on; of the last page for lines that are not there."""
    wanted = min(max(line, 1), max(total, 1))
    first = (wanted - 1) // PAGE_LINES * PAGE_LINES + 1
    return first, min(first + PAGE_LINES - 1, total)


def lines_between(rebuild_id: uuid.UUID, first: int, last: int) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, both ends included; reads no piece of the log that holds none of them."""
    own = LogChunk.objects.filter(rebuild=rebuild_id)
    end = own.filter(last_line__gte=last).order_by("last_line").values("last_line")[:1]
    pieces = own.filter(last_line__gte=first, last_line__lte=Coalesce(Subquery(end), Value(last)))
    for number, text in _numbered(pieces):
        if first <= number <= last:
            yield number, text


def parts_of(rebuild_id: uuid.UUID, stages: Iterable[RebuildStage]) -> LogParts:
    """Where the parts of the rebuild's ``stages`` lie; one query that reads no text."""
    ends = dict(
        LogChunk.objects.filter(rebuild=rebuild_id)
        .order_by("stage_position")
        .values_list("stage_position")
        .annotate(last=Max("last_line"))
    )
    named = {row.position: row for row in stages}
    found, before = [], 0
    for position, last in ends.items():
        if position in named and last > before:
            stage = named[position]
            found.append(StageLines(stage.name, StageState(stage.state), before + 1, last))
        before = max(before, last)
    return LogParts(before, tuple(found))


def search(rebuild_id: uuid.UUID, query: str, first: int, total: int) -> Search:
    """Lines from ``first`` to ``total`` that hold ``query``, whatever the case of letters.

    Stops after ``MAX_HITS`` or half a second, and says where.
    """
    wanted = query[:MAX_QUERY_CHARACTERS].casefold()
    hits: list[tuple[int, str]] = []
    until, reached = time.monotonic() + _SECONDS, first - 1
    pieces = LogChunk.objects.filter(rebuild=rebuild_id, last_line__gte=first, last_line__lte=total)
    for last_line, text in _pieces(pieces):
        if wanted in text.casefold():
            for number, line in _numbers(last_line, text):
                if number >= first and wanted in line.casefold():
                    hits.append((number, line))
                    reached = number
                    if len(hits) == MAX_HITS:
                        return Search(query, shown_lines(hits), first, reached, total)
        reached = last_line
        if time.monotonic() > until:
            break
    return Search(query, shown_lines(hits), first, reached, total)


def find_first_error(rebuild_id: uuid.UUID, parts: LogParts) -> ErrorSearch:
    """In the stage that failed, else in the whole log; for half a second at most."""
    failed = parts.failed
    first, last = (failed.first, failed.last) if failed is not None else (1, parts.total)
    until, reached = time.monotonic() + _SECONDS, last

    def in_time() -> Iterator[tuple[int, str]]:
        nonlocal reached
        for number, text in lines_between(rebuild_id, first, last):
            yield number, text
            if number % 100 == 0 and time.monotonic() > until:
                reached = number
                return

    found = first_error(in_time(), failed=failed is not None)
    return ErrorSearch(found, reached if found is None and reached < last else None)


def error_in(rebuild_id: uuid.UUID, failed: StageLines) -> tuple[LoudLine | None, list[tuple[int, str]]]:
    """The first error among the last lines of a stage, and the lines around it; one query and not more than a page."""
    lines = list(lines_between(rebuild_id, max(failed.first, failed.last - PAGE_LINES + 1), failed.last))
    found = first_error(lines, failed=True)
    if found is None:
        return None, lines[-_AFTER_ERROR:]
    return found, [line for line in lines if -_BEFORE_ERROR <= line[0] - found.number <= _AFTER_ERROR]


def blocks(rebuild_id: uuid.UUID, length: int) -> Iterator[bytes]:
    """The first ``length`` bytes of the log in blocks of bounded size, each by a query of its own.

    Between two blocks nothing is held: a reader who is slow keeps no transaction open.
    """
    sequence, end = -1, 0
    while end < length:
        with connection.cursor() as cursor:
            cursor.execute(*kept(_block, rebuild_id, sequence, length))
            found = cursor.fetchall()
        if not found:
            return
        sequence, end, _ = found[-1]
        yield "".join(text for _, _, text in found).encode()


def _newest_piece(rebuild_id: uuid.UUID) -> QuerySet[LogChunk, Any]:
    newest = LogChunk.objects.filter(rebuild=rebuild_id).order_by("-sequence")
    return newest.values_list("rebuild__state", "last_line", "end_byte")[:1]


def _newest_pieces(rebuild_id: uuid.UUID, first: int, last: int) -> Iterator[tuple[int, str]]:
    """As ``_pieces`` from line ``first`` to ``last``, a few at a time, for who asks every two seconds."""
    sequence = -1
    while True:
        with connection.cursor() as cursor:
            cursor.execute(*kept(_pieces_beyond, rebuild_id, first, sequence, last))
            found = cursor.fetchall()
        yield from ((last_line, text) for last_line, _, text in found)
        if len(found) < _NEWEST_AT_ONCE:
            return
        first, sequence, _ = found[-1]


def _pieces_beyond(rebuild_id: uuid.UUID, first: int, sequence: int, last: int) -> QuerySet[LogChunk, Any]:
    """From line ``first`` on, without the pieces up to a sequence number that end with this line."""
    pieces = LogChunk.objects.filter(rebuild=rebuild_id, last_line__gte=first, last_line__lte=last)
    beyond = pieces.exclude(Q(last_line=first) & Q(sequence__lte=sequence)).exclude(text="")
    return beyond.order_by("last_line", "sequence").values_list("last_line", "sequence", "text")[:_NEWEST_AT_ONCE]


def _block(rebuild_id: uuid.UUID, sequence: int, length: int) -> QuerySet[LogChunk, Any]:
    pieces = LogChunk.objects.filter(rebuild=rebuild_id, sequence__gt=sequence, end_byte__lte=length)
    return pieces.order_by("sequence").values_list("sequence", "end_byte", "text")[:_BLOCK_PIECES]


def _numbered(pieces: QuerySet[LogChunk]) -> Iterator[tuple[int, str]]:
    for last_line, text in _pieces(pieces):
        yield from _numbers(last_line, text)


def _pieces(pieces: QuerySet[LogChunk]) -> Iterator[tuple[int, str]]:
    """Pieces that hold lines, a few at a time: last line and text."""
    found = pieces.exclude(text="").order_by(F("last_line"), F("sequence")).values_list("last_line", "text")
    return found.iterator(chunk_size=_PIECES_AT_ONCE)


def _numbers(last_line: int, text: str) -> Iterator[tuple[int, str]]:
    lines = lines_of(text)
    return enumerate(lines, start=last_line - len(lines) + 1)
