"""Works on announced releases: fetches their assets, imports them, and says what became of it.

The row is the queue, and a task is a hint. Whoever works on a row holds it by a lease that a thread renews; a worker
that dies loses it, and another takes the row up from its beginning, which changes nothing twice: files are fetched
anew, and an import of the same bytes finds the release that is there.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F
from django.utils import timezone

from attestations.asset_http import AssetFetcher
from attestations.domain.publication import (
    HELD_STATES,
    MOST_ATTEMPTS,
    PublicationForm,
    PublicationState,
    retry_seconds,
)
from attestations.domain.publication_errors import (
    AssetOtherDigest,
    AssetTooLarge,
    AssetUnavailable,
    NotAPublisher,
    PublicationLost,
)
from attestations.models import Publication
from attestations.services.announcing import hosts_of, may_publish, most_bytes
from attestations.services.collecting import collect_from_directory
from attestations.services.spool import Spool, clean, expect_space
from attestations.services.verification import verify_release
from builds.domain.errors import DiskFull, PortalError
from builds.models import Release, ReleaseEvent
from builds.pipeline.control import ClaimLost
from builds.pipeline.source import SourceUnreachable
from builds.pipeline.unforeseen import Unforeseen, named
from builds.services.importing import import_beside_others
from builds.services.release_events import ANNOUNCED

logger = logging.getLogger(__name__)

_RENEWALS_PER_LEASE = 6
_REFUSED_KEPT = timedelta(days=90)
_CHECKED_EVERY = 64 * 1024 * 1024
_TRIED_AGAIN = (AssetUnavailable, SourceUnreachable, DiskFull, Unforeseen)
"""What a machine, a network or a server may not meet the next time."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A publication that is ours to work on, while ``claim`` is the row's."""

    publication: Publication
    claim: uuid.UUID

    @property
    def spool(self) -> Spool:
        return Spool(self.publication.pk)

    def update(self, **fields: object) -> bool:
        """Write to the row; False when it is somebody else's now."""
        return bool(Publication.objects.filter(pk=self.publication.pk, claim=self.claim).update(**fields))

    def lost(self) -> ClaimLost:
        return ClaimLost("somebody else has this publication now", where=f"publication {self.publication.pk}")


class Lease:
    """Renews the claim from a thread for as long as the context is open, and counts what was received."""

    def __init__(self, claimed: Claimed) -> None:
        self._claimed = claimed
        self._stop = threading.Event()
        self._received = 0
        self._unchecked = 0
        self._is_lost = False
        self._thread = threading.Thread(target=self._renew, daemon=True, name="publication-lease")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def received(self) -> int:
        return self._received

    def check(self) -> None:
        """Raise ``ClaimLost`` once the claim is somebody else's."""
        if self._is_lost:
            raise self._claimed.lost()

    def confirm(self) -> None:
        """Renew the claim now, or raise ``ClaimLost``. Until then nobody else can have removed a file of it."""
        if not self._claimed.update(claimed_until=_lease_end()):
            raise self._claimed.lost()

    def receive(self, size: int) -> None:
        """So many bytes more came. Raises ``ClaimLost``, and ``DiskFull`` before the disk is."""
        self._received += size
        self._unchecked += size
        self.check()
        if self._unchecked >= _CHECKED_EVERY:
            self._unchecked = 0
            expect_space(_CHECKED_EVERY)

    def _renew(self) -> None:
        try:
            while not self._stop.wait(settings.LEASE_SECONDS / _RENEWALS_PER_LEASE):
                self._renew_once()
        finally:
            connection.close()

    def _renew_once(self) -> None:
        try:
            held = self._claimed.update(claimed_until=_lease_end(), received_bytes=self._received)
        except (OperationalError, InterfaceError) as error:
            # The next renewal may reach it; if none does, the lease ends and the row is taken up again.
            logger.warning("the lease of publication %s is not renewed: %s", self._claimed.publication.pk, error)
            connection.close()
            return
        self._is_lost = not held


def run(publication_id: uuid.UUID, fetcher: AssetFetcher) -> None:
    """Work on a publication to an end, or until it is to be tried again; at once when it is not ours to take."""
    claimed = take(publication_id)
    if claimed is None:
        return
    try:
        with Lease(claimed) as lease:
            release = _imported(claimed, lease, fetcher)
        _settle_imported(claimed, release, lease.received)
    except ClaimLost:
        logger.warning("publication %s went to another worker", publication_id)
        return
    except PortalError as error:
        claimed.spool.end(claimed.claim)
        _settle_failed(claimed, error)
    else:
        _verified(release)
    # Whoever has it next begins with what was sent.
    if not Publication.objects.filter(pk=publication_id, ended_at__isnull=True).exists():
        claimed.spool.remove()


def take(publication_id: uuid.UUID) -> Claimed | None:
    """Claim a publication that waits and is due; None when there is none of this id, or somebody else was first."""
    now, claim = timezone.now(), uuid.uuid4()
    waiting = Publication.objects.filter(pk=publication_id, next_try_at__lte=now)
    row = waiting.first()
    if row is None:
        return None
    first = PublicationState.FETCHING if row.form == PublicationForm.ADDRESSES else PublicationState.IMPORTING
    taken = waiting.update(
        state=first,
        claim=claim,
        claimed_until=_lease_end(),
        next_try_at=None,
        attempts=F("attempts") + 1,
        received_bytes=0,
    )
    if not taken:
        return None
    return Claimed(Publication.objects.select_related("project", "account").get(pk=publication_id), claim)


def due(now: datetime) -> list[uuid.UUID]:
    """Publications that wait to be worked on, the one that waits longest first."""
    waiting = Publication.objects.filter(next_try_at__lte=now).order_by("next_try_at", "pk")
    return list(waiting.values_list("pk", flat=True)[:100])


