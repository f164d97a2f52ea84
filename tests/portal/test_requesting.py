"""Asking for a rebuild, on the page and by token: who may, how often, and that two become one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds import tasks
from builds.domain.lifecycle import RunState
from builds.domain.queue import Priority
from builds.models import Project, Rebuild, RebuildRequest, Release
from builds.services import queueing, rebuilding, requesting, running
from builds.services.requesting import RebuildsExhausted
from builds.services.steering import may_steer
from tee_portal.env import Environment
from tests.portal.test_claim_attacks import at_once
from tests.support.accounts import account_named, post_json, token_of
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def ada(client: Client) -> User:
    """Signed in."""
    user = account_named("ada")
    client.force_login(user)
    return user


@pytest.fixture(autouse=True)
def hinted(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """What the workers were told about."""
    told: list[uuid.UUID] = []
    monkeypatch.setattr(tasks, "hint", told.append)
    return told


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    return make_release()


@pytest.fixture
def without_worker(settings: LazySettings) -> None:
    """The portal's own worker takes no places."""
    settings.ENVIRONMENT = Environment(local_rebuilds=False)


def address(release: Release) -> str:
    return f"{release.get_absolute_url()}rebuild"


def trigger(secret: str, release: Release, client: Client | None = None) -> Any:
    return post_json("/api/v1/rebuilds", {"project": release.project.name, "tag": release.tag}, secret, client)


def request_at(user: User, release: Release, at: Any, joined: bool = False) -> None:
    rebuild = Rebuild.objects.create(release=release, state="cancelled", finished_at=timezone.now(), priority=0)
    RebuildRequest(account=user, rebuild=rebuild, joined=joined, at=at).save()


def test_who_only_reads_is_sent_to_sign_in_and_back_to_the_question(client: Client, release: Release) -> None:
    for ask in (client.get, client.post):
        assert ask(address(release))["Location"] == f"/signin/?next={address(release)}"
    assert not Rebuild.objects.exists()


def test_the_question_says_what_would_be_done_and_does_nothing(client: Client, ada: User, release: Release) -> None:
    text = client.get(address(release)).content.decode()
    for said in (
        release.commit,
        "own worker, which counts as one operator",
        "no rebuild of this project has succeeded yet",
        "0 of 6",
    ):
        assert said in text
    assert "Start the rebuild" in text
    assert not Rebuild.objects.exists()


def test_yes_opens_a_rebuild_and_leads_straight_to_its_page(
    client: Client, ada: User, release: Release, hinted: list[uuid.UUID]
) -> None:
    answer = client.post(address(release))
    rebuild = Rebuild.objects.get()
    assert answer["Location"] == rebuild.get_absolute_url()
    assert rebuild.wanted_from == running.local_rebuilder()
    assert Priority(rebuild.priority) is Priority.USER
    assert hinted == [rebuild.pk]
    asked = RebuildRequest.objects.get()
    assert (asked.account, asked.token, asked.rebuild, asked.joined) == (ada, None, rebuild, False)
    assert "is in the queue" in client.get(answer["Location"]).content.decode()


def test_a_second_click_joins_the_first_and_says_so(
    client: Client, ada: User, release: Release, hinted: list[uuid.UUID]
) -> None:
    first = client.post(address(release))
    assert "You would join it" in client.get(address(release)).content.decode()
    for _ in range(3):
        assert client.post(address(release))["Location"] == first["Location"]
    assert "is queued already: you joined it" in client.get(first["Location"]).content.decode()
    assert Rebuild.objects.count() == RebuildRequest.objects.count() == len(hinted) == 1


def test_somebody_else_joins_one_that_runs_and_may_not_steer_it(ada: User, release: Release) -> None:
    rebuild = requesting.ask(release, ada).rebuild
    assert rebuilding.claim(rebuild.pk, running.local_rebuilder(), "w") is not None
    ben = account_named("ben")
    for _ in range(2):
        asked = requesting.ask(release, ben)
        assert (asked.rebuild, asked.joined, asked.rebuild.run_state) == (rebuild, True, RunState.RUNNING)
    assert RebuildRequest.objects.filter(account=ben, joined=True).count() == 1
    assert requesting.budget_of(ben).used == 0
    assert (may_steer(ada, rebuild), may_steer(ben, rebuild)) == (True, False)


def test_one_that_has_ended_is_not_joined(ada: User, release: Release) -> None:
    first = requesting.ask(release, ada).rebuild
    assert requesting.cancel(first, ada) is RunState.CANCELLED
    assert not requesting.ask(release, ada).joined
    assert Rebuild.objects.count() == 2


def test_one_that_is_about_to_stop_is_not_joined_and_is_waited_for(client: Client, ada: User, release: Release) -> None:
    rebuild = requesting.ask(release, ada).rebuild
    assert rebuilding.claim(rebuild.pk, running.local_rebuilder(), "w") is not None
    rebuilding.request_cancel(rebuild)
    answer = client.post(address(release))
    assert answer.status_code == 409
    assert "already has a live rebuild" in answer.content.decode()
    assert "not now" in answer.content.decode()
    refused = trigger(token_of("ada").secret, release)
    assert (refused.status_code, refused.json()["code"]) == (409, "rebuild-already-live")


