"""What a publisher wrote that no job can hold costs nobody else a job, and nobody an error without a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from builds.domain.lifecycle import RunState
from builds.models import Project, Rebuild, Release
from builds.services import queueing, rebuilding, running
from builds.services.queueing import Priority
from builds.services.rebuilding import new_token
from tests.support.attacks import claim_request, post, refusal
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db

SPACE = "https://forge.example/a b"
SSH = "git@forge.example:acme/enclave"
TURNED = "file:///turned"
"""Of the project whose recipe's author has a name that turns the writing."""


def claim(name: str = "ada", **changed: Any) -> HttpResponse:
    return post("/api/v1/claims", claim_request(operator_named(name), new_token(), **changed))


def given(answer: HttpResponse) -> str:
    assert answer.status_code == 200, answer.content
    return str(json.loads(answer.content)["job"]["tag"])


@pytest.fixture
def make_unaskable(make_release: Callable[..., Release]) -> Callable[[str, str], Release]:
    """A release that no job can hold, for where its source is or who wrote its recipe."""

    def make(tag: str, source_url: str) -> Release:
        release = make_release(tag)
        release.project, _ = Project.objects.get_or_create(name="odd", defaults={"source_url": source_url})
        if source_url == TURNED:
            release.project.recipe, release.project.recipe_author = "format = 1", "a\u202eb"
            release.project.save()
        release.save()
        return release

    return make


@pytest.mark.parametrize("source_url", [SSH, SPACE, TURNED])
def test_a_release_that_is_no_job_keeps_nobody_from_the_next(
    make_unaskable: Callable[[str, str], Release], make_release: Callable[..., Release], source_url: str
) -> None:
    for number in range(3):
        queueing.open_place(make_unaskable(f"odd-{number}", source_url), Priority.USER)
    queueing.open_place(make_release("v1"), Priority.RECHECK)
    assert given(claim()) == "v1"
    assert claim("ben").status_code == 204
    assert Rebuild.objects.filter(state=RunState.RUNNING).count() == 1


def test_more_of_them_than_are_passed_over_at_once_are_passed_over_in_turn(
    make_unaskable: Callable[[str, str], Release],
    make_release: Callable[..., Release],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rebuilding, "_MOST_PUT_OFF", 2)
    for number in range(5):
        queueing.open_place(make_unaskable(f"odd-{number}", TURNED), Priority.USER)
    queueing.open_place(make_release("v1"), Priority.RECHECK)
    assert [claim().status_code for _ in range(2)] == [204, 204]
    assert given(claim()) == "v1"


@pytest.mark.parametrize("waits", [True, False])
def test_who_asks_for_it_by_name_is_told_why_and_holds_nothing(
    make_unaskable: Callable[[str, str], Release], waits: bool
) -> None:
    release = make_unaskable("odd", TURNED)
    if waits:
        queueing.open_place(release, Priority.USER)
    rows = Rebuild.objects.count()
    status, code, what = refusal(claim(release={"project": "odd", "tag": "odd"}))
    assert (status, code) == (409, "release-not-askable")
    assert what.startswith("the release is no job for a rebuilder: author: ")
    assert Rebuild.objects.filter(state=RunState.QUEUED).count() == Rebuild.objects.count() == rows


def test_no_place_is_opened_for_a_source_that_no_job_can_name(make_unaskable: Callable[[str, str], Release]) -> None:
    make_unaskable("odd", SSH)
    Release.objects.update(materials_stored_at=timezone.now())
    assert queueing.open_missing_places() == 0
    Project.objects.update(source_url="https://forge.example/acme/enclave")
    assert queueing.open_missing_places() == 2


def test_the_job_itself_is_refused_by_name(make_unaskable: Callable[[str, str], Release]) -> None:
    make_unaskable("odd", SSH)
    answer = Client(raise_request_exception=False).get("/api/v1/jobs/odd/odd")
    assert refusal(answer)[:2] == (409, "release-not-askable")  # type: ignore[arg-type]


@pytest.mark.parametrize("line", ["A=" + "x" * 1001, "A=\u202ex", "\n".join(f"K{number}=1" for number in range(250))])
def test_values_of_a_publisher_that_no_job_can_hold_are_left_out(
    make_release: Callable[..., Release], line: str
) -> None:
    release = make_release()
    document = f"SOURCE_DATE_EPOCH=1700000000\nB=kept\n{line}\n".encode()
    Release.objects.update(document_name="build-info.txt", manifest=document)
    queueing.open_place(release, Priority.NEW_RELEASE)
    answer = claim()
    assert given(answer) == "v1.0.0"
    values = json.loads(answer.content)["job"]["launchValues"]
    assert values["B"] == "kept"
    assert "A" not in values
    assert len(values) <= 200


def test_the_portals_own_worker_ends_with_the_name_of_what_is_wrong(
    make_unaskable: Callable[[str, str], Release],
) -> None:
    place = queueing.request_rebuild(make_unaskable("odd", SPACE[:-2]), running.local_rebuilder())
    held = rebuilding.claim(place.pk, running.local_rebuilder(), "host")
    assert held is not None
    Project.objects.update(source_url=SSH)
    running.run_claimed(held)
    place.refresh_from_db()
    assert (place.run_state, place.failure["code"]) == (RunState.FAILED, "release-not-askable")
