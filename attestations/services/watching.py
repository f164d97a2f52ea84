"""Watches what was imported from GitHub: what is served there now must be what was first seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from attestations.domain.github_errors import NotFoundOnGitHub, TagWithoutCommit
from attestations.domain.repository import Repository
from attestations.github import GitHub, GitHubAsset, GitHubRelease
from attestations.models import FollowedRelease, Following
from builds.domain.errors import PortalError
from builds.domain.printable import one_line
from builds.models import Release, ReleaseEvent
from builds.pipeline.release_directory import is_part
from builds.services.release_events import CHANGED_SINCE_IMPORT, evidence_changed


class ChangedOnGitHub(PortalError):
    """A published release is not what it was when it was first seen."""

    code: ClassVar[str] = "changed-on-github"
    default_todo: ClassVar[str] = (
        "What was first seen is kept and judged. Ask the publisher why a published release changed."
    )


def imported(following: Following) -> list[tuple[FollowedRelease, Release]]:
    rows = FollowedRelease.objects.filter(following=following).exclude(release=None).select_related("release")
    return [(row, row.release) for row in rows if row.release is not None]


def identities_of(entry: GitHubRelease) -> dict[str, str]:
    """What tells each asset from another of its name; of two with one name neither hides the other."""
    return {name: " and ".join(sorted(map(_identity, assets))) for name, assets in _by_name(entry).items()}


def _by_name(entry: GitHubRelease) -> dict[str, list[GitHubAsset]]:
    found: dict[str, list[GitHubAsset]] = {}
    for asset in entry.assets:
        found.setdefault(one_line(asset.name), []).append(asset)
    return found


def _identity(asset: GitHubAsset) -> str:
    """The digest, or the number of an asset that has none: GitHub gives a replaced one another number."""
    return str(asset.digest) if asset.digest is not None else _number(asset)


def _number(asset: GitHubAsset) -> str:
    return f"asset number {asset.id}"


def watch_assets(row: FollowedRelease, repository: Repository, entry: GitHubRelease, _github: GitHub) -> None:
    """First-seen digests are kept; what differs now is an event, told once for each new state."""
    changes = "; ".join(_changed_assets(row, entry))
    if row.release is not None and changes:
        tell_change(row.release, repository, changes)


def watch_tag(row: FollowedRelease, repository: Repository, entry: GitHubRelease, github: GitHub) -> None:
    """The commit of the import is kept; a tag that is gone, or leads to no commit any more, has moved too."""
    if row.release is None:
        return
    try:
        commit = github.tag_commit(repository, entry.tag_name)
    except (NotFoundOnGitHub, TagWithoutCommit):
        commit = ""
    # Together: a watch that is not stale any more may not be seen before what it saw.
    with transaction.atomic():
        if commit != row.commit:
            tell_change(row.release, repository, f"the tag named commit {row.commit}, names {commit or 'none'} now")
        FollowedRelease.objects.filter(pk=row.pk).update(watched_at=timezone.now())


def _changed_assets(row: FollowedRelease, entry: GitHubRelease) -> Iterator[str]:
    """What is another asset now, is gone, or came later under a name that would have been judged."""
    found, now = _by_name(entry), identities_of(entry)
    for name, before in sorted(row.assets.items()):
        if name not in now:
            yield f"asset {name} is gone"
        elif now[name] != before and not _has_got_a_digest(found[name], before, row.downloaded.get(name)):
            yield f"asset {name} was {before}, is {now[name]}"
    for name in sorted(now.keys() - row.assets.keys()):
        if is_part(name):
            yield f"asset {name} was not there"


def _has_got_a_digest(assets: Sequence[GitHubAsset], before: str, downloaded: str | None) -> bool:
    """Whether it is still the one asset of that number, and the digest that GitHub gives now is of the bytes we had."""
    return len(assets) == 1 and _number(assets[0]) == before and downloaded in {None, str(assets[0].digest)}


@dataclass(frozen=True, slots=True)
class Watch:
    """How the watch over one release stands: the followed repository, and since when nobody could look."""

    following: Following
    stale: str
    """A sentence once nobody has known for too long what the release is now; empty before."""


def watches(rows: Iterable[FollowedRelease]) -> dict[int, Watch]:
    """By primary key, the watch over each release that is followed; ``rows`` come with what follows them."""
    oldest = timezone.now() - timedelta(seconds=settings.ENVIRONMENT.watch_stale_seconds)
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
        evidence_changed(release)
