"""Following a repository: listed at once, imported through the real client, watched, and asked for attestations."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pydantic import SecretStr

from attestations import tasks
from attestations.domain.github_errors import RateLimited
from attestations.domain.repository import Repository
from attestations.github import GitHub, GitHubSettings
from attestations.local_sigstore import GitHubWorkflow, TrustDomain
from attestations.models import ExpectedPublisher, FollowedRelease, Following, Inquiry, StoredAnswer
from attestations.services import following, trust_roots
from attestations.services.github_access import DatabaseETags
from attestations.services.standing import judged_view
from builds.demo.github_answers import Page
from builds.demo.github_server import GitHubServer, PublishedRelease, RepositoryDescription, StoredBundle
from builds.domain.digest import Digest
from builds.domain.roles import Role
from builds.models import Release
from builds.services.projects import keep_recipe
from tests.support.sources import make_bare_repository
from tests.support.vm_release import TAG, VmRelease
from tests.support.vm_world import EXAMPLE, expected

pytestmark = pytest.mark.django_db

REPOSITORY = Repository("acme", "katana-vm")
ROOT_NAME = "local-demo-trust-root"


@dataclass
class Forge:
    """A repository on the loopback GitHub with one release in today's format, attested by its workflow."""

    server: GitHubServer
    source_url: str
    commit: str
    directory: Path
    domain: TrustDomain = field(default_factory=TrustDomain)

    def client(self) -> GitHub:
        address = self.server.url()
        return GitHub(GitHubSettings(base_url=address, token=SecretStr("ghp_secret")), DatabaseETags())

    def synchronise(self, followed: Following) -> Following:
        with self.client() as github:
            following.synchronise(followed.pk, github)
        followed.refresh_from_db()
        return followed

    def attest(self, workflow: GitHubWorkflow) -> None:
        """Attest the tarball, as GitHub keeps it: by its digest, handed out as a snappy block."""
        tarball = next(self.directory.glob("*.tar.gz"))
        digest = Digest.sha256(hashlib.sha256(tarball.read_bytes()).hexdigest())
        bundle = self.domain.attest({tarball.name: digest}, workflow)
        self.server.description = replace_attestations(
            self.server.description, {digest: [StoredBundle(bundle, "snappy-url")]}
        )


def replace_attestations(
    description: RepositoryDescription, held: dict[Digest, list[StoredBundle]]
) -> RepositoryDescription:
    return RepositoryDescription(
        description.repository,
        description.repository_id,
        description.owner_id,
        description.releases,
        held,
        description.former,
    )


@pytest.fixture
def forge(tmp_path: Path, firmware: Path) -> Iterator[Forge]:
    repository = make_bare_repository(tmp_path / "source", TAG)
    measured = expected(firmware, tmp_path)
    directory = VmRelease(firmware=firmware.read_bytes(), measurement=measured).write(tmp_path / "published")
    commit = repository.commit
    published = PublishedRelease(
        TAG, commit, datetime(2026, 3, 4, tzinfo=UTC), {path.name: path for path in directory.iterdir()}, annotated=True
    )
    description = RepositoryDescription(REPOSITORY, 100001, 200002, [published])
    with GitHubServer(description) as server:
        yield Forge(server, repository.url, commit, directory)


def follow(forge: Forge, workflow: str = ".github/workflows/release-tee.yml") -> Following:
    followed = following.follow(REPOSITORY, source_url=forge.source_url, workflow=workflow)
    keep_recipe(followed.project, EXAMPLE.read_text(), "Ada")
    trust_roots.add(ROOT_NAME, forge.domain.trusted_root(), "minted for a test")
    ExpectedPublisher.objects.filter(project=followed.project).update(trust_roots=[ROOT_NAME])
    return followed


def states(release: Release) -> dict[Role, str]:
    _, standing = judged_view(Release.objects.with_evidence().get(pk=release.pk))
    return {role: entry.state.value for role, entry in standing.by_role.items()}


def imported() -> Release:
    return FollowedRelease.objects.select_related("release__project").get().release


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


