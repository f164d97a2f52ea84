"""What waits: places in the queue, opened by requests, by new releases, by disputes and by time.

A place is a queued row without a rebuilder. Whoever claims it runs it; a lost one opens another, later.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from builds.domain.errors import PortalError
from builds.domain.job import SOURCE_ADDRESS
from builds.domain.lifecycle import LIVE_STATES, RunState, StageState
from builds.domain.queue import MAX_ATTEMPTS, PASSING_FAILURES, Priority, pause_after, retry_delay
from builds.models import Project, Rebuild, Rebuilder, RebuildEvent, RebuildStage, Release
from builds.querysets import RebuildQuerySet

QUEUED = "queued"
AFTER_DISPUTE = "dispute"
_OPENED_AT_ONCE = 100
_LATELY = timedelta(days=1)


class RebuildAlreadyLive(PortalError):
    """This rebuilder already has a queued or running rebuild of the release."""

    code: ClassVar[str] = "rebuild-already-live"
    default_todo: ClassVar[str] = "Wait for it to end, or cancel it."


def open_place(
    release: Release,
    priority: Priority,
    *,
    wanted_from: Rebuilder | None = None,
    retry_of: Rebuild | None = None,
    next_retry: datetime | None = None,
    because: str = "",
) -> Rebuild:
    """Queue a rebuild that ``wanted_from`` may claim, or anybody when that is None.

    ``because`` says why where the priority does not; a place that is opened again keeps the words of the first.
    """
    rebuild = Rebuild.objects.create(
        release=release,
        wanted_from=wanted_from,
        priority=priority,
        turn=_turn(release.project, priority),
        attempt=retry_of.attempt + 1 if retry_of is not None else 1,
        retry_of=retry_of,
        next_retry=next_retry or timezone.now(),
    )
    detail = {"priority": priority.words}
    if retry_of is not None:
        detail["retry_of"] = str(retry_of.pk)
        because = because or reasons_of([retry_of]).get(retry_of.pk, "")
    if because:
        detail["because"] = because
    RebuildEvent(rebuild=rebuild, kind=QUEUED, detail=detail).save()
    return rebuild


def reasons_of(places: Iterable[Rebuild]) -> dict[uuid.UUID, str]:
    """Why each place was opened, for those of which more is known than their priority; one query."""
    told = RebuildEvent.objects.filter(kind=QUEUED, rebuild__in=list(places), detail__has_key="because")
    return {event.rebuild_id: str(event.detail["because"]) for event in told}


def request_rebuild(release: Release, rebuilder: Rebuilder) -> Rebuild:
    """A user's wish for a rebuild by one rebuilder; ``RebuildAlreadyLive`` when it has one queued or running."""
    live = Rebuild.objects.filter(release=release, state__in=LIVE_STATES)
    try:
        with transaction.atomic():
            if live.filter(Q(rebuilder=rebuilder) | Q(wanted_from=rebuilder)).exists():
                raise _already_live(release, rebuilder)
            return open_place(release, Priority.USER, wanted_from=rebuilder)
    except IntegrityError as error:
        raise _already_live(release, rebuilder) from error


def _already_live(release: Release, rebuilder: Rebuilder) -> RebuildAlreadyLive:
    return RebuildAlreadyLive(f"{rebuilder.name} already has a live rebuild of {release.tag}", where=str(release))


def _turn(project: Project, priority: Priority) -> int:
    """Start-time fair queueing: after the project's own last place, and not before the one that is next now.

    So that a project with a thousand releases does not keep the others waiting for all of them.
    """
    queued = Rebuild.objects.filter(state=RunState.QUEUED, priority=priority)
    now = queued.aggregate(first=Min("turn"))["first"] or 0
    own = queued.filter(release__project=project).aggregate(last=Max("turn"))["last"] or 0
    return int(max(now, own)) + 1


