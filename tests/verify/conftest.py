"""A release that two operators rebuilt and that its portal allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.verify.mirrored import Mirrored
from tests.verify.world import World, publish


@pytest.fixture
def world(tmp_path: Path, firmware: Path) -> World:
    made = World(tmp_path, publish(tmp_path / "release", firmware))
    for name in ("ada", "ben"):
        made.rebuilt_by(name)
    return made


@pytest.fixture
def mirrored(world: World, tmp_path: Path) -> Mirrored:
    """A mirror of that release, published a minute ago."""
    made = Mirrored(world, tmp_path / "mirror", tmp_path / "state" / "seen.json")
    made.publish()
    return made
