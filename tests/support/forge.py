"""A repository on a loopback GitHub that the portal follows, and what its publisher may do to it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from attestations.domain.repository import Repository
from attestations.github import GitHub, GitHubSettings
from attestations.local_sigstore import GitHubWorkflow, TrustDomain
from attestations.models import ExpectedPublisher, FollowedRelease, Following
from attestations.services import following, trust_roots
from attestations.services.github_access import DatabaseETags
from attestations.services.standing import judged_view
from builds.demo.github_server import GitHubServer, RepositoryDescription, StoredBundle
from builds.domain.digest import Digest
from builds.domain.roles import Role
from builds.models import Release
from builds.services.projects import keep_recipe
from builds.snapshot import one_snapshot
from tests.support.vm_world import EXAMPLE

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


def follow(forge: Forge, workflow: str = ".github/workflows/release-tee.yml") -> Following:
    followed = following.follow(REPOSITORY, source_url=forge.source_url, workflow=workflow)
    keep_recipe(followed.project, EXAMPLE.read_text(), "Ada")
    trust_roots.add(ROOT_NAME, forge.domain.trusted_root(), "minted for a test")
    ExpectedPublisher.objects.filter(project=followed.project).update(trust_roots=[ROOT_NAME])
    return followed


def states(release: Release) -> dict[Role, str]:
    with one_snapshot():
        _, standing = judged_view(Release.objects.with_evidence().get(pk=release.pk))
    return {role: entry.state.value for role, entry in standing.by_role.items()}


def imported() -> Release:
    return FollowedRelease.objects.select_related("release__project").get().release


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
