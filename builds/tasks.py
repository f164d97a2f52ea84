"""Celery tasks: hints that a row may be ready. Each may run twice, late or never; rows decide."""

from __future__ import annotations

import logging
import socket
import uuid

from celery import current_app, shared_task
from django.conf import settings
from django.utils import timezone
from kombu.exceptions import OperationalError

from builds.models import Rebuild
from builds.services import idempotency, measurement_index, operators, queueing, reaping, rebuilding, recording, running

logger = logging.getLogger(__name__)
_INDEXED_AT_ONCE = 20
"""Releases of one sweep; each takes less than a second."""


def hint(rebuild_id: uuid.UUID) -> bool:
    """Tell the workers about a queued rebuild; False when the broker cannot be reached.

    That is no error: the sweeper finds queued rows without any hint. Call it after the commit.
    """
    try:
        run_rebuild.delay(str(rebuild_id))
    except OperationalError as error:
        logger.warning("broker unreachable, rebuild %s waits for the sweeper: %s", rebuild_id, error)
        return False
    return True


def hint_requested(rebuild: Rebuild) -> None:
    """Tell the portal's own worker about a rebuild that somebody asked for, where it is its own to do."""
    if settings.ENVIRONMENT.local_rebuilds:
        hint(rebuild.pk)


@shared_task
def run_rebuild(rebuild_id: str) -> None:
    """Claim and run one rebuild; returns at once when somebody else has it."""
    claim = rebuilding.claim(uuid.UUID(rebuild_id), running.local_rebuilder(), worker=socket.gethostname())
    if claim is not None:
        running.run_claimed(claim)
        _hint_verdicts()


def _hint_verdicts() -> None:
    """Ask for the verdict by the task's name: who judges publishers is not known here."""
    try:
        current_app.send_task("attestations.tasks.record_verdicts")
    except OperationalError as error:
        logger.warning("broker unreachable, the verdict waits for the schedule: %s", error)


@shared_task(expires=60)
def sweep() -> None:
    """End lapsed rebuilds and open their places again, reap leftovers, drop old logs and answers, tie publishers that
    rebuild to their projects, open places that are missing, disputed or due, index launch measurements that wait for
    it, and hint at what the portal's own worker may take.
    """
    queueing.mark_lost()
    reaping.reap()
    operators.tie_publishers()
    recording.drop_old_logs()
    queueing.open_missing_places()
    queueing.open_disputed_places()
    queueing.open_due_rechecks(timezone.now())
    idempotency.forget_old()
    measurement_index.fill_due(_INDEXED_AT_ONCE)
    only_wanted = not settings.ENVIRONMENT.local_rebuilds
    for rebuild_id in queueing.waiting_ids(running.local_rebuilder(), only_wanted=only_wanted):
        hint(rebuild_id)
