"""The page that lays two rebuilds beside each other."""

from __future__ import annotations

import html
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds.domain.lifecycle import RunState, StageState
from builds.domain.roles import Role
from builds.models import Rebuild, RebuildStage, Release
from tests.support.operators import MATERIAL, digests

pytestmark = pytest.mark.django_db

type Make = Callable[..., Any]


def address(one: Rebuild, other: Rebuild) -> str:
    return f"/compare/rebuilds/?from={one.pk}&to={other.pk}"


def page(client: Client, one: Rebuild, other: Rebuild) -> str:
    answer = client.get(address(one, other))
    assert answer.status_code == 200
    return html.unescape(answer.text)


def file(path: str, content: str, origin: str = "built in this rebuild") -> dict[str, Any]:
    facts = digests(content)
    return {
        "role": "initrd",
        "path": path,
        "size": facts["size"],
        "sha256": facts["sha256"],
        "originKind": "built",
        "origin": origin,
    }


def test_two_operators_with_the_same_bytes_are_told_so(client: Client, make_release: Make, make_rebuild: Make) -> None:
    release = make_release()
    shown = page(client, make_rebuild(release, by="ada"), make_rebuild(release, by="ben"))
    assert "Both made the same bytes of every component" in shown
    assert "All 1 are the same, by digest, as both signed." in shown
    assert "Every file that both list has the same bytes" in shown
    assert "Swap them" in shown


def test_the_first_differing_file_inside_the_initrd_comes_first(
    client: Client, make_release: Make, make_rebuild: Make
) -> None:
    release = make_release()
    one = make_rebuild(release, by="ada", files=[file("bin/a", "a"), file("bin/katana", "k"), file("etc/only", "x")])
    other = make_rebuild(
        release,
        by="ben",
        changed=(Role.INITRD,),
        files=[file("bin/a", "a"), file("bin/katana", "other k"), file("usr/new", "y")],
        environment={"kernel": "6.5"},
    )
    shown = page(client, one, other)
    assert "1 with other bytes, 1 only in the first, 1 only in the second." in shown
    assert "the first, bin/katana, has other bytes" in shown
    first = shown[shown.index('id="first-difference"') :]
    assert first.index("bin/katana") < first.index("etc/only") < first.index("usr/new")
    assert "bin/a<" not in shown
    assert "Their machines differ in kernel." in shown
    assert "Ada has the published bytes." in shown


def test_files_without_end_are_counted_and_the_first_are_shown(
    client: Client, make_release: Make, make_rebuild: Make
) -> None:
    release = make_release()
    one = make_rebuild(release, by="ada", files=[file(f"a/{n:04}", str(n)) for n in range(120)])
    other = make_rebuild(release, by="ben", files=[file(f"a/{n:04}", f"other {n}") for n in range(60, 240)])
    shown = page(client, one, other)
    assert (
        "60 with other bytes, 60 only in the first, 120 only in the second. The signed statements list every file."
        in shown
    )
    assert "20 first differing files, by path; there are more." in shown
    assert "a/0019" in shown
    assert "a/0020" not in shown


def test_materials_differ_as_they_were_signed(client: Client, make_release: Make, make_rebuild: Make) -> None:
    release = make_release()
    locked = {"name": "dash 0.5 (amd64)", "digest": {"sha256": MATERIAL}}
    newer = {"name": "dash 0.6 (amd64)", "digest": {"sha256": "1" * 64}}
    unnamed = {"name": "a thing", "digest": {"sha256": "2" * 64}}
    one = make_rebuild(release, by="ada", materials=[locked])
    other = make_rebuild(release, by="ben", materials=[newer, unnamed])
    shown = page(client, one, other)
    assert "Another version: 1" in shown
    assert "Only in the second: 1" in shown
    assert "does not count. It was built from other materials" in shown


def test_rebuilds_of_different_releases_are_warned_about(
    client: Client, make_release: Make, make_rebuild: Make
) -> None:
    one = make_rebuild(make_release(tag="v1"), by="ada")
    other = make_rebuild(make_release(tag="v2"), by="ben")
    shown = page(client, one, other)
    assert "They are of different releases, v1 and v2" in shown
    assert '<span class="state open">mind</span>' in shown


