"""What a publisher could do after a good verdict to keep it good while GitHub serves something else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from attestations.domain.github_errors import GitHubUnavailable, NotFoundOnGitHub, TagWithoutCommit
from attestations.domain.repository import Repository
from attestations.github import GitHubRelease, RepositoryIdentity
from attestations.local_sigstore import TrustDomain
from attestations.models import ExpectedPublisher, FollowedRelease, Following, TrustRootRecord
from attestations.schemas import release_attestations_out
from attestations.services import following, trust_roots, verification
from attestations.services.standing import judged_view
from builds.domain.digest import Digest
from builds.domain.errors import PortalError
from builds.domain.evidence import AttestationState
from builds.domain.roles import Role
from builds.models import Component, Release, ReleaseEvent
from builds.services.importing import ReleaseChanged
from builds.services.release_events import CHANGED_SINCE_IMPORT
from tests.portal.conftest import COMMIT
from tests.portal.test_attestation_attacks import (
    REPOSITORY,
    ROOT_NAME,
    WORKFLOW,
    ScriptedGitHub,
    importing,
    listed,
    synchronised,
)
from tests.support.operators import digests

pytestmark = pytest.mark.django_db

KNOWN = {"a": "sha256:" + "ab" * 32, "manifest.json": "sha256:" + "ab" * 32}


class OddTags(ScriptedGitHub):
    """A GitHub whose tags cannot be followed to a commit."""

    problem: PortalError = NotFoundOnGitHub("GitHub answered 404", where="tag")

    def tag_commit(self, _repository: Repository, _tag: str) -> str:
        raise self.problem


class OtherRepository(ScriptedGitHub):
    """Another repository under the name that was followed."""

    def repository(self, repository: Repository) -> RepositoryIdentity:
        return RepositoryIdentity.model_validate({"id": 9, "owner": {"id": 2}, "full_name": str(repository)})


@pytest.fixture
def followed(make_release: Callable[..., Release]) -> Following:
    """A followed repository of which v1 was imported, with nothing that changed."""
    found = following.follow(REPOSITORY)
    FollowedRelease.objects.create(
        following=found, tag="v1", commit=COMMIT, release=make_release("v1"), assets=dict(KNOWN)
    )
    assert synchronised(found, ScriptedGitHub(listed("v1", "a"))).problem is None
    assert told() == ""
    return found


def told() -> str:
    return "; ".join(event.detail["what"] for event in ReleaseEvent.objects.filter(kind=CHANGED_SINCE_IMPORT))


@pytest.mark.parametrize(
    "problem",
    [
        NotFoundOnGitHub("GitHub answered 404", where="tag"),
        TagWithoutCommit("the tag leads to no commit", where="tag"),
        GitHubUnavailable("GitHub answered 500", where="tag"),
    ],
)
def test_a_tag_that_cannot_be_followed_hides_no_replaced_asset(followed: Following, problem: PortalError) -> None:
    github = OddTags(listed("v1", "a", digest="cd" * 32))
    github.problem = problem
    synchronised(followed, github)
    assert "asset a was sha256:abab" in told()


@pytest.mark.parametrize("kind", [NotFoundOnGitHub, TagWithoutCommit])
def test_a_tag_that_names_no_commit_any_more_has_moved(followed: Following, kind: type[PortalError]) -> None:
    github = OddTags(listed("v1", "a"))
    github.problem = kind("no commit", where="tag")
    synchronised(followed, github)
    assert f"the tag named commit {COMMIT}, names none now" in told()


def test_a_tag_that_github_does_not_answer_for_has_not_moved(followed: Following) -> None:
    github = OddTags(listed("v1", "a"))
    github.problem = GitHubUnavailable("GitHub answered 500", where="tag")
    assert synchronised(followed, github).problem is not None
    assert told() == ""


def without_digests(entry: GitHubRelease, *, first_id: int = 1) -> GitHubRelease:
    assets = [
        asset.model_copy(update={"digest": None, "id": number}) for number, asset in enumerate(entry.assets, first_id)
    ]
    return entry.model_copy(update={"assets": tuple(assets)})


@pytest.fixture
def undigested(make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch) -> Following:
    """A release of before June 2025, for whose assets GitHub names no digest."""
    monkeypatch.setattr("builds.services.importing.import_release", importing(make_release("v1")))
    found = following.follow(REPOSITORY)
    for _ in range(2):
        assert synchronised(found, ScriptedGitHub(without_digests(listed("v1", "a")))).problem is None
    assert told() == ""
    return found


@pytest.mark.parametrize(
    "now",
    [
        without_digests(listed("v1", "a"), first_id=7),
        listed("v1", "a", digest="cd" * 32).model_copy(
            update={"assets": tuple(a.model_copy(update={"id": a.id + 7}) for a in listed("v1", "a").assets)}
        ),
        without_digests(listed("v1")),
    ],
    ids=["replaced", "replaced and now with a digest", "gone"],
)
def test_an_asset_for_which_github_named_no_digest_is_watched_too(undigested: Following, now: GitHubRelease) -> None:
    synchronised(undigested, ScriptedGitHub(now))
    assert "asset a" in told()


def test_a_digest_that_github_computes_later_is_no_change(undigested: Following) -> None:
    synchronised(undigested, ScriptedGitHub(listed("v1", "a")))
    assert told() == ""


@pytest.mark.parametrize(
    "name", ["disk.raw", "vmlinuz", "katana_1.0_linux_amd64_tee.tar.gz", "katana-tee-vm-v1.tar.gz", "build-info-v1.txt"]
)
def test_an_asset_that_would_have_been_judged_and_came_later_is_told(followed: Following, name: str) -> None:
    synchronised(followed, ScriptedGitHub(listed("v1", "a", name)))
    assert f"asset {name} was not there" in told()


@pytest.mark.parametrize("name", ["notes.txt", "vmlinuz.sigstore.json", "sbom.spdx.json"])
def test_an_asset_that_nobody_judges_may_come_later(followed: Following, name: str) -> None:
    synchronised(followed, ScriptedGitHub(listed("v1", "a", name)))
    assert told() == ""


def test_a_repository_that_another_one_took_the_name_of_denies_what_was_imported(followed: Following) -> None:
    problem = synchronised(followed, OtherRepository(listed("v1", "a"))).problem
    assert problem is not None
    assert problem["code"] == "repository-replaced"
    assert "is now repository 9" in told()


def test_assets_that_were_uploaded_after_the_release_was_listed_are_watched(
    make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builds.services.importing.import_release", importing(make_release("v1")))
    followed = following.follow(REPOSITORY)
    nothing_yet = listed("v1").model_copy(update={"assets": ()})
    for entry in (nothing_yet, listed("v1", "vmlinuz"), listed("v1", "vmlinuz")):
        synchronised(followed, ScriptedGitHub(entry))
    assert FollowedRelease.objects.get().release is not None
    assert told() == ""
    synchronised(followed, ScriptedGitHub(listed("v1", "vmlinuz", digest="cd" * 32)))
    assert "asset vmlinuz was sha256:abab" in told()


def test_the_commit_that_a_tag_named_first_is_kept_when_an_import_is_tried_again(
    make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [ReleaseChanged("for now", where="test")]
    monkeypatch.setattr("builds.services.importing.import_release", importing(make_release("v1"), failures))
    followed = following.follow(REPOSITORY)
    github = ScriptedGitHub(listed("v1", "a"))
    synchronised(followed, github)
    github.commit = "1" * 40
    synchronised(followed, github)
    assert f"the tag named commit {COMMIT}, names {'1' * 40} now" in told()


def test_a_component_that_is_not_in_its_container_is_not_attested_by_it(make_release: Callable[..., Release]) -> None:
    domain, release, container = TrustDomain(), make_release("v1"), digests("container")
    trust_roots.add(ROOT_NAME, domain.trusted_root(), "minted for a test")
    ExpectedPublisher.objects.create(
        project=release.project,
        repository="https://github.com/example/enclave",
        workflow=".github/workflows/release-tee.yml",
        trust_roots=[ROOT_NAME],
    )
    Component.objects.filter(release=release, role=Role.KATANA).update(
        size=None,
        sha256="",
        sha384="",
        container_size=container["size"],
        container_sha256=container["sha256"],
        container_sha384=container["sha384"],
        problem={"code": "missing-file", "what": "the tarball holds no katana", "where": "x", "todo": "x"},
    )
    bundle = domain.attest({"x.tar.gz": Digest.sha256(str(container["sha256"]))}, WORKFLOW)
    verification.record_sighting(bundle, release, Role.KATANA, "test")
    verification.verify_release(release)
    _, standing = judged_view(Release.objects.with_evidence().get(pk=release.pk))
    assert standing.by_role[Role.KATANA].state is not AttestationState.VERIFIED


def test_the_api_says_of_an_outdated_yes_what_the_page_says(make_release: Callable[..., Release]) -> None:
    domain, release = TrustDomain(), make_release("v1")
    trust_roots.add(ROOT_NAME, domain.trusted_root(), "minted for a test")
    publisher = ExpectedPublisher.objects.create(
        project=release.project,
        repository="https://github.com/example/enclave",
        workflow=".github/workflows/release-tee.yml",
        trust_roots=[ROOT_NAME],
    )
    bundle = domain.attest({"katana": Digest.sha256(str(digests(Role.KATANA)["sha256"]))}, WORKFLOW)
    verification.record_sighting(bundle, release, Role.KATANA, "test")
    verification.verify_release(release)

    def shown() -> tuple[str, str]:
        _, standing = judged_view(Release.objects.with_evidence().get(pk=release.pk))
        finding = release_attestations_out(standing).components[0].bundles[0].finding
        assert finding is not None
        return finding.state, finding.reason

    assert shown() == ("verified", "The expected publisher signed this file.")
    publisher.workflow = ".github/workflows/other.yml"
    publisher.save()
    state, reason = shown()
    assert state == "unchecked"
    assert "signed this file" not in reason


def test_a_trust_root_that_was_replaced_by_hand_is_not_shown_as_confirmed_by_tuf() -> None:
    trust_roots.add(ROOT_NAME, TrustDomain().trusted_root(), "minted for a test")
    TrustRootRecord.objects.update(refreshed_at=datetime(2026, 1, 1, tzinfo=UTC))
    trust_roots.add(ROOT_NAME, TrustDomain().trusted_root(), "somebody's file", replace=True)
    assert "last confirmed by TUF: never" in trust_roots.sentences(trust_roots.known())[ROOT_NAME]
