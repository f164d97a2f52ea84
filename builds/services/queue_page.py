"""The queue as pages and API show it: what runs, what waits and in which order, what ended last."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q, Subquery
from django.utils import timezone

from builds.domain.expectation import Plan
from builds.domain.lifecycle import LIVE_STATES, RunState
from builds.domain.queue import Priority
from builds.models import Rebuild, Rebuilder, RebuildEvent, RebuildStage
from builds.querysets import RebuildQuerySet
from builds.services.earlier_runs import earlier_runs, plan_for
from builds.services.queueing import AFTER_DISPUTE, reasons_of

SHOWN = 50
NEXT_SHOWN = 10
_WORDS = {
    AFTER_DISPUTE: "a dispute: one more operator is asked",
    Priority.USER.words: "somebody asked for it",
    Priority.NEW_RELEASE.words: "a new release that needs more operators",
    Priority.RECHECK.words: "a recheck: nobody has rebuilt it for long",
}


@dataclass(frozen=True, slots=True)
class RunningPlace:
    """A claimed rebuild; ``stage`` is the newest one, None before the first."""

    rebuild: Rebuild
    stage: str | None
    lease_left: float
    """Seconds until it is lost unless its rebuilder reports again; negative while nobody has said yet that it is."""
    plan: Plan


@dataclass(frozen=True, slots=True)
class WaitingPlace:
    """A place that nobody has claimed, and why it was opened."""

    rebuild: Rebuild
    why: str


@dataclass(frozen=True, slots=True)
class QueuePage:
    """As it was at ``now``. The counts are of all, the lists hold at most ``SHOWN``."""

    now: datetime
    running: tuple[RunningPlace, ...]
    running_count: int
    waiting: tuple[WaitingPlace, ...]
    """In the order in which they are given out."""
    waiting_count: int
    ended: tuple[Rebuild, ...]
    token: str
    """Changes when anything is queued, claimed or ended, or a stage begins."""

    @property
    def is_live(self) -> bool:
        """Whether anything can change by itself soon."""
        return bool(self.running_count or self.waiting_count)


def queue_page() -> QueuePage:
    """A constant number of queries."""
    # Before the rows: what changes in between is shown again by the next poll, never missed.
    token = queue_token()
    now = timezone.now()
    rows = _rows()
    running = rows.filter(state=RunState.RUNNING).prefetch_related("stages").order_by("started_at")[:SHOWN]
    earlier = earlier_runs({row.release.project_id for row in running}) if running else {}
    counts = Rebuild.objects.filter(state__in=LIVE_STATES).aggregate(
        running=Count("pk", filter=Q(state=RunState.RUNNING)),
        waiting=Count("pk", filter=Q(state=RunState.QUEUED, cancel_requested_at__isnull=True)),
    )
    ended = rows.exclude(state__in=LIVE_STATES).order_by("-finished_at")[:SHOWN]
    return QueuePage(
        now=now,
        running=tuple(_running(row, now, plan_for(row, earlier, now)) for row in running),
        running_count=counts["running"],
        waiting=with_reasons(rows.waiting().order_by("priority", "turn", "queued_at")[:SHOWN]),
        waiting_count=counts["waiting"],
        ended=tuple(ended),
        token=token,
    )


def queue_token() -> str:
    """One value for all that the page shows; one query of the ends of two indexes."""
    stage = Subquery(RebuildStage.objects.order_by("-pk").values("pk")[:1])
    newest = RebuildEvent.objects.order_by("-pk").values_list("pk", stage).first()
    return hashlib.sha256(repr(newest).encode()).hexdigest()[:16]


def next_places(rebuilder: Rebuilder | None = None) -> tuple[WaitingPlace, ...]:
    """What anybody may claim now, or this rebuilder may: the first ``NEXT_SHOWN`` of the queue; two queries."""
    now = timezone.now()
    if rebuilder is not None:
        return with_reasons(_rows().claimable(rebuilder, now)[:NEXT_SHOWN])
    found = _rows().open_to_anybody().filter(next_retry__lte=now).order_by("priority", "turn", "queued_at")
    return with_reasons(found[:NEXT_SHOWN])


def _rows() -> RebuildQuerySet:
    found = Rebuild.objects.select_related("release__project", "rebuilder__operator", "wanted_from__operator")
    return found.defer("release__manifest", "release__portal_recipe")


def with_reasons(places: Iterable[Rebuild]) -> tuple[WaitingPlace, ...]:
    """Each place with the words for why it was opened; one query besides theirs."""
    rows = list(places)
    reasons = reasons_of(rows)
    return tuple(WaitingPlace(row, _WORDS.get(reasons.get(row.pk, ""), _WORDS[row.why])) for row in rows)


def _running(rebuild: Rebuild, now: datetime, plan: Plan) -> RunningPlace:
    stages = list(rebuild.stages.all())
    left = (rebuild.lease_expires_at - now).total_seconds() if rebuild.lease_expires_at is not None else 0.0
    return RunningPlace(rebuild, stages[-1].name if stages else None, left, plan)
