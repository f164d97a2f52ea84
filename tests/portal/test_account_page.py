"""A page of one's own: tokens are made, shown once and revoked there, and what was asked for is listed."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds.domain.access import MAX_LIVE_TOKENS, TOKEN_PREFIX, Scope
from builds.models import ApiToken, Rebuild, RebuildRequest, Release
from builds.services.access import TokensFull, authenticate, create_token
from builds.services.account_page import REQUESTS_A_PAGE
from builds.services.rebuilding import token_sha256
from tests.support.accounts import account_named, token_of

pytestmark = pytest.mark.django_db
SECRET = re.compile(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]{{43}}")
HOSTILE = ["<script>alert(1)</script>", "\u202egnissap", '"><img src=x onerror=alert(1)>', "{{ secret }}"]
WISH = {"name": "the nightly check", "scopes": ["rebuild:trigger"], "days": "30"}


@pytest.fixture
def ada(client: Client) -> User:
    """Signed in."""
    user = account_named("ada")
    client.force_login(user)
    return user


def test_a_token_is_shown_once_on_an_answer_that_nothing_keeps(client: Client, ada: User) -> None:
    made = client.post("/account/tokens", WISH)
    assert made.status_code == 201
    assert "no-store" in made["Cache-Control"]
    (secret,) = set(SECRET.findall(made.content.decode()))
    token = ApiToken.objects.get()
    assert token.sha256 == token_sha256(secret)
    assert authenticate(f"Bearer {secret}", Scope.TRIGGER_REBUILD).account == ada
    assert secret not in str(ApiToken.objects.values().get())
    assert not SECRET.search(str(made.headers))
    page = client.get("/account/")
    assert "no-store" in page["Cache-Control"]
    assert "the nightly check" in page.content.decode()
    assert not SECRET.search(page.content.decode())


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 81},
        {"name": "a\x00b"},
        {"scopes": []},
        {"scopes": ["everything"]},
        {"scopes": ["rebuild:trigger", "*"]},
        {"days": "366"},
        {"days": "0"},
        {"days": "-1"},
        {"days": ""},
    ],
)
def test_a_token_without_a_name_a_known_scope_and_an_end_is_not_made(
    client: Client, ada: User, wrong: dict[str, Any]
) -> None:
    refused = client.post("/account/tokens", WISH | wrong)
    assert refused.status_code == 400
    assert 'class="errorlist"' in refused.content.decode()
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_as_text_wherever_it_stands(client: Client, ada: User, name: str) -> None:
    made = client.post("/account/tokens", WISH | {"name": name})
    token = ApiToken.objects.get()
    revoke = f"/account/tokens/{token.pk}/revoke"
    pages = [made, client.get("/account/"), client.get(revoke)]
    client.post(revoke)
    pages.append(client.get("/account/"))
    for page in pages:
        text = page.content.decode()
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "\u202e" not in text


def test_a_token_is_revoked_after_a_question_and_stays_listed(client: Client, ada: User) -> None:
    made = token_of("ada")
    revoke = f"/account/tokens/{made.token.pk}/revoke"
    assert f'href="{revoke}"' in client.get("/account/").content.decode()
    assert "Revoke the token" in client.get(revoke).content.decode()
    assert ApiToken.objects.get().revoked_at is None
    assert client.post(revoke)["Location"] == "/account/"
    revoked_at = ApiToken.objects.get().revoked_at
    assert revoked_at is not None
    text = client.get("/account/").content.decode()
    assert "Tokens that ended" in text
    assert f'href="{revoke}"' not in text
    assert "It is revoked already" in client.get(revoke).content.decode()
    client.post(revoke)
    assert ApiToken.objects.get().revoked_at == revoked_at


def test_nobody_sees_or_revokes_anothers_token(client: Client, ada: User) -> None:
    made = token_of("ben")
    assert "a token of ben" not in client.get("/account/").content.decode()
    for ask in (client.get, client.post):
        assert ask(f"/account/tokens/{made.token.pk}/revoke").status_code == 404
    assert ApiToken.objects.get().revoked_at is None


@pytest.mark.parametrize("address", ["/account/", "/account/tokens", "/account/tokens/1/revoke", "/password/"])
def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(client: Client, address: str) -> None:
    for ask in (client.get, client.post):
        assert ask(address)["Location"] == f"/signin/?next={address}"


def test_a_token_opens_no_page(make_release: Callable[..., Release]) -> None:
    release, made = make_release(), token_of("root", list(Scope), is_staff=True)
    for path in ("/account/", f"{release.get_absolute_url()}rebuild", "/admin/"):
        answer = Client().get(path, headers={"Authorization": f"Bearer {made.secret}"})
        assert answer.status_code == 302


def test_an_account_has_no_more_live_tokens_than_its_bound(client: Client, ada: User) -> None:
    for _ in range(MAX_LIVE_TOKENS):
        token_of("ada")
    with pytest.raises(TokensFull, match="20 live tokens already"):
        token_of("ada")
    refused = client.post("/account/tokens", WISH)
    assert refused.status_code == 409
    assert "the most an account may have" in client.get("/account/").content.decode()
    token_of("ben")
    ended = ApiToken.objects.filter(account=ada).latest("pk")
    now = timezone.now()
    ApiToken.objects.filter(pk=ended.pk).update(created_at=now - timedelta(days=9), expires_at=now)
    assert client.post("/account/tokens", WISH).status_code == 201


@pytest.mark.parametrize(("scopes", "days"), [([], 30), ([Scope.TRIGGER_REBUILD], 3650)])
def test_no_code_makes_a_token_for_nothing_or_for_ever(scopes: list[Scope], days: int) -> None:
    with pytest.raises(ValueError, match="known lifetimes"):
        create_token(account_named("ada"), "x", scopes, days)


@pytest.mark.parametrize("wrong", [{"scopes": []}, {"sha256": "teep_plain"}, {"expires_at": timezone.now()}])
def test_the_database_keeps_no_token_without_scope_hash_and_period(wrong: dict[str, object]) -> None:
    made = token_of("ada")
    ApiToken.objects.filter(pk=made.token.pk).update(created_at=timezone.now())
    with pytest.raises(IntegrityError), transaction.atomic():
        ApiToken.objects.filter(pk=made.token.pk).update(**wrong)


def asked_for(user: User, release: Release, number: int, joined: bool = False) -> None:
    rebuild = Rebuild.objects.create(release=release, state="cancelled", finished_at=timezone.now(), priority=0)
    at = timezone.now() - timedelta(days=1, minutes=number)
    RebuildRequest(account=user, rebuild=rebuild, joined=joined, at=at).save()


def test_what_somebody_asked_for_is_listed_a_page_at_a_time(
    client: Client, ada: User, make_release: Callable[..., Release]
) -> None:
    release, ben = make_release("v1+a/b"), account_named("ben")
    for number in range(REQUESTS_A_PAGE + 2):
        asked_for(ada, release, number, joined=number == 0)
    asked_for(ben, make_release("v2-of-ben"), 1)
    first = client.get("/account/").content.decode()
    assert first.count('class="digest" href="/rebuilds/') == REQUESTS_A_PAGE
    older = re.search(r'href="(\?before=\d+)#requests"', first)
    assert older is not None
    second = client.get(f"/account/{older[1]}").content.decode()
    assert second.count('class="digest" href="/rebuilds/') == 2
    assert "joined one that was there" in second
    assert "?before=" not in second
    assert "Make a token" not in second
    assert "v2-of-ben" not in first + second
    assert client.get("/account/?before=x").status_code == 404
    assert "None older" in client.get("/account/?before=1").content.decode()


def test_an_empty_page_says_what_to_do(client: Client, ada: User) -> None:
    text = client.get("/account/").content.decode()
    assert "You have no live token. Make one below." in text
    assert "choose “Ask for a rebuild”" in text
    assert "0 of 6" in text


def test_the_cost_of_the_page_does_not_grow(client: Client, ada: User, make_release: Callable[..., Release]) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get("/account/").status_code == 200
        return len(queries)

    token_of("ada")
    asked_for(ada, make_release("v0"), 0)
    small = cost()
    for number in range(1, 15):
        token_of("ada")
        asked_for(ada, make_release(f"v{number}"), number)
    assert cost() == small <= 12


def test_the_administration_shows_tokens_and_changes_none(client: Client) -> None:
    made = token_of("ada")
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(f"/admin/builds/apitoken/{made.token.pk}/change/")
    assert page.status_code == 200
    assert made.token.sha256 not in page.content.decode()
    assert client.post(f"/admin/builds/apitoken/{made.token.pk}/change/", {"name": "x"}).status_code == 403
    assert client.get("/admin/builds/rebuildrequest/").status_code == 200
    assert client.get("/admin/builds/apitoken/").status_code == 200
