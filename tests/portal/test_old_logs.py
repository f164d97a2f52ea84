"""However often an operator runs a release, what is kept of its logs is bounded, and says what is gone."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.test import Client

from builds.domain.lifecycle import RunState
from builds.models import LogChunk, Rebuild, Release
from builds.services import rebuilding, recording
from builds.services.rebuilding import Claim
from builds.services.recording import KEPT_LOGS, drop_old_logs
from builds.tasks import sweep
from tests.support.attacks import claim_of, hand_in, post, signed
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db

FAILURE = json.dumps({"code": "build-failed", "what": "it broke", "where": "stage", "todo": "look"}).encode()


def run(release: Release, name: str = "mallory", label: str | None = None) -> Claim:
    """A claimed run that has told two pieces of a log."""
    held = claim_of(operator_named(name, rebuilder=label), release)
    log = [{"sequence": number, "stagePosition": 0, "text": "a line\n"} for number in (1, 2)]
    body = json.dumps({"log": log}).encode()
    assert post(f"/api/v1/rebuilds/{held.rebuild_id}/progress", body, held).status_code == 200
    return held


def failed(release: Release, name: str = "mallory", label: str | None = None) -> Claim:
    held = run(release, name, label)
    assert post(f"/api/v1/rebuilds/{held.rebuild_id}/failure", FAILURE, held).status_code == 204
    return held


def kept(held: Claim) -> bool:
    return LogChunk.objects.filter(rebuild=held.rebuild_id, sequence__gt=0).exists()


def test_of_many_failed_runs_of_one_operator_the_newest_logs_are_kept(make_release: Callable[..., Release]) -> None:
    release, other = make_release(), make_release("v2")
    runs = [failed(release, label=f"mallory-{number % 2}") for number in range(KEPT_LOGS + 3)]
    elsewhere = [failed(other), failed(release, "ben")]
    assert (drop_old_logs(), drop_old_logs()) == (3, 0)
    assert [kept(held) for held in runs] == [False] * 3 + [True] * KEPT_LOGS
    assert all(kept(held) for held in elsewhere)


def test_a_removed_log_says_so_and_the_run_stays(make_release: Callable[..., Release]) -> None:
    release = make_release()
    first = failed(release)
    for _ in range(KEPT_LOGS):
        failed(release)
    sweep()
    rebuild = Rebuild.objects.get(pk=first.rebuild_id)
    assert (rebuild.run_state, rebuild.log_complete) == (RunState.FAILED, False)
    page = Client().get(f"/rebuilds/{rebuild.pk}/").content.decode()
    assert "[removed: of each operator and release the logs of the newest 5 runs are kept]" in page
    assert "a line" not in page


def test_failures_push_out_no_log_of_a_result_nor_of_what_runs(
    make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "KEPT_LOGS", 1)
    release = make_release()
    succeeded = run(release)
    assert hand_in(signed(release, "mallory").as_bytes(), succeeded).status_code == 201
    given_back = run(release)
    rebuilding.give_back(given_back)
    last = failed(release)
    Rebuild.objects.filter(state=RunState.QUEUED).delete()
    running = run(release)
    assert drop_old_logs() == 1
    assert [kept(held) for held in (succeeded, given_back, last, running)] == [True, False, True, True]


def test_results_are_bounded_too(make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "KEPT_LOGS", 1)
    release = make_release()
    runs = []
    for _ in range(2):
        runs.append(run(release))
        hand_in(signed(release, "mallory").as_bytes(), runs[-1])
    assert drop_old_logs() == 1
    assert [kept(held) for held in runs] == [False, True]
    assert Rebuild.objects.filter(statement__isnull=False).count() == 2
