"""Fills a finished demo's database with what its end leaves out; run by the portal's own interpreter.

``manage.py shell --command "from tests.support.showcase_data import fill; fill()"`` prints where things are, as JSON.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from builds.domain.errors import PortalError
from builds.domain.lifecycle import RunState, StageState
from builds.domain.progress import LogPiece, Progress, StageReport
from builds.models import Measurement, Rebuild, Release
from builds.services import queueing, rebuilding, recording, running

NAME = "ada"
PASSWORD = "correct horse battery staple"
HOSTILE_LINE = "error: <b>marker</b> \u05e9\u05dc\u05d5\u05dd " + "w" * 3000 + "\n"


def fill() -> None:
    """An account, a failed rebuild and one that runs on, with a hostile line in its log."""
    User.objects.create_user(NAME, password=PASSWORD)
    honest = Release.objects.get(tag="v1.0.0")
    failed, claim = _begin(Release.objects.get(tag="v1.0.0-mirror"))
    gone = PortalError(
        "libc6 2.41-12 is gone from its archive, and the store lacks it",
        where="stage materials",
        todo="Put the file into the material store, or lock a newer version.",
    )
    recording.record_progress(claim, Progress(stages=_stages(timezone.now(), StageState.FAILED)))
    rebuilding.finish(claim, RunState.FAILED, failure=gone)
    goes_on, _ = _begin(honest)
    ended = Rebuild.objects.filter(state=RunState.SUCCEEDED).select_related("statement", "rebuilder__operator")
    succeeded = list(ended.filter(release=honest).order_by("queued_at"))
    places = {
        "failed": str(failed.pk),
        "running": str(goes_on.pk),
        "reproduced": str(succeeded[0].pk),
        "another": str(succeeded[1].pk),
        "mismatched": str(ended.filter(release__tag="v1.0.1")[0].pk),
        "measurement": Measurement.objects.get(launch_configuration__release=honest).published,
        "statement": succeeded[0].statement.payload_sha256,
        "kernel": honest.components.get(role="kernel").sha256,
        "operator": succeeded[0].rebuilder.operator.slug,  # type: ignore[union-attr] # it succeeded
    }
    print(json.dumps(places))  # noqa: T201 - its answer


def _begin(release: Release) -> tuple[Rebuild, rebuilding.Claim]:
    local = running.local_rebuilder()
    rebuild = queueing.request_rebuild(release, local)
    claim = rebuilding.claim(rebuild.pk, local, "showcase")
    assert claim is not None
    lines = ("fetching the source\n", "commit verified\n", "dash 0.5.12-2 from the store\n", HOSTILE_LINE)
    log = tuple(LogPiece(sequence=at + 1, stage_position=1 + at // 2, text=line) for at, line in enumerate(lines))
    recording.record_progress(claim, Progress(stages=_stages(timezone.now()), log=log))
    return rebuild, claim


def _stages(now: datetime, second: StageState = StageState.RUNNING) -> tuple[StageReport, ...]:
    began = now - timedelta(seconds=90)
    fetched = began + timedelta(seconds=10)
    return (
        StageReport(
            position=1, name="source", state=StageState.SUCCEEDED, started_at=began, ended_at=fetched, exit_code=0
        ),
        StageReport(
            position=2,
            name="materials",
            state=second,
            started_at=fetched,
            ended_at=None if second is StageState.RUNNING else now,
        ),
    )
