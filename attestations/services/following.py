"""Follows GitHub repositories: lists every release at once, imports the new ones, watches the known ones."""

from __future__ import annotations

import logging
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from attestations.domain.github_errors import (
    AssetChanged,
    GitHubError,
    NotFoundOnGitHub,
    RateLimited,
    UnexpectedAnswer,
)
from attestations.domain.identity import WORKFLOW_FOLDER
from attestations.domain.policy import GITHUB_HOSTED
from attestations.domain.repository import Repository, checked_tag
from attestations.github import GitHub, GitHubRelease, RepositoryIdentity
from attestations.models import ExpectedPublisher, FollowedRelease, Following
from attestations.services.collecting import collect_from_directory, collect_from_github
from attestations.services.github_access import open_github
from attestations.services.verification import verify_release
from attestations.services.watching import identities_of, imported, tell_change, watch_assets, watch_tag
from builds.domain.errors import LimitExceeded, MalformedInput, PortalError
from builds.domain.printable import one_line
from builds.domain.tags import git_tag
from builds.models import Project, Release
from builds.pipeline.published_release import AmbiguousAssets
from builds.pipeline.release_directory import is_document
from builds.services.importing import import_beside_others

logger = logging.getLogger(__name__)

# Importing failed this often: it is told, and tried again only when somebody asks.
MAX_ATTEMPTS = 5
LONGEST_SYNCHRONISATION = timedelta(hours=2)
# What FollowedRelease.tag holds.
MAX_TAG = 200


class RepositoryReplaced(PortalError):
    """The name leads to another repository than the one that was followed first."""

    code: ClassVar[str] = "repository-replaced"
    default_todo: ClassVar[str] = (
        "A name can be registered anew by a stranger. Find out what happened before you follow the new one."
    )


class NoPublication(PortalError):
    """A listed release that publishes no VM image in a format this portal knows."""

    code: ClassVar[str] = "no-publication"
    default_todo: ClassVar[str] = "Nothing, if it is a release of something else."


class WorkflowUnusable(MalformedInput):
    """A path at which no workflow of GitHub's lies."""

    code: ClassVar[str] = "workflow-unusable"
    default_todo: ClassVar[str] = f"Give the workflow's path in its repository: {WORKFLOW_FOLDER}..."


class NotFollowed(PortalError):
    """Nobody follows this repository."""

    code: ClassVar[str] = "not-followed"
    default_todo: ClassVar[str] = "See the first page for what is followed; `manage.py follow` follows another."


class AlreadyFollowed(PortalError):
    """The repository or the project is followed already."""

    code: ClassVar[str] = "already-followed"
    default_todo: ClassVar[str] = "See the administration pages for what is followed."


def follow(repository: Repository, *, source_url: str = "", workflow: str = "") -> Following:
    """Follow a repository: a project, its expected publisher as far as the name tells, and nothing fetched yet.

    A repository that is followed already stays so: then ``workflow`` is what its publisher is expected to run from
    now on. Raises ``AlreadyFollowed`` when nothing is to change, or when the project is another's.
    """
    if workflow and not workflow.startswith(WORKFLOW_FOLDER):
        raise WorkflowUnusable(f"{workflow[:200]!r} is no workflow's path", where="--workflow")
    source = source_url or f"https://github.com/{repository}.git"
    with transaction.atomic():
        known = Following.objects.filter(repository__iexact=str(repository)).select_related("project").first()
        if known is not None:
            return _follow_again(known, workflow)
        project, _ = Project.objects.get_or_create(name=_free_name(repository, source), defaults={"source_url": source})
        if project.source_url != source:
            # Names of two repositories can come out alike; one would publish as the other.
            raise AlreadyFollowed(f"the project {project.name} has another source", where=project.source_url)
        if Following.objects.filter(project=project).exists():
            raise AlreadyFollowed(f"the project {project.name} follows another repository", where=str(repository))
        ExpectedPublisher.objects.get_or_create(
            project=project,
            defaults={
                "repository": f"https://github.com/{repository}",
                "workflow": workflow,
                "runner_environment": GITHUB_HOSTED,
            },
        )
        return Following.objects.create(project=project, repository=str(repository))


def _follow_again(known: Following, workflow: str) -> Following:
    expected = ExpectedPublisher.objects.filter(project=known.project).exclude(workflow=workflow)
    changed = bool(workflow) and bool(expected.update(workflow=workflow))
    if known.is_enabled and not changed:
        raise AlreadyFollowed(f"{known.repository} is followed already", where=known.repository)
    if not known.is_enabled:
        known.is_enabled, known.next_sync_at = True, timezone.now()
        known.save(update_fields=["is_enabled", "next_sync_at"])
    return known


