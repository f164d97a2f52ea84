"""The demo's GitHub: its releases on loopback, attested by a local Sigstore that vouches for nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attestations.domain.bundle_subjects import claimed_subjects
from attestations.domain.repository import Repository
from attestations.github import GitHub, GitHubSettings
from attestations.local_sigstore import GitHubWorkflow, TrustDomain
from attestations.models import ExpectedPublisher, FollowedRelease, Following
from attestations.services import following, trust_roots
from attestations.services.github_access import DatabaseETags
from builds.demo.github_server import GitHubServer, PublishedRelease, RepositoryDescription, StoredBundle
from builds.domain.digest import Digest
from builds.pipeline.hashing import hash_file

REPOSITORY = Repository("example", "reference-enclave")
REPOSITORY_ID, OWNER_ID = 100001, 200002
TRUST_ROOT = "local-demo-trust-root"
TRUST_ROOT_ORIGIN = "local demo trust root: minted on this machine by make demo, vouches for nothing else"
WORKFLOW = ".github/workflows/release-tee.yml"
_FIRST_RELEASE = datetime(2026, 6, 1, tzinfo=UTC)
_MAX_ASSET_BYTES = 8 * 1024**3


@dataclass(frozen=True, slots=True)
class Attested:
    """What a workflow run attested: the release's tag, the workflow, and files it did not make itself."""

    tag: str
    workflow: str = WORKFLOW
    replaced_later: frozenset[str] = frozenset()
    """Published under this tag, but not by the run: nothing attests them."""


@dataclass(frozen=True, slots=True)
class Forge:
    """A repository on the loopback GitHub: releases by tag in ``releases``, and the commit each tag names."""

    releases: Path
    attestations: Path
    commits: Mapping[str, str]

    def attest(self, runs: list[Attested]) -> None:
        """Sign each run's provenance once; bundles of an earlier demo stay, their keys are gone."""
        if self.attestations.is_dir():
            return
        domain = TrustDomain()
        partial = self.attestations.with_name(f"{self.attestations.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for run in runs:
            workflow = GitHubWorkflow(
                repository=str(REPOSITORY),
                workflow=run.workflow,
                ref=f"refs/tags/{run.tag}",
                commit=self.commits[run.tag],
                repository_id=str(REPOSITORY_ID),
                owner_id=str(OWNER_ID),
            )
            subjects = {
                path.name: hash_file(path, check=_unstoppable, max_bytes=_MAX_ASSET_BYTES).sha256
                for path in sorted((self.releases / run.tag).iterdir())
                if path.name not in run.replaced_later
            }
            (partial / f"{run.tag}.sigstore.json").write_bytes(domain.attest(subjects, workflow))
        (partial / "trusted_root.json").write_bytes(domain.trusted_root())
        partial.rename(self.attestations)

    def description(self) -> RepositoryDescription:
        """Everything the loopback GitHub serves."""
        held: dict[Digest, list[StoredBundle]] = {}
        for path in sorted(self.attestations.glob("*.sigstore.json")):
            bundle = path.read_bytes()
            for digest in sorted(claimed_subjects(bundle)):
                held.setdefault(digest, []).append(StoredBundle(bundle, "snappy-url"))
        releases = [
            PublishedRelease(
                tag,
                commit,
                _FIRST_RELEASE + timedelta(days=number),
                {path.name: path for path in sorted((self.releases / tag).iterdir())},
                annotated=number % 2 == 0,
            )
            for number, (tag, commit) in enumerate(self.commits.items())
        ]
        return RepositoryDescription(REPOSITORY, REPOSITORY_ID, OWNER_ID, releases, held)

    def import_all(self, source_url: str) -> dict[str, FollowedRelease]:
        """Follow the repository through the real client; each release's row by its tag.

        The loopback GitHub ends with the demo, so nobody is to ask it afterwards.
        """
        root = (self.attestations / "trusted_root.json").read_bytes()
        trust_roots.add(TRUST_ROOT, root, TRUST_ROOT_ORIGIN, replace=True)
        followed = Following.objects.filter(repository=str(REPOSITORY)).first() or following.follow(
            REPOSITORY, source_url=source_url, workflow=WORKFLOW
        )
        ExpectedPublisher.objects.filter(project=followed.project).update(ref="refs/tags/v*", trust_roots=[TRUST_ROOT])
        Following.objects.filter(pk=followed.pk).update(is_enabled=False)
        with GitHubServer(self.description()) as server:
            settings = GitHubSettings(base_url=server.url())
            with GitHub(settings, DatabaseETags()) as github:
                following.synchronise(followed.pk, github)
        rows = FollowedRelease.objects.filter(following=followed).select_related("release__project")
        return {row.tag: row for row in rows}


def _unstoppable() -> None:
    """The publisher is not interrupted."""
