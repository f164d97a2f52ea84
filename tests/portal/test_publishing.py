"""POST /releases: who may announce a release, by which requests, and what is never kept of them."""

from __future__ import annotations

import base64
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from attestations import tasks
from attestations.domain.publication import MOST_FILES, MOST_LIVE
from attestations.models import AssetHost, ProjectPublisher, Publication
from builds.domain.access import Scope
from builds.models import AnsweredRequest, Project
from tests.portal.test_claim_attacks import at_once
from tests.support.accounts import account_named, token_of
from tests.support.publishing import KERNEL, TAG, announce, files, headers, manifest, publisher_token, send

pytestmark = pytest.mark.django_db
DOCUMENT = {"name": "manifest.json", "base64": base64.b64encode(manifest()).decode()}
URL = "https://assets.example.org/v1/vmlinuz"


@pytest.fixture(autouse=True)
def hinted(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    told: list[uuid.UUID] = []
    monkeypatch.setattr(tasks, "hint_publication", told.append)
    return told


@pytest.fixture(autouse=True)
def many_writes(settings: Any) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"writes_per_minute": 10**6})


@pytest.fixture
def secret(project: Project) -> str:
    AssetHost.objects.create(project=project, host="assets.example.org")
    return publisher_token(project)


def wish(**changes: Any) -> dict[str, Any]:
    told = {"project": "enclave", "tag": TAG, "files": [DOCUMENT], "assets": [{"name": "vmlinuz", "url": URL}]}
    return {name: value for name, value in {**told, **changes}.items() if value is not None}