def unfollow(repository: Repository) -> None:
    """Stop asking about a repository; what was imported stays. Raises ``NotFollowed``."""
    if not Following.objects.filter(repository__iexact=str(repository), is_enabled=True).update(is_enabled=False):
        raise NotFollowed(f"{repository} is not followed", where=str(repository))


def _free_name(repository: Repository, source: str) -> str:
    """The repository's name, with its owner's when another project has that."""
    short = repository.name.lower().replace(".", "-")[:80]
    taken = Project.objects.filter(name=short).exclude(source_url=source).exists()
    return f"{repository.owner.lower()}-{short}"[:80] if taken else short


def _idle(now: datetime) -> QuerySet[Following]:
    return Following.objects.filter(Q(running_until=None) | Q(running_until__lt=now), is_enabled=True)


def due(now: datetime) -> list[int]:
    """Primary keys of what should be synchronised; each is taken by ``take`` before work starts."""
    return list(_idle(now).filter(next_sync_at__lte=now).values_list("pk", flat=True))


def take(following_id: int, now: datetime) -> bool:
    """Claim one synchronisation that is due; False when somebody else has it.

    What a webhook asks for meanwhile stays due, and is done after this one.
    """
    later = now + timedelta(seconds=settings.ENVIRONMENT.sync_seconds)
    claimed = _idle(now).filter(pk=following_id, next_sync_at__lte=now)
    return bool(claimed.update(next_sync_at=later, running_until=now + LONGEST_SYNCHRONISATION))


def ask_soon(repository: Repository) -> int | None:
    """Make a followed repository due at once (a webhook said so); its primary key, or None when it is not followed."""
    following = Following.objects.filter(repository__iexact=str(repository), is_enabled=True).first()
    if following is None:
        return None
    # A delivery can be sent again by whoever has seen one: it does not end a rate limit.
    if (following.problem or {}).get("code") != RateLimited.code:
        Following.objects.filter(pk=following.pk).update(next_sync_at=timezone.now())
    return following.pk


def synchronise(following_id: int, github: GitHub | None = None) -> PortalError | None:
    """List, import, watch and ask for attestations; a named error is kept with the project and returned, not raised."""
    following = Following.objects.select_related("project").get(pk=following_id)
    client = github or open_github()
    problem: PortalError | None = None
    try:
        _synchronise(following, client)
    except PortalError as error:
        problem = error
    finally:
        if github is None:
            client.close()
        # Also after a fault of the portal's own: what is watched must not wait two hours for it.
        Following.objects.filter(pk=following.pk).update(running_until=None)
    changes: dict[str, object] = {"problem": problem.as_dict() if problem is not None else None}
    if problem is None:
        changes["synced_at"] = timezone.now()
    if isinstance(problem, RateLimited):
        changes["next_sync_at"] = problem.reset_at
    Following.objects.filter(pk=following.pk).update(**changes)
    return problem


def _synchronise(following: Following, github: GitHub) -> None:
    repository = Repository.parse(following.repository)
    try:
        _check_identity(following, github.repository(repository))
    except RepositoryReplaced as error:
        # Nobody watches its releases from here on, and others may be served under their names.
        for _, release in imported(following):
            tell_change(release, repository, error.what)
        raise
    entries, failure = _entries(following, repository, github)
    listed = []
    for entry in entries:
        try:
            listed.append((_list(following, entry), entry))
        except PortalError as error:
            failure = failure or error
    # What was judged comes first, and first what needs no question: importing uses up time, disk and the rate limit.
    for step in (watch_assets, watch_tag, _attend):
        for row, entry in listed:
            try:
                step(row, repository, entry, github)
            except RateLimited:
                raise
            except PortalError as error:
                # Whatever one release does: the others are still watched.
                failure = failure or error
    if failure is not None:
        raise failure


def _entries(
    following: Following, repository: Repository, github: GitHub
) -> tuple[list[GitHubRelease], PortalError | None]:
    """Every listed release, and each imported one that the listing lacks, asked for by its tag; the first failure.

    Between two pages one can slip away, and a publisher's texts can make the listing longer than is read. A release
    that GitHub does not have by its tag either was deleted, or taken back into a draft.
    """
    entries: list[GitHubRelease] = []
    failure: PortalError | None = None
    try:
        entries.extend(github.releases(repository))
    except (LimitExceeded, UnexpectedAnswer) as error:
        failure = error
    known = {entry.tag_name for entry in entries}
    for row, release in imported(following):
        if row.tag in known:
            continue
        try:
            entries.append(github.release_by_tag(repository, row.tag))
        except NotFoundOnGitHub:
            tell_change(release, repository, "GitHub does not list this release any more")
        except RateLimited:
            raise
        except PortalError as error:
            failure = failure or error
    return entries, failure


