"""A contradiction asks operators until one that had not answered has, each of them once."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from builds.domain.lifecycle import RunState
from builds.domain.roles import Role
from builds.models import Operator, Project, Rebuild, Release
from builds.services import queueing
from builds.services.differences import first_differences
from builds.services.operators import set_aside, state_affiliation
from builds.services.rebuilding import Claim, new_token
from builds.tasks import sweep
from tests.support.attacks import claim_request, hand_in, post, signed, signed_by
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db

OTHER = (Role.INITRD,)


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    """A release that ada reproduced, which is enough, until eve contradicted."""
    release = make_release()
    Release.objects.update(materials_stored_at=timezone.now())
    Project.objects.update(needed_operators=1)
    hand_in(signed(release, "ada").as_bytes())
    hand_in(signed(release, "eve", changed=OTHER).as_bytes())
    return release


def waiting() -> int:
    return Rebuild.objects.filter(state=RunState.QUEUED).count()


def take(name: str) -> Claim | None:
    token = new_token()
    answer = post("/api/v1/claims", claim_request(operator_named(name), token))
    return Claim(json.loads(answer.content)["rebuildId"], token) if answer.status_code == 200 else None


def fail(name: str) -> None:
    held = take(name)
    assert held is not None
    body = json.dumps({"code": "build-failed", "what": "it broke", "where": "stage", "todo": "look"}).encode()
    assert post(f"/api/v1/rebuilds/{held.rebuild_id}/failure", body, held).status_code == 204


def test_each_operator_is_asked_once_until_one_answers(release: Release) -> None:
    assert (waiting(), queueing.open_disputed_places()) == (1, 0)
    for name in ("zed", "yan"):
        fail(name)
        assert waiting() == 0
        assert (queueing.open_disputed_places(), queueing.open_disputed_places()) == (1, 0)
        assert [take(asked) for asked in ("ada", "eve", name)] == [None] * 3
    held = take("xia")
    assert held is not None
    assert queueing.open_disputed_places() == 0
    hand_in(signed(release, "xia").as_bytes(), held)
    assert queueing.open_disputed_places() == 0


def test_where_nobody_is_left_one_place_waits_and_no_more_are_opened(release: Release) -> None:
    fail("zed")
    assert sum(queueing.open_disputed_places() for _ in range(5)) == waiting() == 1


def test_an_answer_that_contradicts_too_asks_the_next(release: Release) -> None:
    hand_in(signed(release, "zed", changed=OTHER).as_bytes(), take("zed"))
    assert waiting() == 1
    fail("yan")
    assert queueing.open_disputed_places() == 1


def test_who_answered_before_and_who_does_not_count_settle_nothing(release: Release) -> None:
    fail("zed")
    hand_in(signed(release, "ada").as_bytes())
    hand_in(signed_by(operator_named("newcomer", accepted=False), release).as_bytes())
    operator_named("mallory")
    state_affiliation(Operator.objects.get(slug="mallory"), release.project, what="its own CI", by="Ada")
    hand_in(signed(release, "mallory").as_bytes())
    assert queueing.open_disputed_places() == 1


@pytest.mark.parametrize("ended", ["it reproduced", "it was set aside", "it is tied"])
def test_a_contradiction_that_does_not_stand_any_more_asks_nobody(release: Release, ended: str) -> None:
    fail("zed")
    if ended == "it reproduced":
        hand_in(signed(release, "eve").as_bytes())
    elif ended == "it was set aside":
        contradiction = Rebuild.objects.get(statement__key__rebuilder__operator__slug="eve")
        set_aside(contradiction, reason="a broken disk", by="Ada")
    else:
        state_affiliation(Operator.objects.get(slug="eve"), release.project, what="its own CI", by="Ada")
    assert queueing.open_disputed_places() == 0


def test_the_sweep_asks(release: Release) -> None:
    fail("zed")
    sweep()
    assert waiting() == 1


def test_a_dispute_names_the_first_file_in_which_the_operators_part(
    make_release: Callable[..., Release], client: Client
) -> None:
    release, other = make_release(), make_release("v2.0.0")

    def files(**digests: str) -> list[dict[str, object]]:
        made = {"role": "initrd", "size": 1, "originKind": "built", "origin": "built in this rebuild"}
        return [{**made, "path": path.replace("_", "/"), "sha256": digit * 64} for path, digit in digests.items()]

    hand_in(signed(release, "ada", files=files(bin_a="1", bin_b="2", etc_c="3")).as_bytes())
    hand_in(signed(release, "eve", changed=OTHER, files=files(bin_a="1", bin_b="4", etc_d="3")).as_bytes())
    hand_in(signed(other, "ada").as_bytes())
    document = client.get(f"/api/v1/releases/enclave/{release.tag}").json()
    assert "First difference: bin/b." in document["verdict"]["sentence"]
    listed = {entry["tag"]: entry["verdict"]["sentence"] for entry in client.get("/api/v1/releases").json()["releases"]}
    assert listed[release.tag] == document["verdict"]["sentence"]
    assert "First difference" not in listed[other.tag]


def test_finding_where_operators_part_costs_one_query_for_all_disputes_and_none_without(
    make_release: Callable[..., Release], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    quiet = make_release("quiet")
    hand_in(signed(quiet, "ada").as_bytes())
    for number in range(3):
        release = make_release(f"v{number}")
        hand_in(signed(release, "ada").as_bytes())
        hand_in(signed(release, "eve", changed=OTHER).as_bytes())
    rows = list(Release.objects.with_evidence())
    with django_assert_num_queries(1):
        assert first_differences(rows) == {}  # all list the same file
    with django_assert_num_queries(0):
        assert first_differences([row for row in rows if row.pk == quiet.pk]) == {}