def test_where_the_portal_builds_nothing_itself_the_place_is_open_to_operators(
    client: Client, ada: User, release: Release, without_worker: None, hinted: list[uuid.UUID]
) -> None:
    assert "any accepted operator may take it" in client.get(address(release)).content.decode()
    waiting = queueing.open_place(release, Priority.NEW_RELEASE)
    client.post(address(release))
    rebuild = Rebuild.objects.exclude(pk=waiting.pk).get()
    assert (rebuild.wanted_from, rebuild.rebuilder, rebuild.priority) == (None, None, Priority.USER)
    assert hinted == []
    operator_named("cy")
    rebuilder = Rebuild._meta.get_field("rebuilder").related_model.objects.get(operator__slug="cy")
    assert rebuilding.claim(rebuild.pk, rebuilder, "w") is not None
    assert requesting.ask(release, account_named("ben")).rebuild == rebuild


@pytest.mark.parametrize(
    ("source", "changes", "code"),
    [
        ({"source_url": ""}, {}, "release-not-askable"),
        ({"source_url": "ssh://git@host/x"}, {}, "release-not-askable"),
        ({}, {"recipe_roles": []}, "nothing-to-rebuild"),
    ],
)
def test_a_release_that_nobody_can_rebuild_is_refused_by_name(
    client: Client, ada: User, release: Release, source: dict[str, Any], changes: dict[str, Any], code: str
) -> None:
    Project.objects.filter(pk=release.project_id).update(**source or {"source_url": "file:///nowhere"})
    Release.objects.filter(pk=release.pk).update(**changes or {"tag": release.tag})
    for ask, status in ((client.get, 200), (client.post, 409)):
        answer = ask(address(release))
        assert answer.status_code == status
        text = answer.content.decode()
        assert "not possible" in text
        assert "What to do:" in text
        assert "Start the rebuild" not in text
    refused = trigger(token_of("ada").secret, release)
    assert (refused.status_code, refused.json()["code"]) == (409, code)
    assert not Rebuild.objects.exists()
    assert not RebuildRequest.objects.exists()


def test_the_limit_is_said_with_its_number_its_time_and_the_next_moment(
    client: Client, ada: User, make_release: Callable[..., Release]
) -> None:
    now = timezone.now()
    releases = [make_release(f"v{number}") for number in range(7)]
    for number in range(6):
        request_at(ada, releases[number], now - timedelta(minutes=10 * number))
    page = client.get(address(releases[6])).content.decode()
    assert "asked for 6 rebuilds within the last hour, and 6 are allowed" in page
    assert "in 10 minutes" in page
    assert "Start the rebuild" not in page
    refused = client.post(address(releases[6]))
    assert refused.status_code == 429
    assert 595 <= int(refused["Retry-After"]) <= 600
    api = trigger(token_of("ada").secret, releases[6])
    assert (api.status_code, api.json()["code"]) == (429, "rebuilds-exhausted")
    assert 595 <= int(api["Retry-After"]) <= 600
    assert "6 are allowed" in api.json()["what"]
    assert f"{now + timedelta(minutes=10):%H:%M}" in api.json()["todo"]
    assert not Rebuild.objects.filter(release=releases[6]).exists()
    # Somebody else's limit is their own.
    assert not requesting.ask(releases[6], account_named("ben")).joined
    # Whoever has used up theirs may still join.
    assert client.post(address(releases[6])).status_code == 302


@pytest.mark.parametrize("is_staff", [True, False])
def test_the_limit_ends_at_its_very_moment(
    make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch, settings: LazySettings, is_staff: bool
) -> None:
    settings.ENVIRONMENT = Environment(rebuilds_per_hour=1)
    user = account_named("ada", is_staff=is_staff)
    first = timezone.now()
    request_at(user, make_release("v1"), first)
    second = make_release("v2")
    monkeypatch.setattr(timezone, "now", lambda: first + HOUR - timedelta(microseconds=1))
    with pytest.raises(RebuildsExhausted) as caught:
        requesting.ask(second, user)
    assert caught.value.retry_after == 1
    monkeypatch.setattr(timezone, "now", lambda: first + HOUR)
    assert not requesting.ask(second, user).joined


def test_joining_takes_nothing_from_the_limit(ada: User, make_release: Callable[..., Release]) -> None:
    for number in range(8):
        release = make_release(f"v{number}")
        requesting.ask(release, account_named(f"other-{number}"))
        assert requesting.ask(release, ada).joined
    assert requesting.budget_of(ada).used == 0


