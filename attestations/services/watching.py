"""Watches what was imported from GitHub: what is served there now must be what was first seen."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.utils import timezone

from attestations.domain.github_errors import NotFoundOnGitHub, TagWithoutCommit
from attestations.domain.repository import Repository
from attestations.domain.statement import printable
from attestations.github import GitHub, GitHubRelease
from attestations.models import FollowedRelease, Following
from builds.domain.errors import PortalError
from builds.models import Release, ReleaseEvent
from builds.services.evidence import CHANGED_SINCE_IMPORT


class ChangedOnGitHub(PortalError):
    """A published release is not what it was when it was first seen."""

    code: ClassVar[str] = "changed-on-github"
    default_todo: ClassVar[str] = (
        "What was first seen is kept and judged. Ask the publisher why a published release changed."
    )


def imported(following: Following) -> list[tuple[FollowedRelease, Release]]:
    rows = FollowedRelease.objects.filter(following=following).exclude(release=None).select_related("release")
    return [(row, row.release) for row in rows if row.release is not None]


def row_of(following: Following, entry: GitHubRelease) -> FollowedRelease:
    return FollowedRelease.objects.select_related("release").get(following=following, tag=entry.tag_name)


def digests_of(entry: GitHubRelease) -> dict[str, str]:
    """Digests by name, "" where GitHub gives none; of two assets with one name neither hides the other."""
    found: dict[str, list[str]] = {}
    for asset in entry.assets:
        found.setdefault(printable(asset.name), []).append(str(asset.digest) if asset.digest is not None else "")
    return {name: " and ".join(sorted(digests)) for name, digests in found.items()}


def watch_assets(following: Following, repository: Repository, entry: GitHubRelease, _github: GitHub) -> None:
    """First-seen digests are kept; what differs now is an event, told once for each new state."""
    row = row_of(following, entry)
    changes = _changed_assets(row, digests_of(entry))
    if row.release is not None and changes:
        tell_change(row.release, repository, "; ".join(changes))


def watch_tag(following: Following, repository: Repository, entry: GitHubRelease, github: GitHub) -> None:
    """The commit of the import is kept; a tag that is gone, or leads to no commit any more, has moved too."""
    row = row_of(following, entry)
    if row.release is None:
        return
    try:
        commit = github.tag_commit(repository, entry.tag_name)
        now = f"names {commit} now"
    except (NotFoundOnGitHub, TagWithoutCommit) as error:
        commit, now = "", f"does not now: {error.what}"
    if commit != row.commit:
        tell_change(row.release, repository, f"the tag named commit {row.commit}, {now}")
    FollowedRelease.objects.filter(pk=row.pk).update(watched_at=timezone.now())


def _changed_assets(row: FollowedRelease, now: Mapping[str, str]) -> list[str]:
    """First-seen assets that are gone or others now; a new asset was never judged."""
    changes = []
    for name, named in sorted(row.assets.items()):
        before = named or row.downloaded.get(name, "")
        if before and name not in now:
            changes.append(f"asset {name} is gone")
        elif before and now[name] != before and (named or now[name]):
            # One of which GitHub named no digest is compared by its own bytes' digest, as soon as GitHub names one.
            changes.append(f"asset {name} was {before}, is {now[name] or 'without digest'}")
    return changes


@dataclass(frozen=True, slots=True)
class Watch:
    """How the watch over one release stands: the followed repository, and since when nobody could look."""

    following: Following
    stale: str
    """A sentence once nobody has known for too long what the release is now; empty before."""


def watches(releases: Collection[Release]) -> dict[int, Watch]:
    """By primary key, the watch over each release that is followed, in one query."""
    oldest = timezone.now() - timedelta(seconds=settings.ENVIRONMENT.watch_stale_seconds)
    rows = FollowedRelease.objects.filter(release__in=releases, following__is_enabled=True).select_related("following")
    found = {}
    for row in rows:
        seen = row.watched_at or row.listed_at
        stale = (
            f"Whether it changed on GitHub since {seen:%Y-%m-%d %H:%M} UTC is not known:"
            f" {row.following.repository} gave no answer."
        )
        if row.release_id is not None:
            found[row.release_id] = Watch(row.following, stale if seen < oldest else "")
    return found


def tell_change(release: Release, repository: Repository, what: str) -> None:
    """An event, once for each new state."""
    if not ReleaseEvent.objects.filter(release=release, kind=CHANGED_SINCE_IMPORT, detail__what=what).exists():
        error = ChangedOnGitHub(what, where=str(repository))
        ReleaseEvent(release=release, kind=CHANGED_SINCE_IMPORT, detail=error.as_dict()).save()
