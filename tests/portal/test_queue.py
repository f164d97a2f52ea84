"""The row is the queue: claims, leases, cancellation and loss, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from builds.domain.errors import PortalError
from builds.domain.lifecycle import RunState, StageState
from builds.domain.progress import Answer, LogPiece, Progress, StageReport
from builds.domain.queue import MAX_ATTEMPTS
from builds.models import LogChunk, Rebuild, RebuildEvent, Release
from builds.pipeline.control import Cancelled, ClaimLost
from builds.pipeline.reporting import Pace, Reporter
from builds.services import queueing, rebuilding, running
from builds.services.queueing import RebuildAlreadyLive
from builds.services.rebuilding import Claim
from builds.services.recording import DatabaseSink, record_progress, stored_log_sha256
from tests.support.portal import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rebuild(make_release: Callable[..., Release]) -> Rebuild:
    return queueing.request_rebuild(make_release(), running.local_rebuilder())


def claimed(rebuild: Rebuild) -> Claim:
    claim = rebuilding.claim(rebuild.pk, running.local_rebuilder(), "worker-1")
    assert claim is not None
    return claim


def test_of_many_workers_at_once_exactly_one_gets_the_claim(rebuild: Rebuild) -> None:
    claims: list[Claim | None] = []
    worker = running.local_rebuilder()
    ready = threading.Barrier(8)

    def take() -> None:
        ready.wait()
        try:
            claims.append(rebuilding.claim(rebuild.pk, worker, "worker"))
        finally:
            connection.close()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claims) == 8
    assert sum(claim is not None for claim in claims) == 1


def test_a_release_has_one_live_rebuild_per_rebuilder_and_a_new_one_after_it_ended(rebuild: Rebuild) -> None:
    with pytest.raises(RebuildAlreadyLive):
        queueing.request_rebuild(rebuild.release, running.local_rebuilder())
    rebuilding.request_cancel(rebuild)
    assert queueing.request_rebuild(rebuild.release, running.local_rebuilder()).run_state is RunState.QUEUED


def test_a_queued_rebuild_is_cancelled_at_once_and_never_claimed(rebuild: Rebuild) -> None:
    assert rebuilding.request_cancel(rebuild) is RunState.CANCELLED
    assert rebuilding.claim(rebuild.pk, running.local_rebuilder(), "worker") is None
    assert rebuilding.request_cancel(rebuild) is RunState.CANCELLED


def test_a_running_rebuild_is_asked_to_stop_and_its_worker_hears_it(rebuild: Rebuild) -> None:
    claim = claimed(rebuild)
    assert rebuilding.renew(claim) is True
    assert rebuilding.request_cancel(rebuild) is RunState.RUNNING
    assert rebuilding.renew(claim) is False


def test_a_lapsed_rebuild_is_lost_and_its_place_opened_again_later_each_time(rebuild: Rebuild) -> None:
    claim = claimed(rebuild)
    later = timezone.now() + timedelta(days=1)
    (retry,) = queueing.mark_lost(later)
    rebuild.refresh_from_db()
    assert rebuild.run_state is RunState.LOST
    assert retry.retry_of == rebuild
    assert queueing.mark_lost(later) == []
    assert rebuilding.renew(claim) is None
    assert rebuilding.finish(claim, RunState.SUCCEEDED) is False
    delays = []
    while retry is not None:
        delays.append(retry.next_retry - later)
        assert rebuilding.claim(retry.pk, running.local_rebuilder(), "worker") is None
        Rebuild.objects.filter(pk=retry.pk).update(next_retry=timezone.now())
        claimed(retry)
        retry = next(iter(queueing.mark_lost(later)), None)
    assert len(delays) == MAX_ATTEMPTS - 1
    assert delays == sorted(delays)
    assert delays[0] == timedelta(seconds=5)
    assert Rebuild.objects.filter(state=RunState.QUEUED).count() == 0


def test_a_lost_rebuild_that_was_asked_to_stop_is_not_queued_again(rebuild: Rebuild) -> None:
    claimed(rebuild)
    rebuilding.request_cancel(rebuild)
    assert queueing.mark_lost(timezone.now() + timedelta(days=1)) == []


def test_a_rebuild_whose_lease_is_renewed_is_not_lost(rebuild: Rebuild) -> None:
    claim = claimed(rebuild)
    assert rebuilding.renew(claim)
    assert queueing.mark_lost() == []


def test_only_the_holder_of_the_claim_can_finish(rebuild: Rebuild) -> None:
    claim = claimed(rebuild)
    stranger = Claim(rebuild.pk, rebuilding.new_token())
    assert rebuilding.finish(stranger, RunState.SUCCEEDED) is False
    failure = PortalError("it broke", where="stage x")
    assert rebuilding.finish(claim, RunState.FAILED, failure=failure) is True
    rebuild.refresh_from_db()
    assert rebuild.failure == failure.as_dict()
    assert [event.kind for event in rebuild.events.all()] == ["queued", "started", "failed"]


def test_the_database_refuses_what_the_code_assumes_never_happens(rebuild: Rebuild) -> None:
    for broken in (
        {"state": "running"},
        {"state": "succeeded"},
        {"state": "failed", "finished_at": timezone.now()},
        {"failure": {"code": "x"}},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            Rebuild.objects.filter(pk=rebuild.pk).update(**broken)


def test_a_digest_that_is_none_is_refused_by_the_database(make_release: Callable[..., Release]) -> None:
    release = make_release()
    with pytest.raises(IntegrityError), transaction.atomic():
        release.components.filter(role="kernel").update(sha256="Z" * 64)
    with pytest.raises(IntegrityError), transaction.atomic():
        Release.objects.filter(pk=release.pk).update(commit="HEAD")


def test_facts_cannot_be_edited_or_deleted(rebuild: Rebuild) -> None:
    event = rebuild.events.get()
    event.kind = "succeeded"
    with pytest.raises(TypeError, match="append-only"):
        event.save()
    with pytest.raises(TypeError, match="append-only"):
        event.delete()
    assert RebuildEvent.objects.get(pk=event.pk).kind == "queued"


def reporter_of(claim: Claim, *, heartbeat: float = 0.1) -> Reporter:
    return Reporter(DatabaseSink(claim), Pace(heartbeat=heartbeat, flush=0.05, lease=20))


def test_the_log_is_in_the_database_while_the_build_runs_and_holds_no_control_characters(rebuild: Rebuild) -> None:
    with reporter_of(claimed(rebuild)) as reporter:
        reporter.stage_started("build")
        reporter.log("\x1b[31mred\x1b[0m <b>\nnul \x00 here\npart")
        reporter.log("ial\n" * 20_000)
        wait_for("the log", LogChunk.objects.filter(rebuild=rebuild).exists)
        reporter.stage_ended("build", exit_code=0)
        reporter.settle()
        told = reporter.log_sha256
    text = "".join(rebuild.log_chunks.values_list("text", flat=True))
    assert text.startswith("red <b>\nnul \ufffd here\npartial\n")
    assert text.count("\n") == 20_002
    assert hashlib.sha256(text.encode()).hexdigest() == told == stored_log_sha256(rebuild)
    assert [chunk.sequence for chunk in rebuild.log_chunks.all()] == list(range(1, rebuild.log_chunks.count() + 1))
    assert [(stage.name, stage.state, stage.exit_code) for stage in rebuild.stages.all()] == [("build", "succeeded", 0)]


def test_a_heartbeat_notices_cancellation_and_a_lost_claim(rebuild: Rebuild) -> None:
    with reporter_of(claimed(rebuild)) as reporter:
        reporter.check()
        rebuilding.request_cancel(rebuild)
        assert reporter.cancelled.wait(10)
        with pytest.raises(Cancelled):
            reporter.check()
        queueing.mark_lost(timezone.now() + timedelta(days=1))
        assert reporter.gone.wait(10)
        with pytest.raises(ClaimLost):
            reporter.check()


def test_progress_that_comes_twice_is_stored_once_and_none_is_taken_without_the_claim(rebuild: Rebuild) -> None:
    claim = claimed(rebuild)
    stage = StageReport(position=1, name="build", state=StageState.RUNNING, started_at=timezone.now())
    progress = Progress(stages=(stage,), log=(LogPiece(sequence=1, stage_position=1, text="line\n"),))
    assert [record_progress(claim, progress) for _ in range(2)] == [Answer.GO_ON] * 2
    assert rebuild.log_chunks.count() == rebuild.stages.count() == 1
    stranger = Claim(rebuild.pk, rebuilding.new_token())
    other = Progress(log=(LogPiece(sequence=2, stage_position=1, text="not mine\n"),))
    assert record_progress(stranger, other) is Answer.GONE
    assert rebuild.log_chunks.count() == 1