@pytest.mark.django_db(transaction=True)
def test_many_that_ask_at_once_get_one_rebuild(make_release: Callable[..., Release]) -> None:
    release = make_release()
    running.local_rebuilder()
    secrets = [token_of(f"user-{number}").secret for number in range(4)] + [token_of("user-0").secret]
    answers = at_once(*[lambda secret=secret: trigger(secret, release) for secret in secrets])  # type: ignore[misc]
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1  # type: ignore[attr-defined]
    assert Rebuild.objects.count() == 1
    assert RebuildRequest.objects.filter(joined=False).count() == 1
    assert RebuildRequest.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_asking_for_many_at_once_does_not_pass_the_limit(
    make_release: Callable[..., Release], settings: LazySettings
) -> None:
    settings.ENVIRONMENT = Environment(rebuilds_per_hour=2)
    releases = [make_release(f"v{number}") for number in range(5)]
    running.local_rebuilder()
    secret = token_of("ada").secret

    def ask(release: Release) -> HttpResponse:
        answer: HttpResponse = trigger(secret, release)
        return answer

    answers = at_once(*[lambda release=release: ask(release) for release in releases])  # type: ignore[misc]
    assert sorted(answer.status_code for answer in answers) == [201, 201, 429, 429, 429]
    assert Rebuild.objects.count() == 2


def test_the_page_is_not_taken_without_the_forms_proof(ada: User, release: Release) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ada)
    assert strict.post(address(release)).status_code == 403
    assert not Rebuild.objects.exists()


def test_the_api_answers_with_the_addresses_to_watch_it_by(release: Release) -> None:
    secret = token_of("ada").secret
    made = trigger(secret, release)
    assert made.status_code == 201
    told = made.json()
    assert (told["project"], told["tag"], told["state"], told["joined"]) == ("enclave", "v1.0.0", "queued", False)
    assert made["Location"] == told["api"] == f"http://testserver/api/v1/rebuilds/{told['id']}"
    client = Client()
    assert client.get(told["api"]).json()["state"] == "queued"
    assert client.get(told["page"]).status_code == 200
    assert client.get(told["log"]).status_code == 200
    again = trigger(secret, release)
    assert (again.status_code, again.json()["joined"], again.json()["id"]) == (200, True, told["id"])


def test_addresses_are_those_by_which_the_public_knows_the_portal(
    client: Client, ada: User, release: Release, settings: LazySettings
) -> None:
    settings.ENVIRONMENT = Environment(public_url="https://portal.example.org")
    told = trigger(token_of("ada").secret, release).json()
    assert all(told[name].startswith("https://portal.example.org/") for name in ("api", "page", "log"))
    made = client.post("/account/tokens", {"name": "x", "scopes": ["rebuild:trigger"], "days": "7"})
    assert "https://portal.example.org/api/v1/rebuilds" in made.content.decode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"project": "enclave", "tag": "v9"}, 404),
        ({"project": "nobody", "tag": "v1.0.0"}, 404),
        ({"project": "enclave"}, 422),
        ({"project": "enclave", "tag": ""}, 422),
        ({"project": "enclave", "tag": "a\x00b"}, 422),
        ({"project": "enclave", "tag": "\ud800"}, 422),
        ({"project": "enclave", "tag": "x" * 201}, 422),
        ({"project": "enclave", "tag": "v1.0.0", "operator": "me"}, 422),
        ({"project": ["enclave"], "tag": "v1.0.0"}, 422),
        ([], 422),
        ("", 422),
    ],
)
def test_a_wish_for_what_is_not_there_is_refused_by_name(release: Release, body: object, status: int) -> None:
    answer = post_json("/api/v1/rebuilds", body, token_of("ada").secret)
    assert answer.status_code == status
    if status == 404:
        assert answer.json()["code"] == "not-found"
    assert not Rebuild.objects.exists()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\xff", "it is not UTF-8"),
        (b"{", "it is not JSON"),
        (b"[" * 30, "it is not JSON"),
        (b"1" * 5_000, "it holds an integer of too many digits"),
    ],
)
def test_a_body_that_is_no_json_is_refused_by_name(release: Release, body: bytes, why: str) -> None:
    header = {"Authorization": f"Bearer {token_of('ada').secret}"}
    answer = Client().post("/api/v1/rebuilds", body, content_type="application/json", headers=header)
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["what"]) == ("bad-request", f"the body cannot be read: {why}")


def test_a_hostile_tag_and_source_are_shown_as_text(
    client: Client, ada: User, make_release: Callable[..., Release]
) -> None:
    release = make_release("v1<script>alert(1)</script>\u202egpj")
    Project.objects.update(source_url="https://host/" + "<b>\u202e" * 80)
    text = client.get(address(release)).content.decode()
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert "\u202e" not in text.partition("<h1>")[2].partition('<div class="actions">')[0]


def test_the_questions_cost_does_not_grow(
    client: Client, ada: User, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    def cost(release: Release) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address(release)).status_code == 200
        return len(queries)

    first = make_release("v0")
    small = cost(first)
    for number in range(1, 8):
        release = make_release(f"v{number}")
        make_rebuild(release)
        requesting.ask(release, account_named(f"other-{number}"))
    assert cost(first) == small <= 12