def open_missing_places() -> int:
    """Open a place for each operator that a release still needs; returns how many.

    Derived from what is there, so that nothing that went wrong before can lose a release's place.
    """
    short = (
        _rebuildable()
        .annotate(
            answered=_per_release(Rebuild.objects.answering(), "rebuilder__operator"),
            open=_per_release(Rebuild.objects.open_to_anybody(), "pk"),
            awaited=_per_release(_awaited().of_the_unheard(), "who"),
        )
        .filter(answered__lt=F("project__needed_operators") - F("open") - F("awaited"))
        .select_related("project")
        .order_by("imported_at")[:_OPENED_AT_ONCE]
    )
    return sum(_open_for(release, Priority.NEW_RELEASE, release.project.needed_operators) for release in short)


def _rebuildable() -> QuerySet[Release]:
    """Releases with stored materials, stages to run, and a source that a job can name."""
    found = Release.objects.filter(materials_stored_at__isnull=False, project__source_url__regex=SOURCE_ADDRESS)
    return found.exclude(recipe_roles=[])


def _awaited() -> RebuildQuerySet:
    return Rebuild.objects.awaited(timezone.now(), timedelta(seconds=settings.ENVIRONMENT.max_claim_seconds))


def _per_release(rows: RebuildQuerySet, what: str) -> Coalesce:
    """How many different ones a release has, as a part of a query of releases."""
    own = rows.filter(release=OuterRef("pk")).values("release")
    return Coalesce(Subquery(own.annotate(count=Count(what, distinct=True)).values("count")), 0)


def open_due_rechecks(now: datetime) -> int:
    """Open a place for each release that nobody has rebuilt for ``TEE_PORTAL_RECHECK_DAYS``; returns how many."""
    days = settings.ENVIRONMENT.recheck_days
    if not days:
        return 0
    answers = Rebuild.objects.answering().filter(release=OuterRef("pk"))
    due = (
        Release.objects.annotate(
            newest=Subquery(answers.order_by("-finished_at").values("finished_at")[:1]),
            open=_per_release(Rebuild.objects.open_to_anybody(), "pk"),
            awaited=_per_release(_awaited(), "who"),
        )
        .filter(newest__lt=now - timedelta(days=days), open=0, awaited=0)
        .select_related("project")
        .order_by("newest")[:_OPENED_AT_ONCE]
    )
    return sum(_open_for(release, Priority.RECHECK, 1) for release in due)


def open_disputed_places() -> int:
    """Open a place for each release that is disputed and about which nobody else was heard since; returns how many.

    As ``open_after_dispute`` does at once: should that place come to nothing, another operator is asked. It ends,
    because such a place is for an operator that has not tried, and waits when there is none.
    """
    disputed = Rebuild.objects.disputing().filter(release=OuterRef("pk"))
    open_ones = Rebuild.objects.open_to_anybody().filter(release=OuterRef("pk"))
    awaited = _awaited().of_the_unheard().filter(release=OuterRef("pk"))
    found = _rebuildable().filter(~Exists(open_ones), ~Exists(awaited), Exists(disputed)).select_related("project")
    return sum(
        _open_for(release, Priority.NEW_RELEASE, 1, besides_answers=True)
        for release in found.order_by("imported_at")[:_OPENED_AT_ONCE]
    )


def open_after_dispute(release: Release) -> None:
    """Ask one more operator about a release that operators contradict each other or the publisher about."""
    _open_for(release, Priority.NEW_RELEASE, 1, besides_answers=True)


