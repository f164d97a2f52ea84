"""The queue as pages and API show it: what runs, what waits and in which order, what ended last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from builds.domain.lifecycle import LIVE_STATES, RunState
from builds.models import Rebuild

SHOWN = 50


@dataclass(frozen=True, slots=True)
class RunningPlace:
    """A claimed rebuild; ``stage`` is the newest one, None before the first."""

    rebuild: Rebuild
    stage: str | None
    lease_left: float
    """Seconds until it is lost unless its rebuilder reports again; negative while nobody has said yet that it is."""


@dataclass(frozen=True, slots=True)
class QueuePage:
    """As it was at ``now``. The counts are of all, the lists hold at most ``SHOWN``."""

    now: datetime
    running: tuple[RunningPlace, ...]
    running_count: int
    waiting: tuple[Rebuild, ...]
    """In the order in which they are given out."""
    waiting_count: int
    ended: tuple[Rebuild, ...]


def queue_page() -> QueuePage:
    rows = Rebuild.objects.select_related("release__project", "rebuilder__operator", "wanted_from__operator")
    now = timezone.now()
    running = rows.filter(state=RunState.RUNNING)
    waiting = rows.waiting()
    ended = rows.exclude(state__in=LIVE_STATES).order_by("-finished_at")
    first = waiting.order_by("priority", "turn", "queued_at")[:SHOWN]
    return QueuePage(
        now=now,
        running=tuple(_running(row, now) for row in running.prefetch_related("stages").order_by("started_at")[:SHOWN]),
        running_count=running.count(),
        waiting=tuple(first),
        waiting_count=waiting.count(),
        ended=tuple(ended[:SHOWN]),
    )


def _running(rebuild: Rebuild, now: datetime) -> RunningPlace:
    stages = list(rebuild.stages.all())
    left = (rebuild.lease_expires_at - now).total_seconds() if rebuild.lease_expires_at is not None else 0.0
    return RunningPlace(rebuild, stages[-1].name if stages else None, left)