def sweep() -> list[uuid.UUID]:
    """Take publications from workers that died, forget what was refused long ago, remove files that nobody needs, and
    say what is due.
    """
    now = timezone.now()
    for row in Publication.objects.filter(claimed_until__lt=now, state__in=HELD_STATES):
        if row.claim is not None:
            _take_back(Claimed(row, row.claim), now)
    Publication.objects.filter(state=PublicationState.REFUSED, ended_at__lte=now - _REFUSED_KEPT).delete()
    clean()
    return due(now)


def _take_back(claimed: Claimed, now: datetime) -> None:
    """Of a worker that did not renew its lease; unless it does in this moment."""
    row = claimed.publication
    lost = PublicationLost(f"its worker ended {row.attempts} times", where=f"publication {row.pk}")
    lapsed = Publication.objects.filter(pk=row.pk, claim=row.claim, claimed_until__lt=now)
    if row.attempts >= MOST_ATTEMPTS:
        lapsed.update(**_refusal(lost, now))
    else:
        lapsed.update(**_another_try(lost, now, row.attempts))
    logger.warning("publication %s was left by its worker", row.pk)


@dataclass(slots=True)
class _Budget:
    """Bytes that all assets together may still have, and until when."""

    bytes_left: int
    until: float = field(default_factory=lambda: time.monotonic() + settings.ENVIRONMENT.publication_seconds)


def _imported(claimed: Claimed, lease: Lease, fetcher: AssetFetcher) -> Release:
    row = claimed.publication
    if not may_publish(row.account, row.project):
        # Of the moment it is done, not only of the one it was asked for.
        raise NotAPublisher("this account may not announce releases of the project any more", where=row.project.name)
    try:
        sent = [file["name"] for file in row.files if not file["url"]]
        directory = claimed.spool.begin(claimed.claim, sent)
        if row.form == PublicationForm.ADDRESSES:
            _fetch(claimed, lease, fetcher, directory)
            if not claimed.update(state=PublicationState.IMPORTING, files=row.files, received_bytes=lease.received):
                raise claimed.lost()
        commit = row.commit or None
        release = import_beside_others(row.project, directory, tag=row.tag, commit=commit, confirm=lease.confirm)
        # Before its end is written down, after which nobody needs the files any more.
        collect_from_directory(release, directory)
        return release
    except (OSError, ValueError) as error:
        raise named(error, where=f"publication {row.pk}") from error


def _fetch(claimed: Claimed, lease: Lease, fetcher: AssetFetcher, directory: Path) -> None:
    """Every asset by its address; what each has in bytes and digest is written into the row's ``files``."""
    row = claimed.publication
    hosts, (each, together) = hosts_of(row.project), most_bytes()
    budget = _Budget(together - sum(path.stat().st_size for path in directory.iterdir()))
    for file in row.files:
        if not file["url"]:
            continue
        most = min(each, budget.bytes_left)
        if most < 0:
            raise AssetTooLarge(f"its files have more than {together} bytes together", where=file["name"])
        path = directory / file["name"]
        got = fetcher.fetch(file["url"], hosts, path, most=most, until=budget.until, tell=lease.receive)
        if file["sha256"] and file["sha256"] != got.sha256:
            what = f"{file['name']} has sha256:{got.sha256}, announced was sha256:{file['sha256']}"
            raise AssetOtherDigest(what, where=file["name"])
        file["sha256"], file["size"] = got.sha256, got.size
        budget.bytes_left -= got.size


def _verified(release: Release) -> None:
    """Judge the bundles that came with the files. What goes wrong is tried again by the schedule: the release is
    imported all the same.
    """
    try:
        verify_release(release)
    except PortalError as error:
        logger.warning("bundles of %s are not judged yet: %s", release, error)


def _settle_imported(claimed: Claimed, release: Release, received: int) -> None:
    row, now = claimed.publication, timezone.now()
    with transaction.atomic():
        if not claimed.update(
            state=PublicationState.IMPORTED,
            release=release,
            problem=None,
            ended_at=now,
            received_bytes=received,
            **_LET_GO,
        ):
            raise claimed.lost()
        _tell_origin(row, release)


def _tell_origin(row: Publication, release: Release) -> None:
    """Once for each account: a workflow that announces the same release daily is told by its publications."""
    told = release.events.filter(kind=ANNOUNCED, detail__account=row.account_name)
    if told.exists():
        return
    detail = {
        "account": row.account_name,
        "token": row.token_name,
        "publication": str(row.pk),
        "announced_at": row.announced_at.isoformat(timespec="seconds"),
        "form": row.form,
    }
    ReleaseEvent(release=release, kind=ANNOUNCED, detail=detail).save()


def _settle_failed(claimed: Claimed, error: PortalError) -> None:
    row, now = claimed.publication, timezone.now()
    logger.warning("publication %s of %s: %s", row.pk, row, error)
    if isinstance(error, _TRIED_AGAIN) and row.attempts < MOST_ATTEMPTS:
        claimed.update(**_another_try(error, now, row.attempts))
    else:
        claimed.update(**_refusal(error, now))


_LET_GO: dict[str, None] = {"claim": None, "claimed_until": None}


def _another_try(error: PortalError, now: datetime, attempts: int) -> dict[str, object]:
    later = now + timedelta(seconds=retry_seconds(attempts))
    return {"state": PublicationState.QUEUED, "next_try_at": later, "problem": error.as_dict(), **_LET_GO}


def _refusal(error: PortalError, now: datetime) -> dict[str, object]:
    return {"state": PublicationState.REFUSED, "ended_at": now, "problem": error.as_dict(), **_LET_GO}


def _lease_end() -> datetime:
    return timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
