"""Attacks on following, collecting and judging: one release, project or worker never speaks for another."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError
from django.utils import timezone

from attestations.domain.github_errors import RateLimited
from attestations.domain.repository import Repository, checked_tag
from attestations.github import FoundAttestations, GitHubAsset, GitHubRelease, RepositoryIdentity
from attestations.local_sigstore import GitHubWorkflow, TrustDomain
from attestations.models import ExpectedPublisher, FollowedRelease, Following, Inquiry
from attestations.services import following, repeating, trust_roots, verification
from attestations.services.collecting import collect_from_directory
from attestations.services.standing import ReleaseStanding, judged_view
from builds.domain.digest import Digest
from builds.domain.errors import LimitExceeded
from builds.domain.evidence import AttestationState
from builds.domain.paths import file_name
from builds.domain.roles import Role
from builds.models import Component, Project, Release, ReleaseEvent
from builds.services.release_events import CHANGED_SINCE_IMPORT
from tests.portal.conftest import COMMIT
from tests.support.operators import digests, new_signer, result_of
from tests.support.statements import encoded

pytestmark = pytest.mark.django_db

MIB = 1024 * 1024
REPOSITORY = Repository("acme", "katana-vm")
ROOT_NAME = "local-demo-trust-root"
WORKFLOW = GitHubWorkflow(repository="example/enclave", commit=COMMIT)


class ScriptedGitHub:
    """A GitHub that lists what it is told, and whose attestations may be too many."""

    def __init__(self, *releases: GitHubRelease) -> None:
        self.listed = releases
        self.commit = COMMIT
        self.asked: list[str] = []
        self.is_flooded = False

    def repository(self, repository: Repository) -> RepositoryIdentity:
        return RepositoryIdentity.model_validate({"id": 1, "owner": {"id": 2}, "full_name": str(repository)})

    def releases(self, _repository: Repository) -> Iterator[GitHubRelease]:
        return iter(self.listed)

    def tag_commit(self, _repository: Repository, tag: str) -> str:
        self.asked.append(checked_tag(tag))
        return self.commit

    def download(self, asset: GitHubAsset, target: Path) -> Digest:
        file_name(asset.name, where="asset")
        target.write_bytes(b"x")
        return Digest.sha256("ab" * 32)

    def attestations(self, _repository: Repository, _digest: Digest) -> FoundAttestations:
        if self.is_flooded:
            raise LimitExceeded("GitHub holds more than 100 attestations of one digest", where="attestations")
        return FoundAttestations((), datetime.now(UTC))


def listed(tag: str, *names: str, digest: str = "ab" * 32) -> GitHubRelease:
    def asset(number: int, name: str) -> dict[str, Any]:
        about = {"name": name, "size": 1, "digest": f"sha256:{digest}", "state": "uploaded"}
        return {"id": number, "url": f"https://x/{number}", "browser_download_url": "x", **about}

    assets = [asset(number, name) for number, name in enumerate(("manifest.json", *names), start=1)]
    about = {"id": 1, "tag_name": tag, "published_at": "2026-01-01T00:00:00Z", "prerelease": False, "html_url": "x"}
    return GitHubRelease.model_validate({**about, "assets": assets})


def synchronised(followed: Following, github: ScriptedGitHub) -> Following:
    following.synchronise(followed.pk, github)  # type: ignore[arg-type]  # only what following asks for
    followed.refresh_from_db()
    return followed


@pytest.fixture
def domain() -> TrustDomain:
    return TrustDomain()


@pytest.fixture
def publisher(project: Project, domain: TrustDomain) -> ExpectedPublisher:
    trust_roots.add(ROOT_NAME, domain.trusted_root(), "minted for a test")
    return ExpectedPublisher.objects.create(
        project=project,
        repository="https://github.com/example/enclave",
        workflow=".github/workflows/release-tee.yml",
        trust_roots=[ROOT_NAME],
    )


@pytest.fixture
def release(publisher: ExpectedPublisher, make_release: Callable[..., Release], domain: TrustDomain) -> Release:
    """A release of which katana is attested by the expected publisher, and judged so."""
    release = make_release("v1.0.0")
    assert release.project == publisher.project
    attested = domain.attest({"katana": Digest.sha256(str(digests(Role.KATANA)["sha256"]))}, WORKFLOW)
    verification.record_sighting(attested, release, Role.KATANA, "test")
    verification.verify_release(release)
    return release


def standing(release: Release) -> ReleaseStanding:
    return judged_view(Release.objects.with_evidence().get(pk=release.pk))[1]


def state_of(release: Release) -> AttestationState:
    return standing(release).by_role[Role.KATANA].state


@pytest.mark.parametrize(
    ("tag", "name"),
    [("v1", "x" * 300), ("v1", "a\x00b"), ("v1", ".."), ("v" * 201, "a"), ("v1\x00", "a"), ("-v1", "a"), ("v 1", "a")],
)
def test_one_hostile_name_does_not_stop_the_other_releases(tag: str, name: str) -> None:
    github = ScriptedGitHub(listed(tag, name), listed("v0", "a"))
    synchronised(following.follow(REPOSITORY), github)
    assert "v0" in github.asked
    for row in FollowedRelease.objects.all():
        assert len(row.tag) <= 200
        assert not any("\x00" in text for text in (row.tag, *row.assets))


def test_a_flood_of_attestations_of_one_release_does_not_blind_the_watch_over_others(
    make_release: Callable[..., Release],
) -> None:
    followed = following.follow(REPOSITORY)
    for tag in ("v2", "v1"):
        assets = dict.fromkeys(("manifest.json", "a"), "sha256:" + "ab" * 32)
        release = make_release(tag)
        FollowedRelease.objects.create(following=followed, tag=tag, commit=COMMIT, release=release, assets=assets)
    github = ScriptedGitHub(listed("v2", "a"), listed("v1", "a", digest="cd" * 32))
    github.is_flooded = True
    assert synchronised(followed, github).problem is not None
    assert {event.release.tag for event in ReleaseEvent.objects.filter(kind=CHANGED_SINCE_IMPORT)} == {"v1"}


def importing(release: Release, failures: Iterable[Exception] = ()) -> Callable[..., Release]:
    pending = list(failures)

    def import_release(*_: object, **__: object) -> Release:
        if pending:
            raise pending.pop()
        return release

    return import_release


def test_an_asset_replaced_between_listing_and_import_is_told_at_once(
    make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = following.follow(REPOSITORY)
    first_seen = {"a": "sha256:" + "00" * 32}
    FollowedRelease.objects.create(following=followed, tag="v1", assets=first_seen)
    monkeypatch.setattr("builds.services.importing.import_release", importing(make_release("v1")))
    synchronised(followed, ScriptedGitHub(listed("v1", "a")))
    assert "asset a was" in ReleaseEvent.objects.get(kind=CHANGED_SINCE_IMPORT).detail["what"]


def test_a_worker_that_came_second_takes_nothing_back(
    make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make_release("v1")
    monkeypatch.setattr(
        "builds.services.importing.import_release", importing(release, [IntegrityError("somebody was faster")])
    )
    followed = synchronised(following.follow(REPOSITORY), ScriptedGitHub(listed("v1", "a")))
    assert followed.problem is None
    assert FollowedRelease.objects.get().release == release

    def slow(*_: object, **__: object) -> Release:
        FollowedRelease.objects.update(release=release)  # the other worker is done
        raise LimitExceeded("too large", where="v1")

    FollowedRelease.objects.update(release=None)
    monkeypatch.setattr("builds.services.importing.import_release", slow)
    synchronised(followed, ScriptedGitHub(listed("v1", "a")))
    assert FollowedRelease.objects.get().release == release


def test_a_repository_is_never_followed_as_a_project_of_another_source() -> None:
    for name in ("b-c", "a-b-c"):
        Project.objects.create(name=name, source_url="https://elsewhere.example/c.git")
    with pytest.raises(following.AlreadyFollowed):
        following.follow(Repository("a", "b-c"))
    assert not Following.objects.exists()


def test_a_replayed_webhook_does_not_end_a_rate_limit() -> None:
    followed = following.follow(REPOSITORY)
    until = datetime(2999, 1, 1, tzinfo=UTC)
    problem = RateLimited("used up", where="x", reset_at=until).as_dict()
    Following.objects.update(problem=problem, next_sync_at=until)
    assert following.ask_soon(REPOSITORY) == followed.pk
    assert following.due(datetime.now(UTC)) == []


@pytest.mark.parametrize("content", [b"\n" * (100 * MIB), (b"x" * MIB + b"\n") * 90, b"x" * (100 * MIB)])
def test_a_file_of_many_lines_is_refused_within_little_memory(release: Release, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "katana.img.sigstore.jsonl").write_bytes(content)
    tracemalloc.start()
    collect_from_directory(release, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * MIB
    assert Inquiry.objects.get(problem__code="too-many-bundles").role == Role.KATANA


@pytest.mark.parametrize(
    "change", [{"workflow": ".github/workflows/other.yml"}, {"trust_roots": []}, {"trust_roots": ["gone"]}]
)
def test_a_yes_under_yesterdays_policy_is_no_yes_today(
    release: Release, publisher: ExpectedPublisher, change: dict[str, Any]
) -> None:
    assert state_of(release) is AttestationState.VERIFIED
    ExpectedPublisher.objects.filter(pk=publisher.pk).update(**change)
    assert state_of(release) is AttestationState.UNCHECKED
    sentence = standing(release).by_role[Role.KATANA].sentence
    assert "signed this file" not in sentence
    assert "judged" in sentence


def test_a_project_that_cannot_be_judged_does_not_keep_others_from_being_judged(
    release: Release, publisher: ExpectedPublisher
) -> None:
    other = Project.objects.create(name="other", source_url="file:///nowhere")
    ExpectedPublisher.objects.create(project=other, trust_roots=["gone"])
    facts = {"source_date_epoch": 1, "manifest": b"{}", "manifest_sha256": "e" * 64}
    theirs = Release.objects.create(project=other, tag="v1", commit=COMMIT, **facts)
    verification.record_sighting(b"{}", theirs, "", "test")
    ExpectedPublisher.objects.filter(pk=publisher.pk).update(workflow=".github/workflows/other.yml")
    with pytest.raises(trust_roots.UnknownTrustRoot):
        verification.verify_all()
    assert state_of(release) is AttestationState.WRONG_IDENTITY


def test_a_file_named_like_an_option_is_a_file_in_the_pasted_commands(release: Release) -> None:
    Component.objects.filter(release=release, role=Role.KATANA).update(file_name="--check-claims=false")
    lines = repeating.commands_for(release, standing(release), "https://portal")[0].lines
    assert not any(word.startswith("--check-claims") for line in lines for word in line.split())
    assert lines[-1].endswith(" ./--check-claims=false")


def test_two_assets_of_one_name_are_neither_imported_nor_hide_each_other(make_release: Callable[..., Release]) -> None:
    """GitHub allows no such release; another server's answer may hold one, and one file would overwrite the other."""
    followed = following.follow(REPOSITORY)
    synchronised(followed, ScriptedGitHub(listed("v2", "a", "a")))
    assert (FollowedRelease.objects.get().problem or {}).get("code") == "ambiguous-assets"
    known = dict.fromkeys(("manifest.json", "a"), "sha256:" + "ab" * 32)
    release = make_release("v1")
    FollowedRelease.objects.create(following=followed, tag="v1", commit=COMMIT, release=release, assets=known)
    synchronised(followed, ScriptedGitHub(listed("v1", "a", "a")))
    assert "asset a was" in ReleaseEvent.objects.get(kind=CHANGED_SINCE_IMPORT).detail["what"]