def _check_identity(following: Following, found: RepositoryIdentity) -> None:
    """Numbers are pinned when first seen, in the policy too: names can be registered anew."""
    ids = (str(found.id), str(found.owner_id))
    if not following.repository_id:
        following.repository_id, following.owner_id = ids
        following.save(update_fields=["repository_id", "owner_id"])
        ExpectedPublisher.objects.filter(Q(repository_id="") & Q(owner_id=""), project=following.project).update(
            repository_id=ids[0], owner_id=ids[1]
        )
    if (following.repository_id, following.owner_id) != ids:
        raise RepositoryReplaced(
            f"{following.repository} was repository {following.repository_id} of owner {following.owner_id};"
            f" it is now repository {ids[0]} of owner {ids[1]}",
            where=following.repository,
        )


def _list(following: Following, entry: GitHubRelease) -> FollowedRelease:
    """Show a release as soon as GitHub lists it, with the digests GitHub named first.

    Raises ``MalformedInput`` and ``LimitExceeded`` for a tag that no git has, or that is longer than is kept.
    """
    if len(checked_tag(entry.tag_name)) > MAX_TAG:
        raise LimitExceeded(f"the tag is longer than {MAX_TAG} characters", where=entry.tag_name[:80])
    row, _ = FollowedRelease.objects.select_related("release").get_or_create(
        following=following,
        tag=entry.tag_name,
        defaults={"published_at": entry.published_at, "assets": identities_of(entry)},
    )
    return row


def _attend(row: FollowedRelease, repository: Repository, entry: GitHubRelease, github: GitHub) -> None:
    """One listed release: import it if that is still to do, then ask about it."""
    if row.release is None:
        # Importing the releases before it takes long: another worker may have imported this one since it was listed.
        row.refresh_from_db(from_queryset=FollowedRelease.objects.select_related("release", "following__project"))
    if row.release is None and row.attempts < MAX_ATTEMPTS:
        _import(row, repository, entry, github)
        # It may have been listed long before, and replaced since.
        watch_assets(row, repository, entry, github)
        watch_tag(row, repository, entry, github)
    if row.release is not None:
        try:
            collect_from_github(row.release, repository, github)
        finally:
            verify_release(row.release)


def _import(row: FollowedRelease, repository: Repository, entry: GitHubRelease, github: GitHub) -> None:
    """Import what can be; what GitHub itself refused is tried again, what is wrong with the release a few times."""
    try:
        _check_publication(entry)
        commit = github.tag_commit(repository, entry.tag_name)
        row.commit = row.commit or commit
        row.release, row.downloaded = _download_and_import(row.following.project, entry, commit, github)
        # Publishers upload after GitHub lists a release: what came since is first seen now.
        row.assets = identities_of(entry) | row.assets
        row.problem = None
    except GitHubError as error:
        row.attempts += isinstance(error, AssetChanged)
        row.problem = error.as_dict()
        raise
    except PortalError as error:
        row.attempts += 1
        row.problem = error.as_dict()
        logger.warning("importing %s %s: %s", repository, entry.tag_name, error)
    finally:
        # Another worker may have imported it meanwhile: what it wrote is not taken back.
        done = {"assets", "downloaded", "release"} if row.release is not None else set()
        row.save(update_fields={"attempts", "commit", "problem", *done})


def _check_publication(entry: GitHubRelease) -> None:
    """Repositories have other releases too; nothing of those is downloaded."""
    names = [asset.name for asset in entry.assets]
    if not any(is_document(name) for name in names):
        raise NoPublication("no asset of this release describes a VM image", where=entry.tag_name)
    git_tag(entry.tag_name, where="the release's tag")
    if len(set(names)) < len(names):
        raise AmbiguousAssets("two assets of this release have one name", where=entry.tag_name)
    most = settings.ENVIRONMENT.max_release_bytes
    if sum(asset.size for asset in entry.assets) > most:
        raise LimitExceeded(f"its assets have more than {most} bytes together", where=entry.tag_name)


def _download_and_import(
    project: Project, entry: GitHubRelease, commit: str, github: GitHub
) -> tuple[Release, dict[str, str]]:
    """The imported release, and the digest of every asset of which GitHub named none."""
    found: dict[str, str] = {}
    settings.WORK_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.WORK_DIR, prefix="download-") as work:
        directory = Path(work, "assets")
        directory.mkdir()
        for asset in entry.assets:
            digest = github.download(asset, directory / asset.name)
            if asset.digest is None:
                found[one_line(asset.name)] = str(digest)
        release = import_beside_others(project, directory, tag=entry.tag_name, commit=commit, commit_is_sources=True)
        collect_from_directory(release, directory)
    return release, found
