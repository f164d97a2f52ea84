"""What holds for every operation of the API, the ones to come included: each test walks all that there are."""

from __future__ import annotations

import gzip
import re
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from ninja.operation import Operation

from attestations.models import VerdictRecord
from attestations.services.verdicts import record_verdict
from builds.domain.access import Scope
from builds.domain.errors import PortalError
from builds.models import Rebuild, Release
from tee_portal.api import api
from tee_portal.problem_kinds import STATUSES, known_problems
from tests.support.accounts import token_of

pytestmark = pytest.mark.django_db

FILLED = {
    "value": "0" * 96,
    "project": "enclave",
    "tag": "v1.0.0",
    "sha256": "0" * 64,
    "slug": "ada",
    "digest": f"sha256:{'0' * 64}",
}
FILLED |= dict.fromkeys(("rebuild_id", "webhook_id", "publication_id"), str(uuid.UUID(int=0)))


def operations() -> list[tuple[str, str, Operation]]:
    """Method, address and operation of everything that the API has."""
    return [
        (method, f"/api/v1{_filled(path)}", operation)
        for bound in api._get_bound_routers()
        for path, view in bound.path_operations.items()
        for operation in view.operations
        for method in operation.methods
    ]


def _filled(path: str) -> str:
    """A path with a value for each of its places; ``KeyError`` for a place that has none in this file."""
    return re.sub(r"\{(?:\w+:)?(\w+)\}", lambda place: FILLED[place[1]], path)


OPERATIONS = operations()
NAMES = [f"{method} {path}" for method, path, _ in OPERATIONS]
READS = [path for method, path, _ in OPERATIONS if method == "GET"]
_WITHOUT_BODY = ("/cancel", "/retry", "/give-back")
WRITES = [(method, path) for method, path, _ in OPERATIONS if method != "GET"]


def test_the_walk_sees_every_address() -> None:
    assert len(OPERATIONS) > 15
    assert not [name for name in NAMES if "{" in name]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_a_parameter_that_an_operation_does_not_have_is_refused_by_name(
    client: Client, method: str, path: str, operation: Operation
) -> None:
    answer = client.generic(method, f"{path}?polcy=k:9")
    assert answer.status_code == 422
    assert answer["Content-Type"] == "application/problem+json"
    told = answer.json()
    assert told["code"] == "unknown-parameter"
    assert told["detail"].startswith("there is no parameter polcy here; it takes ")


@pytest.mark.parametrize(
    ("query", "code", "detail"),
    [
        ("limit=1&limit=2", "repeated-parameter", "limit is given more than once"),
        ("Limit=1", "unknown-parameter", "there is no parameter Limit here; it takes before, limit"),
        ("a%E2%80%AEb=1", "unknown-parameter", "there is no parameter a"),
    ],
)
def test_a_question_with_two_readings_is_refused(client: Client, query: str, code: str, detail: str) -> None:
    answer = client.get(f"/api/v1/releases?{query}")
    assert answer.status_code == 422
    assert answer.json()["code"] == code
    assert answer.json()["detail"].startswith(detail)
    assert "\u202e" not in answer.text


def test_parameters_of_a_filter_are_known(client: Client) -> None:
    assert client.get("/api/v1/attestations?commit=abc&log_index=1&limit=2").json() == []


def test_a_refusal_is_a_problem_document_that_leads_to_a_page_about_it(client: Client) -> None:
    answer = client.get("/api/v1/releases/enclave/v9")
    told = answer.json()
    assert answer["Content-Type"] == "application/problem+json"
    assert (told["status"], told["title"]) == (404, "Not found")
    assert (told["instance"], told["detail"]) == ("/api/v1/releases/enclave/v9", told["what"])
    assert told["type"] == "http://testserver/problems/not-found/"
    page = client.get(told["type"].removeprefix("http://testserver"))
    assert page.status_code == 200
    assert "404" in page.text
    assert "leads nowhere" in page.text


