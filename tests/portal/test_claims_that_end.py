"""No claim keeps a release from others for good: claims end, and only who could still add a vote is waited for."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from builds.domain.lifecycle import RunState
from builds.domain.roles import Role
from builds.models import Operator, Project, Rebuild, Release
from builds.services import queueing, rebuilding
from builds.services.operators import state_affiliation
from builds.services.queueing import Priority
from builds.services.rebuilding import Claim, new_token
from tests.support.attacks import claim_of, claim_request, hand_in, post, refusal, signed
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    """A release that two operators are to rebuild, and nobody has."""
    release = make_release()
    Release.objects.update(materials_stored_at=timezone.now())
    return release


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], datetime]:
    """Moves the portal's clock on, and says what it is then."""

    def move(by: timedelta) -> datetime:
        moment = timezone.now() + by
        monkeypatch.setattr(timezone, "now", lambda: moment)
        return moment

    return move


def tie(name: str, release: Release) -> None:
    state_affiliation(Operator.objects.get(slug=name), release.project, what="its own CI", by="Ada")


def waiting() -> int:
    return Rebuild.objects.filter(state=RunState.QUEUED).count()


def ask(name: str, label: str | None = None) -> int:
    return post("/api/v1/claims", claim_request(operator_named(name, rebuilder=label), new_token())).status_code


def test_a_claim_that_is_renewed_all_the_time_is_lost_after_a_day(
    release: Release, later: Callable[[timedelta], datetime]
) -> None:
    held = claim_of(operator_named("mallory"), release)
    later(DAY - timedelta(seconds=10))
    assert rebuilding.renew(held) is True
    now = later(timedelta(seconds=20))
    assert rebuilding.renew(held) is None
    assert refusal(post(f"/api/v1/rebuilds/{held.rebuild_id}/progress", b"{}", held))[:2] == (410, "claim-gone")
    assert [place.retry_of_id for place in queueing.mark_lost(now + timedelta(seconds=60))] == [
        Rebuild.objects.get(pk=held.rebuild_id, state=RunState.LOST).pk
    ]


def test_who_begins_again_and_again_is_waited_for_a_day_and_no_longer(
    release: Release, later: Callable[[timedelta], datetime]
) -> None:
    Project.objects.update(needed_operators=1)
    for _ in range(3):
        held = claim_of(operator_named("mallory"), release)
        assert queueing.open_missing_places() == 0
        later(timedelta(hours=7))
        rebuilding.give_back(held)
    later(timedelta(hours=7))
    claim_of(operator_named("mallory"), release)
    assert (queueing.open_missing_places(), waiting()) == (1, 1)
    assert queueing.open_missing_places() == 0
    assert ask("ben") == 200


def test_two_rebuilders_of_one_operator_leave_the_second_place_to_another(release: Release) -> None:
    for label in ("mallory-1", "mallory-2"):
        claim_of(operator_named("mallory", rebuilder=label), release)
    assert queueing.open_missing_places() == 1
    assert (ask("mallory", "mallory-3"), ask("ben")) == (204, 200)
    assert queueing.open_missing_places() == 0


def test_an_operator_that_answered_holds_no_place_by_running_again(release: Release) -> None:
    hand_in(signed(release, "ada").as_bytes())
    claim_of(operator_named("ada"), release)
    assert queueing.open_missing_places() == 1


def test_a_tied_operator_gets_no_place_and_is_told_so_when_it_names_the_release(release: Release) -> None:
    signer = operator_named("mallory")
    tie("mallory", release)
    queueing.open_missing_places()
    named = {"project": release.project.name, "tag": release.tag}
    assert ask("mallory") == 204
    answer = refusal(post("/api/v1/claims", claim_request(signer, new_token(), release=named)))
    assert answer == (403, "operator-tied", "Mallory is tied to the publisher: its own CI")
    assert (waiting(), Rebuild.objects.count()) == (2, 2)
    assert hand_in(signed(release, "mallory").as_bytes()).status_code == 201


def test_a_tie_that_ended_is_none(release: Release) -> None:
    operator_named("mallory")
    tie("mallory", release)
    release.project.affiliations.update(ended_at=timezone.now(), ended_by="Ada")
    claim_of(operator_named("mallory"), release)


@pytest.mark.parametrize("who", ["tied", "pending"])
def test_a_run_of_an_operator_that_cannot_add_a_vote_holds_no_place(release: Release, who: str) -> None:
    for name in ("mallory", "ben"):
        claim_of(operator_named(name), release)
    assert queueing.open_missing_places() == 0
    if who == "tied":
        tie("mallory", release)
    else:
        Operator.objects.filter(slug="mallory").update(accepted_at=None, accepted_by="")
    assert queueing.open_missing_places() == 1


