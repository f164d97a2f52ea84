"""The queue as pages and API show it: what runs, what waits and in which order, what ended last."""

from __future__ import annotations

from dataclasses import dataclass

from builds.domain.lifecycle import LIVE_STATES, RunState
from builds.models import Rebuild

SHOWN = 50


@dataclass(frozen=True, slots=True)
class QueuePage:
    """``waiting_count`` is of all that wait; the lists hold at most ``SHOWN``."""

    running: tuple[Rebuild, ...]
    running_count: int
    waiting: tuple[Rebuild, ...]
    """In the order in which they are given out."""
    waiting_count: int
    ended: tuple[Rebuild, ...]


def queue_page() -> QueuePage:
    rows = Rebuild.objects.select_related("release__project", "rebuilder__operator", "wanted_from__operator")
    running = rows.filter(state=RunState.RUNNING)
    waiting = rows.waiting()
    ended = rows.exclude(state__in=LIVE_STATES).order_by("-finished_at")
    first = waiting.order_by("priority", "turn", "queued_at")[:SHOWN]
    return QueuePage(
        running=tuple(running.prefetch_related("stages").order_by("started_at")[:SHOWN]),
        running_count=running.count(),
        waiting=tuple(first),
        waiting_count=waiting.count(),
        ended=tuple(ended[:SHOWN]),
    )
