"""The Celery application; tasks live in ``builds.tasks``."""

from __future__ import annotations

import ctypes
import os
import signal

from celery import Celery
from celery.signals import beat_embedded_init, worker_process_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tee_portal.settings")

app = Celery("tee_portal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

_PR_SET_PDEATHSIG = 1


@worker_process_init.connect
@beat_embedded_init.connect
def die_with_the_worker(**_: object) -> None:
    """Let the kernel kill a pool or beat process whose worker died, so that no claim runs unsupervised.

    prctl(2), PR_SET_PDEATHSIG; Linux only, which is where the engine runs.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