def test_a_tied_operators_claim_puts_off_neither_recheck_nor_dispute(release: Release) -> None:
    Project.objects.update(needed_operators=1)
    claim_of(operator_named("mallory"), release)
    tie("mallory", release)
    hand_in(signed(release, "ada").as_bytes())
    Rebuild.objects.filter(state=RunState.SUCCEEDED).update(finished_at=timezone.now() - timedelta(days=400))
    assert queueing.open_due_rechecks(timezone.now()) == 1
    assert queueing.open_due_rechecks(timezone.now()) == 0
    Rebuild.objects.filter(state=RunState.QUEUED).delete()
    hand_in(signed(release, "eve", changed=(Role.INITRD,)).as_bytes())
    assert waiting() == 1


def test_an_accepted_operator_that_is_at_it_is_waited_for_with_recheck_and_dispute(release: Release) -> None:
    Project.objects.update(needed_operators=1)
    hand_in(signed(release, "ada").as_bytes())
    Rebuild.objects.update(finished_at=timezone.now() - timedelta(days=400))
    claim_of(operator_named("ben"), release)
    assert queueing.open_due_rechecks(timezone.now()) == 0
    hand_in(signed(release, "eve", changed=(Role.INITRD,)).as_bytes())
    assert waiting() == 0


def test_a_place_wanted_from_one_that_never_comes_is_waited_for_a_day(
    release: Release, later: Callable[[timedelta], datetime]
) -> None:
    Project.objects.update(needed_operators=1)
    operator_named("ada")
    queueing.request_rebuild(release, Operator.objects.get(slug="ada").rebuilders.get())
    assert queueing.open_missing_places() == 0
    later(DAY + timedelta(seconds=1))
    assert queueing.open_missing_places() == 1


def test_one_operator_holds_a_bounded_number_of_claims_with_all_its_rebuilders(
    make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "MAX_LIVE_CLAIMS", 3)
    for number in range(5):
        queueing.open_place(make_release(f"v{number}"), Priority.NEW_RELEASE)
    assert [ask("mallory", f"mallory-{number % 2}") for number in range(4)] == [200, 200, 200, 204]
    assert ask("ben") == 200


def fail(held: Claim, code: str) -> None:
    body = json.dumps({"code": code, "what": "it broke", "where": "stage", "todo": "look"}).encode()
    assert post(f"/api/v1/rebuilds/{held.rebuild_id}/failure", body, held).status_code == 204


def test_a_full_disk_delays_the_operator_that_has_it_longer_each_time_and_nobody_else(
    release: Release, later: Callable[[timedelta], datetime]
) -> None:
    queueing.open_place(release, Priority.NEW_RELEASE)
    for seconds in (5, 20, 80):
        fail(claim_of(operator_named("ada"), release), "disk-full")
        later(timedelta(seconds=seconds - 1))
        assert (ask("ada"), ask("ada", "ada-2")) == (204, 204)
        later(timedelta(seconds=2))
    assert ask("ada") == 200
    queueing.open_place(release, Priority.NEW_RELEASE)
    fail(claim_of(operator_named("ben"), release), "disk-full")
    assert (ask("ben"), ask("cy")) == (204, 200)


def test_what_is_wanted_from_one_that_failed_waits_for_it(release: Release) -> None:
    operator_named("ada")
    queueing.request_rebuild(release, Operator.objects.get(slug="ada").rebuilders.get())
    fail(claim_of(operator_named("ada"), release), "disk-full")
    place = Rebuild.objects.get(state=RunState.QUEUED)
    assert place.next_retry - timezone.now() > timedelta(seconds=4)


def test_who_held_a_place_for_hours_and_gives_it_back_leaves_it_to_others_for_as_long(
    release: Release, later: Callable[[timedelta], datetime]
) -> None:
    queueing.open_place(release, Priority.NEW_RELEASE)
    held = claim_of(operator_named("mallory"), release)
    later(timedelta(hours=20))
    rebuilding.give_back(held)
    later(timedelta(hours=19))
    assert (ask("mallory"), ask("mallory", "mallory-2")) == (204, 204)
    later(timedelta(hours=2))
    assert ask("mallory") == 200


def test_a_recheck_is_not_asked_again_of_an_operator_whose_build_just_failed(
    release: Release, later: Callable[[timedelta], datetime]
) -> None:
    hand_in(signed(release, "ada").as_bytes())
    queueing.open_place(release, Priority.RECHECK)
    fail(claim_of(operator_named("ada"), release), "build-failed")
    queueing.open_place(release, Priority.RECHECK)
    assert ask("ada") == 204
    later(DAY)
    assert ask("ada") == 200