def refused(answer: Any) -> tuple[int, str]:
    assert answer["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def left(settings: Any) -> list[Path]:
    return list(settings.WORK_DIR.iterdir()) if settings.WORK_DIR.is_dir() else []


def test_an_announcement_by_addresses_is_accepted_and_told_where_to_look(secret: str) -> None:
    made = announce(secret, wish(commit="c" * 40))
    assert made.status_code == 202
    told = made.json()
    assert made["Location"] == told["api"] == f"http://testserver/api/v1/publications/{told['id']}"
    assert (told["state"], told["form"], told["announced_by"], told["token"]) == (
        "queued", "addresses", "ada", "a token of ada",
    )  # fmt: skip
    assert told["files"] == [
        {"name": "manifest.json", "host": None, "digest": None, "size": len(manifest())},
        {"name": "vmlinuz", "host": "assets.example.org", "digest": None, "size": None},
    ]
    assert Client().get(f"/api/v1/publications/{told['id']}").json() == told
    assert "/v1/vmlinuz" not in made.text


def test_an_announcement_with_files_keeps_their_very_bytes(secret: str, settings: Any) -> None:
    made = send(secret, files())
    assert made.status_code == 202
    assert (made.json()["state"], made.json()["form"]) == ("queued", "files")
    sent = settings.WORK_DIR / f"publication-{made.json()['id']}" / "sent"
    assert {path.name: path.read_bytes() for path in sent.iterdir()} == files()


@pytest.mark.django_db(transaction=True)
def test_workers_hear_of_it_once_it_is_stored(project: Project, hinted: list[uuid.UUID]) -> None:
    made = send(publisher_token(project), files())
    assert [str(pk) for pk in hinted] == [made.json()["id"]]


@pytest.mark.parametrize("form", ["addresses", "files"])
@pytest.mark.parametrize(
    ("account", "scopes", "granted", "expected"),
    [
        ({}, [Scope.PUBLISH_RELEASE], True, (202, None)),
        ({}, [Scope.PUBLISH_RELEASE], False, (403, "not-a-publisher")),
        ({"is_staff": True}, [Scope.PUBLISH_RELEASE], False, (202, None)),
        ({}, [Scope.TRIGGER_REBUILD, Scope.MANAGE_WEBHOOKS], True, (403, "scope-missing")),
        ({"is_staff": True}, [Scope.TRIGGER_REBUILD], True, (403, "scope-missing")),
        ({"is_active": False}, [Scope.PUBLISH_RELEASE], True, (401, "account-disabled")),
    ],
)
def test_scope_and_grant_are_both_needed(
    project: Project,
    settings: Any,
    form: str,
    account: dict[str, bool],
    scopes: list[Scope],
    granted: bool,
    expected: tuple[int, str | None],
) -> None:
    AssetHost.objects.create(project=project, host="assets.example.org")
    if granted:
        ProjectPublisher.objects.create(project=project, account=account_named("ada", **account))
    shown = token_of("ada", scopes, **account).secret
    answer = announce(shown, wish()) if form == "addresses" else send(shown, files())
    assert (answer.status_code, answer.json().get("code")) == expected
    assert Publication.objects.exists() == (expected[0] == 202)
    assert bool(left(settings)) == (expected[0] == 202)


def test_a_grant_is_of_one_project(project: Project, secret: str) -> None:
    Project.objects.create(name="other", source_url="https://assets.example.org/o")
    assert refused(announce(secret, wish(project="other"))) == (403, "not-a-publisher")
    assert refused(send(secret, files(), project="other")) == (403, "not-a-publisher")
    assert refused(announce(secret, wish(project="nowhere"))) == (404, "not-found")


def test_without_a_token_nothing_of_the_files_is_read(project: Project, settings: Any) -> None:
    assert refused(send(None, files())) == (401, "token-missing")
    assert left(settings) == []


def test_nobody_publishes_by_a_session(client: Client, project: Project, admin_user: User) -> None:
    client.force_login(admin_user)
    answer = client.post("/api/v1/releases", json.dumps(wish()), content_type="application/json")
    assert refused(answer) == (401, "token-missing")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"assets": [{"name": "vmlinuz", "url": "https://evil.example/vmlinuz"}]}, (422, "asset-foreign-host")),
        ({"assets": [{"name": "vmlinuz", "url": "http://assets.example.org/a"}]}, (422, "asset-not-https")),
        ({"assets": [{"name": "vmlinuz", "url": "https://169.254.169.254/"}]}, (422, "asset-private-address")),
        ({"assets": [{"name": "f", "url": "https://a:b@assets.example.org"}]}, (422, "asset-address-with-credentials")),
        ({"assets": [{"name": "vmlinuz", "url": "file:///etc/passwd"}]}, (422, "asset-address-refused")),
        ({"assets": [{"name": "../vmlinuz", "url": URL}]}, (400, "unsafe-path")),
        ({"assets": [{"name": "Manifest.json", "url": URL}]}, (422, "asset-names-collide")),
        ({"assets": [{"name": f"f{one}", "url": URL} for one in range(MOST_FILES)]}, (422, "announcement-refused")),
        ({"assets": [{"name": f"f{one}", "url": URL} for one in range(MOST_FILES + 1)]}, (422, "malformed-question")),
        ({"assets": [{"name": "vmlinuz", "url": URL, "digest": "sha256:" + "A" * 64}]}, (422, "malformed-question")),
        ({"assets": [{"name": "vmlinuz", "url": URL, "header": "x"}]}, (422, "malformed-question")),
        ({"files": [{"name": "manifest.json", "base64": "%%%"}]}, (422, "malformed-question")),
        ({"files": [{"name": "manifest.json", "base64": "e3 0="}]}, (422, "malformed-question")),
        ({"files": [{"name": "manifest.json", "base64": "e30=e30="}]}, (422, "malformed-question")),
        ({"files": None}, (422, "document-not-announced")),
        ({"files": None, "assets": None}, (422, "document-not-announced")),
        ({"tag": None}, (422, "malformed-question")),
        ({"tag": "v1/../v2"}, (400, "malformed-tag")),
        ({"tag": "-x"}, (400, "malformed-tag")),
        ({"tag": "v1.7.0/verdict"}, (400, "reserved-tag")),
        ({"commit": "C" * 40}, (400, "malformed-commit")),
        ({"commit": "c" * 39}, (422, "malformed-question")),
        ({"project": "a b"}, (422, "malformed-question")),
        ({"manifest": {}}, (422, "malformed-question")),
    ],
)  # fmt: skip
def test_an_announcement_that_cannot_be_followed_is_refused_by_name_and_leaves_nothing(
    secret: str, settings: Any, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert refused(announce(secret, wish(**changes), "key")) == expected
    assert not Publication.objects.exists()
    assert not AnsweredRequest.objects.exists()
    assert left(settings) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "bad-request")),
        (b"{", (400, "bad-request")),
        (b"\xff", (400, "bad-request")),
        (b'{"project": "enclave", "project": "other"}', (400, "bad-request")),
        (b"[]", (422, "malformed-question")),
        (b"[" * 40 + b"]" * 40, (422, "nested-too-deep")),
        (b" " * (1024 * 1024 + 1), (413, "limit-exceeded")),
    ],
)
def test_a_body_that_is_no_announcement_is_refused(secret: str, body: bytes, expected: tuple[int, str]) -> None:
    answer = announce(secret, body)
    assert (answer.status_code, answer.json()["code"]) == expected or expected[1] == "bad-request"
    assert answer.status_code == expected[0]


