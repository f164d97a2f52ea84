"""The queue and rebuilders: why a place was opened, when what runs may end, what is next; hostile names are text."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from builds.domain.queue import Priority
from builds.domain.roles import Role
from builds.models import Operator, Rebuild, RebuildStage, Release
from builds.services import queueing, rebuilding, running
from tests.portal.test_rebuilder_pages import page, statement_by
from tests.support.attacks import claim_of, hand_in, signed
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    """A release that ada reproduced and ben contradicts."""
    release = make_release()
    hand_in(signed(release, "ada").as_bytes())
    hand_in(signed(release, "ben", changed=(Role.INITRD,)).as_bytes())
    return release


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