def test_a_rebuild_that_failed_is_no_evidence_and_its_stages_are_shown(
    client: Client, make_release: Make, make_rebuild: Make
) -> None:
    release = make_release()
    good = make_rebuild(release, by="ada")
    now = timezone.now()
    failed = Rebuild.objects.create(
        release=release,
        rebuilder=good.rebuilder,
        state=RunState.FAILED,
        finished_at=now,
        failure={"code": "x", "what": "<b>it broke</b>", "where": "y", "todo": "z"},
    )
    RebuildStage.objects.create(
        rebuild=failed,
        position=0,
        name="source",
        state=StageState.FAILED,
        started_at=now - timedelta(seconds=75),
        ended_at=now,
    )
    shown = page(client, good, failed)
    assert "Not both came to their end" in shown
    assert "it has no outcome and is no evidence" in shown
    assert "1 min 15 s" in shown
    assert "Only a signed statement says what went in" in shown
    assert "<b>it broke" not in client.get(address(good, failed)).text


def test_with_one_chosen_the_others_of_its_release_are_offered(
    client: Client, make_release: Make, make_rebuild: Make
) -> None:
    release = make_release()
    one, other = make_rebuild(release, by="ada"), make_rebuild(release, by="ben")
    stranger = make_rebuild(make_release(tag="v2"), by="ada")
    shown = html.unescape(client.get(f"/compare/rebuilds/?from={one.pk}").text)
    assert f"?from={one.pk}&to={other.pk}" in shown
    assert str(stranger.pk) not in shown
    assert "Nobody else has a result" in client.get(f"/compare/rebuilds/?to={stranger.pk}").text
    assert "Give the ids of two rebuilds" in client.get("/compare/rebuilds/").text


@pytest.mark.parametrize(
    "name", ["nonsense", "00000000-0000-0000-0000-000000000000", "<script>alert(1)</script>" * 400]
)
def test_what_is_no_rebuild_is_named(client: Client, make_release: Make, make_rebuild: Make, name: str) -> None:
    one = make_rebuild(make_release(), by="ada")
    answer = client.get(f"/compare/rebuilds/?from={one.pk}&to={quote(name)}")
    assert answer.status_code == 404
    assert "There is no such rebuild here" in answer.text
    assert "<script>alert" not in answer.text


def test_what_operators_say_of_themselves_is_shown_and_turns_nothing(
    client: Client, make_release: Make, make_rebuild: Make
) -> None:
    release = make_release()
    hostile = {"<i>kernel</i>": "<script>alert(1)</script>", "cpu": "x" * 1000}
    one = make_rebuild(release, by="ada", environment=hostile)
    other = make_rebuild(release, by="ben", files=[file("<u>bin", "k", "<s>somewhere")])
    answer = client.get(address(one, other)).text
    for text in ("<i>kernel", "<script>alert", "<u>bin", "<s>some"):
        assert text not in answer
    assert "&lt;script&gt;alert(1)" in answer


def test_a_rebuild_beside_itself_says_so(client: Client, make_release: Make, make_rebuild: Make) -> None:
    one = make_rebuild(make_release(), by="ada")
    assert "A rebuild is the same as itself." in page(client, one, one)


def test_queries_are_few_and_do_not_grow(client: Client, make_release: Make, make_rebuild: Make) -> None:
    def count(one: Rebuild, other: Rebuild) -> int:
        with CaptureQueriesContext(connection) as queries:
            page(client, one, other)
        return len(queries)

    release = make_release()
    one, other = make_rebuild(release, by="ada"), make_rebuild(release, by="ben")
    few = count(one, other)
    many = [
        make_rebuild(release, by=name, files=[file(f"{name}/{n}", "x") for n in range(80)]) for name in ("cy", "di")
    ]
    assert count(*many) == few
    assert few <= 12


def test_an_empty_release_changes_nothing(client: Client, make_release: Make, make_rebuild: Make) -> None:
    release: Release = make_release()
    one, other = make_rebuild(release, by="ada"), make_rebuild(release, by="ben")
    release.components.all().delete()
    assert "nothing to compare with" in page(client, one, other)
