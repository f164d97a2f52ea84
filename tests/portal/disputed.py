"""A release about which two operators disagree."""

from __future__ import annotations

from collections.abc import Callable

from builds.domain.roles import Role
from builds.models import Release
from tests.support.attacks import hand_in, signed


def disputed(make_release: Callable[..., Release]) -> Release:
    """A release that ada reproduced and ben contradicts, each by a signed statement."""
    release = make_release()
    hand_in(signed(release, "ada").as_bytes())
    hand_in(signed(release, "ben", changed=(Role.INITRD,)).as_bytes())
    return release
