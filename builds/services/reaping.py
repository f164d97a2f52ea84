"""Removes what builds of this portal left in the engine and on disk when their worker died."""

from __future__ import annotations

import logging
import shutil
import uuid
from contextlib import closing

from django.conf import settings

from builds.domain.errors import PortalError
from builds.domain.lifecycle import RunState
from builds.models import Rebuild
from builds.services import workshop

logger = logging.getLogger(__name__)


def reap() -> int:
    """Remove leftovers of every rebuild that is not running; returns how many things were removed.

    What is there is listed before the running rebuilds are: something labelled was made by a rebuild
    that ran then, so one that is not running afterwards has ended. An engine that is away is logged.
    """
    return _reap_directories() + _reap_engine()


def _running() -> set[str]:
    return {str(pk) for pk in Rebuild.objects.filter(state=RunState.RUNNING).values_list("pk", flat=True)}


def _reap_directories() -> int:
    if not settings.WORK_DIR.is_dir():
        return 0
    found = [path for path in settings.WORK_DIR.iterdir() if _is_uuid(path.name)]
    running = _running()
    leftovers = [path for path in found if path.name not in running]
    for path in leftovers:
        logger.info("removing work directory of ended rebuild %s", path.name)
        shutil.rmtree(path, ignore_errors=True)
    return len(leftovers)


def _reap_engine() -> int:
    removed = 0
    try:
        with closing(workshop.engine()) as engine:
            found = engine.label_values(workshop.REBUILD_LABEL, {workshop.INSTANCE_LABEL: workshop.instance()})
            running = _running()
            for build in sorted(value for value in found if _is_uuid(value) and value not in running):
                logger.info("removing what rebuild %s left in the engine", build)
                removed += engine.remove_labelled(workshop.labels(build))
    except PortalError as error:
        logger.warning("leftovers in the engine not looked at: %s", error)
    return removed


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
