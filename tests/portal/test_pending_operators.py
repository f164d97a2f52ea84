"""What strangers can do: enrol, and show a few results that nobody counts; never cost others work, time or space."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from builds.domain.roles import Role
from builds.models import Operator, Rebuild, Release, StoredStatement
from builds.services import queueing
from builds.services.jobs import expected_seconds
from builds.services.operators import accept_operator, state_affiliation
from builds.services.rebuilding import new_token
from builds.services.submitting import MAX_TRIALS
from tests.support.attacks import Trace, claim_of, claim_request, hand_in, post, refusal, signed, signed_by
from tests.support.operators import operator_named

ONE_AT_A_TIME = pytest.mark.django_db


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    """A release that ada reproduced and that anybody can rebuild."""
    release = make_release()
    Release.objects.update(materials_stored_at=timezone.now())
    assert hand_in(signed(release, "ada").as_bytes()).status_code == 201
    operator_named("newcomer", accepted=False)
    return release


def trial(release: Release, *, changed: tuple[Role, ...] = (), rebuilder: str | None = None, **parts: object) -> bytes:
    signer = operator_named("newcomer", accepted=False, rebuilder=rebuilder)
    return signed_by(signer, release, changed=changed, **parts).as_bytes()


@ONE_AT_A_TIME
@pytest.mark.parametrize("changed", [(), (Role.INITRD,)])
def test_a_pending_operators_result_is_shown_and_moves_nothing(release: Release, changed: tuple[Role, ...]) -> None:
    before = Trace.of(release)
    answer = hand_in(trial(release, changed=changed))
    assert answer.status_code == 201
    assert json.loads(answer.content)["notCounted"].startswith("The operator is pending")
    after = Trace.of(release)
    assert after.verdict == before.verdict
    assert after.rows["VerdictRecord"] == before.rows["VerdictRecord"]
    assert not Rebuild.objects.filter(state="queued").exists()


@ONE_AT_A_TIME
def test_of_a_flood_by_a_pending_operator_a_few_are_kept_and_the_rest_is_refused_by_name(release: Release) -> None:
    for number in range(MAX_TRIALS):
        assert hand_in(trial(release, rebuilder=f"newcomer-{number % 3}")).status_code == 201
    before = Trace.of(release)
    said = f"{MAX_TRIALS} statements of this pending operator are kept already"
    for number in range(3):
        data = trial(release, rebuilder=f"newcomer-{number}")
        rows = Trace.of(release)
        assert refusal(hand_in(data)) == (403, "trials-full", said)
        assert Trace.of(release) == rows
    assert Trace.of(release).verdict == before.verdict
    assert hand_in(signed(release, "ben").as_bytes()).status_code == 201


@ONE_AT_A_TIME
def test_what_is_kept_can_be_handed_in_again_and_an_accepted_operator_is_not_bounded(release: Release) -> None:
    first = trial(release)
    for data in (first, *(trial(release) for _ in range(MAX_TRIALS - 1))):
        hand_in(data)
    assert hand_in(first).status_code == 200
    accept_operator(Operator.objects.get(slug="newcomer"), by="Ada", identified_by="met in person")
    assert hand_in(trial(release)).status_code == 201
    assert Trace.of(release).reproduced == 2


@pytest.mark.django_db(transaction=True)
def test_a_flood_from_many_connections_at_once_keeps_no_more(release: Release) -> None:
    bodies = [trial(release) for _ in range(MAX_TRIALS + 6)]
    ready, answers = threading.Barrier(len(bodies)), []

    def flood(body: bytes) -> None:
        ready.wait()
        try:
            answers.append(hand_in(body).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=flood, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201] * MAX_TRIALS + [403] * 6
    assert StoredStatement.objects.filter(key__rebuilder__operator__slug="newcomer").count() == MAX_TRIALS


@ONE_AT_A_TIME
def test_a_release_still_needs_the_operators_that_a_stranger_pretends_to_be(release: Release) -> None:
    for name in ("newcomer", "other", "third"):
        hand_in(signed_by(operator_named(name, accepted=False), release).as_bytes())
    assert queueing.open_missing_places() == 1
    assert queueing.open_missing_places() == 0


@ONE_AT_A_TIME
@pytest.mark.parametrize(
    ("parts", "opened"),
    [({}, 0), ({"materials": []}, 1), ({"network": True}, 0), ({"changed": (Role.INITRD,)}, 0)],
)
def test_a_release_needs_another_operator_while_a_result_is_not_from_its_lock(
    release: Release, parts: dict[str, object], opened: int
) -> None:
    hand_in(signed(release, "ben", **parts).as_bytes())
    Rebuild.objects.filter(state="queued").delete()
    assert queueing.open_missing_places() == opened


@ONE_AT_A_TIME
def test_a_release_needs_another_operator_while_one_is_the_publishers(release: Release) -> None:
    hand_in(signed(release, "ben").as_bytes())
    state_affiliation(Operator.objects.get(slug="ben"), release.project, what="its own", by="Ada")
    assert queueing.open_missing_places() == 1


@ONE_AT_A_TIME
def test_a_stranger_does_not_put_off_the_next_look_at_an_old_release(release: Release) -> None:
    Rebuild.objects.update(finished_at=timezone.now() - timedelta(days=400))
    hand_in(trial(release))
    assert queueing.open_due_rechecks(timezone.now()) == 1


@ONE_AT_A_TIME
@pytest.mark.parametrize("begun", [timedelta(minutes=3), timedelta(days=-300_000)])
def test_times_that_a_stranger_signs_say_nothing_about_how_long_a_rebuild_takes(
    release: Release, begun: timedelta
) -> None:
    Rebuild.objects.all().delete()
    finished = timezone.now() + timedelta(minutes=4)

    def change(document: dict) -> None:  # type: ignore[type-arg]
        metadata = document["predicate"]["runDetails"]["metadata"]
        metadata["startedOn"] = (timezone.now() + begun).isoformat()

    signer = operator_named("newcomer", accepted=False)
    assert hand_in(signed_by(signer, release, change=change, finished=finished).as_bytes()).status_code == 201
    assert expected_seconds(release) is None
    queueing.open_place(release, queueing.Priority.USER)
    assert post("/api/v1/claims", claim_request(operator_named("ben"), new_token())).status_code == 200


@ONE_AT_A_TIME
def test_how_long_claimed_rebuilds_took_is_what_is_expected_of_the_next(release: Release) -> None:
    held = claim_of(operator_named("ben"), release)
    Rebuild.objects.filter(pk=held.rebuild_id).update(started_at=timezone.now() - timedelta(seconds=90))
    assert hand_in(signed(release, "ben").as_bytes(), held).status_code == 201
    assert expected_seconds(release) in {90, 91}