def test_a_project_without_configured_hosts_takes_assets_from_its_source_alone(project: Project) -> None:
    secret = publisher_token(project)
    assert refused(announce(secret, wish())) == (422, "asset-foreign-host")
    Project.objects.update(source_url="https://assets.example.org/o/r.git")
    assert announce(secret, wish()).status_code == 202
    AssetHost.objects.create(project=project, host="other.example.org")
    assert refused(announce(secret, wish())) == (422, "asset-foreign-host")


@pytest.mark.parametrize(
    ("sent", "fields", "expected"),
    [
        ({**files(), "VMLINUZ": b""}, {}, (422, "asset-names-collide")),
        ({"vmlinuz": KERNEL}, {}, (422, "document-not-announced")),
        ({}, {}, (422, "document-not-announced")),
        (files(), {"more": "x"}, (422, "malformed-question")),
        (files(), {"tag": "a b"}, (400, "malformed-tag")),
        (files(), {"project": "no such"}, (422, "malformed-question")),
        ({f"f{number}": b"" for number in range(MOST_FILES + 1)}, {}, (422, "announcement-refused")),
        ({f"f{number}": b"" for number in range(101)}, {}, (422, "announcement-refused")),
    ],
)
def test_files_that_cannot_be_a_release_are_refused_by_name_and_leave_nothing(
    secret: str, settings: Any, sent: dict[str, bytes], fields: dict[str, str], expected: tuple[int, str]
) -> None:
    assert refused(send(secret, sent, "key", **fields)) == expected
    assert not Publication.objects.exists()
    assert left(settings) == []


def raw(secret: str, body: bytes, kind: str = "multipart/form-data; boundary=b", **more: Any) -> Any:
    told = {"CONTENT_TYPE": kind, **more}
    return Client().generic("POST", "/api/v1/releases", body, content_type=kind, headers=headers(secret), **told)


def part(name: str, value: bytes, file: str | None = None) -> bytes:
    named = f'; filename="{file}"' if file is not None else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + value + b"\r\n"


FIELDS = part("project", b"enclave") + part("tag", TAG.encode())
FILE = part("f", manifest(), "manifest.json")


def test_the_raw_form_is_the_one_that_is_taken(secret: str) -> None:
    assert raw(secret, FIELDS + FILE + b"--b--\r\n").status_code == 202


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (FILE + FIELDS + b"--b--\r\n", (422, "fields-not-first")),
        (FIELDS + FILE + part("commit", b"c" * 40) + b"--b--\r\n", (422, "fields-not-first")),
        (FIELDS + part("tag", b"v2") + FILE + b"--b--\r\n", (422, "announcement-refused")),
        (FIELDS + FILE, (422, "upload-incomplete")),
        (FIELDS + FILE[:-40], (422, "upload-incomplete")),
        (FIELDS, (400, "malformed-tag")),
        (FIELDS + b"--b--\r\n", (422, "document-not-announced")),
        (FIELDS + part("f", b"{}", "../manifest.json") + b"--b--\r\n", (400, "unsafe-path")),
        (FIELDS + part("f", b"{}", "a/manifest.json") + b"--b--\r\n", (400, "unsafe-path")),
        (FIELDS + part("f", b"{}", "..\\\\manifest.json") + b"--b--\r\n", (400, "unsafe-path")),
        (FIELDS + part("", b"x", "vmlinuz") + FILE + b"--b--\r\n", (422, "announcement-refused")),
        (b"no form at all", (422, "malformed-question")),
        (b"", (422, "announcement-refused")),
        (part("x", b"x") * 1100 + b"--b--\r\n", (422, "announcement-refused")),
        (part("x", b"x" * 3_000_000) + b"--b--\r\n", (422, "announcement-refused")),
    ],
)  # fmt: skip
def test_a_form_that_is_out_of_order_or_broken_off_is_refused_and_leaves_nothing(
    secret: str, settings: Any, body: bytes, expected: tuple[int, str]
) -> None:
    assert refused(raw(secret, body)) == expected
    assert not Publication.objects.exists()
    assert left(settings) == []


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=" + "b" * 300])
def test_a_form_without_a_usable_boundary_is_refused(secret: str, kind: str) -> None:
    assert refused(raw(secret, FIELDS + FILE + b"--b--\r\n", kind)) == (422, "announcement-refused")