def test_every_code_that_the_api_may_give_has_a_page_with_its_status_and_meaning(client: Client) -> None:
    listed = client.get("/problems/").text
    for kind in _all_below(PortalError):
        if "code" not in vars(kind):
            continue
        known = known_problems()[kind.code]
        assert known.means, kind
        assert f"/problems/{kind.code}/" in listed
    for stated, status in STATUSES.items():
        assert known_problems()[stated.code].status == status
        assert client.get(f"/problems/{stated.code}/").status_code == 200


def _all_below(kind: type[PortalError]) -> list[type[PortalError]]:
    """Of the portal's own; tests make some too."""
    below = [found for narrower in kind.__subclasses__() for found in _all_below(narrower)]
    return [found for found in [kind, *below] if not found.__module__.startswith("tests.")]


def test_a_code_that_nobody_gives_has_no_page(client: Client) -> None:
    assert client.get("/problems/no-such-code/").status_code == 404


@pytest.mark.parametrize("path", READS)
def test_a_method_that_an_address_does_not_take_is_a_problem(client: Client, path: str) -> None:
    answer = client.put(path)
    assert answer.status_code == 405
    assert answer.json()["code"] == "method-not-allowed"
    assert {"GET", "HEAD"} <= set(answer["Allow"].split(", "))


@pytest.mark.parametrize("path", sorted({path for _, path, _ in OPERATIONS}))
def test_an_address_says_which_methods_it_takes_and_takes_them(client: Client, path: str) -> None:
    told = client.options(path)
    taken = {method for method, other, _ in OPERATIONS if other == path}
    assert told.status_code == 204
    assert set(told["Allow"].split(", ")) == taken | {"OPTIONS"} | ({"HEAD"} if "GET" in taken else set())
    assert ("Access-Control-Allow-Origin" in told) == ("GET" in taken)
    answers = [client.generic(method, path) for method in taken]
    assert {answer.status_code for answer in answers}.isdisjoint({405})


def test_an_address_that_leads_nowhere_takes_no_method(client: Client) -> None:
    answer = client.options("/api/v1/no-such-thing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    "moment", ["0", "1795571047", "2026-11-23", "2026-11-23T12:00:00", "2026-11-23T12:00Z trailing"]
)
@pytest.mark.parametrize(
    "address",
    ["/attestations?integrated_at=", "/verdicts/enclave/v1.0.0?at=", "/releases/enclave/v1.0.0/verdict?at="],
)
def test_a_moment_is_a_date_and_time_with_its_offset_everywhere(
    client: Client, make_release: Callable[..., Release], address: str, moment: str
) -> None:
    make_release()
    answer = client.get(f"/api/v1{address}{moment}")
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed-question")


def test_a_problem_of_a_foreign_host_name_does_not_repeat_it(client: Client) -> None:
    answer = client.get("/api/v1/releases", HTTP_HOST="evil.example")
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/bad-request/"
    assert "evil" not in answer.text


@pytest.mark.parametrize("path", READS)
def test_every_answer_to_get_says_how_long_it_is_good_and_whom_it_is_open_to(
    client: Client, make_release: Callable[..., Release], path: str
) -> None:
    make_release()
    answer, head = client.get(path), client.head(path)
    assert head.status_code == answer.status_code
    assert head["Cache-Control"] == answer["Cache-Control"]
    assert head.get("ETag") == answer.get("ETag")
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer
    assert {"ETag", "Link", "RateLimit", "Retry-After"} <= set(answer["Access-Control-Expose-Headers"].split(", "))
    assert "Accept-Encoding" in answer["Vary"]
    if answer.status_code != 200:
        assert answer["Cache-Control"] == "no-store"
        assert "ETag" not in answer
        return
    again = client.get(path, HTTP_IF_NONE_MATCH=answer["ETag"])
    assert again.status_code == 304
    assert again.content == b""
    assert again["ETag"] == answer["ETag"]
    assert again["Access-Control-Allow-Origin"] == "*"


