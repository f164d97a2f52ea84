"""Who may announce a release of a project, from where its assets may come, and keeping what was announced."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from attestations.asset_http import Hosts
from attestations.domain.publication import (
    LIVE_STATES,
    MOST_FILES,
    MOST_LIVE,
    PublicationForm,
    asset_address,
    asset_name,
    default_hosts,
    refuse_colliding,
)
from attestations.domain.publication_errors import (
    AnnouncementRefused,
    DocumentNotAnnounced,
    NotAPublisher,
    PublicationsWaiting,
)
from attestations.models import AssetHost, ProjectPublisher, Publication
from attestations.services.telling import insecure_hosts
from builds.domain.tags import git_commit, git_tag
from builds.models import Project
from builds.pipeline.release_directory import is_document
from builds.services.absent import PROJECT, the_one
from builds.services.access import TokenUse


@dataclass(frozen=True, slots=True)
class AnnouncedFile:
    """``url`` is empty for a file that was sent. ``sha256`` is empty and ``size`` None while nothing says them."""

    name: str
    url: str = ""
    sha256: str = ""
    size: int | None = None

    def as_dict(self) -> dict[str, str | int | None]:
        return {"name": self.name, "url": self.url, "sha256": self.sha256, "size": self.size}


@dataclass(frozen=True, slots=True)
class Announcement:
    """What somebody says that a project published; ``commit`` is empty when the documents or the source say it."""

    project: Project
    tag: str
    commit: str
    form: PublicationForm
    files: tuple[AnnouncedFile, ...]


def project_to_publish(account: User, name: str, tag: str, commit: str) -> Project:
    """The project, for an account that may announce this release of it.

    Raises ``NotHere``, ``NotAPublisher``, ``MalformedTag``, ``ReservedTag`` and ``MalformedCommit``: everything that
    can be said before any file is looked at.
    """
    project = the_one(Project.objects.filter(name=name), PROJECT, name)
    git_tag(tag, where="tag")
    if commit:
        git_commit(commit, where="commit")
    if not may_publish(account, project):
        raise NotAPublisher("this account may not announce releases of the project", where=project.name)
    return project


def may_publish(account: User | None, project: Project) -> bool:
    """Whether an account is among the project's publishers, or staff; never one that may not sign in any more."""
    if account is None or not account.is_active:
        return False
    return account.is_staff or ProjectPublisher.objects.filter(project=project, account=account).exists()


def hosts_of(project: Project) -> Hosts:
    """From where the project's assets may come now."""
    configured = frozenset(f"{row.host}:{row.port}" for row in AssetHost.objects.filter(project=project))
    allowed = configured or default_hosts(project.source_url)
    return Hosts(allowed, insecure_hosts() & allowed)


def check_files(project: Project, files: tuple[AnnouncedFile, ...]) -> None:
    """Raise what is wrong with the files as they are announced: their number, names and addresses."""
    if len(files) > MOST_FILES:
        raise AnnouncementRefused(f"it has more than {MOST_FILES} files", where="files")
    names = [asset_name(file.name) for file in files]
    refuse_colliding(names)
    if not any(is_document(name) for name in names):
        raise DocumentNotAnnounced("none of the files describes a release", where="files")
    hosts = hosts_of(project)
    for file in files:
        if file.url:
            asset_address(file.url, hosts.allowed, hosts.exempt)


def announce(publication_id: uuid.UUID, use: TokenUse, announcement: Announcement) -> Publication:
    """Keep an announcement; a worker does the rest. Raises ``PublicationsWaiting`` and what ``check_files`` raises."""
    project = announcement.project
    check_files(project, announcement.files)
    with transaction.atomic():
        # Two that come at once are counted one after the other.
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        refuse_waiting(project)
        return Publication.objects.create(
            id=publication_id,
            project=project,
            tag=announcement.tag,
            commit=announcement.commit,
            form=announcement.form,
            account=use.account,
            account_name=use.account.get_username(),
            token=use.token,
            token_name=use.token.name,
            files=[file.as_dict() for file in announcement.files],
        )


def most_bytes() -> tuple[int, int]:
    """How many bytes one file may have, and all of one release together."""
    environment = settings.ENVIRONMENT
    return environment.max_asset_bytes, environment.max_release_bytes


def refuse_waiting(project: Project) -> None:
    """Raise ``PublicationsWaiting`` when the project has as many as it may have."""
    if Publication.objects.filter(project=project, state__in=LIVE_STATES).count() >= MOST_LIVE:
        what = f"{MOST_LIVE} announced releases of this project are not imported or refused yet"
        raise PublicationsWaiting(what, where=project.name)
