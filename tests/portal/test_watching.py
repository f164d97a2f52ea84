"""Releases that were imported: what GitHub serves of them is watched, and every change denies."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from attestations.domain.github_errors import RateLimited
from attestations.github import GitHub
from attestations.models import FollowedRelease
from attestations.services.standing import judged_view
from builds.demo.github_answers import Page
from builds.demo.github_server import PublishedRelease, RepositoryDescription
from builds.domain.digest import Digest
from builds.models import Release
from tests.support.forge import REPOSITORY, Forge, follow, imported, republish, tamper, told
from tests.support.vm_release import TAG

pytestmark = pytest.mark.django_db


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
