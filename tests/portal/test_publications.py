"""What becomes of an announced release: fetched, imported, tried again or refused, by workers that may die."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from attestations import tasks
from attestations.domain.publication import MOST_ATTEMPTS, PublicationState
from attestations.models import AssetHost, ProjectPublisher, Publication
from attestations.services import publications, spool
from builds.models import Project, Release
from builds.services.importing import import_release
from tests.support.accounts import account_named
from tests.support.publishing import (
    KERNEL,
    TAG,
    allow,
    announce,
    at_addresses,
    files,
    manifest,
    publisher_token,
    rows,
    send,
    serves,
    shown,
    work,
    written,
)
from tests.support.receivers import Behaviour, Receiver, answers, by_path, hangs, receiver, talks
from tests.support.vm_world import World

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def hinted(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    told: list[uuid.UUID] = []
    monkeypatch.setattr(tasks, "hint_publication", told.append)
    return told


@pytest.fixture
def secret(project: Project) -> str:
    return publisher_token(project)


@pytest.fixture
def serving(project: Project, settings: Any) -> Callable[..., Any]:
    @contextmanager
    def serve(*behaviours: Behaviour) -> Iterator[Receiver]:
        with receiver(*behaviours) as it:
            allow(project, it)
            yield it

    return serve


def left(settings: Any) -> list[str]:
    return sorted(path.name for path in settings.WORK_DIR.iterdir()) if settings.WORK_DIR.is_dir() else []


def make_due() -> None:
    Publication.objects.filter(next_try_at__isnull=False).update(next_try_at=timezone.now())


def test_files_that_were_sent_become_the_release_that_a_directory_with_them_becomes(
    secret: str, project: Project, tmp_path: Path, settings: Any
) -> None:
    made = send(secret, files())
    work()
    told = shown(made)
    assert (told["state"], told["problem"]) == ("imported", None)
    assert told["release"] == f"http://testserver/api/v1/releases/enclave/{TAG}"
    assert told["verdict"] == f"{told['release']}/verdict"
    announced = Release.objects.get()
    assert bytes(announced.manifest) == manifest()
    assert left(settings) == []
    found = rows(announced)
    announced.delete()
    assert found == rows(import_release(project, written(tmp_path / "directory", files()), tag=TAG))


def test_files_at_addresses_become_the_same_release(
    secret: str, project: Project, tmp_path: Path, settings: Any, serving: Callable[..., Any]
) -> None:
    with serving(serves(files())) as it:
        made = announce(secret, at_addresses(it, files()))
        work()
    told = shown(made)
    assert told["state"] == "imported"
    assert {file["name"]: (file["digest"], file["size"]) for file in told["files"]} == {
        name: (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content)) for name, content in files().items()
    }
    assert told["received_bytes"] == sum(map(len, files().values()))
    announced = Release.objects.get()
    assert left(settings) == []
    found = rows(announced)
    announced.delete()
    assert found == rows(import_release(project, written(tmp_path / "directory", files()), tag=TAG))


def test_a_document_within_the_announcement_is_taken_byte_for_byte(secret: str, serving: Callable[..., Any]) -> None:
    document = {"name": "manifest.json", "base64": base64.b64encode(manifest()).decode()}
    with serving(serves(files())) as it:
        announce(secret, at_addresses(it, {"vmlinuz": KERNEL}, files=[document]))
        work()
    release = Release.objects.get()
    assert bytes(release.manifest) == manifest()
    assert release.components.get(role="kernel").sha256 == hashlib.sha256(KERNEL).hexdigest()


@pytest.mark.parametrize("form", ["addresses", "files"])
def test_a_whole_vm_release_is_the_one_that_the_command_imports(
    world: World, tmp_path: Path, settings: Any, form: str
) -> None:
    """With its real firmware, source and measurement."""
    directory = world.publish()
    published = {path.name: path.read_bytes() for path in sorted(directory.iterdir())}
    asked: dict[str, Any] = {"project": world.project.name, "tag": world.release.tag}
    secret = publisher_token(world.project)
    with receiver(serves(published)) as it:
        allow(world.project, it)
        made = send(secret, published, **asked) if form == "files" else announce(
            secret, at_addresses(it, published, **asked)
        )  # fmt: skip
        assert made.status_code == 202, made.text
        work()
    told = shown(made)
    assert (told["state"], told["problem"]) == ("imported", None)
    found = rows(Release.objects.get())
    Release.objects.get().delete()
    assert found == rows(import_release(world.project, directory, tag=world.release.tag))
    assert found["launch"]


def test_a_file_that_the_manifest_names_and_nobody_sent_is_absent_as_in_every_import(secret: str) -> None:
    made = send(secret, {"manifest.json": manifest()})
    work()
    assert shown(made)["state"] == "imported"
    problem = Release.objects.get().components.get(role="kernel").problem
    assert problem is not None
    assert problem["code"] == "missing-file"


def test_bytes_that_the_manifest_does_not_name_are_imported_as_the_contradiction_that_they_are(secret: str) -> None:
    made = send(secret, {**files(), "vmlinuz": b"another kernel"})
    work()
    assert shown(made)["state"] == "imported"
    assert Release.objects.get().events.filter(kind="contradiction").count() == 1


def test_who_announced_it_is_kept_with_the_release_and_shown(secret: str, client: Client) -> None:
    send(secret, files())
    work()
    release = Release.objects.get()
    told = release.events.get(kind="announced").detail
    assert (told["account"], told["token"], told["form"]) == ("ada", "a token of ada", "files")
    (listed,) = client.get(f"/api/v1/releases/enclave/{TAG}").json()["announced"]
    assert (listed["account"], listed["token"]) == ("ada", "a token of ada")
    page = client.get(release.get_absolute_url()).text
    assert "a token of ada" in page
    assert "a token of ada" in client.get("/projects/enclave/").text


def test_a_second_announcement_of_the_same_bytes_finds_the_release_and_changes_nothing(secret: str) -> None:
    first = send(secret, files())
    work()
    release = Release.objects.get()
    again = send(secret, files())
    work()
    assert shown(again)["state"] == shown(first)["state"] == "imported"
    assert shown(again)["release"] == shown(first)["release"]
    assert Release.objects.get() == release
    assert release.events.filter(kind="announced").count() == 1
    assert not release.events.filter(kind="changed-since-import").exists()


def test_other_bytes_under_a_known_tag_are_an_event_and_never_replace_what_was_first_seen(secret: str) -> None:
    send(secret, files())
    work()
    other = send(secret, files(b"another kernel"))
    work()
    told = shown(other)
    assert (told["state"], told["problem"]["code"], told["release"]) == ("refused", "release-changed", None)
    assert told["problem"]["page"] == "http://testserver/problems/release-changed/"
    release = Release.objects.get()
    assert bytes(release.manifest) == manifest()
    assert release.events.filter(kind="changed-since-import").count() == 1


def test_a_document_that_cannot_be_read_refuses_the_release_by_name(secret: str, settings: Any) -> None:
    made = send(secret, {"manifest.json": b"{"})
    work()
    assert shown(made)["state"] == "refused"
    assert shown(made)["problem"]["code"] == "malformed-manifest"
    assert not Release.objects.exists()
    assert left(settings) == []


def test_bytes_that_are_not_the_announced_ones_are_not_imported(
    secret: str, serving: Callable[..., Any], settings: Any
) -> None:
    with serving(serves(files())) as it:
        body = at_addresses(it, files())
        body["assets"][1]["digest"] = "sha256:" + "0" * 64
        made = announce(secret, body)
        work()
    told = shown(made)
    assert (told["state"], told["problem"]["code"]) == ("refused", "asset-other-digest")
    assert hashlib.sha256(KERNEL).hexdigest() in told["problem"]["what"]
    assert not Release.objects.exists()
    assert left(settings) == []


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (answers(404, b""), "asset-not-served"),
        (answers(302, b"", Location="http://169.254.169.254/latest/"), "asset-not-https"),
        (answers(302, b"", Location="https://169.254.169.254/latest/"), "asset-private-address"),
        (answers(302, b"", Location="https://evil.example/"), "asset-foreign-host"),
        (answers(302, b"", Location="/vmlinuz"), "asset-redirects"),
        (answers(200, b"x", Content_Encoding="gzip"), "asset-encoded"),
    ],
)
def test_what_will_not_be_better_the_next_time_is_refused_at_once(
    secret: str, serving: Callable[..., Any], behaviour: Behaviour, code: str
) -> None:
    with serving(by_path({"/manifest.json": answers(200, manifest()), "/vmlinuz": behaviour})) as it:
        made = announce(secret, at_addresses(it, files()))
        work()
    told = shown(made)
    assert (told["state"], told["problem"]["code"]) == ("refused", code)
    assert not Release.objects.exists()


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (answers(503, b""), "asset-unavailable"),
        (talks(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), "asset-incomplete"),
        (hangs, "asset-too-slow"),
    ],
)
def test_a_server_that_may_be_better_is_asked_again_later_and_later_and_then_no_more(
    secret: str, serving: Callable[..., Any], settings: Any, behaviour: Behaviour, code: str
) -> None:
    with serving(behaviour) as it:
        made = announce(secret, at_addresses(it, files()))
        for attempt in range(1, MOST_ATTEMPTS + 1):
            make_due()
            began = timezone.now()
            work(idle=0.1)
            told = shown(made)
            row = Publication.objects.get()
            assert (told["problem"]["code"], row.attempts) == (code, attempt)
            if attempt < MOST_ATTEMPTS:
                assert told["state"] == "queued"
                assert row.next_try_at is not None
                assert row.next_try_at - began > timedelta(seconds=14)
                work()
                assert Publication.objects.get().attempts == attempt
    assert told["state"] == "refused"
    assert left(settings) == []


def test_a_server_that_is_back_gives_the_release(secret: str, serving: Callable[..., Any]) -> None:
    with serving(answers(503, b""), serves(files())) as it:
        made = announce(secret, at_addresses(it, files()))
        work()
        make_due()
        work()
    assert (shown(made)["state"], shown(made)["problem"]) == ("imported", None)


def test_all_assets_together_are_bounded(secret: str, serving: Callable[..., Any], settings: Any) -> None:
    with serving(serves(files())) as it:
        made = announce(secret, at_addresses(it, files()))
        settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"max_release_bytes": len(manifest()) + 1})
        work()
    assert shown(made)["problem"]["code"] == "asset-too-large"


def test_a_disk_that_is_nearly_full_is_asked_again_and_not_filled(
    secret: str, serving: Callable[..., Any], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publications, "_CHECKED_EVERY", 1)
    with serving(serves(files())) as it:
        made = announce(secret, at_addresses(it, files()))
        settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"min_free_disk_bytes": 2**60})
        work()
    assert (shown(made)["state"], shown(made)["problem"]["code"]) == ("queued", "disk-full")


@pytest.mark.parametrize("change", ["grant", "account", "deleted"])
def test_a_right_that_was_taken_away_meanwhile_publishes_nothing(secret: str, settings: Any, change: str) -> None:
    made = send(secret, files())
    if change == "grant":
        ProjectPublisher.objects.all().delete()
    elif change == "account":
        User.objects.update(is_active=False)
    else:
        User.objects.all().delete()
    work()
    told = shown(made)
    assert (told["state"], told["problem"]["code"], told["announced_by"]) == ("refused", "not-a-publisher", "ada")
    assert not Release.objects.exists()
    assert left(settings) == []


def test_files_that_are_gone_are_named(secret: str) -> None:
    made = send(secret, files())
    spool.Spool(Publication.objects.get().pk).remove()
    work()
    assert (shown(made)["state"], shown(made)["problem"]["code"]) == ("refused", "publication-files-gone")


def test_files_of_requests_that_ended_without_a_publication_go_away_after_an_hour(settings: Any, db: None) -> None:
    kept = spool.Spool(uuid.uuid4())
    kept.write("vmlinuz", KERNEL)
    for other in ("publication-x", "import-1"):
        (settings.WORK_DIR / other).mkdir()
    assert spool.clean() == 0
    assert spool.clean(now=timezone.now().timestamp() + 3599) == 0
    assert spool.clean(now=timezone.now().timestamp() + 3602) == 1
    assert left(settings) == ["import-1", "publication-x"]


def test_what_was_refused_is_forgotten_after_ninety_days_and_what_was_imported_is_not(secret: str) -> None:
    send(secret, files())
    work()
    send(secret, files(b"another kernel"))
    work()
    Publication.objects.update(ended_at=timezone.now() - timedelta(days=89))
    publications.sweep()
    assert Publication.objects.count() == 2
    Publication.objects.update(ended_at=timezone.now() - timedelta(days=90))
    publications.sweep()
    assert Publication.objects.get().state == PublicationState.IMPORTED


def test_an_administrator_says_who_may_and_from_where(admin_client: Client, project: Project) -> None:
    account = account_named("ada")
    admin_client.post("/admin/attestations/projectpublisher/add/", {"project": project.pk, "account": account.pk})
    assert ProjectPublisher.objects.get().granted_by == "admin"
    host = {"project": project.pk, "host": "Assets.Example.org", "port": 443}
    admin_client.post("/admin/attestations/assethost/add/", host)
    assert str(AssetHost.objects.get()) == "assets.example.org:443"
    refused = admin_client.post("/admin/attestations/assethost/add/", {**host, "host": "https://x"})
    assert "this is no host" in refused.text
    assert AssetHost.objects.count() == 1
    assert admin_client.get("/admin/attestations/publication/").status_code == 200


def test_the_sweep_hints_at_what_waits(secret: str, hinted: list[uuid.UUID]) -> None:
    made = send(secret, files())
    hinted.clear()
    tasks.sweep_publications()
    assert [str(pk) for pk in hinted] == [made.json()["id"]]
    tasks.run_publication(made.json()["id"])
    assert shown(made)["state"] == "imported"
    tasks.sweep_publications()
    assert len(hinted) == 1


def test_bundles_that_come_with_the_files_are_kept_for_what_they_lie_beside(secret: str) -> None:
    bundle = json.dumps({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}).encode()
    send(secret, {**files(), "vmlinuz.sigstore.json": bundle})
    work()
    release = Release.objects.get()
    assert release.attestation_sightings.filter(role="kernel").count() == 1
