"""Where the files of an announced release lie until it is imported or refused."""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from attestations.domain.publication import LIVE_STATES
from attestations.domain.publication_errors import FilesGone
from attestations.models import Publication
from builds.domain.errors import DiskFull

logger = logging.getLogger(__name__)

_PREFIX = "publication-"
_UNANNOUNCED_SECONDS = 3600.0
"""As long nothing is written to it, nobody is sending it any more."""


@dataclass(frozen=True, slots=True)
class Spool:
    """The directory of one announced release: what was ``sent``, and for each try the assets that it imports."""

    id: uuid.UUID

    @property
    def root(self) -> Path:
        return Path(settings.WORK_DIR) / f"{_PREFIX}{self.id}"

    @property
    def sent(self) -> Path:
        return self.root / "sent"

    def write(self, name: str, content: bytes) -> None:
        """Keep a file that was sent; ``DiskFull`` when it cannot be."""
        try:
            self.sent.mkdir(parents=True, exist_ok=True)
            with (self.sent / name).open("xb") as file:
                file.write(content)
        except OSError as error:
            raise DiskFull(f"a file cannot be kept: {error.strerror}", where=name, todo=_LATER) from error

    def begin(self, claim: uuid.UUID, sent: list[str]) -> Path:
        """A directory for the assets of one try, with what was sent in it; ``FilesGone`` when that is not there.

        What another try fetched is fetched anew: nothing says that it is whole, or that nobody writes to it any more.
        """
        assets = self.root / str(claim) / "assets"
        try:
            assets.mkdir(parents=True)
            for name in sent:
                os.link(self.sent / name, assets / name)
        except FileNotFoundError as error:
            raise FilesGone("files that were sent are not here any more", where=str(self.id)) from error
        except OSError as error:
            raise DiskFull(f"no place for the assets: {error.strerror}", where=str(self.id), todo=_LATER) from error
        return assets

    def end(self, claim: uuid.UUID) -> None:
        """Remove what a try fetched; what was sent stays for the next."""
        shutil.rmtree(self.root / str(claim), ignore_errors=True)

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


_LATER = "Free space on the portal's disk, then announce the release again."


@contextmanager
def receiving() -> Iterator[Spool]:
    """A new place; what was put there goes away again unless a publication of its id was stored meanwhile."""
    spool = Spool(uuid.uuid4())
    try:
        yield spool
    finally:
        if spool.root.is_dir() and not Publication.objects.filter(pk=spool.id).exists():
            spool.remove()


def expect_space(more_bytes: int) -> None:
    """Return when ``more_bytes`` may be written and enough is left for everything else; else ``DiskFull``."""
    settings.WORK_DIR.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.WORK_DIR).free
    if free - more_bytes < settings.ENVIRONMENT.min_free_disk_bytes:
        raise DiskFull("the portal's disk has no room for this release now", where="work directory", todo=_LATER)


def clean(now: float | None = None) -> int:
    """Remove places of publications that have ended, and of requests that ended without one; how many."""
    if not settings.WORK_DIR.is_dir():
        return 0
    # Listed first: a publication that is stored meanwhile is found below.
    found = {spool.id: spool for path in settings.WORK_DIR.iterdir() if (spool := _spool_at(path)) is not None}
    known = dict(Publication.objects.filter(pk__in=found).values_list("pk", "state"))
    moment = now if now is not None else time.time()
    left = [
        spool
        for pk, spool in found.items()
        if (known[pk] not in LIVE_STATES if pk in known else moment - _newest(spool) > _UNANNOUNCED_SECONDS)
    ]
    for spool in left:
        logger.info("removing the files of publication %s, which has ended", spool.id)
        spool.remove()
    return len(left)


def _spool_at(path: Path) -> Spool | None:
    if not path.name.startswith(_PREFIX):
        return None
    try:
        return Spool(uuid.UUID(path.name.removeprefix(_PREFIX)))
    except ValueError:
        return None


def _newest(spool: Spool) -> float:
    """When something was last written there, as a time of the clock; now when it goes away meanwhile."""
    try:
        return max(path.stat().st_mtime for path in [spool.root, *spool.root.rglob("*")])
    except FileNotFoundError:
        return time.time()