def test_sizes_are_bounded_of_one_file_of_all_and_of_the_request(secret: str, settings: Any) -> None:
    def bounded(**limits: int) -> None:
        settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update=limits)

    bounded(max_asset_bytes=len(manifest()) - 1)
    assert refused(send(secret, files())) == (413, "asset-too-large")
    bounded(max_asset_bytes=10**6, max_release_bytes=len(manifest()) + 500)
    assert refused(send(secret, {**files(), "initrd.img": b"x" * 600})) == (413, "limit-exceeded")
    assert refused(raw(secret, FIELDS + FILE + b"--b--\r\n", CONTENT_LENGTH=str(10**9))) == (413, "limit-exceeded")
    bounded(max_release_bytes=24 * 2**30, min_free_disk_bytes=2**60)
    assert refused(send(secret, files())) == (507, "disk-full")
    assert left(settings) == []


def test_a_project_has_so_many_waiting_and_no_more(secret: str, settings: Any) -> None:
    for number in range(MOST_LIVE):
        assert announce(secret, wish(), f"key {number}").status_code == 202
    waiting = announce(secret, wish())
    assert (refused(waiting), waiting["Retry-After"]) == ((429, "publications-waiting"), "15")
    assert refused(send(secret, files())) == (429, "publications-waiting")
    assert len(left(settings)) == MOST_LIVE
    again = announce(secret, wish(), "key 0")
    assert (again.status_code, again["Idempotency-Replayed"]) == (202, "true")
    Publication.objects.filter(pk=again.json()["id"]).update(
        state="refused", ended_at=timezone.now(), next_try_at=None, problem={}
    )
    assert announce(secret, wish()).status_code == 202


@pytest.mark.parametrize("form", ["addresses", "files"])
def test_the_same_request_again_is_the_same_publication_and_another_with_its_key_is_none(
    secret: str, settings: Any, form: str
) -> None:
    def ask(boundary: str = "one", kernel: bytes = KERNEL) -> Any:
        if form == "files":
            return send(secret, files(kernel), "key", boundary)
        return announce(secret, wish(assets=[{"name": "vmlinuz", "url": f"{URL}?{kernel.hex()}"}]), "key")

    first, again, other = ask(), ask("two"), ask(kernel=b"another kernel")
    assert (first.status_code, again.status_code) == (202, 202)
    assert (again.content, again["Location"]) == (first.content, first["Location"])
    assert again["Idempotency-Replayed"] == "true"
    assert refused(other) == (422, "idempotency-key-reused")
    assert Publication.objects.count() == 1
    assert [path.name for path in left(settings)] == [f"publication-{first.json()['id']}"]


@pytest.mark.parametrize("form", ["addresses", "files"])
@pytest.mark.django_db(transaction=True)
def test_the_same_request_many_times_at_once_is_one_publication(project: Project, settings: Any, form: str) -> None:
    AssetHost.objects.create(project=project, host="assets.example.org")
    secret = publisher_token(project)
    ask = (lambda: send(secret, files(), "key")) if form == "files" else (lambda: announce(secret, wish(), "key"))
    answers = at_once(*[ask for _ in range(5)])
    assert [answer.status_code for answer in answers] == [202] * 5
    assert len({answer.content for answer in answers}) == 1
    assert Publication.objects.count() == 1
    assert [path.name for path in left(settings)] == [f"publication-{Publication.objects.get().pk}"]


@pytest.mark.django_db(transaction=True)
def test_many_at_once_are_no_more_than_may_wait(project: Project, settings: Any) -> None:
    secret = publisher_token(project)
    answers = at_once(*[lambda: send(secret, files()) for _ in range(MOST_LIVE + 3)])
    assert sorted(answer.status_code for answer in answers) == [202] * MOST_LIVE + [429] * 3
    assert (Publication.objects.count(), len(left(settings))) == (MOST_LIVE, MOST_LIVE)


def test_a_publication_that_is_not_here_is_404(client: Client) -> None:
    answer = client.get(f"/api/v1/publications/{uuid.UUID(int=0)}")
    assert refused(answer) == (404, "not-found")
    assert "POST /api/v1/releases" in answer.json()["todo"]