def test_a_compressed_answer_is_known_again_by_its_weak_tag(
    client: Client, make_release: Callable[..., Release]
) -> None:
    make_release()
    path = "/api/v1/releases/enclave/v1.0.0"
    plain, packed = client.get(path), client.get(path, HTTP_ACCEPT_ENCODING="gzip")
    assert packed["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content
    assert packed["ETag"] == f"W/{plain['ETag']}"
    known = client.get(path, HTTP_ACCEPT_ENCODING="gzip", HTTP_IF_NONE_MATCH=packed["ETag"])
    assert known.status_code == 304
    assert client.get(path, HTTP_IF_NONE_MATCH='"another"').status_code == 200


def test_another_answer_has_another_tag(client: Client, make_release: Callable[..., Release]) -> None:
    before = client.get("/api/v1/releases")["ETag"]
    make_release()
    assert client.get("/api/v1/releases", HTTP_IF_NONE_MATCH=before).status_code == 200


def test_a_log_is_known_again_without_being_read(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    rebuild = make_rebuild(make_release())
    path = f"/api/v1/rebuilds/{rebuild.pk}/log"
    first = client.get(path)
    assert first.status_code == 200
    first.getvalue()
    again = client.get(path, HTTP_IF_NONE_MATCH=first["ETag"])
    assert (again.status_code, again.content) == (304, b"")


def test_other_origins_may_read_and_nothing_else(client: Client) -> None:
    asked = {"HTTP_ORIGIN": "https://other.example"}
    read = client.options("/api/v1/releases", HTTP_ACCESS_CONTROL_REQUEST_METHOD="GET", **asked)
    assert (read.status_code, read["Access-Control-Allow-Origin"]) == (204, "*")
    assert read["Access-Control-Allow-Methods"] == "GET, HEAD"
    write = client.options("/api/v1/rebuilds", HTTP_ACCESS_CONTROL_REQUEST_METHOD="POST", **asked)
    posted = client.post("/api/v1/rebuilds", {}, content_type="application/json", **asked)
    assert posted.status_code == 401
    for answer in (write, posted, client.get("/releases/", **asked)):
        assert "Access-Control-Allow-Origin" not in answer
    assert "authorization" not in read["Access-Control-Allow-Headers"].lower()


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_no_answer_to_a_write_is_kept(client: Client, method: str, path: str) -> None:
    assert client.generic(method, path, b"{}", content_type="application/json")["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_body_that_is_too_large_is_refused_before_it_is_read(client: Client, method: str, path: str) -> None:
    most = str(64 * 1024 * 1024)
    answer = client.generic(method, path, b"{}", content_type="application/json", CONTENT_LENGTH=most)
    assert answer.status_code == 413
    assert answer.json()["code"] == "limit-exceeded"


@pytest.mark.parametrize(
    "path", [path for method, path in WRITES if method == "POST" and not path.endswith(_WITHOUT_BODY)]
)
def test_a_body_that_is_nested_too_deep_is_refused_by_name(client: Client, path: str) -> None:
    """Those that are left out read no body."""
    bearer = {"Authorization": f"Bearer {token_of('ada', list(Scope)).secret}"}
    answer = client.post(path, b'{"a":' * 40 + b"1" + b"}" * 40, content_type="application/json", headers=bearer)
    assert answer.status_code == 422
    assert answer.json()["code"] == "nested-too-deep"


@pytest.mark.parametrize("path", ["/api/v1/rebuilds", "/api/v1/webhooks", "/api/v1/releases"])
def test_who_shows_no_token_has_no_body_read(client: Client, path: str) -> None:
    """A body that never ends would keep a thread of the portal."""
    answer = client.post(path, b"no JSON", content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (401, "token-missing")
    request = answer.wsgi_request
    assert not hasattr(request, "_body")
    assert request.read() == b"no JSON"


def test_a_broken_operation_is_a_problem_without_details(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builds.services.pages.release_page", _break)
    client.raise_request_exception = False
    answer = client.get("/api/v1/releases")
    assert (answer.status_code, answer["Content-Type"]) == (500, "application/problem+json")
    assert answer.json()["type"].endswith("/problems/internal-fault/")
    assert "boom" not in answer.text


def _break(**_: object) -> None:
    raise RuntimeError("boom")


QUESTION = b'{"project": "enclave", "tag": "v1.0.0"}'


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"project": "enclave", "tag": "v9", "tag": "v1.0.0"}', {}, 400, "bad-request"),
        (b"{", {}, 400, "bad-request"),
        (QUESTION, {"content_type": "text/plain"}, 415, "unsupported-body"),
        (QUESTION, {"content_type": "application/json; charset=utf-16"}, 415, "unsupported-body"),
        (QUESTION, {"headers": {"Content-Encoding": "gzip"}}, 415, "unsupported-body"),
        (QUESTION, {"headers": {"Transfer-Encoding": "chunked"}}, 411, "length-required"),
        (b"", {}, 422, "malformed-question"),
        (QUESTION, {"content_type": "application/json; charset=UTF-8"}, 200, None),
    ],
)
def test_a_body_has_one_reading_or_none(
    client: Client, release: Release, body: bytes, headers: dict[str, Any], status: int, code: str | None
) -> None:
    answer = client.generic(
        "POST", "/api/v1/measurements/recompute", body, **({"content_type": "application/json"} | headers)
    )
    assert (answer.status_code, answer.json().get("code")) == (status, code)
    assert (answer.json()["decision"], '"reads"' in answer["RateLimit"]) == ("deny", True)


def test_a_body_that_is_not_there_is_what_is_missing(client: Client) -> None:
    answer = client.generic("POST", "/api/v1/measurements/recompute", b"", content_type="application/json")
    assert answer.json()["what"] == "the body is missing"


def test_the_first_address_that_somebody_tries_says_where_to_go_on(client: Client) -> None:
    told = client.get("/api/v1/").json()
    assert told["description"] == "http://testserver/api/v1/openapi.json"
    for name in ("description", "releases", "changes", "problems"):
        assert client.get(told[name].removeprefix("http://testserver")).status_code == 200


@pytest.mark.parametrize("path", READS)
def test_what_an_address_does_not_take_is_kept_by_nobody(client: Client, path: str) -> None:
    refused = client.generic("PATCH", path)
    assert (refused.status_code, refused["Cache-Control"]) == (405, "no-store")
    assert "OPTIONS" in refused["Allow"]


@pytest.mark.parametrize(
    ("accepts", "is_compressed"),
    [
        ("gzip", True),
        ("br, gzip;q=0.1", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, identity", False),
        ("identity;q=1, gzip;q=0", False),
        ("gzip;q=x", False),
        ("gzipped", False),
        ("", False),
    ],
)
def test_only_who_asks_for_compression_gets_it(client: Client, accepts: str, *, is_compressed: bool) -> None:
    answer = client.get("/api/v1/openapi.json", headers={"Accept-Encoding": accepts})
    assert (answer.headers.get("Content-Encoding") == "gzip") == is_compressed
    assert "Accept-Encoding" in answer["Vary"]


def test_an_answers_own_moment_can_be_asked_for_again(client: Client, release: Release) -> None:
    """To cut off its microseconds would ask for the moment before it."""
    record = record_verdict(release.pk) or VerdictRecord.objects.get(release=release)
    told = client.get(f"/api/v1/verdicts/{release.project.name}/{release.tag}").json()["history"][0]
    assert datetime.fromisoformat(told["at"]) == record.at
    then = client.get(f"/api/v1/releases/{release.project.name}/{release.tag}/verdict", {"at": told["at"]})
    assert (then.status_code, then.json()["derived"]) == (200, "recorded")
    imported = client.get(f"/api/v1/releases/{release.project.name}/{release.tag}").json()["imported_at"]
    assert datetime.fromisoformat(imported) == release.imported_at