def test_a_changed_asset_and_a_moved_tag_are_events_and_deny(forge: Forge) -> None:
    followed = forge.synchronise(follow(forge))
    known = forge.server.description
    (published,) = known.releases
    tarball = next(forge.directory.glob("*.tar.gz"))
    tarball.write_bytes(tarball.read_bytes() + b"\x00")
    moved = PublishedRelease(TAG, "1" * 40, published.published_at, published.assets)
    forge.server.description = RepositoryDescription(REPOSITORY, 100001, 200002, [moved])
    for _ in range(2):
        forge.synchronise(followed)
    release = imported()
    assets, tag = release.events.filter(kind="changed-since-import")
    assert tarball.name in assets.detail["what"]
    assert tag.detail["what"].startswith("the tag named commit")
    view, _ = judged_view(Release.objects.with_evidence().get(pk=release.pk))
    (files,) = [entry for entry in view.verdict.conditions if entry.key == "files-match-manifest"]
    assert files.state.value == "unmet"
    assert "Changed since it was first seen" in files.sentence


def test_a_release_that_vanishes_from_github_is_an_event_and_denies(forge: Forge) -> None:
    followed = forge.synchronise(follow(forge))
    forge.server.description = RepositoryDescription(REPOSITORY, 100001, 200002, [])
    for _ in range(2):
        forge.synchronise(followed)
    (event,) = imported().events.filter(kind="changed-since-import")
    assert event.detail["what"] == "GitHub does not list this release any more"


def test_a_release_that_cannot_be_imported_is_listed_with_its_reason(forge: Forge, client: Client) -> None:
    next(forge.directory.glob("build-info*")).write_text("nonsense")
    forge.synchronise(follow(forge))
    row = FollowedRelease.objects.get()
    assert row.release is None
    assert row.problem is not None
    html = client.get("/").content.decode()
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


def republish(forge: Forge, **changes: Any) -> None:
    """What GitHub lists from now on: the one release, changed."""
    (published,) = forge.server.description.releases
    forge.server.description = replace(forge.server.description, releases=[replace(published, **changes)])


def tamper(forge: Forge) -> Path:
    """Other bytes than were imported under the tarball's name."""
    tarball = next(forge.directory.glob("*.tar.gz"))
    tarball.write_bytes(tarball.read_bytes() + b"\x00")
    return tarball


def told(release: Release) -> str:
    """Every change that was told of a release; each denies."""
    return "; ".join(event.detail["what"] for event in release.events.filter(kind="changed-since-import"))


def test_a_tag_that_leads_to_no_commit_any_more_hides_no_replaced_asset(forge: Forge) -> None:
    """A publisher can move a tag onto a tree, or behind more tags than are followed: nothing may be silent then."""
    followed = forge.synchronise(follow(forge))
    tarball = tamper(forge)
    tree = json.dumps({"ref": f"refs/tags/{TAG}", "object": {"type": "tree", "sha": "2" * 40}}).encode()
    answers = forge.server.answers

    class Moved:
        def api(self, target: str, accept: str) -> Page:
            return Page(200, {}, tree) if "/git/ref/" in target else answers().api(target, accept)

        def stored(self, target: str) -> Path | bytes | None:
            return answers().stored(target)

    forge.server.answers = Moved  # type: ignore[assignment,method-assign]
    forge.synchronise(followed)
    assert f"asset {tarball.name} was" in told(imported())
    assert "the tag" in told(imported())


def test_a_replaced_asset_of_which_github_had_no_digest_is_told(forge: Forge) -> None:
    """GitHub has none for what was uploaded before June 2025; a replacement has one, and it is of other bytes."""
    republish(forge, digests=False)
    followed = forge.synchronise(follow(forge))
    assert imported() is not None
    forge.synchronise(followed)
    assert told(imported()) == ""
    republish(forge, digests=True)
    forge.synchronise(followed)
    assert told(imported()) == ""
    tarball = tamper(forge)
    forge.synchronise(followed)
    assert f"asset {tarball.name} was" in told(imported())


def test_releases_of_a_repository_that_was_replaced_deny(forge: Forge) -> None:
    """Nobody watches them any more, and a stranger may serve other files under their names."""
    followed = forge.synchronise(follow(forge))
    forge.server.description = replace(forge.server.description, repository_id=999)
    forge.synchronise(followed)
    assert "it is now repository 999" in told(imported())


