"""The row is the queue: claims, leases, cancellation and loss, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from builds.domain.errors import PortalError
from builds.domain.lifecycle import RunState
from builds.models import LogChunk, Rebuild, RebuildEvent, Release
from builds.pipeline.control import Cancelled, ClaimLost
from builds.services import rebuilding
from builds.services.rebuilding import Claim, RebuildAlreadyLive
from builds.services.recording import DatabaseObserver, Heartbeat

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rebuild(make_release: Callable[..., Release]) -> Rebuild:
    return rebuilding.request_rebuild(make_release(), rebuilding.local_rebuilder())


def claimed(rebuild: Rebuild) -> Claim:
    claim = rebuilding.claim(rebuild.pk, "worker-1")
    assert claim is not None
    return claim


def test_of_many_workers_at_once_exactly_one_gets_the_claim(rebuild: Rebuild) -> None:
    claims: list[Claim | None] = []
    ready = threading.Barrier(8)

    def take() -> None:
        ready.wait()
        try:
            claims.append(rebuilding.claim(rebuild.pk, "worker"))
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
        rebuilding.request_rebuild(rebuild.release, rebuild.rebuilder)
    rebuilding.request_cancel(rebuild)
    assert rebuilding.request_rebuild(rebuild.release, rebuild.rebuilder).run_state is RunState.QUEUED


def test_a_queued_rebuild_is_cancelled_at_once_and_never_claimed(rebuild: Rebuild) -> None:
    assert rebuilding.request_cancel(rebuild) is RunState.CANCELLED
    assert rebuilding.claim(rebuild.pk, "worker") is None
    assert rebuilding.request_cancel(rebuild) is RunState.CANCELLED


def test_a_running_rebuild_is_asked_to_stop_and_its_worker_hears_it(rebuild: Rebuild) -> None:
    claim = claimed(rebuild)
    assert rebuilding.renew(claim) is True
    assert rebuilding.request_cancel(rebuild) is RunState.RUNNING
    assert rebuilding.renew(claim) is False


def test_a_lapsed_rebuild_is_lost_and_queued_again_exactly_once(rebuild: Rebuild) -> None:
    claim = claimed(rebuild)
    later = timezone.now() + timedelta(days=1)
    (retry,) = rebuilding.mark_lost(later)
    rebuild.refresh_from_db()
    assert rebuild.run_state is RunState.LOST
    assert retry.retry_of == rebuild
    assert rebuilding.mark_lost(later) == []
    assert rebuilding.renew(claim) is None
    assert rebuilding.finish(claim, RunState.SUCCEEDED) is False
    claimed(retry)
    assert rebuilding.mark_lost(later) == []
    retry.refresh_from_db()
    assert retry.run_state is RunState.LOST
    assert Rebuild.objects.filter(state=RunState.QUEUED).count() == 0


def test_a_lost_rebuild_that_was_asked_to_stop_is_not_queued_again(rebuild: Rebuild) -> None:
    claimed(rebuild)
    rebuilding.request_cancel(rebuild)
    assert rebuilding.mark_lost(timezone.now() + timedelta(days=1)) == []


def test_a_rebuild_whose_lease_is_renewed_is_not_lost(rebuild: Rebuild) -> None:
    claim = claimed(rebuild)
    assert rebuilding.renew(claim)
    assert rebuilding.mark_lost() == []


def test_only_the_holder_of_the_claim_can_finish(rebuild: Rebuild) -> None:
    claim = claimed(rebuild)
    stranger = Claim(rebuild.pk, rebuild.pk)
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


def test_the_log_is_in_the_database_while_the_build_runs_and_holds_no_control_characters(rebuild: Rebuild) -> None:
    with Heartbeat(claimed(rebuild)) as heartbeat:
        observer = DatabaseObserver(rebuild.pk, heartbeat)
        observer.stage_started("build")
        observer.log("\x1b[31mred\x1b[0m <b>\nnul \x00 here\npart")
        observer.log("ial\n" * 20_000)
        assert LogChunk.objects.filter(rebuild=rebuild).exists()
        observer.stage_ended("build", exit_code=0)
    text = "".join(rebuild.log_chunks.values_list("text", flat=True))
    assert text.startswith("red <b>\nnul \ufffd here\npartial\n")
    assert text.count("\n") == 20_002
    assert [chunk.sequence for chunk in rebuild.log_chunks.all()] == list(range(1, rebuild.log_chunks.count() + 1))


def test_a_heartbeat_notices_cancellation_and_a_lost_claim(rebuild: Rebuild) -> None:
    claim = claimed(rebuild)
    with Heartbeat(claim) as heartbeat:
        heartbeat.check()
        rebuilding.request_cancel(rebuild)
        assert heartbeat.cancelled.wait(10)
        with pytest.raises(Cancelled):
            heartbeat.check()
        rebuilding.mark_lost(timezone.now() + timedelta(days=1))
        assert heartbeat.lost.wait(10)
        with pytest.raises(ClaimLost):
            heartbeat.check()
