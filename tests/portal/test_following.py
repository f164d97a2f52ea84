"""Following a repository: listed at once, imported through the real client, and asked for attestations."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pydantic import SecretStr

from attestations import tasks
from attestations.local_sigstore import GitHubWorkflow
from attestations.models import ExpectedPublisher, FollowedRelease, Following, Inquiry, StoredAnswer
from attestations.services import following
from builds.demo.github_server import PublishedRelease, RepositoryDescription
from builds.domain.roles import Role
from builds.services.importing import import_release
from tests.support.forge import REPOSITORY, Forge, follow, imported, states, told
from tests.support.vm_release import TAG
from tests.support.vm_world import EXAMPLE

pytestmark = pytest.mark.django_db


def test_a_followed_repository_is_imported_judged_and_asked_for_attestations(forge: Forge, client: Client) -> None:
    forge.attest(GitHubWorkflow(repository=str(REPOSITORY), commit=forge.commit, ref=f"refs/tags/{TAG}"))
    followed = forge.synchronise(follow(forge))
    assert followed.problem is None
    assert followed.synced_at is not None
    release = imported()
    assert release is not None
    assert (release.tag, release.commit) == (TAG, forge.commit)
    assert states(release) == dict.fromkeys((Role.OVMF, Role.KERNEL, Role.INITRD, Role.KATANA), "verified")
    html = client.get(release.get_absolute_url()).content.decode()
    assert "through its container sha256:" in html
    publisher = ExpectedPublisher.objects.get(project=followed.project)
    assert (publisher.repository_id, publisher.owner_id) == ("100001", "200002")
    assert not any(request.authorized for request in forge.server.requests if "bundle" in request.path)


def test_a_release_that_nobody_attests_is_absent_with_the_time_it_was_asked(forge: Forge) -> None:
    forge.synchronise(follow(forge))
    assert set(states(imported()).values()) == {"absent"}
    assert Inquiry.objects.filter(found=0).count() == Inquiry.objects.count() > 0


def test_asking_again_costs_no_body_and_changes_nothing(forge: Forge) -> None:
    followed = forge.synchronise(follow(forge))
    assert StoredAnswer.objects.count() > 0
    del forge.server.requests[:]
    forge.synchronise(followed)
    assert FollowedRelease.objects.count() == 1
    assert all(request.if_none_match for request in forge.server.requests if "/releases" in request.path)


def test_github_that_fails_is_unchecked_and_heals(forge: Forge) -> None:
    followed = forge.synchronise(follow(forge))
    for _ in range(40):
        forge.server.fail_next(500, {}, 1)
    broken = forge.synchronise(followed)
    assert broken.problem is not None
    assert set(states(imported()).values()) == {"absent"}  # what was answered before still stands


def test_a_rate_limit_is_told_with_its_end_and_the_next_try_waits_for_it(forge: Forge) -> None:
    followed = follow(forge)
    reset = int((timezone.now() + timedelta(hours=1)).timestamp())
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(reset)}
    forge.server.fail_next(403, headers, 1)
    limited = forge.synchronise(followed)
    assert limited.problem is not None
    assert limited.problem["code"] == "github-rate-limited"
    assert int(limited.next_sync_at.timestamp()) == reset


def test_a_name_that_was_registered_anew_is_not_followed_on(forge: Forge) -> None:
    followed = forge.synchronise(follow(forge))
    known = forge.server.description
    forge.server.description = RepositoryDescription(REPOSITORY, 999, 200002, known.releases)
    replaced = forge.synchronise(followed)
    assert replaced.problem is not None
    assert replaced.problem["code"] == "repository-replaced"


def test_a_release_that_cannot_be_imported_is_listed_with_its_reason(forge: Forge, client: Client) -> None:
    next(forge.directory.glob("build-info*")).write_text("nonsense")
    forge.synchronise(follow(forge))
    row = FollowedRelease.objects.get()
    assert row.release is None
    assert row.problem is not None
    html = client.get("/releases/").content.decode()
    assert "Listed on GitHub, not imported" in html
    assert row.problem["what"] in html.replace("&#x27;", "'").replace("&quot;", '"')


def test_a_release_of_something_else_is_listed_and_nothing_of_it_is_downloaded(forge: Forge) -> None:
    (published,) = forge.server.description.releases
    other = PublishedRelease("v9", forge.commit, published.published_at, {"katana.exe": EXAMPLE})
    forge.server.description = RepositoryDescription(REPOSITORY, 100001, 200002, [other])
    followed = forge.synchronise(follow(forge))
    assert followed.problem is None
    row = FollowedRelease.objects.get()
    assert row.problem is not None
    assert row.problem["code"] == "no-publication"
    assert not any("assets" in request.path for request in forge.server.requests)


def test_a_release_whose_tag_ends_as_the_address_of_a_verdict_is_listed_with_that_reason(forge: Forge) -> None:
    (published,) = forge.server.description.releases
    other = PublishedRelease("v9/verdict", forge.commit, published.published_at, published.assets)
    forge.server.description = RepositoryDescription(REPOSITORY, 100001, 200002, [other])
    forge.synchronise(follow(forge))
    row = FollowedRelease.objects.get()
    assert row.release is None
    assert row.problem is not None
    assert row.problem["code"] == "reserved-tag"
    assert not any("assets" in request.path for request in forge.server.requests)


def test_a_known_release_whose_tag_names_another_commit_on_github_is_told_of(forge: Forge) -> None:
    """What GitHub says of a tag is no importer's word: it denies until it is explained."""
    followed = follow(forge)
    release = import_release(followed.project, forge.directory, tag=TAG, commit="1" * 40)
    forge.synchronise(followed)
    assert f"{'1' * 40}; this one is" in told(release)
    assert forge.commit in told(release)


