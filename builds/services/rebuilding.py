"""Claims on rebuilds: taken, renewed, ended, given back, each by one conditional update.

Every function here may be called twice, by two workers at once, or after a crash: the update that
names the expected state decides who goes on.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from builds.domain.errors import PortalError
from builds.domain.job import RebuildJob
from builds.domain.lifecycle import LIVE_STATES, RunState, check_transition
from builds.domain.queue import (
    BUILD_FAILED_PAUSE,
    LONGEST_RETRY,
    MAX_LIVE_CLAIMS,
    PASSING_FAILURES,
    Capability,
    Priority,
)
from builds.models import Affiliation, Operator, Rebuild, Rebuilder, RebuildEvent, Release
from builds.querysets import RebuildQuerySet
from builds.services.jobs import ReleaseNotAskable, job_of
from builds.services.queueing import open_again, open_place, pause_for, pause_operator

logger = logging.getLogger(__name__)
_MOST_PUT_OFF = 20


class ClaimGone(PortalError):
    """The token is of no running rebuild: the claim lapsed, was given back, or is somebody else's."""

    code: ClassVar[str] = "claim-gone"
    default_todo: ClassVar[str] = "Hand the signed statement in without the claim: it is evidence all the same."


class OperatorTied(PortalError):
    """The rebuilder's operator is tied to the publisher of what it asks for, so its result would not count."""

    code: ClassVar[str] = "operator-tied"
    default_todo: ClassVar[str] = "Rebuild it without a claim and hand that in: it is shown, and counts for nobody."


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one rebuild, valid while the lease is renewed. The portal keeps only the token's hash."""

    rebuild_id: uuid.UUID
    token: str

    @property
    def sha256(self) -> str:
        return token_sha256(self.token)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a rebuilder asks for: one release, whether it waits for anybody or not, or any of a project, or anything."""

    release: Release | None = None
    project: str | None = None


ANYTHING = Wanted()


def token_sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    return secrets.token_urlsafe(32)


def claim(rebuild_id: uuid.UUID, rebuilder: Rebuilder, worker: str) -> Claim | None:
    """Take one place; None when this rebuilder cannot have it (taken, cancelled, not its own, not yet)."""
    held = Claim(rebuild_id, new_token())
    with transaction.atomic():
        if not _may_hold_more(rebuilder):
            return None
        place = Rebuild.objects.claimable(rebuilder, timezone.now()).filter(pk=rebuild_id).first()
        return held if place is not None and _take(place, rebuilder, held.sha256, worker) else None


@dataclass(frozen=True, slots=True)
class Given:
    """A rebuild that a rebuilder has claimed, with the job that it is."""

    rebuild: Rebuild
    job: RebuildJob


def claim_next(
    rebuilder: Rebuilder, machine: Capability, token_sha256: str, worker: str, wanted: Wanted = ANYTHING
) -> Given | None:
    """Give a rebuilder the first place that it may and can do, of what it wants; None when there is none.

    Asking again with the same token gives the same rebuild: an answer that was lost costs nothing. Of a release
    that it names it is told ``OperatorTied`` or ``ReleaseNotAskable``, and nothing is claimed.
    """
    claimed = Rebuild.objects.filter(claim_sha256=token_sha256, rebuilder=rebuilder).select_related("release__project")
    with transaction.atomic():
        may_hold_more = _may_hold_more(rebuilder)
        if (known := claimed.first()) is not None:
            return Given(known, job_of(known.release)) if known.run_state is RunState.RUNNING else None
        if not may_hold_more:
            return None
        given = _first_fitting(rebuilder, machine, wanted)
        if given is None and wanted.release is not None:
            given = _volunteered(wanted.release, rebuilder, token_sha256, worker)
        elif given is not None and not _take(given.rebuild, rebuilder, token_sha256, worker):
            return None
        return Given(claimed.get(), given.job) if given is not None else None


def _first_fitting(rebuilder: Rebuilder, machine: Capability, wanted: Wanted) -> Given | None:
    """The first place whose release can be put as a job, locked; another that comes first is put off for a while."""
    # Without the release's own columns: joined, they make the planner sort the whole queue instead of walking it.
    found = Rebuild.objects.claimable(rebuilder, timezone.now()).fitting(machine)
    if wanted.release is not None:
        found = found.filter(release=wanted.release)
    if wanted.project is not None:
        found = found.filter(release__project__name=wanted.project)
    for _ in range(_MOST_PUT_OFF):
        # Rows that others are taking are passed over instead of waited for.
        place = found.select_for_update(skip_locked=True, of=("self",)).first()
        if place is None:
            return None
        try:
            return Given(place, job_of(place.release))
        except ReleaseNotAskable as error:
            if wanted.release is not None:
                raise
            # Whoever published it keeps nobody from other releases: it is looked at again later.
            logger.warning("rebuild %s is put off: %s", place.pk, error)
            Rebuild.objects.filter(pk=place.pk).update(next_retry=timezone.now() + LONGEST_RETRY)
    return None


def _volunteered(release: Release, rebuilder: Rebuilder, token_sha256: str, worker: str) -> Given | None:
    """A place that a rebuilder asks for itself, taken; None while it has one of this release."""
    tie = Affiliation.objects.filter(operator=rebuilder.operator, project=release.project, ended_at__isnull=True)
    if (held := tie.first()) is not None:
        raise OperatorTied(f"{rebuilder.operator.name} is tied to the publisher: {held.what}", where=str(release))
    job = job_of(release)
    live = Rebuild.objects.filter(release=release, state__in=LIVE_STATES)
    if live.filter(Q(rebuilder=rebuilder) | Q(wanted_from=rebuilder)).exists():
        return None
    with transaction.atomic():
        place = open_place(release, Priority.USER, wanted_from=rebuilder)
        if _take(place, rebuilder, token_sha256, worker):
            return Given(place, job)
        # A place that was opened for this claim alone goes with it.
        transaction.set_rollback(True)
        return None


def _may_hold_more(rebuilder: Rebuilder) -> bool:
    """Whether its operator is below its bound; its row is locked until the claim is stored.

    What an operator may claim depends on what it holds, and two of its rebuilders may ask at once. Others do not wait.
    """
    Operator.objects.select_for_update(no_key=True).get(pk=rebuilder.operator_id)
    held = Rebuild.objects.filter(rebuilder__operator=rebuilder.operator_id, state=RunState.RUNNING)
    return held.count() < MAX_LIVE_CLAIMS


def _take(place: Rebuild, rebuilder: Rebuilder, token_sha256: str, worker: str) -> bool:
    now = timezone.now()
    try:
        with transaction.atomic():
            taken = (
                Rebuild.objects.waiting()
                .filter(pk=place.pk)
                .update(
                    state=RunState.RUNNING,
                    rebuilder=rebuilder,
                    claim_sha256=token_sha256,
                    worker=worker[:200],
                    started_at=now,
                    lease_expires_at=now + lease(),
                )
            )
            if not taken:
                return False
            RebuildEvent(rebuild=place, kind="started", detail={"worker": worker[:200]}).save()
    except IntegrityError:
        # It took another place of this release a moment ago.
        return False
    return True


def lease() -> timedelta:
    return timedelta(seconds=settings.LEASE_SECONDS)


def claimed_rebuild(held: Claim) -> Rebuild:
    """The running rebuild that a claim is for; ``ClaimGone`` when there is none."""
    found = _claimed(held).select_related("release__project", "rebuilder__operator").first()
    if found is None:
        raise _gone(held)
    return found


def renew(held: Claim) -> bool | None:
    """Extend the lease. False when cancellation was asked for, None when the claim is gone, else True.

    After ``TEE_PORTAL_MAX_CLAIM_SECONDS`` no lease is extended any more: the rebuild is lost when it lapses.
    """
    now = timezone.now()
    begun = now - timedelta(seconds=settings.ENVIRONMENT.max_claim_seconds)
    renewed = _claimed(held).filter(started_at__gt=begun).update(lease_expires_at=now + lease())
    if not renewed:
        return None
    return not Rebuild.objects.filter(pk=held.rebuild_id, cancel_requested_at__isnull=False).exists()


def finish(held: Claim, target: RunState, *, failure: PortalError | None = None) -> bool:
    """End a claimed rebuild; False when the claim is gone and somebody else decided.

    Call it inside the transaction that stores the results. A failure that is the machine's or the
    network's opens the place again: to others at once, to its own operator later.
    """
    check_transition(RunState.RUNNING, target)
    error = failure.as_dict() if failure is not None else None
    now = timezone.now()
    with transaction.atomic():
        rebuild = _claimed(held).select_related("release__project", "wanted_from", "rebuilder").first()
        ended = rebuild is not None and _claimed(held).update(
            state=target,
            finished_at=now,
            lease_expires_at=None,
            failure=error if target is RunState.FAILED else None,
        )
        if rebuild is None or not ended:
            return False
        RebuildEvent(rebuild=rebuild, kind=target.value, detail=error or {}).save()
        if target is RunState.FAILED and failure is not None:
            passing = failure.code in PASSING_FAILURES
            pause = pause_operator(rebuild, now) if passing else pause_for(rebuild, now, BUILD_FAILED_PAUSE)
            if passing:
                open_again(rebuild, now, delay=pause if rebuild.wanted_from is not None else timedelta(0))
    return True


def give_back(held: Claim) -> None:
    """End a claim whose rebuilder stops, and open the place again at once; ``ClaimGone`` when it is gone."""
    with transaction.atomic():
        rebuild = claimed_rebuild(held)
        now = timezone.now()
        ended = _claimed(held).update(state=RunState.CANCELLED, finished_at=now, lease_expires_at=None)
        if not ended:
            raise _gone(held)
        RebuildEvent(rebuild=rebuild, kind="given-back", detail={"worker": rebuild.worker}).save()
        pause_operator(rebuild, now)
        open_again(rebuild, now)


def request_cancel(rebuild: Rebuild) -> RunState:
    """Cancel a queued rebuild at once, ask a running one to stop; returns the state seen afterwards."""
    now = timezone.now()
    with transaction.atomic():
        queued = Rebuild.objects.filter(pk=rebuild.pk, state=RunState.QUEUED).update(
            state=RunState.CANCELLED, cancel_requested_at=now, finished_at=now
        )
        asked = queued or Rebuild.objects.filter(
            pk=rebuild.pk, state=RunState.RUNNING, cancel_requested_at__isnull=True
        ).update(cancel_requested_at=now)
        if asked:
            RebuildEvent(rebuild=rebuild, kind="cancelled" if queued else "cancel-requested").save()
    rebuild.refresh_from_db()
    return rebuild.run_state


def _claimed(held: Claim) -> RebuildQuerySet:
    return Rebuild.objects.filter(pk=held.rebuild_id, state=RunState.RUNNING, claim_sha256=held.sha256)


def _gone(held: Claim) -> ClaimGone:
    return ClaimGone("the claim on this rebuild is gone", where=f"rebuild {held.rebuild_id}")