def _open_for(release: Release, priority: Priority, wanted: int, *, besides_answers: bool = False) -> int:
    """Open what is missing of ``wanted`` votes, or of as many ``besides_answers`` that are there; returns how many.

    Places open to anybody count one each, operators that are awaited one each however many rebuilders they run.
    Counted again under the release's lock, because two sweeps may run at once.
    """
    with transaction.atomic():
        # Without the key: whoever hands in a result holds a share of that, and may be about to ask the same.
        Release.objects.select_for_update(no_key=True).get(pk=release.pk)
        rows, awaited = Rebuild.objects.filter(release=release), _awaited().filter(release=release)
        answered = 0
        if priority is Priority.NEW_RELEASE:
            awaited = awaited.of_the_unheard()
            if not besides_answers:
                answered = rows.answering().values("rebuilder__operator").distinct().count()
        missing = wanted - answered - rows.open_to_anybody().count() - len(awaited.operators())
        for _ in range(missing):
            open_place(release, priority, because=AFTER_DISPUTE if besides_answers else "")
    return max(missing, 0)


def mark_lost(now: datetime | None = None) -> list[Rebuild]:
    """End every rebuild whose lease lapsed and open its place again, later each time; returns the new places.

    One that was lost ``MAX_ATTEMPTS`` times or was asked to stop is not opened again.
    """
    moment = now or timezone.now()
    lapsed = Rebuild.objects.lapsed(moment).select_related("release__project", "wanted_from", "rebuilder")
    return [place for row in lapsed if (place := _lose(row, moment)) is not None]


def _lose(lapsed: Rebuild, moment: datetime) -> Rebuild | None:
    with transaction.atomic():
        lost = (
            Rebuild.objects.lapsed(moment)
            .filter(pk=lapsed.pk, claim_sha256=lapsed.claim_sha256)
            .update(state=RunState.LOST, finished_at=moment, lease_expires_at=None)
        )
        if not lost:
            return None
        RebuildEvent(rebuild=lapsed, kind="lost", detail={"worker": lapsed.worker}).save()
        # Up to the end of its lease: when the sweep noticed says nothing of who held it.
        pause_operator(lapsed, moment, held_until=lapsed.lease_expires_at)
        RebuildStage.objects.filter(rebuild=lapsed, state=StageState.RUNNING).update(
            state=StageState.LOST, ended_at=moment
        )
        return open_again(lapsed, moment, delay=retry_delay(lapsed.attempt))


def open_again(ended: Rebuild, now: datetime, *, delay: timedelta = timedelta(0)) -> Rebuild | None:
    """Another place for a rebuild that ended without a result; None when it is not wanted any more."""
    if ended.cancel_requested_at is not None or ended.attempt >= MAX_ATTEMPTS:
        return None
    return open_place(
        ended.release,
        Priority(ended.priority),
        wanted_from=ended.wanted_from,
        retry_of=ended,
        next_retry=now + delay,
    )


def pause_operator(ended: Rebuild, now: datetime, *, held_until: datetime | None = None) -> timedelta:
    """Keep the operator of a run that came to nothing from the release for a while; returns how long.

    ``held_until`` is where that was earlier than ``now``.
    """
    if ended.rebuilder is None or ended.started_at is None:
        return timedelta(0)
    own = Rebuild.objects.filter(release=ended.release_id, rebuilder__operator=ended.rebuilder.operator_id)
    failures = own.filter(failure__code__in=sorted(PASSING_FAILURES), finished_at__gt=now - _LATELY)
    did_fail = failures.filter(pk=ended.pk).exists()
    return pause_for(
        ended, now, pause_after((held_until or now) - ended.started_at, failures.count() if did_fail else 0)
    )


def pause_for(ended: Rebuild, now: datetime, pause: timedelta) -> timedelta:
    Rebuild.objects.filter(pk=ended.pk).update(next_retry=now + pause)
    return pause


def waiting_ids(rebuilder: Rebuilder, *, only_wanted: bool = False, limit: int = 100) -> list[uuid.UUID]:
    """Places that this rebuilder may claim now, in the order of the queue; or only those wanted from it."""
    found = Rebuild.objects.claimable(rebuilder, timezone.now())
    if only_wanted:
        found = found.filter(wanted_from=rebuilder)
    return list(found.values_list("pk", flat=True)[:limit])
