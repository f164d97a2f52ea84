"""Signing in and out: who may, how often, from where, and where it leads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from builds.models import Release, SignInAttempt
from builds.services import signing_in
from builds.services.signing_in import FROM_ONE_ADDRESS, OF_ONE_PLACE, TO_ONE_ACCOUNT, WINDOW, Visitor
from tee_portal.env import Environment
from tests.portal.test_claim_attacks import at_once
from tests.support.accounts import PASSWORD, account_named

pytestmark = pytest.mark.django_db
WRONG = "No account has this name and password"
HOSTILE = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "/\\evil.example/",
    "\\\\evil.example/",
    "http:///evil.example/",
    "javascript:alert(1)",
    "data:text/html,x",
    "https:evil.example",
    " //evil.example",
    "/\t/evil.example",
    "http://testserver@evil.example/",
]


@pytest.fixture(autouse=True)
def _quick_hashes(settings: LazySettings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def account(name: str, **more: Any) -> User:
    return account_named(name, password=PASSWORD, **more)


def sign_in(client: Client, name: str = "ada", password: str = PASSWORD, **more: Any) -> Any:
    extra = {key: more.pop(key) for key in ("REMOTE_ADDR", "HTTP_X_FORWARDED_FOR") if key in more}
    return client.post("/signin/", {"username": name, "password": password, **more}, **extra)


def is_signed_in(client: Client) -> bool:
    return bool(client.get("/account/").status_code == 200)


def fail(times: int, name: str = "ada", address: str = "198.51.100.1", client: Client | None = None) -> list[int]:
    asking = client or Client()
    return [sign_in(asking, name, "wrong", REMOTE_ADDR=address).status_code for _ in range(times)]


def test_signing_in_leads_to_ones_own_page_and_signing_out_home(client: Client) -> None:
    account("ada")
    assert sign_in(client)["Location"] == "/account/"
    text = client.get("/account/").content.decode()
    assert "Your account" in text
    assert "Sign out" in text
    assert client.get("/signout/").status_code == 405
    assert is_signed_in(client)
    assert client.post("/signout/")["Location"] == "/"
    assert client.get("/account/")["Location"] == "/signin/?next=/account/"


def test_the_page_says_who_gives_accounts_and_offers_no_registration(client: Client) -> None:
    text = client.get("/signin/").content.decode()
    assert "Accounts are given by this portal" in text
    assert "nobody can register here" in text


def test_it_leads_back_to_where_somebody_was(client: Client) -> None:
    account("ada")
    assert 'href="/signin/?next=/queue/%3Fa%3Db"' in client.get("/queue/?a=b").content.decode()
    assert 'value="/queue/?a=b"' in client.get("/signin/?next=/queue/%3Fa%3Db").content.decode()
    assert sign_in(client, next="/queue/?a=b")["Location"] == "/queue/?a=b"


@pytest.mark.parametrize("address", HOSTILE)
def test_it_leads_to_no_other_site(client: Client, address: str) -> None:
    account("ada")
    assert "evil" not in client.get("/signin/", {"next": address}).content.decode()
    assert sign_in(client, next=address)["Location"] == "/account/"
    assert client.post("/signout/", {"next": address})["Location"] == "/"


def test_the_session_gets_another_key_when_somebody_signs_in(client: Client) -> None:
    account("ada")
    session = client.session
    session["planted"] = "by a stranger"
    session.save()
    planted = session.session_key
    sign_in(client)
    assert client.session.session_key != planted
    stranger = Client()
    stranger.cookies["sessionid"] = planted
    assert not is_signed_in(stranger)


def test_the_same_is_said_of_unknown_names_wrong_passwords_and_disabled_accounts(client: Client) -> None:
    account("ada")
    account("gone", is_active=False)
    said = []
    for name, password in (("ada", "wrong"), ("nobody", "wrong"), ("gone", PASSWORD), ("gone", "wrong")):
        answer = sign_in(client, name, password)
        assert answer.status_code == 200
        assert WRONG in answer.content.decode()
        said.append([str(error) for error in answer.context["form"].non_field_errors()])
    assert said == [said[0]] * 4
    assert not is_signed_in(client)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\u202eada", "x" * 10_000, "a\x00b", "", " "])
def test_a_hostile_name_is_refused_and_shown_as_text(client: Client, name: str) -> None:
    answer = sign_in(client, name)
    assert answer.status_code == 200
    assert "<script>alert" not in answer.content.decode()


def test_the_form_is_not_taken_without_its_proof() -> None:
    account("ada")
    strict = Client(enforce_csrf_checks=True)
    refused = sign_in(strict)
    assert refused.status_code == 403
    assert "The form was not accepted" in refused.content.decode()
    assert SignInAttempt.objects.count() == 0
    token = strict.get("/signin/").cookies["csrftoken"].value
    assert sign_in(strict, csrfmiddlewaretoken=token).status_code == 302
    for address in ("/signout/", "/password/", "/account/tokens"):
        assert strict.post(address).status_code == 403
    assert is_signed_in(strict)


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_tries_at_one_account_from_one_address_are_bounded_whether_or_not_it_is_there(name: str) -> None:
    account("ada")
    assert fail(OF_ONE_PLACE.limit, name) == [200] * OF_ONE_PLACE.limit
    refused = sign_in(Client(), name, PASSWORD, REMOTE_ADDR="198.51.100.1")
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= WINDOW.total_seconds()
    text = refused.content.decode()
    assert "Too many sign-ins failed. The next try is possible in 15 minutes." in text
    assert WRONG not in text


def test_who_is_refused_may_try_again_when_the_window_has_passed_and_not_before() -> None:
    account("ada")
    fail(OF_ONE_PLACE.limit)
    # What is refused is not counted: asking again and again does not put it off.
    assert fail(3) == [429] * 3
    assert SignInAttempt.objects.count() == OF_ONE_PLACE.limit
    SignInAttempt.objects.update(at=timezone.now() - WINDOW + timedelta(seconds=5))
    assert fail(1) == [429]
    SignInAttempt.objects.update(at=timezone.now() - WINDOW)
    assert sign_in(Client(), REMOTE_ADDR="198.51.100.1").status_code == 302
    assert SignInAttempt.objects.count() == 0


def test_a_stranger_keeps_nobody_out_who_comes_from_elsewhere() -> None:
    account("ada")
    fail(OF_ONE_PLACE.limit + 5, address="198.51.100.1")
    assert sign_in(Client(), REMOTE_ADDR="203.0.113.9").status_code == 302


def test_guessing_at_many_accounts_from_one_address_is_bounded() -> None:
    account("ada")
    statuses = [fail(1, f"name-{number}")[0] for number in range(FROM_ONE_ADDRESS.limit + 1)]
    assert statuses == [200] * FROM_ONE_ADDRESS.limit + [429]
    assert sign_in(Client(), REMOTE_ADDR="198.51.100.1").status_code == 429
    assert sign_in(Client(), REMOTE_ADDR="198.51.100.2").status_code == 302


def test_guessing_at_one_account_from_everywhere_is_bounded_and_a_known_browser_goes_on() -> None:
    account("ada")
    known = Client()
    assert sign_in(known).status_code == 302
    known.post("/signout/")
    for number in range(TO_ONE_ACCOUNT.limit):
        signing_in.begin("ada", Visitor(f"10.0.{number // 250}.{number % 250}"))
    assert sign_in(Client(), REMOTE_ADDR="203.0.113.9").status_code == 429
    assert sign_in(known, REMOTE_ADDR="203.0.113.9").status_code == 302
    # Also from the address that a stranger used up: an office, or a proxy that nobody configured.
    known.post("/signout/")
    SignInAttempt.objects.all().delete()
    fail(OF_ONE_PLACE.limit, address="192.0.2.1")
    assert sign_in(Client(), REMOTE_ADDR="192.0.2.1").status_code == 429
    assert sign_in(known, REMOTE_ADDR="192.0.2.1").status_code == 302


def test_a_known_browser_is_bounded_by_itself_and_for_its_own_account_only() -> None:
    account("ada")
    account("ben")
    known = Client()
    sign_in(known)
    known.post("/signout/")
    assert fail(OF_ONE_PLACE.limit + 1, client=known)[-2:] == [200, 429]
    assert sign_in(Client()).status_code == 302
    fail(OF_ONE_PLACE.limit, "ben", address="198.51.100.1")
    assert sign_in(known, "ben", REMOTE_ADDR="198.51.100.1").status_code == 429


@pytest.mark.parametrize("proof", ["", "x", "a:b:c", "WyJhIiwiYiJd:1w:forged", "\u202e" * 100])
def test_a_forged_proof_of_a_known_browser_is_worth_nothing(proof: str) -> None:
    visitor = Visitor("198.51.100.1", proof)
    for _ in range(OF_ONE_PLACE.limit):
        signing_in.begin("ada", visitor)
    with pytest.raises(signing_in.TooManySignIns):
        signing_in.begin("ada", visitor)


def test_nothing_that_is_kept_of_a_try_can_be_read_back() -> None:
    fail(1, "my-password-by-mistake", "198.51.100.1")
    kept = SignInAttempt.objects.values().get()
    assert "my-password" not in str(kept)
    assert "198.51" not in str(kept)


def test_behind_a_proxy_tries_are_counted_by_the_address_that_it_saw(settings: LazySettings) -> None:
    account("ada")
    settings.ENVIRONMENT = Environment(trusted_proxies=1)
    for _ in range(OF_ONE_PLACE.limit):
        sign_in(Client(), password="wrong", HTTP_X_FORWARDED_FOR="192.0.2.66, 198.51.100.1")
    refused = sign_in(Client(), HTTP_X_FORWARDED_FOR="192.0.2.99, 198.51.100.1")
    assert refused.status_code == 429
    assert sign_in(Client(), HTTP_X_FORWARDED_FOR="198.51.100.1, 203.0.113.9").status_code == 302


@pytest.mark.django_db(transaction=True)
def test_tries_at_the_same_moment_are_no_more_than_the_bound() -> None:
    account("ada")

    def guess() -> HttpResponse:
        answer: HttpResponse = sign_in(Client(), password="wrong", REMOTE_ADDR="198.51.100.1")
        return answer

    fail(OF_ONE_PLACE.limit - 2)
    statuses = [answer.status_code for answer in at_once(*[guess] * 6)]
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) <= 2


def test_the_administration_has_no_sign_in_of_its_own(client: Client) -> None:
    User.objects.create_superuser("root", password=PASSWORD)
    sent = client.get("/admin/builds/release/?q=a")
    there = client.get(sent["Location"])
    assert there["Location"] == "/signin/?next=%2Fadmin%2Fbuilds%2Frelease%2F%3Fq%3Da"
    assert client.post("/admin/login/", {"username": "root", "password": PASSWORD}).status_code == 405
    assert sign_in(client, "root", next="/admin/builds/release/?q=a")["Location"] == "/admin/builds/release/?q=a"
    assert client.get("/admin/password_change/")["Location"] == "/password/"


def test_who_signed_in_without_the_right_to_a_page_is_told_so_and_not_sent_in_circles(client: Client) -> None:
    account("ada")
    sign_in(client)
    answer = client.get("/admin/", follow=True)
    assert len(answer.redirect_chain) == 2
    assert "You are signed in as" in answer.content.decode()


def test_a_changed_password_ends_other_sessions_and_keeps_this_one(client: Client) -> None:
    account("ada")
    other = Client()
    sign_in(client)
    sign_in(other)
    better = "another horse, another battery"
    told = {"old_password": PASSWORD, "new_password1": better, "new_password2": better}
    assert client.post("/password/", told)["Location"] == "/account/"
    assert "Your password was changed" in client.get("/account/").content.decode()
    assert not is_signed_in(other)
    assert sign_in(Client(), password=better).status_code == 302


@pytest.mark.parametrize(
    ("password", "said"),
    [("ada-lovelace-1", "too similar"), ("short-one", "at least 12"), ("123456789012", "entirely numeric")],
)
def test_a_weak_password_is_refused_in_words(client: Client, password: str, said: str) -> None:
    client.force_login(account("ada-lovelace"))
    told = {"old_password": PASSWORD, "new_password1": password, "new_password2": password}
    assert said in client.post("/password/", told).content.decode()


def test_old_passwords_cannot_be_tried_without_end_in_a_session_left_open(client: Client) -> None:
    client.force_login(account("ada"))
    told = {"old_password": "wrong", "new_password1": "y" * 20, "new_password2": "y" * 20}
    for _ in range(OF_ONE_PLACE.limit):
        assert "Too many" not in client.post("/password/", told).content.decode()
    refused = client.post("/password/", told | {"old_password": PASSWORD}).content.decode()
    assert "Too many sign-ins failed" in refused
    assert sign_in(Client()).status_code == 302


def test_pages_set_no_cookie_and_ask_no_account_of_who_only_reads(
    client: Client, make_release: Callable[..., Release], django_assert_num_queries: Any
) -> None:
    release = make_release()
    for address in ("/", "/releases/", release.get_absolute_url(), "/queue/", "/rebuilders/"):
        answer = client.get(address)
        assert answer.status_code == 200
        assert not answer.cookies, address
        assert "Cookie" in answer["Vary"]
        assert "csrfmiddlewaretoken" not in answer.content.decode()
    with django_assert_num_queries(0):
        assert client.get("/no-such-page").status_code == 404
    assert not client.cookies


def test_no_shared_cache_may_keep_a_page_of_somebody(client: Client, make_release: Callable[..., Release]) -> None:
    release = make_release()
    assert "private" not in client.get(release.get_absolute_url()).headers.get("Cache-Control", "")
    account("ada")
    sign_in(client)
    for address in ("/", release.get_absolute_url(), "/queue/"):
        answer = client.get(address)
        assert "private" in answer["Cache-Control"]
        assert "Cookie" in answer["Vary"]


def test_an_account_that_is_not_active_any_more_has_no_session(client: Client) -> None:
    ada = account("ada")
    sign_in(client)
    assert is_signed_in(client)
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert not is_signed_in(client)
    assert "Sign out" not in client.get("/").content.decode()


def test_cookies_go_over_https_only_where_the_portal_is_served_by_it() -> None:
    assert not Environment().are_cookies_secure
    assert not Environment(public_url="http://portal.example.org").are_cookies_secure
    assert Environment(public_url="https://portal.example.org").are_cookies_secure
    assert not Environment(public_url="https://portal.example.org", secure_cookies=False).are_cookies_secure
    assert Environment(secure_cookies=True).are_cookies_secure


def test_a_session_ends_and_its_cookie_is_out_of_scripts_reach(client: Client) -> None:
    account("ada")
    answer = sign_in(client)
    for name in ("sessionid", "csrftoken", "known"):
        cookie = answer.cookies[name]
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax"), name
    assert answer.cookies["sessionid"]["max-age"] == 7 * 24 * 60 * 60
    assert answer.cookies["known"]["path"] == "/signin/"


def test_behind_a_proxy_that_speaks_https_the_form_is_taken(settings: LazySettings) -> None:
    account("ada")
    settings.CSRF_TRUSTED_ORIGINS = ["https://testserver"]
    strict = Client(enforce_csrf_checks=True)
    token = strict.get("/signin/").cookies["csrftoken"].value
    told = {"username": "ada", "password": PASSWORD, "csrfmiddlewaretoken": token}
    assert strict.post("/signin/", told, headers={"Origin": "https://evil.example"}).status_code == 403
    assert strict.post("/signin/", told, headers={"Origin": "https://testserver"}).status_code == 302