def test_what_github_refuses_is_tried_again_without_end_and_a_bad_release_is_not(forge: Forge) -> None:
    followed = follow(forge)
    tarball = next(forge.directory.glob("*.tar.gz"))
    good = tarball.read_bytes()
    next(forge.directory.glob("build-info*")).write_text("nonsense")
    for _ in range(following.MAX_ATTEMPTS + 2):
        forge.synchronise(followed)
    assert FollowedRelease.objects.get().attempts == following.MAX_ATTEMPTS
    assert tarball.read_bytes() == good


def test_a_synchronisation_is_taken_once(forge: Forge) -> None:
    followed = follow(forge)
    now = timezone.now()
    assert following.due(now) == [followed.pk]
    assert following.take(followed.pk, now)
    assert not following.take(followed.pk, now)
    assert following.due(now) == []


def test_a_webhook_without_the_right_signature_is_refused(client: Client, settings: Any) -> None:
    body = json.dumps({"repository": {"full_name": "a/b"}})
    response = client.post("/webhooks/github", body, content_type="application/json")
    assert response.status_code == 401
    assert response.json()["code"] == "bad-webhook-signature"
    assert client.get("/webhooks/github").status_code == 405


def test_a_signed_webhook_makes_its_repository_due_at_once(
    forge: Forge, client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = follow(forge)
    Following.objects.update(next_sync_at=timezone.now() + timedelta(hours=1))
    secret = SecretStr("shared")
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"github_webhook_secret": secret})
    hinted: list[int] = []
    monkeypatch.setattr(tasks, "hint", hinted.append)

    def deliver(body: bytes, event: str = "release", key: bytes = b"shared") -> Any:
        signature = "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
        headers = {"X-Hub-Signature-256": signature, "X-GitHub-Event": event}
        return client.post("/webhooks/github", body, content_type="application/json", headers=headers)

    body = json.dumps({"repository": {"full_name": "Acme/Katana-VM"}}).encode()
    assert deliver(body, key=b"guess").status_code == 401
    assert deliver(b"[]").status_code == 400
    assert deliver(body, event="ping").json() == {"synchronising": False}
    assert hinted == []
    assert deliver(body).json() == {"synchronising": True}
    assert hinted == [followed.pk]
    assert following.due(timezone.now()) == [followed.pk]


def test_following_twice_is_refused_by_name(forge: Forge) -> None:
    follow(forge)
    with pytest.raises(following.AlreadyFollowed):
        following.follow(REPOSITORY)


def test_following_again_names_the_workflow_and_changes_nothing_else(forge: Forge) -> None:
    followed = follow(forge, workflow="")
    with pytest.raises(following.AlreadyFollowed):
        following.follow(REPOSITORY)
    again = following.follow(REPOSITORY, workflow=".github/workflows/release-tee.yml")
    assert again.pk == followed.pk
    assert ExpectedPublisher.objects.get(project=followed.project).workflow == ".github/workflows/release-tee.yml"
    with pytest.raises(following.WorkflowUnusable):
        following.follow(REPOSITORY, workflow="release-tee.yml")


def test_what_is_no_longer_followed_is_neither_due_nor_shown_and_can_be_followed_again(
    forge: Forge, client: Client
) -> None:
    followed = forge.synchronise(follow(forge))
    Following.objects.update(next_sync_at=timezone.now())
    call_command("unfollow", str(REPOSITORY))
    assert following.due(timezone.now()) == []
    assert str(REPOSITORY) not in client.get("/").content.decode()
    assert imported() is not None
    with pytest.raises(CommandError, match="not-followed"):
        call_command("unfollow", str(REPOSITORY))
    assert following.follow(REPOSITORY).pk == followed.pk
    assert following.due(timezone.now()) == [followed.pk]


def test_a_first_synchronisation_that_fails_says_that_it_is_followed_and_when_it_is_asked_again(
    settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"github_api_url": "http://127.0.0.1:9"})
    with pytest.raises(CommandError, match="github"):
        call_command("follow", str(REPOSITORY), "--workflow", ".github/workflows/x.yml")
    assert "stays followed; the workers ask again" in capsys.readouterr().out


def test_a_release_too_large_to_download_is_listed_with_that_reason(forge: Forge, settings: Any) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"max_release_bytes": 1024})
    forge.synchronise(follow(forge))
    row = FollowedRelease.objects.get()
    assert row.problem is not None
    assert row.problem["code"] == "limit-exceeded"
    assert not any("assets" in request.path for request in forge.server.requests)
