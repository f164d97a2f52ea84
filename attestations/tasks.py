"""Celery tasks of attestations: hints that something may be due. Each may run twice, late or never; rows decide."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable

from celery import shared_task
from django.utils import timezone
from kombu.exceptions import OperationalError

from attestations.asset_http import AssetFetcher
from attestations.mirror_tree import MirrorBusy
from attestations.services import (
    following,
    mirroring,
    publications,
    publishers,
    telling,
    verdicts,
    verification,
)
from attestations.webhook_http import WebhookSender
from builds.domain.errors import PortalError

logger = logging.getLogger(__name__)


def hint(following_id: int) -> bool:
    """Tell the workers that a repository is due; False when the broker cannot be reached, which is no error."""
    return _told(lambda: synchronise.delay(following_id), f"repository {following_id}")


def hint_verify_again() -> None:
    """Tell the workers that findings may be out of date."""
    _told(verify_again.delay, "verifying again")


def _told(tell: Callable[[], object], what: str) -> bool:
    try:
        tell()
    except OperationalError as error:
        logger.warning("broker unreachable, %s waits for the schedule: %s", what, error)
        return False
    return True


@shared_task(expires=60)
def synchronise_due() -> None:
    """Hint at every followed repository whose time has come."""
    for following_id in following.due(timezone.now()):
        hint(following_id)


# A server that drips its headers is cut off here: the client's own limits see bodies only.
@shared_task(time_limit=int(following.LONGEST_SYNCHRONISATION.total_seconds()))
def synchronise(following_id: int) -> None:
    """Synchronise one repository; returns at once when somebody else has it."""
    if following.take(following_id, timezone.now()):
        problem = following.synchronise(following_id)
        if problem is not None:
            logger.warning("synchronising repository %s: %s", following_id, problem)


@shared_task(expires=600)
def verify_again() -> None:
    """Make findings anew where a trust root, a policy, the verifier or a file changed."""
    made = verification.verify_all()
    if made:
        logger.info("%s findings made anew", made)


@shared_task(expires=60)
def record_verdicts() -> None:
    """Record and sign the verdicts of releases whose evidence changed."""
    publishers.tie_operators()
    try:
        verdicts.record_due()
    except PortalError as error:
        logger.error("verdicts are not recorded: %s", error)  # noqa: TRY400 - it is named, and says what to do
        return
    if mirroring.is_behind():
        _told(publish_mirror.delay, "the mirror")


@shared_task(expires=600)
def record_all_verdicts() -> None:
    """Record what changed by time, policy or trust root, and by anything that forgot to say so."""
    try:
        verdicts.record_all()
    except PortalError as error:
        logger.error("verdicts are not recorded: %s", error)  # noqa: TRY400 - as above


@shared_task(expires=30)
def send_webhooks() -> None:
    """Send what is due to webhooks."""
    tries = telling.send_due(WebhookSender())
    if tries:
        logger.info("%s webhook deliveries tried", tries)


@shared_task(expires=3600)
def drop_old_deliveries() -> None:
    """Forget what was sent long ago."""
    telling.drop_old(timezone.now())


def hint_publication(publication_id: uuid.UUID) -> None:
    """Tell the workers of an announced release. It may be lost: the sweep finds it."""
    _told(lambda: run_publication.delay(str(publication_id)), f"publication {publication_id}")


# Fetching has its own bound; an import reads a release's worth of bytes a few times. The sweep hints again at what
# waits.
@shared_task(expires=60, time_limit=int(following.LONGEST_SYNCHRONISATION.total_seconds()))
def run_publication(publication_id: str) -> None:
    """Work on one announced release; returns at once when somebody else has it, or it is not due."""
    publications.run(uuid.UUID(publication_id), AssetFetcher())


@shared_task(expires=60)
def sweep_publications() -> None:
    """Find announced releases that no worker has: because a hint was lost, a try is due, or a worker died."""
    for publication_id in publications.sweep():
        hint_publication(publication_id)


@shared_task(expires=60)
def publish_mirror() -> None:
    """Bring the configured mirror up to date; what keeps it from that leaves the older one there."""
    try:
        mirroring.publish_configured()
    except MirrorBusy as error:
        logger.info("the mirror is being published already: %s", error)
    except PortalError as error:
        logger.error("the mirror is not published: %s", error)  # noqa: TRY400 - as above
