"""Git tags as values: what git-check-ref-format(1) allows, within what addresses and pages can carry."""

from __future__ import annotations

import re

from builds.domain.errors import MalformedInput

MAX_TAG_CHARACTERS = 200
RESERVED_SEGMENT = "verdict"
"""What stands behind a release's address for its verdict: ``a/verdict`` would be a release, or the verdict of ``a``."""
TAG_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+/-]{0,199}$"

_TAG = re.compile(TAG_PATTERN, re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


class MalformedTag(MalformedInput):
    """A text that is no git tag."""

    code = "malformed-tag"
    default_todo = "Give the tag as the source repository names it."


class ReservedTag(MalformedInput):
    """A tag that ends as an address of the portal does, so that the one could be read as the other."""

    code = "reserved-tag"
    default_todo = "Publish the release under a tag whose last segment is another word."


class MalformedCommit(MalformedInput):
    """A text that is no full commit id."""

    code = "malformed-commit"
    default_todo = "Give the commit as 40 lower-case hexadecimal characters."


def is_git_tag(text: str) -> bool:
    """Whether ``text`` is a tag, by the pattern and by what git-check-ref-format(1) adds to it."""
    return (
        _TAG.fullmatch(text) is not None
        and ".." not in text
        and "//" not in text
        and "/." not in text
        and ".lock/" not in text
        and not text.endswith(("/", ".", ".lock"))
    )


def git_tag(text: str, *, where: str) -> str:
    """The tag itself, or ``MalformedTag`` or ``ReservedTag``."""
    if not is_git_tag(text):
        raise MalformedTag(f"{text[:MAX_TAG_CHARACTERS]!r} is no git tag", where=where)
    if text.rpartition("/")[2] == RESERVED_SEGMENT:
        raise ReservedTag(f"{text!r} ends in {RESERVED_SEGMENT}, as the address of a release's verdict", where=where)
    return text


def git_commit(text: str, *, where: str) -> str:
    """The commit id itself, or ``MalformedCommit``."""
    if not _COMMIT.fullmatch(text):
        raise MalformedCommit(f"{text[:80]!r} is not a full commit id", where=where)
    return text