def test_a_listing_that_is_made_too_long_hides_no_replaced_asset(forge: Forge) -> None:
    """A publisher writes descriptions as long as GitHub allows: then the known releases are asked for one by one."""
    followed = forge.synchronise(follow(forge))
    tarball = tamper(forge)
    answers = forge.server.answers

    class Long:
        def api(self, target: str, accept: str) -> Page:
            page = answers().api(target, accept)
            return replace(page, body=b" " * 17_000_000 + page.body, headers={}) if "/releases?" in target else page

        def stored(self, target: str) -> Path | bytes | None:
            return answers().stored(target)

    forge.server.answers = Long  # type: ignore[assignment,method-assign]
    assert (forge.synchronise(followed).problem or {}).get("code") == "limit-exceeded"
    assert f"asset {tarball.name} was" in told(imported())


def test_known_releases_are_watched_before_new_ones_use_the_limit_up(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing costs many questions: a publisher could always have more releases than an hour has questions."""
    followed = forge.synchronise(follow(forge))
    tarball = tamper(forge)
    (published,) = forge.server.description.releases
    newer = replace(published, tag="v9.9.9", published_at=datetime(2026, 9, 9, tzinfo=UTC))
    forge.server.description = replace(forge.server.description, releases=[published, newer])

    def limited(*_: object) -> Digest:
        raise RateLimited("GitHub's rate limit is used up", where="assets", reset_at=timezone.now())

    monkeypatch.setattr(GitHub, "download", limited)
    forge.synchronise(followed)
    known = FollowedRelease.objects.select_related("release").get(tag=TAG).release
    assert known is not None
    assert f"asset {tarball.name} was" in told(known)


def test_a_release_that_slipped_between_two_pages_has_not_vanished(forge: Forge) -> None:
    """A newer one is deleted while the pages are asked for: what moves up a page is in none of them."""
    followed = forge.synchronise(follow(forge))
    answers = forge.server.answers

    class Slipped:
        def api(self, target: str, accept: str) -> Page:
            return Page(200, {}, b"[]") if "/releases?" in target else answers().api(target, accept)

        def stored(self, target: str) -> Path | bytes | None:
            return answers().stored(target)

    forge.server.answers = Slipped  # type: ignore[assignment,method-assign]
    assert forge.synchronise(followed).problem is None
    assert told(imported()) == ""


def test_a_release_whose_repository_gives_no_answer_says_that_nobody_watches_it(forge: Forge, client: Client) -> None:
    followed = forge.synchronise(follow(forge))
    release = imported()
    assert release is not None
    assert "not watched" not in client.get(release.get_absolute_url()).content.decode()
    forge.server.fail_next(404)
    forge.synchronise(followed)
    html = client.get(release.get_absolute_url()).content.decode()
    assert "Whether this release changed on GitHub since" in html
    assert "GitHub answered 404" in html


def test_a_release_that_github_says_nothing_of_for_a_day_is_denied_and_well_again_after_an_answer(
    forge: Forge, client: Client
) -> None:
    followed = forge.synchronise(follow(forge))

    def files() -> tuple[str, str]:
        view, _ = judged_view(Release.objects.with_evidence().get(pk=imported().pk))
        entry = next(entry for entry in view.verdict.conditions if entry.key == "files-match-manifest")
        return entry.state.value, entry.sentence

    well = files()
    assert "is not known" not in well[1]
    FollowedRelease.objects.update(watched_at=timezone.now() - timedelta(days=1, minutes=1))
    state, sentence = files()
    assert state == "unknown"
    assert "Whether it changed on GitHub since" in sentence
    assert sentence.split("Whether", 1)[1].split(":")[0] in client.get(imported().get_absolute_url()).content.decode()
    forge.synchronise(followed)
    assert files() == well
    FollowedRelease.objects.update(watched_at=timezone.now() - timedelta(days=2))
    call_command("unfollow", str(REPOSITORY))
    assert files() == well


def test_a_release_too_large_to_download_is_listed_with_that_reason(forge: Forge, settings: Any) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"max_release_bytes": 1024})
    forge.synchronise(follow(forge))
    row = FollowedRelease.objects.get()
    assert row.problem is not None
    assert row.problem["code"] == "limit-exceeded"
    assert not any("assets" in request.path for request in forge.server.requests)
