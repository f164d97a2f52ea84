"""Which repository of a forge is meant, and tag names that are safe to ask it for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from builds.domain.errors import MalformedInput

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
# git-check-ref-format(1): control characters, space, and ~ ^ : ? * [ \ never stand in a ref.
_NEVER_IN_A_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]|\.\.|//|@\{|/\.|\.lock(/|$)")
_MAX_TAG_BYTES = 255


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """``owner/name`` on GitHub. Construction fails with ``MalformedInput`` unless both are names GitHub gives out.

    Spelling is kept as written; GitHub itself does not tell upper from lower case.
    """

    owner: str
    name: str

    def __post_init__(self) -> None:
        if not _OWNER.fullmatch(self.owner):
            raise MalformedInput(f"{self.owner[:80]!r} is not the name of a GitHub account", where="repository")
        if not _NAME.fullmatch(self.name) or self.name in {".", ".."} or self.name.lower().endswith(".git"):
            raise MalformedInput(f"{self.name[:140]!r} is not the name of a GitHub repository", where="repository")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``owner/name``; ``MalformedInput`` for anything else, also for an address or a trailing ``.git``."""
        owner, separator, name = text.partition("/")
        if not separator or ":" in owner:
            raise MalformedInput(f"{text[:200]!r} is not of the form owner/name", where="repository")
        return cls(owner, name)

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


def checked_tag(tag: str) -> str:
    """``tag`` as it came when git could hold it (git-check-ref-format(1)), else ``MalformedInput``."""
    if (
        not tag
        or len(tag.encode(errors="replace")) > _MAX_TAG_BYTES
        or tag.startswith((".", "/", "-"))
        or tag.endswith((".", "/"))
        or tag == "@"
        or _NEVER_IN_A_REF.search(tag)
    ):
        raise MalformedInput(f"{tag[:200]!r} is not the name of a git tag", where="tag")
    return tag
