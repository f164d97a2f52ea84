"""The GitHub client against a small GitHub on loopback: what it finds, asks again, keeps and refuses."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, timedelta
from http import HTTPStatus
from pathlib import Path

import pytest
from pydantic import SecretStr

from attestations.domain.github_errors import (
    AssetNotUploaded,
    BadToken,
    Forbidden,
    GitHubUnavailable,
    NotFoundOnGitHub,
    RateLimited,
    UnexpectedAnswer,
)
from attestations.domain.repository import Repository
from attestations.github import GitHub, GitHubSettings, MemoryETags, RepositoryIdentity
from builds.demo.github_server import GitHubServer, Origin, PublishedRelease, StoredBundle
from builds.domain.digest import Digest
from builds.domain.errors import LimitExceeded, MalformedInput, UnsafePath
from tests.github.conftest import DIGEST, PROVENANCE, REPOSITORY, TOKEN, WHEN, Asked, Connect, bundle

SBOM = "https://spdx.dev/Document/v2.3"


def test_releases_come_newest_first_without_drafts(github: GitHub) -> None:
    releases = list(github.releases(REPOSITORY))
    assert [release.tag_name for release in releases] == ["node/v2+snp.1", "v1.0.0"]
    assert (releases[0].prerelease, releases[0].immutable, releases[1].published_at) == (True, True, WHEN)


def test_an_asset_tells_its_size_and_githubs_digest(github: GitHub, files: dict[str, Path]) -> None:
    assets = {asset.name: asset for asset in github.release_by_tag(REPOSITORY, "v1.0.0").assets}
    assert assets["initrd"].digest == DIGEST
    assert (assets["initrd"].size, assets["initrd"].state) == (6, "uploaded")
    assert assets.keys() == files.keys()


def test_an_asset_without_githubs_digest_has_none(server: GitHubServer, github: GitHub, files: dict[str, Path]) -> None:
    server.description = replace(
        server.description, releases=[PublishedRelease("v1", "1" * 40, WHEN, files, digests=False)]
    )
    assert {asset.digest for asset in github.release_by_tag(REPOSITORY, "v1").assets} == {None}


def test_releases_are_read_over_all_pages(server: GitHubServer, github: GitHub) -> None:
    server.per_page = 3
    server.description = replace(
        server.description,
        releases=[PublishedRelease(f"v{n}", "1" * 40, WHEN + timedelta(hours=n), {}) for n in range(10)],
    )
    assert [release.tag_name for release in github.releases(REPOSITORY)] == [f"v{n}" for n in range(9, -1, -1)]
    assert len(server.requests) == 4


def test_more_pages_than_allowed_are_an_error_and_not_an_end(server: GitHubServer, connect: Connect) -> None:
    server.per_page = 1
    github = connect(server.url(), max_pages=1).github
    with pytest.raises(LimitExceeded, match="more than 1 pages"):
        list(github.releases(REPOSITORY))


def test_a_tag_with_plus_and_slash_is_one_encoded_segment(server: GitHubServer, github: GitHub) -> None:
    assert github.release_by_tag(REPOSITORY, "node/v2+snp.1").tag_name == "node/v2+snp.1"
    assert github.tag_commit(REPOSITORY, "node/v2+snp.1") == "2" * 40
    assert [request.path for request in server.requests] == [
        "/repos/acme/enclave/releases/tags/node%2Fv2%2Bsnp.1",
        "/repos/acme/enclave/git/ref/tags/node%2Fv2%2Bsnp.1",
    ]


@pytest.mark.parametrize("tag", ["", "..", "a/../b", "a b", "a\nb", "-x", "a?b", "a.lock", "/a", "a/", "@", "\ud800"])
def test_what_git_would_not_take_as_a_tag_is_not_asked(server: GitHubServer, github: GitHub, tag: str) -> None:
    with pytest.raises(MalformedInput, match="git tag"):
        github.tag_commit(REPOSITORY, tag)
    with pytest.raises(MalformedInput, match="git tag"):
        github.release_by_tag(REPOSITORY, tag)
    assert server.requests == []


def test_an_annotated_tag_is_followed_to_its_commit(server: GitHubServer, github: GitHub) -> None:
    assert github.tag_commit(REPOSITORY, "v1.0.0") == "1" * 40
    assert "/git/tags/" in server.requests[1].path


def test_a_tag_of_tags_without_end_is_refused(server: GitHubServer, github: GitHub) -> None:
    around = {"type": "tag", "sha": "a" * 40}
    body = json.dumps({"ref": "refs/tags/v1", "sha": "a" * 40, "object": around}).encode()
    server.fail_next(HTTPStatus.OK, times=20, body=body)
    with pytest.raises(UnexpectedAnswer, match="leads to no commit"):
        github.tag_commit(REPOSITORY, "v1")
    assert len(server.requests) == 6


@pytest.mark.parametrize("kind", ["tree", "blob"])
def test_a_tag_of_something_else_than_a_commit_is_refused(server: GitHubServer, github: GitHub, kind: str) -> None:
    body = json.dumps({"ref": "refs/tags/v1", "object": {"type": kind, "sha": "a" * 40}}).encode()
    server.fail_next(HTTPStatus.OK, body=body)
    with pytest.raises(UnexpectedAnswer, match="leads to no commit"):
        github.tag_commit(REPOSITORY, "v1")


def test_an_answer_about_another_tag_is_refused(server: GitHubServer, github: GitHub) -> None:
    body = json.dumps({"ref": "refs/tags/v10", "object": {"type": "commit", "sha": "a" * 40}}).encode()
    server.fail_next(HTTPStatus.OK, body=body)
    with pytest.raises(UnexpectedAnswer, match="another ref"):
        github.tag_commit(REPOSITORY, "v1")


def test_a_repository_is_known_by_its_numbers(github: GitHub) -> None:
    assert github.repository(REPOSITORY) == RepositoryIdentity(id=4711, owner_id=42, full_name=REPOSITORY)


def test_a_renamed_repository_is_followed_and_tells_its_new_name(server: GitHubServer, github: GitHub) -> None:
    old = Repository("old-acme", "vm")
    server.description = replace(server.description, former=old)
    found = github.repository(old)
    assert (found.full_name, found.id) == (REPOSITORY, 4711)
    assert [request.authorized for request in server.requests] == [True, True]
    assert github.tag_commit(old, "node/v2+snp.1") == "2" * 40


def test_a_download_gives_the_file_and_its_digest(github: GitHub, files: dict[str, Path], tmp_path: Path) -> None:
    for asset in github.release_by_tag(REPOSITORY, "v1.0.0").assets:
        target = tmp_path / "got" / asset.name
        digest = github.download(asset, target)
        assert target.read_bytes() == files[asset.name].read_bytes()
        assert digest == Digest.sha256(hashlib.sha256(target.read_bytes()).hexdigest())
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == ["disk.raw", "initrd"]


def test_the_token_stays_with_the_api_when_a_file_lies_elsewhere(
    server: GitHubServer, github: GitHub, tmp_path: Path
) -> None:
    asset = github.release_by_tag(REPOSITORY, "v1.0.0").assets[0]
    github.download(asset, tmp_path / "file")
    assert [request.authorized for request in server.asked(Origin.API)] == [True, True]
    assert [request.authorized for request in server.asked(Origin.STORAGE)] == [False]


@pytest.mark.parametrize("name", ["../initrd", "a/b", "/etc/passwd", "..", "", "a\\b", "a\0b"])
def test_an_asset_named_like_a_path_is_not_asked_for(
    server: GitHubServer, github: GitHub, tmp_path: Path, name: str
) -> None:
    asset = github.release_by_tag(REPOSITORY, "v1.0.0").assets[0].model_copy(update={"name": name})
    asked_before = len(server.requests)
    with pytest.raises(UnsafePath):
        github.download(asset, tmp_path / "file")
    assert len(server.requests) == asked_before


def test_an_asset_still_uploading_or_too_large_is_not_asked_for(
    server: GitHubServer, connect: Connect, tmp_path: Path
) -> None:
    github = connect(server.url(), max_asset_bytes=1000).github
    assets = {asset.name: asset for asset in github.release_by_tag(REPOSITORY, "v1.0.0").assets}
    with pytest.raises(LimitExceeded, match="more than 1000"):
        github.download(assets["disk.raw"], tmp_path / "file")
    with pytest.raises(AssetNotUploaded):
        github.download(assets["initrd"].model_copy(update={"state": "starter"}), tmp_path / "file")
    assert len(server.requests) == 1


def test_bundles_are_found_inline_and_at_their_own_address(server: GitHubServer, github: GitHub) -> None:
    found = github.attestations(REPOSITORY, DIGEST, None)
    assert found.bundles == (bundle("inline"), bundle("stored"))
    assert found.asked_at == WHEN
    assert [request.authorized for request in server.asked(Origin.STORAGE)] == [False]


def test_bundles_may_be_asked_for_by_predicate_type(server: GitHubServer, github: GitHub) -> None:
    held = [StoredBundle(bundle("a", SBOM)), StoredBundle(bundle("b"))]
    server.description = replace(server.description, attestations={DIGEST: held})
    assert github.attestations(REPOSITORY, DIGEST, PROVENANCE).bundles == (bundle("b"),)
    assert github.attestations(REPOSITORY, DIGEST, "sbom").bundles == (bundle("a", SBOM),)
    assert "predicate_type=https%3A%2F%2Fslsa.dev%2Fprovenance%2Fv1" in server.requests[0].path


def test_ten_pages_of_attestations_are_all_read(server: GitHubServer, github: GitHub) -> None:
    bundles = [bundle(str(number)) for number in range(20)]
    server.description = replace(server.description, attestations={DIGEST: [StoredBundle(one) for one in bundles]})
    server.per_page = 2
    assert github.attestations(REPOSITORY, DIGEST, PROVENANCE).bundles == tuple(bundles)
    assert len(server.requests) == 10


def test_more_than_a_hundred_attestations_are_an_error_and_not_a_choice(server: GitHubServer, github: GitHub) -> None:
    held = [StoredBundle(bundle(str(number))) for number in range(101)]
    server.description = replace(server.description, attestations={DIGEST: held})
    with pytest.raises(LimitExceeded, match="more than 100"):
        github.attestations(REPOSITORY, DIGEST, None)


@pytest.mark.parametrize("status", [404, 422])
def test_no_attestation_is_an_answer(server: GitHubServer, github: GitHub, status: int) -> None:
    server.fail_next(status)
    assert github.attestations(REPOSITORY, DIGEST, None).bundles == ()


def test_a_later_page_that_is_gone_is_no_empty_page(server: GitHubServer, github: GitHub) -> None:
    following = f'<{server.url()}/repos/acme/enclave/attestations/x?page=2>; rel="next"'
    server.fail_next(HTTPStatus.OK, {"Link": following}, body=b'{"attestations": []}')
    with pytest.raises(NotFoundOnGitHub):
        github.attestations(REPOSITORY, DIGEST, None)


def test_a_bundle_that_is_gone_is_no_absent_attestation(server: GitHubServer, github: GitHub) -> None:
    server.fail_next(HTTPStatus.NOT_FOUND, origin=Origin.STORAGE)
    with pytest.raises(NotFoundOnGitHub):
        github.attestations(REPOSITORY, DIGEST, None)


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, BadToken), (403, Forbidden), (404, NotFoundOnGitHub), (418, UnexpectedAnswer), (304, UnexpectedAnswer)],
)
def test_refusals_have_names_and_are_not_repeated(
    server: GitHubServer, asked: Asked, status: int, error: type[Exception]
) -> None:
    server.fail_next(status)
    with pytest.raises(error):
        asked.github.repository(REPOSITORY)
    assert (len(server.requests), asked.slept) == (1, [])


def test_a_wrong_token_is_named_and_not_shown(server: GitHubServer, connect: Connect) -> None:
    github = connect(server.url(), token=SecretStr("ghp_wrong")).github
    with pytest.raises(BadToken) as caught:
        github.repository(REPOSITORY)
    assert "ghp_wrong" not in str(caught.value)


def test_an_empty_token_is_none(server: GitHubServer, connect: Connect) -> None:
    connect(server.url(), token=SecretStr("")).github.repository(REPOSITORY)
    assert not server.requests[0].authorized


def test_the_api_version_is_sent(server: GitHubServer, connect: Connect) -> None:
    connect(server.url(), api_version="2026-03-10").github.repository(REPOSITORY)
    assert server.requests[0].api_version == "2026-03-10"


@pytest.mark.parametrize("status", [500, 502, 503, 599])
def test_a_short_outage_is_waited_for_with_growing_patience(server: GitHubServer, asked: Asked, status: int) -> None:
    server.fail_next(status, times=2)
    assert asked.github.repository(REPOSITORY).id == 4711
    assert asked.slept == [1.0, 2.0]


def test_a_long_outage_is_named(server: GitHubServer, asked: Asked) -> None:
    server.fail_next(HTTPStatus.BAD_GATEWAY, times=9)
    with pytest.raises(GitHubUnavailable, match="502"):
        asked.github.repository(REPOSITORY)
    assert len(server.requests) == 3


def test_nobody_there_is_an_outage(server: GitHubServer, connect: Connect) -> None:
    with GitHubServer(server.description) as gone:
        address = gone.url()
    asked = connect(address)
    with pytest.raises(GitHubUnavailable, match="ConnectError"):
        asked.github.repository(REPOSITORY)
    assert asked.slept == [1.0, 2.0]


def test_a_download_that_broke_off_starts_anew(
    server: GitHubServer, asked: Asked, files: dict[str, Path], tmp_path: Path
) -> None:
    asset = next(a for a in asked.github.release_by_tag(REPOSITORY, "v1.0.0").assets if a.name == "initrd")
    server.fail_next(HTTPStatus.OK, {"Content-Length": "6"}, body=b"ini", origin=Origin.STORAGE)
    assert asked.github.download(asset, tmp_path / "initrd") == DIGEST
    assert (tmp_path / "initrd").read_bytes() == b"initrd"


def test_a_used_up_limit_tells_when_it_ends(server: GitHubServer, asked: Asked) -> None:
    reset_at = WHEN + timedelta(minutes=40)
    server.limit_rate(reset_at.timestamp())
    with pytest.raises(RateLimited) as caught:
        asked.github.repository(REPOSITORY)
    assert (caught.value.reset_at, caught.value.reset_at.tzinfo) == (reset_at, UTC)
    assert (len(server.requests), asked.slept) == (1, [])


@pytest.mark.parametrize("status", [403, 429])
def test_a_secondary_limit_tells_when_it_ends(server: GitHubServer, asked: Asked, status: int) -> None:
    server.fail_next(status, {"retry-after": "90", "x-ratelimit-remaining": "4000"})
    with pytest.raises(RateLimited) as caught:
        asked.github.repository(REPOSITORY)
    assert caught.value.reset_at == WHEN + timedelta(seconds=90)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (429, {}, b""),
        (429, {"retry-after": "soon"}, b""),
        (403, {}, b'{"message": "You have exceeded a secondary Rate Limit."}'),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "later"}, b""),
    ],
)
def test_a_limit_without_a_time_lasts_a_minute(
    server: GitHubServer, github: GitHub, status: int, headers: dict[str, str], body: bytes
) -> None:
    server.fail_next(status, headers, body=body)
    with pytest.raises(RateLimited) as caught:
        github.repository(REPOSITORY)
    assert caught.value.reset_at == WHEN + timedelta(minutes=1)


def test_a_limit_that_ends_soon_is_waited_for(server: GitHubServer, asked: Asked) -> None:
    server.fail_next(HTTPStatus.TOO_MANY_REQUESTS, {"retry-after": "3"})
    server.limit_rate(WHEN.timestamp() - 10)
    assert asked.github.repository(REPOSITORY).id == 4711
    assert asked.slept == [3.0, 2.0]


def test_an_unchanged_answer_is_asked_for_by_its_tag_and_reused(server: GitHubServer, asked: Asked) -> None:
    server.per_page = 1
    first, second = (list(asked.github.releases(REPOSITORY)) for _ in range(2))
    assert first == second
    assert len(first) == 2
    assert [request.if_none_match is not None for request in server.requests] == [False] * 3 + [True] * 3


def test_a_changed_answer_replaces_the_kept_one(server: GitHubServer, github: GitHub) -> None:
    github.repository(REPOSITORY)
    server.description = replace(server.description, owner_id=43)
    assert github.repository(REPOSITORY).owner_id == 43
    assert github.repository(REPOSITORY).owner_id == 43


def test_kept_answers_outlive_the_client_that_kept_them(server: GitHubServer, connect: Connect) -> None:
    etags = MemoryETags()
    for _ in range(2):
        assert connect(server.url(), etags=etags).github.repository(REPOSITORY).id == 4711
    assert server.requests[1].if_none_match is not None


def test_addresses_of_bundles_are_not_kept_because_they_expire(server: GitHubServer, github: GitHub) -> None:
    for _ in range(2):
        assert len(github.attestations(REPOSITORY, DIGEST, None).bundles) == 2
    assert [request.if_none_match for request in server.asked(Origin.API)] == [None, None]


def test_the_memory_of_answers_is_bounded_and_keeps_the_latest_used() -> None:
    etags = MemoryETags(max_bytes=10)
    etags.put("a", '"1"', b"12345")
    etags.put("b", '"2"', b"12345")
    assert etags.get("a") == ('"1"', b"12345")
    etags.put("c", '"3"', b"12345")
    assert (etags.get("a"), etags.get("b"), etags.get("c")) == (('"1"', b"12345"), None, ('"3"', b"12345"))
    etags.put("d", '"4"', b"x" * 11)
    assert etags.get("d") is None


@pytest.mark.parametrize(
    "address",
    ["http://api.github.com", "ftp://x", "https://", "https://user:pw@host", "https://h/?q", "https://h:x", "x"],
)
def test_an_address_that_would_show_the_token_is_refused(address: str) -> None:
    with pytest.raises(MalformedInput, match="address of GitHub's API"):
        GitHubSettings(base_url=address, token=SecretStr(TOKEN))


def test_a_token_that_is_none_is_refused_without_being_shown() -> None:
    for text in (f"{TOKEN}\n", f"{TOKEN} x", "ä"):
        with pytest.raises(BadToken) as caught:
            GitHubSettings(token=SecretStr(text))
        assert text.strip() not in str(caught.value)
    assert TOKEN not in repr(GitHubSettings(token=SecretStr(TOKEN)))
