"""What readers and scripts are told when a question leads nowhere, may not be asked, or breaks the portal."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.template.loader import render_to_string
from django.test import Client

from attestations.services import release_list
from builds.domain.errors import PortalError
from builds.models import Project, Release
from builds.services import pages
from tee_portal.error_pages import forbidden
from tee_portal.refusals import refusal_of

pytestmark = pytest.mark.django_db

NOWHERE = uuid.UUID(int=0)
NAUGHT = "0" * 64


@pytest.mark.parametrize(
    ("address", "word", "named"),
    [
        ("/releases/enclave/v9.9.9/", "release", "enclave v9.9.9"),
        (f"/rebuilds/{NOWHERE}/", "rebuild", str(NOWHERE)),
        (f"/rebuilds/{NOWHERE}/log", "rebuild", str(NOWHERE)),
        ("/rebuilders/nobody/", "operator", "nobody"),
        (f"/statements/{NAUGHT}/", "signed statement", f"sha256:{NAUGHT}"),
        (f"/rebuilder-keys/{NAUGHT}.pub", "key", f"sha256:{NAUGHT}"),
        (f"/attestations/{NAUGHT}/bundle.json", "bundle", f"sha256:{NAUGHT}"),
        (f"/trust-roots/{NAUGHT}.json", "trust root", f"sha256:{NAUGHT}"),
        (f"/verdicts/{NAUGHT}.dsse.json", "signed verdict", f"sha256:{NAUGHT}"),
        (f"/policies/{NAUGHT}.json", "policy", f"sha256:{NAUGHT}"),
        (f"/portal-keys/{NAUGHT}.pub", "portal key", f"sha256:{NAUGHT}"),
        ("/releases/?before=x", "page of a list", "x"),
    ],
)
def test_a_page_that_is_not_there_names_what_was_looked_for_and_where_to_look(
    client: Client, address: str, word: str, named: str
) -> None:
    answer = client.get(address)
    assert answer.status_code == 404
    assert f"There is no such {word}" in answer.text or f"{word} here" in answer.text
    assert f'<bdi class="foreign">{named}</bdi>' in answer.text
    assert 'action="/search/"' in answer.text
    assert "All releases" in answer.text
    assert "matches the given query" not in answer.text


@pytest.mark.parametrize(
    "address", [f"/documents/{NAUGHT}", f"/verdicts/{NAUGHT}.dsse.json", "/mirror/checkpoint.json"]
)
def test_a_program_is_told_what_is_not_there_in_its_own_form(client: Client, address: str) -> None:
    for accept in ("*/*", "application/json"):
        answer = client.get(address, headers={"Accept": accept})
        assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
        assert (answer.json()["code"], answer["Cache-Control"]) == ("not-found", "no-store")
        assert "Accept" in answer["Vary"]
    page = client.get(address, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page["Cache-Control"]) == (404, "no-store")
    assert page["Content-Type"].startswith("text/html")


def test_an_address_without_a_page_says_so_and_hides_nothing_of_it(client: Client) -> None:
    answer = client.get("/no/such/<script>alert(1)</script>\u202egnp.exe/")
    assert answer.status_code == 404
    assert "There is no such page" in answer.text
    assert "<script>alert" not in answer.text
    assert "\u202e" not in answer.text


def test_a_very_long_name_is_shown_in_a_box_of_its_own(client: Client) -> None:
    answer = client.get(f"/releases/enclave/v{'9' * 3000}/")
    assert answer.status_code == 404
    assert 'class="foreign long"' in answer.text


@pytest.mark.parametrize(
    ("address", "what", "todo"),
    [
        ("releases/enclave/v9", "there is no release enclave v9 here", "/api/v1/releases "),
        ("verdicts/enclave/v9", "there is no release enclave v9 here", "/api/v1/releases "),
        ("jobs/enclave/v9", "there is no release enclave v9 here", "/api/v1/releases "),
        (f"rebuilds/{NOWHERE}", f"there is no rebuild {NOWHERE} here", "/api/v1/queue"),
        ("rebuilders/nobody", "there is no operator nobody here", "/api/v1/rebuilders "),
        (f"statements/{NAUGHT}", f"there is no signed statement sha256:{NAUGHT} here", "/api/v1/rebuilders/SLUG"),
        (f"attestations/{NAUGHT}", f"there is no bundle sha256:{NAUGHT} here", "/api/v1/attestations"),
        ("nothing-here", "there is no such address", "/api/v1/openapi.json"),
    ],
)
def test_the_api_says_what_is_not_there_and_where_such_things_are_listed(
    client: Client, address: str, what: str, todo: str
) -> None:
    answer = client.get(f"/api/v1/{address}")
    assert answer.status_code == 404
    told = answer.json()
    assert (told["code"], told["what"], told["where"]) == ("not-found", what, f"/api/v1/{address}")
    assert todo in told["todo"]


@pytest.mark.parametrize(
    ("query", "what", "todo"),
    [
        ("verdicts/enclave/v1.0.0?at=nonsense", "at is not a moment", "2026-11-23T12:00:00Z"),
        ("verdicts/enclave/v1.0.0?at=2026-11-23T12:00:00", "at is a moment without its time zone", "with its zone"),
        ("releases?limit=1000", "limit is more than 100", "openapi.json"),
        ("releases?limit=many", "limit is not a whole number", "openapi.json"),
        ("releases?before=0", "before is less than 1", "openapi.json"),
        ("releases?limit=0&before=x", "before is not a whole number; limit is less than 1", "openapi.json"),
        ("rebuilders/ada?before=9999999999999999999", "before is not less than 9223372036854775808", "openapi.json"),
    ],
)
def test_a_question_that_cannot_be_read_is_a_named_error_in_the_portals_words(
    client: Client, make_release: Callable[..., Release], query: str, what: str, todo: str
) -> None:
    make_release()
    answer = client.get(f"/api/v1/{query}")
    assert answer.status_code == 422
    told = answer.json()
    assert set(told) == {"type", "title", "status", "detail", "instance", "code", "what", "where", "todo"}
    assert (told["code"], told["what"], told["where"]) == ("malformed-question", what, "the query")
    assert todo in told["todo"]
    assert "pydantic" not in answer.text


def test_of_many_problems_a_few_are_named_and_the_rest_is_counted() -> None:
    refusal = refusal_of([{"type": "missing", "loc": ("body", "wanted", f"n{number}")} for number in range(9)])
    assert refusal.what == "n0 is missing; n1 is missing; n2 is missing; n3 is missing; n4 is missing; and 4 more"
    assert refusal.where == "the body"
    assert refusal.todo.startswith("Give it.")


@pytest.mark.parametrize(
    "problem",
    [{}, {"type": "no-such-type", "loc": ()}, {"type": "value_error", "loc": ("query", "a\u202eb", 3), "msg": "boom"}],
)
def test_an_unknown_problem_is_told_without_the_librarys_words(problem: dict[str, Any]) -> None:
    told = str(refusal_of([problem]))
    assert "cannot be read" in told
    assert "boom" not in told
    assert "\u202e" not in told


@pytest.mark.parametrize(
    ("address", "kind"),
    [("/?before=%00", "text/html"), ("/api/v1/releases?before=%00", "application/problem+json")],
)
def test_an_address_that_nothing_can_have_is_refused_in_the_form_that_was_asked_for(
    client: Client, address: str, kind: str
) -> None:
    answer = client.get(address)
    assert answer.status_code == 400
    assert answer["Content-Type"].startswith(kind)
    assert "NUL" in answer.text


@pytest.mark.parametrize("address", ["/releases/", "/api/v1/releases"])
def test_a_fault_of_the_portal_says_nothing_about_releases_and_tells_no_secret(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise PortalErrorOfNobody("password=hunter2")

    monkeypatch.setattr(release_list, "release_list", broken)
    monkeypatch.setattr(pages, "release_page", broken)
    answer = Client(raise_request_exception=False).get(address)
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    if address.startswith("/api/"):
        assert answer.json()["code"] == "internal-fault"
    else:
        assert "no statement about any release" in answer.text


class PortalErrorOfNobody(RuntimeError):
    """Something that nobody foresaw."""


@pytest.mark.parametrize("name", ["400.html", "500.html", "503.html"])
def test_the_pages_of_last_resort_need_no_request_no_database_and_no_looked_up_address(
    name: str, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        html = render_to_string(name, {"error": PortalError("it is so", where="here", todo="Wait.")})
        bare = render_to_string(name)
    for text in (html, bare):
        assert '<html lang="en">' in text
        assert 'href="/static/css/portal.css"' in text
        assert 'href="/search/"' in text
        assert text.count("<h1>") == 1


def test_a_database_that_is_away_is_told_without_asking_it_again(
    client: Client, monkeypatch: pytest.MonkeyPatch, project: Project
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("no route to 10.0.0.7")

    monkeypatch.setattr(release_list, "release_list", away)
    monkeypatch.setattr(pages, "release_page", away)
    answer = client.get("/releases/")
    assert answer.status_code == 503
    assert "nothing can be said about any release" in answer.text
    assert "10.0.0.7" not in answer.text


def test_a_form_from_elsewhere_is_refused_in_words() -> None:
    answer = Client(enforce_csrf_checks=True).post(f"/rebuilds/{NOWHERE}/cancel")
    assert answer.status_code == 403
    assert "The form was not accepted" in answer.text
    assert "Nothing was changed" in answer.text


def test_who_may_not_do_something_is_told_what_to_do(client: Client, rf: Any) -> None:
    request = client.get("/releases/").wsgi_request
    page = forbidden(request, PermissionDenied())
    assert page.status_code == 403
    assert "You may not do this" in page.content.decode()
    assert forbidden(rf.get("/api/v1/x"), PermissionDenied()).content.count(b'"code": "forbidden"') == 1
