"""What a token opens, and what is said of one that opens nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.access import TOKEN_PREFIX, Scope
from builds.models import ApiToken, Rebuild, RebuildRequest, Release
from builds.services.access import MalformedToken, NotAuthenticated, authenticate
from builds.services.rebuilding import new_token
from tests.support.accounts import account_named, post_json, token_of

pytestmark = pytest.mark.django_db
WISH = {"project": "enclave", "tag": "v1.0.0"}


def trigger(secret: str | None, **more: Any) -> Any:
    return post_json("/api/v1/rebuilds", more.get("body", WISH), secret, more.get("client"))


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "token-missing"),
        ("", "token-missing"),
        ("Bearer", "token-malformed"),
        ("Bearer ", "token-malformed"),
        ("Bearer x", "token-malformed"),
        (f"Bearer {TOKEN_PREFIX}", "token-malformed"),
        (f"Token {TOKEN_PREFIX}{'a' * 43}", "token-malformed"),
        (f"Basic {TOKEN_PREFIX}{'a' * 43}", "token-malformed"),
        (f"{TOKEN_PREFIX}{'a' * 43}", "token-malformed"),
        (f"Bearer {TOKEN_PREFIX}{'a' * 43} {TOKEN_PREFIX}{'b' * 43}", "token-malformed"),
        (f"Bearer {TOKEN_PREFIX}{'a' * 42}\u00e9", "token-malformed"),
        ("Bearer " + "x" * 10_000, "token-malformed"),
        (f"Bearer {TOKEN_PREFIX}{'a' * 43}", "token-unknown"),
    ],
)
def test_a_header_that_holds_no_token_is_refused_by_name(
    make_release: Callable[..., Release], header: str | None, code: str
) -> None:
    make_release()
    headers = {} if header is None else {"Authorization": header}
    answer = Client().post("/api/v1/rebuilds", "{", content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert answer["WWW-Authenticate"].startswith('Bearer realm="tee-portal"')
    assert ("invalid_token" in answer["WWW-Authenticate"]) == (code != "token-missing")
    if header and len(header) > 20:
        assert header[7:] not in answer.content.decode()
    assert not Rebuild.objects.exists()


@given(st.text(max_size=200))
def test_any_text_is_no_token_and_is_not_said_again(text: str) -> None:
    for header in (text, f"Bearer {text}"):
        with pytest.raises(NotAuthenticated) as caught:
            authenticate(header, Scope.TRIGGER_REBUILD)
        assert len(text) < 20 or text not in str(caught.value)
        assert isinstance(caught.value, MalformedToken) or not header


def test_an_expired_a_revoked_and_a_disabled_accounts_token_open_nothing(make_release: Callable[..., Release]) -> None:
    make_release()
    now = timezone.now()
    for change, code in (
        ({"created_at": now - timedelta(days=9), "expires_at": now}, "token-expired"),
        ({"revoked_at": now}, "token-revoked"),
        ({"revoked_at": now, "created_at": now - timedelta(days=9), "expires_at": now}, "token-revoked"),
    ):
        made = token_of("ada")
        ApiToken.objects.filter(pk=made.token.pk).update(**change)
        answer = trigger(made.secret)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert made.secret not in answer.content.decode()
    made = token_of("gone")
    account = made.token.account
    account.is_active = False
    account.save()
    answer = trigger(made.secret)
    assert (answer.status_code, answer.json()["code"]) == (401, "account-disabled")
    assert not Rebuild.objects.exists()


@pytest.mark.parametrize("scope", [Scope.PUBLISH_RELEASE, Scope.MANAGE_WEBHOOKS])
def test_a_token_for_something_else_is_refused_and_told_what_it_may(
    make_release: Callable[..., Release], scope: Scope
) -> None:
    make_release()
    made = token_of("ada", [scope], is_staff=True)
    answer = trigger(made.secret)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing")
    assert answer.json()["what"] == f"the token may {scope.value}, and not rebuild:trigger"
    assert "insufficient_scope" in answer["WWW-Authenticate"]
    assert authenticate(f"bearer  {made.secret} ", scope).token == made.token


def test_a_session_gives_no_rights_in_the_api(client: Client, make_release: Callable[..., Release]) -> None:
    make_release()
    client.force_login(account_named("root", is_staff=True, is_superuser=True))
    answer = trigger(None, client=client)
    assert (answer.status_code, answer.json()["code"]) == (401, "token-missing")
    assert trigger(f"{TOKEN_PREFIX}{new_token()}", client=client).status_code == 401
    assert not Rebuild.objects.exists()


def test_a_token_in_the_address_or_the_body_opens_nothing(make_release: Callable[..., Release]) -> None:
    make_release()
    made = token_of("ada")
    for query in (f"?token={made.secret}", f"?access_token={made.secret}", f"?Authorization=Bearer+{made.secret}"):
        refused = post_json(f"/api/v1/rebuilds{query}", WISH)
        assert (refused.status_code, refused.json()["code"]) == (422, "unknown-parameter")
        assert made.secret not in refused.text
    assert trigger(None, body=WISH | {"access_token": made.secret}).status_code == 401


def test_a_token_needs_no_forms_proof(make_release: Callable[..., Release]) -> None:
    make_release()
    assert trigger(token_of("ada").secret, client=Client(enforce_csrf_checks=True)).status_code == 201


def test_its_last_use_is_kept_to_within_a_minute() -> None:
    made = token_of("ada")
    header = f"Bearer {made.secret}"

    def used_at() -> Any:
        authenticate(header, Scope.TRIGGER_REBUILD)
        return ApiToken.objects.get().last_used_at

    first = used_at()
    assert first is not None
    assert used_at() == first
    ApiToken.objects.update(last_used_at=first - timedelta(seconds=55))
    assert used_at() == first - timedelta(seconds=55)
    ApiToken.objects.update(last_used_at=first - timedelta(seconds=61))
    assert used_at() > first


def test_a_refused_token_leaves_no_mark_of_use() -> None:
    made = token_of("ada", [Scope.MANAGE_WEBHOOKS])
    with pytest.raises(Exception, match="and not rebuild:trigger"):
        authenticate(f"Bearer {made.secret}", Scope.TRIGGER_REBUILD)
    assert ApiToken.objects.get().last_used_at is None


def test_no_token_is_written_to_the_log(make_release: Callable[..., Release], caplog: pytest.LogCaptureFixture) -> None:
    make_release()
    made, unknown = token_of("ada"), TOKEN_PREFIX + new_token()
    with caplog.at_level(logging.DEBUG):
        assert trigger(made.secret).status_code == 201
        assert trigger(unknown).status_code == 401
        ApiToken.objects.update(revoked_at=timezone.now())
        assert trigger(made.secret).status_code == 401
    written = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert made.secret not in written
    assert unknown not in written


def test_what_was_asked_by_a_token_outlives_it(make_release: Callable[..., Release]) -> None:
    make_release()
    made = token_of("ada")
    assert trigger(made.secret).status_code == 201
    assert RebuildRequest.objects.get().token == made.token
    account_named("ada").delete()
    kept = RebuildRequest.objects.get()
    assert (kept.account, kept.token) == (None, None)
    assert not ApiToken.objects.exists()
    assert trigger(made.secret).json()["code"] == "token-unknown"
