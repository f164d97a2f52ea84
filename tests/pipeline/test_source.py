"""Trees fetched from repositories and servers that may be hostile: one commit, within bounds, or a named error."""

from __future__ import annotations

from pathlib import Path

import pytest

from builds.domain.errors import PortalError
from builds.pipeline.source import CommitUnusable, GitSource, SourceTree, SourceUnreachable
from tests.conftest import never
from tests.support.git_server import git_server
from tests.support.sources import Repository, make_bare_repository, with_committer


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_bare_repository(tmp_path / "repository", "v0")


def fetched(repository: Repository, tmp_path: Path, tag: str = "v1") -> SourceTree:
    return GitSource(repository.url, never).checkout(repository.commit, tmp_path / "tree", tag=tag)


@pytest.mark.parametrize("seconds", [0, 1_700_000_000, 253_402_300_799])
def test_the_commits_time_is_the_sources_date(repository: Repository, tmp_path: Path, seconds: int) -> None:
    crafted = with_committer(repository, f"t <t@example.invalid> {seconds} +0000", "v1")
    assert fetched(crafted, tmp_path).commit_time == seconds


@pytest.mark.parametrize(
    "line",
    [
        "t <t@example.invalid>",
        "nobody",
        "t <t@example.invalid> x +0000",
        "t <t@example.invalid> 253402300800 +0000",
        "t <t@example.invalid> 9223372036854775807 +0000",
    ],
)
def test_a_commit_without_a_usable_time_is_a_named_error(repository: Repository, tmp_path: Path, line: str) -> None:
    with pytest.raises(CommitUnusable, match="not seconds of the years 1970 to 9999"):
        fetched(with_committer(repository, line, "v1"), tmp_path)


@pytest.mark.parametrize("seconds", ["-5", "99999999999999999999"])
def test_a_time_that_git_reads_as_another_is_its_time_or_a_named_error(
    repository: Repository, tmp_path: Path, seconds: str
) -> None:
    crafted = with_committer(repository, f"t <t@example.invalid> {seconds} +0000", "v1")
    try:
        assert 0 <= fetched(crafted, tmp_path).commit_time < 253_402_300_800
    except PortalError as error:
        assert error.code == "commit-unusable"


def test_what_a_server_says_of_itself_is_quoted_in_one_plain_line(tmp_path: Path) -> None:
    commit = "a" * 40
    failed = pytest.raises(SourceUnreachable)
    with git_server(commit, "v1", says=b"\x1b]0;owned\x07\x1b[31mremote\r\nforged") as address, failed as caught:
        GitSource(address, never).checkout(commit, tmp_path / "tree", tag="v1")
    assert "owned" in caught.value.what
    assert caught.value.what.isprintable()
