"""Who gets which place: by priority, projects taking turns, what a machine can do, and one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builds.agent_api import ReportedFailure
from builds.domain.lifecycle import RunState
from builds.domain.progress import FailureReport
from builds.domain.queue import Capability, Needs, Priority, retry_delay
from builds.models import Project, Rebuild, Rebuilder, Release
from builds.services import queueing, rebuilding
from builds.services.rebuilding import Claim, Wanted, new_token, token_sha256
from tests.support.attacks import MACHINE
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db

FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rebuilder(name: str, label: str | None = None) -> Rebuilder:
    operator_named(name, rebuilder=label)
    return Rebuilder.objects.get(name=label or f"{name}-1")


def take(by: Rebuilder, machine: Capability = MACHINE, wanted: Wanted = rebuilding.ANYTHING) -> Rebuild | None:
    given = rebuilding.claim_next(by, machine, token_sha256(new_token()), "tests", wanted)
    return given.rebuild if given is not None else None


def tags(rebuilds: Iterable[Rebuild | None]) -> list[str]:
    return [rebuild.release.tag if rebuild is not None else "" for rebuild in rebuilds]


@pytest.fixture
def make_in(make_release: Callable[..., Release]) -> Callable[[str, str], Release]:
    """A release of the project of that name."""

    def make(project: str, tag: str) -> Release:
        release = make_release(tag)
        release.project, _ = Project.objects.get_or_create(name=project, defaults={"source_url": "file:///nowhere"})
        release.save()
        return release

    return make


def test_users_come_before_new_releases_and_rechecks_last_whenever_they_came(
    make_release: Callable[..., Release],
) -> None:
    for priority in (Priority.RECHECK, Priority.NEW_RELEASE, Priority.USER):
        queueing.open_place(make_release(priority.name), priority)
    by = rebuilder("ada")
    assert tags(take(by) for _ in range(4)) == ["USER", "NEW_RELEASE", "RECHECK", ""]


def test_a_project_with_many_releases_does_not_keep_another_waiting(make_in: Callable[[str, str], Release]) -> None:
    for number in range(20):
        queueing.open_place(make_in("many", f"m{number}"), Priority.NEW_RELEASE)
    for number in range(2):
        queueing.open_place(make_in("few", f"f{number}"), Priority.NEW_RELEASE)
    by = rebuilder("ada")
    order = tags(take(by) for _ in range(22))
    assert order[:6] == ["m0", "m1", "f0", "m2", "f1", "m3"]
    assert [tag for tag in order if tag.startswith("m")] == [f"m{number}" for number in range(20)]


def test_a_project_that_was_quiet_gets_no_credit_for_it(make_in: Callable[[str, str], Release]) -> None:
    by = rebuilder("ada")
    for number in range(10):
        queueing.open_place(make_in("busy", f"b{number}"), Priority.NEW_RELEASE)
    for _ in range(5):
        take(by)
    for number in range(5):
        queueing.open_place(make_in("quiet", f"q{number}"), Priority.NEW_RELEASE)
    order = tags(take(by) for _ in range(10))
    assert {tag[0] for tag in order[:4]} == {"b", "q"}


FEATURES = st.fixed_dictionaries(
    {
        "recipe_format": st.integers(1, 3),
        "needs_memory_bytes": st.integers(0, 4),
        "needs_disk_bytes": st.integers(0, 4),
        "needs_network": st.booleans(),
        "needs_registry": st.booleans(),
    }
)
MACHINES = st.fixed_dictionaries(
    {
        "memory_bytes": st.integers(0, 4),
        "disk_bytes": st.integers(0, 4),
        "recipe_formats": st.sets(st.integers(1, 3)).map(tuple),
        "network": st.booleans(),
        "registry": st.booleans(),
    }
).map(lambda parts: Capability(**parts))


@FEW
@given(needs=FEATURES, machine=MACHINES)
def test_the_query_gives_a_machine_exactly_what_the_rule_says_it_can_do(
    make_release: Callable[..., Release], needs: dict[str, Any], machine: Capability
) -> None:
    with transaction.atomic():
        release = make_release("fitting")
        Release.objects.filter(pk=release.pk).update(**needs)
        queueing.open_place(release, Priority.NEW_RELEASE)
        rule = Needs(
            recipe_format=needs["recipe_format"],
            memory_bytes=needs["needs_memory_bytes"],
            disk_bytes=needs["needs_disk_bytes"],
            network=needs["needs_network"],
            registry=needs["needs_registry"],
        )
        assert (take(rebuilder("ada"), machine) is not None) is rule.met_by(machine)
        transaction.set_rollback(True)


def test_an_operator_tries_a_new_release_once_with_whichever_of_its_rebuilders(
    make_release: Callable[..., Release],
) -> None:
    release = make_release()
    for _ in range(3):
        queueing.open_place(release, Priority.NEW_RELEASE)
    assert take(rebuilder("ada")) is not None
    assert take(rebuilder("ada", "ada-2")) is None
    assert take(rebuilder("ben")) is not None


def test_a_rebuilder_that_rebuilds_a_release_is_given_another_and_not_the_same_again(
    make_release: Callable[..., Release],
) -> None:
    busy, other = make_release("v1"), make_release("v2")
    for _ in range(2):
        queueing.open_place(busy, Priority.USER)
    queueing.open_place(other, Priority.RECHECK)
    assert tags(take(rebuilder("ada")) for _ in range(3)) == ["v1", "v2", ""]


def test_what_is_wanted_from_one_rebuilder_is_no_place_for_another(make_release: Callable[..., Release]) -> None:
    ada, ben = rebuilder("ada"), rebuilder("ben")
    place = queueing.request_rebuild(make_release(), ada)
    assert take(ben) is None
    assert rebuilding.claim(place.pk, ben, "tests") is None
    taken = take(ada)
    assert taken is not None
    assert taken.pk == place.pk


def test_a_rebuilder_may_ask_for_one_project_or_one_release_only(make_in: Callable[[str, str], Release]) -> None:
    one, other = make_in("one", "v1"), make_in("other", "v2")
    queueing.open_place(one, Priority.USER)
    place = queueing.open_place(other, Priority.RECHECK)
    by = rebuilder("ada")
    taken = take(by, wanted=Wanted(project="other"))
    assert taken is not None
    assert taken.pk == place.pk
    assert take(by, wanted=Wanted(project="none")) is None
    assert tags([take(by, wanted=Wanted(release=one))]) == ["v1"]


def test_a_rebuilder_that_asks_for_a_release_gets_it_though_nobody_waits_for_it(
    make_release: Callable[..., Release],
) -> None:
    release = make_release()
    taken = take(rebuilder("ada"), wanted=Wanted(release=release))
    assert taken is not None
    assert (taken.run_state, Rebuild.objects.count()) == (RunState.RUNNING, 1)
    assert take(rebuilder("ada"), wanted=Wanted(release=release)) is None
    assert Rebuild.objects.count() == 1


def test_the_database_holds_one_live_rebuild_for_each_rebuilder_and_release(
    make_release: Callable[..., Release],
) -> None:
    release, by = make_release(), rebuilder("ada")
    assert take(by, wanted=Wanted(release=release)) is not None
    running = {"state": "running", "lease_expires_at": timezone.now()}
    with pytest.raises(IntegrityError), transaction.atomic():
        Rebuild.objects.create(release=release, rebuilder=by, claim_sha256="a" * 64, **running)
    Rebuild.objects.create(release=release, rebuilder=rebuilder("ben"), claim_sha256="a" * 64, **running)


def test_a_place_that_was_lost_waits_longer_each_time_and_keeps_its_priority_and_wish(
    make_release: Callable[..., Release],
) -> None:
    by = rebuilder("ada")
    place = queueing.request_rebuild(make_release(), by)
    later = timezone.now()
    for attempt in range(1, 4):
        Rebuild.objects.filter(pk=place.pk).update(next_retry=timezone.now())
        assert rebuilding.claim(place.pk, by, "tests") is not None
        later += timedelta(days=1)
        (place,) = queueing.mark_lost(later)
        assert place.next_retry - later == retry_delay(attempt)
        assert (place.attempt, place.priority, place.wanted_from) == (attempt + 1, Priority.USER, by)


def test_only_a_failure_that_is_the_machines_opens_the_place_again(make_release: Callable[..., Release]) -> None:
    for code, again in (("disk-full", True), ("mirror-unreachable", True), ("build-failed", False), ("x", False)):
        release = make_release(code)
        queueing.open_place(release, Priority.NEW_RELEASE)
        token = new_token()
        taken = rebuilding.claim_next(rebuilder("ada"), MACHINE, token_sha256(token), "tests", Wanted(release=release))
        assert taken is not None
        failure = ReportedFailure(FailureReport(code=code, what="x", where="x", todo="x"))
        assert rebuilding.finish(Claim(taken.rebuild.pk, token), RunState.FAILED, failure=failure)
        waiting = Rebuild.objects.filter(release=release, state="queued")
        assert waiting.exists() is again
        assert take(rebuilder("ada"), wanted=Wanted(project=release.project.name)) is None
        assert (take(rebuilder("ben"), wanted=Wanted(project=release.project.name)) is not None) is again


def test_what_is_given_back_is_open_to_others_at_once(make_release: Callable[..., Release]) -> None:
    release = make_release()
    queueing.open_place(release, Priority.NEW_RELEASE)
    token = new_token()
    taken = rebuilding.claim_next(rebuilder("ada"), MACHINE, token_sha256(token), "tests")
    assert taken is not None
    rebuilding.give_back(Claim(taken.rebuild.pk, token))
    assert take(rebuilder("ben")) is not None
    with pytest.raises(rebuilding.ClaimGone):
        rebuilding.give_back(Claim(taken.rebuild.pk, token))


def test_a_cancelled_place_is_nobodys(make_release: Callable[..., Release]) -> None:
    place = queueing.open_place(make_release(), Priority.USER)
    rebuilding.request_cancel(place)
    assert take(rebuilder("ada")) is None
