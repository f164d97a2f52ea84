"""The queue and rebuilders: what runs, waits and ended, why a place was opened, what is next; at a constant cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from builds.domain.queue import Priority
from builds.models import Operator, Rebuild, RebuildStage, Release
from builds.services import queueing, rebuilding, running
from tests.portal.disputed import disputed
from tests.portal.test_rebuilder_pages import api, page, statement_by
from tests.support.attacks import claim_of
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    return disputed(make_release)


def test_the_queue_tells_a_place_for_a_dispute_from_one_for_a_new_release(client: Client, release: Release) -> None:
    Rebuild.objects.filter(state="queued").delete()
    queueing.open_after_dispute(release)
    assert "a dispute: one more operator is asked" in page(client, "/queue/")
    place = Rebuild.objects.get(state="queued")
    held = rebuilding.claim(place.pk, running.local_rebuilder(), "w")
    assert held is not None
    queueing.mark_lost(timezone.now() + timedelta(hours=1))
    again = Rebuild.objects.get(state="queued")
    assert again.retry_of == place
    assert "a dispute: one more operator is asked" in page(client, "/queue/")
    queueing.open_place(release, Priority.NEW_RELEASE)
    assert page(client, "/queue/").count("a new release that needs more operators") == 1


def test_a_running_rebuild_in_the_queue_says_when_it_may_end(client: Client, release: Release) -> None:
    held = claim_of(operator_named("cy"), release)
    assert "no earlier run to compare with" in page(client, "/queue/")
    now = timezone.now()
    RebuildStage.objects.create(
        rebuild=statement_by("ada").rebuild,
        position=1,
        name="source",
        state="succeeded",
        started_at=now - timedelta(minutes=10),
        ended_at=now,
    )
    assert re.search(r'data-of="May end">about <time', page(client, "/queue/"))
    Rebuild.objects.filter(pk=held.rebuild_id).update(started_at=now - timedelta(hours=1))
    assert "takes longer than the 10 min 0 s of earlier runs" in page(client, "/queue/")


def test_an_open_queue_page_fetches_nothing_until_something_changed(client: Client, release: Release) -> None:
    held = claim_of(operator_named("cy"), release)
    token = re.search(r"/queue/\?seen=([0-9a-f]+)", page(client, "/queue/"))
    assert token is not None
    unchanged = client.get(f"/queue/?seen={token[1]}")
    assert (unchanged.status_code, unchanged.content) == (204, b"")
    RebuildStage.objects.create(rebuild_id=held.rebuild_id, position=1, name="source", started_at=timezone.now())
    changed = page(client, f"/queue/?seen={token[1]}")
    assert changed.lstrip().startswith('<div id="queue"')
    assert token[1] not in changed


def test_a_queue_without_anything_in_it_polls_for_nothing(client: Client) -> None:
    shown = page(client, "/queue/")
    assert "Nothing waits." in shown
    assert "hx-get" not in shown


def test_rebuilders_say_what_is_open_next_and_one_what_it_may_take(client: Client, release: Release) -> None:
    Rebuild.objects.filter(state="queued").delete()
    assert "Nothing is open to anybody just now." in page(client, "/rebuilders/")
    assert "Nothing waits for it just now." in page(client, "/rebuilders/ada/")
    queueing.open_place(release, Priority.RECHECK)
    for address in ("/rebuilders/", "/rebuilders/ada/"):
        assert "a recheck: nobody has rebuilt it for long" in page(client, address)
    # A place for a new release is for operators that have not tried it.
    Rebuild.objects.filter(state="queued").update(priority=Priority.NEW_RELEASE)
    assert "a new release that needs more operators" in page(client, "/rebuilders/")
    assert "Nothing waits for it just now." in page(client, "/rebuilders/ada/")


def test_what_failed_is_told_beside_what_agreed_and_contradicted(client: Client, release: Release) -> None:
    held = claim_of(operator_named("ada"), release)
    rebuilding.finish(held, rebuilding.RunState.FAILED, failure=queueing.RebuildAlreadyLive("x", where="y"))
    for address in ("/rebuilders/", "/rebuilders/ada/"):
        assert "1 reproduced, 0 contradict; 1 failed" in page(client, address)


def test_hostile_names_of_operators_are_shown_as_text_on_every_page(client: Client, release: Release) -> None:
    hostile = "<script>alert(1)</script>\u202e" + "y" * 40
    Operator.objects.filter(slug="ben").update(
        name=hostile, contact="<b>" * 300, stated_affiliation="\u2066" + "z" * 900, identified_by="<i>"
    )
    claim_of(operator_named("ben"), release)
    stored = statement_by("ben")
    run = f"/rebuilds/{stored.rebuild_id}/"
    for address in ("/rebuilders/", "/rebuilders/ben/", "/queue/", stored.get_absolute_url(), run):
        shown = page(client, address)
        assert "<script>alert" not in shown
        assert "\u202e" not in shown.partition("</title>")[2]
        assert "&lt;script&gt;alert(1)" in shown


def test_the_queue_says_what_runs_what_waits_and_what_ended(client: Client, release: Release) -> None:
    held = claim_of(operator_named("cy"), release)
    queueing.open_place(release, Priority.RECHECK)
    told = api(client, "queue")
    (running,) = told["running"]
    assert (running["operator"], running["rebuild"], running["lease_expires_at"] is not None) == (
        "Cy",
        str(held.rebuild_id),
        True,
    )
    assert [row["operator"] for row in told["waiting"]] == [None] * told["waiting_count"]
    assert "recheck" in {row["priority"] for row in told["waiting"]}
    assert {row["operator"] for row in told["ended"]} == {"Ada", "Ben"}
    shown = page(client, "/queue/")
    assert "Running: 1" in shown
    assert f"Waiting: {told['waiting_count']}" in shown


def test_the_queue_says_what_a_waiting_place_needs_and_when_it_is_tried_again(client: Client, release: Release) -> None:
    Rebuild.objects.filter(state="queued").delete()
    later = timezone.now() + timedelta(minutes=20)
    queueing.open_place(release, Priority.NEW_RELEASE)
    assert "the recipe names nothing" in page(client, "/queue/")
    assert '<td data-of="May begin">now</td>' in page(client, "/queue/")
    Release.objects.update(needs_memory_bytes=3 * 2**30, needs_network=True)
    Rebuild.objects.filter(state="queued").update(next_retry=later)
    shown = page(client, "/queue/")
    assert "3.0 GiB memory, the network" in shown
    assert re.search(rf'data-of="May begin"><time [^>]*title="{later:%Y-%m-%d %H:%M:%S} UTC"', shown)
    (place,) = api(client, "queue")["waiting"]
    assert place["needs"] == {
        "recipe_format": 1,
        "memory_bytes": 3 * 2**30,
        "disk_bytes": 0,
        "network": True,
        "registry": False,
    }
    assert (place["operator"], place["rebuilder"], place["stage"], place["lease_expires_at"]) == (None,) * 4


def test_the_queue_says_who_holds_a_claim_in_which_stage_and_for_how_long(client: Client, release: Release) -> None:
    held = claim_of(operator_named("cy"), release)
    (place,) = api(client, "queue")["running"]
    assert (place["rebuilder"], place["stage"]) == ("cy-1", None)
    assert "none has started" in page(client, "/queue/")
    for position, name in enumerate(("source", "materials")):
        RebuildStage.objects.create(rebuild_id=held.rebuild_id, position=position, name=name, started_at=timezone.now())
    assert api(client, "queue")["running"][0]["stage"] == "materials"
    until = Rebuild.objects.get(pk=held.rebuild_id).lease_expires_at
    assert until is not None
    shown = page(client, "/queue/")
    assert re.search(r'data-of="Stage" class="stage-of"><bdi class="foreign">materials</bdi></td>', shown)
    assert re.search(rf'awaited until <time [^>]*title="{until:%Y-%m-%d %H:%M:%S} UTC"', shown)
    Rebuild.objects.filter(pk=held.rebuild_id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert re.search(r'lapsed</span> <time [^>]*title="[-\d]+ \d\d:\d\d:\d\d UTC"', page(client, "/queue/"))


@pytest.mark.parametrize("address", ["/queue/", "/api/v1/queue"])
def test_fifty_claims_with_stages_cost_no_more_than_one(
    client: Client, release: Release, address: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    operator_named("cy")
    operator = Operator.objects.get(slug="cy")
    for number in range(50):
        rebuild = Rebuild.objects.create(
            release=release,
            rebuilder=operator.rebuilders.create(name=f"machine-{number}"),
            state="running",
            claim_sha256=f"{number:064x}",
            lease_expires_at=timezone.now() + timedelta(minutes=1),
            started_at=timezone.now(),
        )
        RebuildStage.objects.create(rebuild=rebuild, position=0, name="source", started_at=timezone.now())
    with django_assert_max_num_queries(8):
        shown = page(client, address)
    assert shown.count("machine-") == 50


@pytest.mark.parametrize("address", ["/queue/", "/api/v1/queue"])
def test_ten_thousand_waiting_places_cost_no_more_than_one(
    client: Client, release: Release, address: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    place = queueing.open_place(release, Priority.RECHECK)
    Rebuild.objects.bulk_create(
        [Rebuild(release=release, priority=place.priority, turn=number) for number in range(10_000)], batch_size=500
    )
    with django_assert_max_num_queries(8):
        shown = page(client, address)
    assert str(Rebuild.objects.filter(state="queued").count()) in shown
    assert len(shown) < 100_000
