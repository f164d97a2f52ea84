"""Trees fetched from repositories and servers that may be hostile: one commit, within bounds, or a named error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.errors import LimitExceeded, PortalError
from builds.pipeline.control import Cancelled
from builds.pipeline.process import run, run_reading
from builds.pipeline.source import CommitUnusable, GitSource, SourceTree, SourceUnreachable
from builds.pipeline.source_bounds import Growth, Listing, SourceBounds
from tests.conftest import never
from tests.support.git_server import git_server
from tests.support.sources import Repository, git, make_bare_repository, with_committer, with_tree_bomb

MIB = 1024 * 1024


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_bare_repository(tmp_path / "repository", "v0")


def fetched(repository: Repository, tmp_path: Path, tag: str = "v1", bounds: SourceBounds | None = None) -> SourceTree:
    return GitSource(repository.url, never, bounds=bounds).checkout(repository.commit, tmp_path / "tree", tag=tag)


def checked_out(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "tree").iterdir()} - {".git"}


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


def test_a_tree_within_the_bounds_is_checked_out(repository: Repository, tmp_path: Path) -> None:
    bomb = with_tree_bomb(repository, "v1", blob="x" * 100, levels=2)
    fetched(bomb, tmp_path, bounds=SourceBounds(max_bytes=MIB, max_entries=100))
    assert len(list((tmp_path / "tree").glob("x*/x*"))) == 100


def test_a_tree_that_unfolds_to_more_bytes_than_the_bound_is_refused_before_a_file_is_written(
    repository: Repository, tmp_path: Path
) -> None:
    bomb = with_tree_bomb(repository, "v1", blob="x" * 20_000, levels=3)
    with pytest.raises(LimitExceeded, match=f"larger than {MIB} bytes"):
        fetched(bomb, tmp_path, bounds=SourceBounds(max_bytes=MIB))
    assert checked_out(tmp_path) == set()


@pytest.mark.parametrize("levels", [3, 9])
def test_a_tree_that_unfolds_to_more_files_than_the_bound_is_refused_before_a_file_is_written(
    repository: Repository, tmp_path: Path, levels: int
) -> None:
    bomb = with_tree_bomb(repository, "v1", blob="", levels=levels)
    with pytest.raises(LimitExceeded, match="more than 999 files"):
        fetched(bomb, tmp_path, bounds=SourceBounds(max_entries=999))
    assert checked_out(tmp_path) == set()


def test_the_pack_itself_counts(repository: Repository, tmp_path: Path) -> None:
    (repository.path / "big").write_bytes(os.urandom(2 * MIB))
    git(repository.path, "add", "big")
    git(repository.path, "commit", "--quiet", "--message=big")
    git(repository.path, "tag", "v1")
    big = Repository(repository.path, git(repository.path, "rev-parse", "HEAD"))
    with pytest.raises(LimitExceeded, match=f"larger than {MIB} bytes"):
        fetched(big, tmp_path, bounds=SourceBounds(max_bytes=MIB))
    assert checked_out(tmp_path) == set()


def test_whoever_writes_is_stopped_while_it_writes(tmp_path: Path) -> None:
    growth = Growth(tmp_path, SourceBounds(max_bytes=MIB), never, "here")
    program = ["sh", "-c", "while :; do head -c 100000 /dev/zero >> big; sleep 0.02; done"]
    with pytest.raises(LimitExceeded, match="the source tree is larger"):
        run(program, check=growth, timeout=60, overrides={}, cwd=tmp_path)
    assert (tmp_path / "big").stat().st_size < 60 * MIB


def test_who_is_asked_to_stop_stops_though_nothing_grows(tmp_path: Path) -> None:
    def stop() -> None:
        raise Cancelled("stop", where="test")

    with pytest.raises(Cancelled):
        run(["sleep", "60"], check=Growth(tmp_path, SourceBounds(), stop, "here"), timeout=60, overrides={})
    with pytest.raises(Cancelled):
        run_reading(["yes"], lambda _: None, check=stop, timeout=60, overrides={})
    with pytest.raises(Cancelled):
        run_reading(["sleep", "60"], lambda _: None, check=stop, timeout=60, overrides={})


def test_what_a_program_writes_is_bounded_in_time_and_on_the_disk() -> None:
    with pytest.raises(LimitExceeded, match="yes wrote more than"):
        run(["yes"], check=never, timeout=60, overrides={})
    with pytest.raises(LimitExceeded, match="yes ran longer than 1 seconds"):
        run_reading(["yes"], lambda _: None, check=never, timeout=1, overrides={})


@given(st.lists(st.integers(1, 200), max_size=20))
def test_a_listing_is_counted_alike_in_whatever_pieces_it_comes(cuts: list[int]) -> None:
    entries = [b"100644 blob a  10\tx", b"160000 commit b  -\ty", b"120000 blob c  5\tz z"]
    whole = b"".join(entry + b"\0" for entry in entries)
    listing = Listing(SourceBounds(max_bytes=15, max_entries=3), "here")
    rest = whole
    for cut in cuts:
        listing.take(rest[:cut])
        rest = rest[cut:]
    listing.take(rest)
    with pytest.raises(LimitExceeded, match="more than 3 files"):
        listing.take(b"100644 blob a  0\tx\0")


def test_a_path_without_end_is_not_held() -> None:
    listing = Listing(SourceBounds(), "here")
    for _ in range(4):
        listing.take(b"x" * 1000)
    with pytest.raises(LimitExceeded, match="a path in the source"):
        listing.take(b"x" * 1000)


def test_a_source_that_moved_is_still_found_where_it_is(tmp_path: Path) -> None:
    with git_server("a" * 40, "v1") as address:
        assert GitSource(f"{address}moved/here", never).commit_of_tag("v1", tmp_path) == "a" * 40
