"""The queue of rebuilds: the row is the queue, moved only by conditional updates.

Every function here may be called twice, by two workers at once, or after a crash: the update that
names the expected state decides who goes on.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from builds.domain.errors import PortalError
from builds.domain.lifecycle import RunState, StageState, check_transition
from builds.models import Rebuild, Rebuilder, RebuildEvent, RebuildStage, Release
from builds.querysets import RebuildQuerySet

LOCAL_REBUILDER = "local-worker"


class RebuildAlreadyLive(PortalError):
    """This rebuilder already has a queued or running rebuild of the release."""

    code: ClassVar[str] = "rebuild-already-live"
    default_todo: ClassVar[str] = "Wait for it to end, or cancel it."


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one rebuild, valid while the lease is renewed."""

    rebuild_id: uuid.UUID
    token: uuid.UUID


def local_rebuilder() -> Rebuilder:
    """The portal's own worker: one operator among others."""
    rebuilder, _ = Rebuilder.objects.get_or_create(
        name=LOCAL_REBUILDER, defaults={"operator": "this portal", "is_local": True}
    )
    return rebuilder


def request_rebuild(release: Release, rebuilder: Rebuilder, *, retry_of: Rebuild | None = None) -> Rebuild:
    """Queue a rebuild; ``RebuildAlreadyLive`` when one of this release and rebuilder is queued or running."""
    try:
        with transaction.atomic():
            rebuild = Rebuild.objects.create(release=release, rebuilder=rebuilder, retry_of=retry_of)
            detail = {"retry_of": str(retry_of.pk)} if retry_of is not None else {}
            RebuildEvent(rebuild=rebuild, kind="queued", detail=detail).save()
    except IntegrityError as error:
        raise RebuildAlreadyLive(
            f"{rebuilder.name} already has a live rebuild of {release.tag}", where=str(release)
        ) from error
    return rebuild


def claim(rebuild_id: uuid.UUID, worker: str) -> Claim | None:
    """Take a queued rebuild; None when it is not queued any more (taken, cancelled, unknown)."""
    now = timezone.now()
    token = uuid.uuid4()
    with transaction.atomic():
        taken = (
            Rebuild.objects.waiting()
            .filter(pk=rebuild_id)
            .update(
                state=RunState.RUNNING,
                claim_token=token,
                worker=worker,
                started_at=now,
                lease_expires_at=now + lease(),
            )
        )
        if not taken:
            return None
        RebuildEvent(rebuild_id=rebuild_id, kind="started", detail={"worker": worker}).save()
    return Claim(rebuild_id, token)


def lease() -> timedelta:
    return timedelta(seconds=settings.LEASE_SECONDS)


def renew(held: Claim) -> bool | None:
    """Extend the lease. False when cancellation was asked for, None when the claim is gone, else True."""
    renewed = _claimed(held).update(lease_expires_at=timezone.now() + lease())
    if not renewed:
        return None
    return not Rebuild.objects.filter(pk=held.rebuild_id, cancel_requested_at__isnull=False).exists()


def finish(held: Claim, target: RunState, *, failure: PortalError | None = None) -> bool:
    """End a claimed rebuild; False when the claim is gone and somebody else decided.

    Call it inside the transaction that stores the results.
    """
    check_transition(RunState.RUNNING, target)
    with transaction.atomic():
        ended = _claimed(held).update(
            state=target,
            finished_at=timezone.now(),
            lease_expires_at=None,
            failure=failure.as_dict() if failure is not None and target is RunState.FAILED else None,
        )
        if not ended:
            return False
        detail = failure.as_dict() if failure is not None else {}
        RebuildEvent(rebuild_id=held.rebuild_id, kind=target.value, detail=detail).save()
    return True


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


def mark_lost(now: datetime | None = None) -> list[Rebuild]:
    """End every rebuild whose lease lapsed and queue each again, once; returns the new rebuilds.

    A rebuild that is itself such a retry is not queued a second time: what kills a worker twice
    is more likely the build than the worker. One that was asked to stop is not queued again.
    """
    moment = now or timezone.now()
    requeued = []
    for lapsed in Rebuild.objects.lapsed(moment).select_related("release", "rebuilder"):
        with transaction.atomic():
            lost = (
                Rebuild.objects.lapsed(moment)
                .filter(pk=lapsed.pk, claim_token=lapsed.claim_token)
                .update(state=RunState.LOST, finished_at=moment, lease_expires_at=None)
            )
            if not lost:
                continue
            RebuildEvent(rebuild=lapsed, kind="lost", detail={"worker": lapsed.worker}).save()
            RebuildStage.objects.filter(rebuild=lapsed, state=StageState.RUNNING).update(
                state=StageState.LOST, ended_at=moment
            )
            if lapsed.retry_of_id is None and lapsed.cancel_requested_at is None:
                requeued.append(request_rebuild(lapsed.release, lapsed.rebuilder, retry_of=lapsed))
    return requeued


def _claimed(held: Claim) -> RebuildQuerySet:
    return Rebuild.objects.filter(pk=held.rebuild_id, state=RunState.RUNNING, claim_token=held.token)


def waiting_ids(limit: int = 100) -> list[uuid.UUID]:
    """Queued rebuilds, oldest first."""
    return list(Rebuild.objects.waiting().order_by("queued_at").values_list("pk", flat=True)[:limit])
