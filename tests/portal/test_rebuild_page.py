"""The page of one rebuild: outcome first, then where it differs, and while it runs no more is fetched than changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds.domain.lifecycle import RunState, StageState
from builds.domain.roles import Role
from builds.models import Material, Operator, Rebuild, RebuildStage, RebuiltFile, Release
from builds.services import queueing, rebuilding, running
from tests.support.logs import keep_log
from tests.support.operators import digests

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    return make_release()


@pytest.fixture
def live(release: Release) -> Rebuild:
    rebuild = queueing.request_rebuild(release, running.local_rebuilder())
    assert rebuilding.claim(rebuild.pk, running.local_rebuilder(), "w") is not None
    return Rebuild.objects.get(pk=rebuild.pk)


def stage(rebuild: Rebuild, position: int, name: str, took: float | None, began: float = 0) -> None:
    start = timezone.now() - timedelta(seconds=began)
    RebuildStage.objects.create(
        rebuild=rebuild,
        position=position,
        name=name,
        state=StageState.RUNNING if took is None else StageState.SUCCEEDED,
        started_at=start,
        ended_at=None if took is None else start + timedelta(seconds=took),
    )


def page(client: Client, rebuild: Rebuild) -> str:
    answer = client.get(rebuild.get_absolute_url())
    assert answer.status_code == 200
    return answer.text


def words(content: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", content).split())


def test_the_order_is_outcome_difference_components_origins_materials_environment_statement_log(
    client: Client, release: Release, make_rebuild: Callable[..., Rebuild]
) -> None:
    content = page(client, make_rebuild(release, changed=(Role.INITRD,)))
    headings = re.findall(r"<h2[^>]*>([^<]+)", content)
    assert headings == [
        "First difference: initrd",
        "Published and rebuilt",
        "Where the rebuilt bytes come from",
        "Materials",
        "Environment",
        "Signed statement",
        "Log",
    ]
    assert content.index('id="rebuild"') < content.index("First difference")
    assert "initrd was rebuilt with other bytes than were published; katana, kernel, ovmf and disk" in words(content)


def test_the_first_character_that_differs_is_marked_and_nothing_of_a_digest_is_cut(
    client: Client, release: Release, make_rebuild: Callable[..., Rebuild]
) -> None:
    rebuild = make_rebuild(release, changed=(Role.INITRD,))
    content = page(client, rebuild)
    published = digests(Role.INITRD)["sha256"]
    parted = re.findall(
        r'<span class="digest">sha256:([0-9a-f]*)<mark[^>]*>([0-9a-f])</mark>([0-9a-f]*)</span>', content
    )
    assert str(published) in {"".join(parts) for parts in parted}
    assert len(parted) == 4


def test_the_file_inside_that_differs_is_held_against_an_operator_who_got_the_published_bytes(
    client: Client, release: Release, make_rebuild: Callable[..., Rebuild]
) -> None:
    make_rebuild(release, by="ben")
    rebuild = make_rebuild(release, changed=(Role.INITRD,), by="ada", environment={"kernel": "6.1", "cpu": "other"})
    RebuiltFile(
        rebuild=rebuild, role=Role.INITRD, path="bin/<extra>", size=3, sha256="a" * 64, origin_kind="built", origin="x"
    ).save()
    text = words(page(client, rebuild))
    assert "Ben got the published bytes ( its rebuild )." in text
    assert "bin/&lt;extra&gt;" in text
    assert "no such file" in text
    assert "cpu: other and" in text


def test_operators_who_agree_against_the_publisher_are_said_to(
    client: Client, release: Release, make_rebuild: Callable[..., Rebuild]
) -> None:
    make_rebuild(release, changed=(Role.INITRD,), by="ben")
    text = words(page(client, make_rebuild(release, changed=(Role.INITRD,), by="ada")))
    assert "Ben made the same bytes of it ( its rebuild ): the operators agree with each other" in text


def test_alone_it_is_held_against_nobody(
    client: Client, release: Release, make_rebuild: Callable[..., Rebuild]
) -> None:
    assert "result counts for this release yet" in words(page(client, make_rebuild(release, changed=(Role.INITRD,))))
    assert "First difference" not in page(client, make_rebuild(release, by="ben"))


def test_a_result_that_does_not_count_looks_like_no_evidence_on_its_page_and_where_it_is_shared(
    client: Client, release: Release, make_rebuild: Callable[..., Rebuild]
) -> None:
    rebuild = make_rebuild(release, by="mallory")
    content = page(client, rebuild)
    assert 'id="rebuild" class="panel good"' in content
    assert "Every published component came out with the same bytes; kernel was only copied." in content
    # As anybody may enrol: nobody has said who it is.
    Operator.objects.filter(slug="mallory").update(accepted_at=None, accepted_by="")
    content = page(client, rebuild)
    assert 'id="rebuild" class="panel open"' in content
    assert "reproduced" not in words(content.partition('id="rebuild"')[2].partition("</section>")[0])
    told = "No evidence: The operator is pending: no administrator has said who it is. As its signer says: Every"
    assert [f'content="{told}' in line for line in content.splitlines() if 'escription"' in line] == [True, True]


def materials(release: Release, count: int, *, authenticated: bool, sentence: str) -> None:
    for number in range(count):
        release.materials.add(
            Material.objects.create(
                sha256=f"{int(authenticated)}{number:063x}",
                name=f"<b>package</b>-{number}",
                version="1",
                size=1024,
                authenticated=authenticated,
                authenticity=sentence,
            )
        )


def test_materials_are_grouped_by_who_vouches_for_them_and_opaque_ones_stand_out(
    client: Client, release: Release, live: Rebuild
) -> None:
    named = (
        "its digest is named by the signed index of trixie of 2026-11-21 09:15 UTC"
        f" (InRelease sha256:{'b' * 64}; signed by {'A' * 40}, {'B' * 40})"
    )
    materials(release, 3, authenticated=True, sentence=named)
    materials(release, 2, authenticated=False, sentence="no signed index names it: nobody signed")
    content = page(client, live)
    assert content.count("A" * 40) <= 3
    text = words(content)
    assert "3 (3.0 KiB) of trixie , as its index of 2026-11-21 09:15 UTC names them" in text
    assert text.index("opaque &lt;b&gt;package&lt;/b&gt;-0 1") < text.index("signed index")
    every = client.get(f"{live.release.get_absolute_url()[:-1]}/materials").text
    assert every.count("no signed index names it: nobody signed") == 2
    assert f"1{2:063x}" in every


def test_many_materials_are_paged(client: Client, release: Release, live: Rebuild) -> None:
    materials(release, 130, authenticated=True, sentence="named")
    first = client.get(f"{live.release.get_absolute_url()[:-1]}/materials").text
    assert 'href="?after=100"' in first
    assert client.get(f"{live.release.get_absolute_url()[:-1]}/materials?after=100").text.count('scope="row"') == 30
    assert "None further" in client.get(f"{live.release.get_absolute_url()[:-1]}/materials?after=9999").text


def test_while_it_runs_each_stage_says_how_long_it_takes_and_when_all_may_end(
    client: Client, release: Release, make_rebuild: Callable[..., Rebuild], live: Rebuild
) -> None:
    for seconds in (10, 20, 60):
        earlier = make_rebuild(release, by=f"ben{seconds}")
        stage(earlier, 1, "source", 2)
        stage(earlier, 2, "image", seconds)
    stage(live, 1, "source", 3, began=5)
    stage(live, 2, "image", None, began=2)
    text = words(page(client, live))
    assert re.search(r"source succeeded 3\.0 s image running [2-9]\.\d s of about 20 s", text)
    assert "The 3 newest runs of this project that succeeded took 22 s (median): this one may end about" in text


def test_without_an_earlier_run_it_says_that_there_is_nothing_to_compare_with(client: Client, live: Rebuild) -> None:
    assert "There is no earlier run of this project to compare with." in words(page(client, live))


def seen(content: str) -> str:
    found = re.search(r"progress\?seen=([0-9a-f]+)", content)
    assert found is not None
    return found[1]


def test_a_poll_answers_nothing_until_something_changed_and_stops_at_the_end(client: Client, live: Rebuild) -> None:
    address = f"/rebuilds/{live.pk}/progress?seen="
    token = seen(page(client, live))
    with CaptureQueriesContext(connection) as asked:
        answer = client.get(address + token)
    assert (answer.status_code, answer.content, len(asked)) == (204, b"", 2)
    stage(live, 1, "source", None)
    changed = client.get(address + token).text
    assert "source" in changed
    assert client.get(address + seen(changed)).status_code == 204
    rebuilding.request_cancel(live)
    asked_to_stop = client.get(address + seen(changed)).text
    Rebuild.objects.update(state=RunState.CANCELLED, finished_at=timezone.now(), lease_expires_at=None)
    ended = client.get(address + seen(asked_to_stop)).text
    assert "the rebuild was cancelled" in ended
    assert "hx-get" not in ended
    assert "Load the page again" in ended


@pytest.mark.parametrize("state", [state for state in RunState if state.is_final and state is not RunState.SUCCEEDED])
def test_nothing_is_polled_for_once_it_has_ended(client: Client, live: Rebuild, state: RunState) -> None:
    failure = {"code": "x", "what": "y", "where": "z", "todo": "w"} if state is RunState.FAILED else None
    Rebuild.objects.update(state=state, finished_at=timezone.now(), lease_expires_at=None, failure=failure)
    content = page(client, live)
    assert "hx-get" not in content
    assert "htmx" not in content
    assert "No evidence either way" in content


def test_a_failed_stage_shows_its_log_at_the_first_error(client: Client, live: Rebuild) -> None:
    stage(live, 1, "image", 1)
    RebuildStage.objects.update(state=StageState.FAILED)
    keep_log(live, ["quiet\n" * 100, "make: *** [all] Error 1\n", "quiet\n" * 100])
    failure = {"code": "build-failed", "what": "<b>", "where": "z", "todo": "w"}
    Rebuild.objects.update(state=RunState.FAILED, finished_at=timezone.now(), lease_expires_at=None, failure=failure)
    content = page(client, live)
    assert '<span class="line marked" id="L101">' in content
    assert "Line 101 was chosen because make stopped here." in words(content)
    assert content.count('<span class="line') == 25
    assert "It stopped at image." in content


def test_only_who_may_steer_can_cancel_and_is_led_to_ask_again(client: Client, live: Rebuild) -> None:
    cancel = f"/rebuilds/{live.pk}/cancel"
    assert client.post(cancel)["Location"].startswith("/signin/?next=")
    assert client.get(cancel).status_code == 405
    assert "Cancel this rebuild" not in page(client, live)
    assert Rebuild.objects.get(pk=live.pk).cancel_requested_at is None
    client.force_login(User.objects.create_user("reader"))
    client.post(cancel)
    assert Rebuild.objects.get(pk=live.pk).cancel_requested_at is None
    client.force_login(User.objects.create_user("admin", is_staff=True))
    assert "Cancel this rebuild" in page(client, live)
    client.post(cancel)
    assert "Asked to stop" in page(client, live)
    Rebuild.objects.update(state=RunState.CANCELLED, finished_at=timezone.now(), lease_expires_at=None)
    link = f'<a class="button" href="{live.release.get_absolute_url()}rebuild">Rebuild this release again</a>'
    assert link in page(client, live)


def test_hostile_words_of_an_operator_are_shown_as_text(
    client: Client, release: Release, make_rebuild: Callable[..., Rebuild]
) -> None:
    hostile = "<script>alert(1)</script>\u202e" + "y" * 900
    rebuild = make_rebuild(release, changed=(Role.INITRD,), environment={"cpu": "x"})
    Rebuild.objects.update(environment={hostile: hostile}, worker=hostile[:200])
    RebuiltFile(
        rebuild=rebuild, role=Role.INITRD, path=hostile, size=3, sha256="a" * 64, origin_kind="opaque", origin=hostile
    ).save()
    content = page(client, rebuild)
    assert "<script>alert" not in content
    assert "\u202e" not in content
    assert "foreign long" in content


def test_a_page_costs_the_same_however_much_there_is(
    client: Client, release: Release, make_rebuild: Callable[..., Rebuild]
) -> None:
    costs: list[int] = []

    def measure(rebuild: Rebuild) -> None:
        with CaptureQueriesContext(connection) as asked:
            page(client, rebuild)
        costs.append(len(asked))

    make_rebuild(release, by="ben")
    rebuild = make_rebuild(release, changed=(Role.INITRD,), by="ada")
    measure(rebuild)
    for number in range(30):
        path = f"lib/{number}"
        RebuiltFile(
            rebuild=rebuild, role=Role.INITRD, path=path, size=3, sha256="a" * 64, origin_kind="built", origin="x"
        ).save()
        stage(rebuild, number + 1, path, 1)
        keep_log(rebuild, ["a line\n"] * 10, stage=number + 1)
    materials(release, 40, authenticated=False, sentence="nobody")
    make_rebuild(release, by="cem")
    measure(rebuild)
    assert costs[0] <= costs[1] <= 12


def test_what_nobody_has_claimed_says_so(client: Client, release: Release, settings: Any) -> None:
    rebuild = queueing.open_place(release, queueing.Priority.NEW_RELEASE)
    text = words(page(client, rebuild))
    assert "queued Waiting for a rebuilder. No evidence yet. No stage has started to come" in text
    assert "Operator open to anybody" in text
    assert "reload it" in text


def test_a_release_that_is_being_rebuilt_says_when_its_first_result_may_come(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    earlier = make_rebuild(make_release("v0"), by="ada")
    began = timezone.now() - timedelta(hours=2)
    RebuildStage.objects.create(
        rebuild=earlier,
        position=1,
        name="image",
        state=StageState.SUCCEEDED,
        started_at=began,
        ended_at=began + timedelta(hours=1),
        exit_code=0,
    )
    waiting = make_release("v1")
    shown = words(client.get(waiting.get_absolute_url()).text)
    assert "Not rebuilt yet: 0 of 2. Run it yourself: one command." in shown
    place = queueing.request_rebuild(waiting, running.local_rebuilder())
    assert rebuilding.claim(place.pk, running.local_rebuilder(), "worker") is not None
    started = Rebuild.objects.get(pk=place.pk).started_at or began
    shown = words(client.get(waiting.get_absolute_url()).text)
    assert f"First result expected about {started + timedelta(hours=1):%H:%M} UTC, or run it yourself" in shown
    Rebuild.objects.filter(pk=place.pk).update(started_at=began)
    assert "First result expected" not in words(client.get(waiting.get_absolute_url()).text)


def test_a_component_that_was_only_copied_reads_same_input_on_the_run_and_on_its_statement(
    client: Client, release: Release, make_rebuild: Callable[..., Rebuild]
) -> None:
    rebuild = make_rebuild(release, by="alder")
    for address in (rebuild.get_absolute_url(), rebuild.statement.get_absolute_url()):
        text = client.get(address).text
        said = dict(
            re.findall(r'<th scope="row">(\w+)</th><td data-of="Outcome"><span class="state good">(.*?)</span>', text)
        )
        assert said == {role.value: "same input" if role is Role.KERNEL else "reproduced" for role in Role}
