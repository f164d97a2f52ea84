"""A rebuild that somebody asks for: what it would be, how many may be asked for, and joining one that is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from builds.domain.access import HOUR, Allowance
from builds.domain.errors import PortalError
from builds.domain.lifecycle import LIVE_STATES, RunState
from builds.domain.queue import Priority
from builds.models import ApiToken, Rebuild, RebuildRequest, Release
from builds.querysets import RebuildQuerySet
from builds.services import queueing, rebuilding
from builds.services.access import lock_account
from builds.services.jobs import ReleaseNotAskable, expected_seconds, job_of
from builds.services.queueing import RebuildAlreadyLive
from builds.services.running import local_rebuilder
from builds.services.signing_in import seconds_until
from builds.services.steering import may_steer


class NothingToRebuild(PortalError):
    """The release's recipe makes no component: it says how to check what was published, not how to make it."""

    code: ClassVar[str] = "nothing-to-rebuild"
    default_todo: ClassVar[str] = "Ask its publisher for a recipe with stages; docs/recipe.md describes one."


class RebuildsExhausted(PortalError):
    """The account has asked for as many rebuilds as it may within an hour."""

    code: ClassVar[str] = "rebuilds-exhausted"

    def __init__(self, budget: Budget) -> None:
        possible = budget.next_possible or budget.now
        self.retry_after = seconds_until(possible, budget.now)
        minutes = -(-self.retry_after // 60)
        super().__init__(
            f"this account asked for {budget.used} rebuilds within the last hour, and {budget.limit} are allowed",
            where="your account",
            todo=f"The next is possible at {possible:%H:%M:%S} UTC, in {minutes} minute{'' if minutes == 1 else 's'}; "
            "joining one that runs is always possible.",
        )


class NotYours(PortalError):
    """Only staff and whoever asked for a rebuild may cancel it."""

    code: ClassVar[str] = "not-yours"
    default_todo: ClassVar[str] = "Ask whoever asked for it, or the portal's staff."


class RebuildEnded(PortalError):
    """There is nothing to cancel any more."""

    code: ClassVar[str] = "rebuild-ended"
    default_todo: ClassVar[str] = "Look at how it ended; ask for another one if that is wanted."


@dataclass(frozen=True, slots=True)
class Budget:
    """What an account has asked for within the last hour; ``next_possible`` is None while it may ask."""

    used: int
    limit: int
    next_possible: datetime | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Asked:
    """The rebuild that somebody asked for. ``joined`` when it was there before."""

    rebuild: Rebuild
    joined: bool


@dataclass(frozen=True, slots=True)
class RebuildPlan:
    """What asking for a rebuild of a release would do now."""

    release: Release
    roles: tuple[str, ...]
    """The components that the recipe makes; empty while it is not known."""
    is_local: bool
    """Whether the portal's own worker would do it; else it waits for any operator that may."""
    expected_seconds: int | None
    """As long as earlier ones of the project took; None while none has succeeded."""
    ahead: int
    """How many places come before it in the queue."""
    live: Rebuild | None
    """The one that would be joined."""
    refusal: PortalError | None
    """Why it cannot be asked for, whoever asks."""
    budget: Budget

    @property
    def exhausted(self) -> RebuildsExhausted | None:
        """Why this account cannot ask now; joining takes nothing from what it may ask for."""
        return RebuildsExhausted(self.budget) if self.live is None and self.budget.next_possible is not None else None


def plan(release: Release, account: User) -> RebuildPlan:
    """What would happen; in a constant number of queries."""
    ahead = Rebuild.objects.waiting().filter(priority=Priority.USER, next_retry__lte=timezone.now())
    return RebuildPlan(
        release=release,
        roles=tuple(release.recipe_roles),
        is_local=settings.ENVIRONMENT.local_rebuilds,
        expected_seconds=expected_seconds(release),
        ahead=ahead.count(),
        live=_live(release).first(),
        refusal=refusal(release),
        budget=budget_of(account),
    )


def refusal(release: Release) -> PortalError | None:
    """Why nobody can rebuild a release: a source that is not known or not to be had, or a recipe that makes nothing.

    One whose source could not be read when it was imported may be tried: the rebuild reads it again.
    """
    if release.recipe_origin and not release.recipe_roles:
        return NothingToRebuild(f"the recipe of {release.tag} makes no component", where=str(release))
    try:
        job_of(release)
    except ReleaseNotAskable as error:
        return error
    return None


def budget_of(account: User) -> Budget:
    """Those that were opened for it: joining one costs nobody anything."""
    now, limit = timezone.now(), settings.ENVIRONMENT.rebuilds_per_hour
    own = RebuildRequest.objects.filter(account=account, joined=False, at__gt=now - HOUR)
    moments = list(own.order_by("-at").values_list("at", flat=True)[:limit])
    return Budget(len(moments), limit, Allowance(limit, HOUR).next_possible(moments, now), now)


def ask(release: Release, account: User, token: ApiToken | None = None) -> Asked:
    """Join the rebuild that is there, or open one: of the portal's own worker, or where that takes none, for anybody.

    Raises ``ReleaseNotAskable``, ``NothingToRebuild`` and ``RebuildsExhausted``. Two that ask at once get one rebuild.
    """
    worker = local_rebuilder() if settings.ENVIRONMENT.local_rebuilds else None
    with transaction.atomic():
        lock_account(account)
        # Without the key, as results hold a share of that: asking by others waits until this one is stored.
        Release.objects.select_for_update(no_key=True).get(pk=release.pk)
        if (live := _live(release).first()) is not None:
            return _joined(live, account, token)
        if (reason := refusal(release)) is not None:
            raise reason
        budget = budget_of(account)
        if budget.next_possible is not None:
            raise RebuildsExhausted(budget)
        if worker is None:
            rebuild = queueing.open_place(release, Priority.USER)
        else:
            try:
                rebuild = queueing.request_rebuild(release, worker)
            except RebuildAlreadyLive:
                # The worker took an open place since it was looked for; or it is about to stop, and is none to join.
                if (live := _live(release).first()) is None:
                    raise
                return _joined(live, account, token)
        RebuildRequest(account=account, token=token, rebuild=rebuild, joined=False).save()
    return Asked(rebuild, joined=False)


def _joined(live: Rebuild, account: User, token: ApiToken | None) -> Asked:
    """Written down once for each account, however often it asks."""
    RebuildRequest.objects.get_or_create(account=account, rebuild=live, defaults={"token": token, "joined": True})
    return Asked(live, joined=True)


def _live(release: Release) -> RebuildQuerySet:
    """What a request for this release would join: a running one before one that waits."""
    rows = Rebuild.objects.filter(release=release, state__in=LIVE_STATES, cancel_requested_at__isnull=True)
    if settings.ENVIRONMENT.local_rebuilds:
        rows = rows.filter(Q(rebuilder__is_local=True) | Q(wanted_from__is_local=True))
    else:
        # A place for a new release may wait for an operator that has not tried: a wish is not to wait for that.
        rows = rows.filter(Q(state=RunState.RUNNING) | Q(priority=Priority.USER), wanted_from__isnull=True)
    # By name: running before queued.
    return rows.order_by("-state", "queued_at")


def cancel(rebuild: Rebuild, account: User) -> RunState:
    """Cancel a rebuild for somebody who may; returns its state afterwards, ``running`` until its worker has stopped.

    Raises ``NotYours`` and ``RebuildEnded``. Asking again changes nothing.
    """
    if not may_steer(account, rebuild):
        raise NotYours("this account did not ask for the rebuild", where=f"rebuild {rebuild.pk}")
    if rebuild.run_state.is_final:
        raise RebuildEnded(f"the rebuild is {rebuild.state} already", where=f"rebuild {rebuild.pk}")
    return rebuilding.request_cancel(rebuild)
