"""What an agent keeps: under names that every file system takes, one for each release."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.tags import TAG_PATTERN, is_git_tag
from builds.rebuilder.home import AgentHome, NotWritten, key_path, write_whole

LONGEST = ["a/" * 99 + "a", "v" * 200, "a/" * 99 + "b"]
tags = st.from_regex(TAG_PATTERN, fullmatch=True).filter(is_git_tag)


@pytest.mark.parametrize("tag", LONGEST)
def test_the_statement_of_any_tag_can_be_kept(tmp_path: Path, tag: str) -> None:
    assert is_git_tag(tag)
    path = AgentHome(tmp_path).statement_path("p" * 63, tag)
    path.parent.mkdir()
    write_whole(path, b"x")
    write_whole(key_path(path), b"y")
    assert AgentHome(tmp_path).statement_path("p" * 63, tag).read_bytes() == b"x"


def test_an_ordinary_name_says_which_release_it_is() -> None:
    path = AgentHome(Path("/home")).statement_path("small", "release/v1")
    assert path.name == "small@release%2Fv1.rebuild.sigstore.json"


@given(tags, tags)
def test_two_releases_never_share_a_name_and_no_name_is_too_long(one: str, other: str) -> None:
    home = AgentHome(Path("/home"))
    names = {home.statement_path("p" * 63, tag).name for tag in (one, other, *LONGEST)}
    assert len(names) == len({one, other, *LONGEST})
    assert max(len(f".{name}.partial".encode()) for name in names) <= 255


def test_a_statement_that_cannot_be_written_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(NotWritten, match="No such file or directory"):
        write_whole(tmp_path / "none" / "x.json", b"x")
