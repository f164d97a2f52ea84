"""The portal's own rebuilder: it rebuilds, signs with its own key, and hands in like any other."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from builds.domain.errors import PortalError
from builds.domain.lifecycle import RunState
from builds.models import Operator, Rebuild, Rebuilder, RebuilderKey
from builds.pipeline.control import Cancelled, ClaimLost
from builds.pipeline.reporting import Pace, Reporter
from builds.pipeline.reproduce import Workshop, reproduce
from builds.pipeline.signing import FileSigner, keep_signer
from builds.services import workshop
from builds.services.jobs import job_of
from builds.services.operators import PORTAL_SLUG, THIS_PORTAL
from builds.services.rebuilding import Claim, finish
from builds.services.recording import DatabaseSink
from builds.services.release_events import evidence_changed
from builds.services.submitting import accept

LOCAL_REBUILDER = "local-worker"
_CANCEL_POLL_SECONDS = 1.0
_FLUSH_SECONDS = 0.5
_RENEWALS_PER_LEASE = 3
_DATABASE_RETRY_SECONDS = 0.5


def local_signer() -> FileSigner:
    """The key that the portal's own worker signs rebuilds with; made on first use."""
    return keep_signer(settings.DATA_DIR / "keys" / "local-rebuilder.pem")


def local_rebuilder() -> Rebuilder:
    """The portal's own worker: one operator among others, known by its own key."""
    now = timezone.now()
    operator, _ = Operator.objects.get_or_create(
        slug=PORTAL_SLUG,
        defaults={
            "name": THIS_PORTAL,
            "identified_by": "it is this portal's own worker",
            "accepted_at": now,
            "accepted_by": THIS_PORTAL,
        },
    )
    rebuilder, _ = Rebuilder.objects.get_or_create(name=LOCAL_REBUILDER, operator=operator, defaults={"is_local": True})
    public = local_signer().public
    RebuilderKey.objects.get_or_create(
        fingerprint=public.fingerprint,
        defaults={
            "rebuilder": rebuilder,
            "algorithm": public.algorithm,
            "pem": public.pem,
            "accepted_at": now,
            "not_before": now,
        },
    )
    return rebuilder


def run_claimed(claim: Claim) -> None:
    """Run to an end state. An unnamed error is a bug: it leaves the lease to lapse and is logged."""
    rebuild = Rebuild.objects.select_related("release__project").get(pk=claim.rebuild_id)
    signer = local_signer()
    heartbeat = min(_CANCEL_POLL_SECONDS, settings.LEASE_SECONDS / _RENEWALS_PER_LEASE)
    pace = Pace(heartbeat=heartbeat, flush=_FLUSH_SECONDS, lease=settings.LEASE_SECONDS)
    with Reporter(DatabaseSink(claim), pace) as reporter:
        try:
            job = job_of(rebuild.release)
            with closing(workshop.engine()) as engine:
                place = Workshop(
                    engine=engine,
                    store=workshop.store(),
                    mirror=workshop.mirror(),
                    limits=workshop.limits(),
                    keyring=settings.ARCHIVE_KEYRING,
                    base_cache=settings.BASE_CACHE,
                    work=settings.WORK_DIR / str(rebuild.pk),
                    labels=workshop.labels(str(rebuild.pk)),
                )
                signed = reproduce(job, place, signer, reporter)
            _through_outage(lambda: accept(signed.envelope.as_bundle(signer.public.hint), claim))
        except ClaimLost:
            return
        except Cancelled as error:
            reporter.settle()
            ended = error
            _through_outage(lambda: finish(claim, RunState.CANCELLED, failure=ended))
        except PortalError as error:
            reporter.settle()
            failure = error
            if _through_outage(lambda: finish(claim, RunState.FAILED, failure=failure)):
                evidence_changed(rebuild.release)


def _through_outage[T](store: Callable[[], T]) -> T:
    """Store what a build came to, also when the database was restarted meanwhile or is away for up to a lease."""
    deadline = time.monotonic() + settings.LEASE_SECONDS
    while True:
        try:
            return store()
        except (OperationalError, InterfaceError):
            if time.monotonic() > deadline or connection.in_atomic_block:
                raise
            connection.close()
            time.sleep(_DATABASE_RETRY_SECONDS)