def test_a_new_release_that_breaks_the_portal_itself_does_not_blind_the_watch_over_others(
    make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = following.follow(REPOSITORY)
    known = {"a": "sha256:" + "00" * 32}
    FollowedRelease.objects.create(
        following=followed, tag="v1", commit=COMMIT, release=make_release("v1"), assets=known
    )
    monkeypatch.setattr(
        "builds.services.importing.import_release", importing(make_release("v2"), [RuntimeError("a fault")])
    )
    assert following.take(followed.pk, timezone.now())
    with pytest.raises(RuntimeError):
        synchronised(followed, ScriptedGitHub(listed("v2", "a"), listed("v1", "a")))
    assert ReleaseEvent.objects.get(kind=CHANGED_SINCE_IMPORT).release.tag == "v1"
    followed.refresh_from_db()
    assert followed.running_until is None


def test_a_rebuilders_statement_that_the_publisher_signed_is_no_attestation(
    publisher: ExpectedPublisher, make_release: Callable[..., Release], domain: TrustDomain
) -> None:
    release = make_release("v1.0.0")
    statement = encoded(result_of(release, new_signer().public.name))
    bundle = domain.sign_payload(statement, WORKFLOW.san, WORKFLOW.claims)
    sighting = verification.record_sighting(bundle, release, Role.KATANA, "test")
    verification.verify_release(release)
    finding = sighting.findings.get()
    assert (finding.state, "is a rebuilder's" in finding.reason) == (AttestationState.REJECTED, True)
    assert state_of(release) is AttestationState.REJECTED
    assert publisher.project == release.project
