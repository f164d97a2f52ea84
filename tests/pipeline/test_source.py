"""Trees fetched from repositories and servers that may be hostile: one commit, within bounds, or a named error."""

from __future__ import annotations

from pathlib import Path

import pytest

from builds.pipeline.source import GitSource, SourceUnreachable
from tests.conftest import never
from tests.support.git_server import git_server


def test_what_a_server_says_of_itself_is_quoted_in_one_plain_line(tmp_path: Path) -> None:
    commit = "a" * 40
    failed = pytest.raises(SourceUnreachable)
    with git_server(commit, "v1", says=b"\x1b]0;owned\x07\x1b[31mremote\r\nforged") as address, failed as caught:
        GitSource(address, never).checkout(commit, tmp_path / "tree", tag="v1")
    assert "owned" in caught.value.what
    assert caught.value.what.isprintable()
