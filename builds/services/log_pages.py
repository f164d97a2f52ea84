"""The pages of a stored log: some lines of it, what a search found in it, or its first error."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from builds.domain.log_errors import first_error
from builds.domain.log_page import ShownLine, shown_lines
from builds.models import Rebuild
from builds.services import build_logs
from builds.services.absent import the_rebuild
from builds.services.build_logs import PAGE_LINES, LogParts, Search


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines ``first`` to ``last`` of the log, or what a ``search`` found; ``marked`` is the line that was asked for.

    ``note`` says why that one, or what could not be found; "" when there is nothing to say.
    """

    rebuild: Rebuild
    parts: LogParts
    lines: tuple[ShownLine, ...]
    first: int
    last: int
    marked: int | None = None
    note: str = ""
    search: Search | None = None

    @property
    def before(self) -> int | None:
        return self.first - PAGE_LINES if self.first > 1 else None

    @property
    def after(self) -> int | None:
        return self.last + 1 if self.last < self.parts.total else None


def line_page(rebuild_id: uuid.UUID, line: int, *, as_error: bool = False) -> LogPage:
    """The page on which ``line`` stands; the last one for lines that are not there. Four queries; 404 without a run.

    ``as_error`` notes why that line was taken for the first error.
    """
    rebuild = _rebuild(rebuild_id)
    parts = build_logs.parts_of(rebuild_id, rebuild.stages.all())
    is_there = 1 <= line <= parts.total
    note = ""
    if as_error and is_there:
        found = first_error(build_logs.lines_between(rebuild_id, line, line), failed=True)
        note = f"Line {line} was chosen because {found.why}. It is a guess by its shape." if found is not None else ""
    return _page(rebuild, parts, line, line if is_there and line > 1 else None, note)


def error_line(rebuild_id: uuid.UUID) -> int | LogPage:
    """The number of the first line that looks like an error; without one, the log's last page and why there is none."""
    rebuild = _rebuild(rebuild_id)
    parts = build_logs.parts_of(rebuild_id, rebuild.stages.all())
    result = build_logs.find_first_error(rebuild_id, parts)
    if result.found is not None:
        return result.found.number
    note = "No line looks like an error."
    if result.stopped_at is not None:
        note = f"No line up to {result.stopped_at} looks like an error; the search stopped there, after half a second."
    return _page(rebuild, parts, parts.total, None, note)


def found_page(rebuild_id: uuid.UUID, query: str, first: int) -> LogPage:
    """What a search from line ``first`` on found."""
    rebuild = _rebuild(rebuild_id)
    parts = build_logs.parts_of(rebuild_id, rebuild.stages.all())
    search = build_logs.search(rebuild_id, query, max(first, 1), parts.total)
    return LogPage(rebuild, parts, search.hits, search.first, search.searched_to, search=search)


def _page(rebuild: Rebuild, parts: LogParts, line: int, marked: int | None, note: str = "") -> LogPage:
    first, last = build_logs.page_of(line, parts.total)
    lines = build_logs.lines_between(rebuild.pk, first, last) if parts.total else ()
    return LogPage(rebuild, parts, shown_lines(lines), first, last, marked, note)


def _rebuild(rebuild_id: uuid.UUID) -> Rebuild:
    rows = Rebuild.objects.select_related("release__project").prefetch_related("stages")
    return the_rebuild(rows.defer("release__manifest", "release__portal_recipe"), rebuild_id)
