"""A release that two operators rebuilt and that its portal allows: made once for each file of tests, then copied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verify.mirrored import Mirrored
from tests.verify.world import World, publish


@pytest.fixture(scope="module")
def first_world(tmp_path_factory: pytest.TempPathFactory, firmware: Path) -> World:
    """Not to be changed by any test."""
    root = tmp_path_factory.mktemp("world")
    made = World(root, publish(root / "release", firmware))
    for name in ("ada", "ben"):
        made.rebuilt_by(name)
    return made


@pytest.fixture(scope="module")
def first_mirrored(first_world: World) -> Mirrored:
    """A mirror of that release, published a minute ago; not to be changed either."""
    made = Mirrored(first_world, first_world.root / "mirror", first_world.root / "state" / "seen.json")
    made.publish()
    return made


@pytest.fixture
def world(first_world: World, tmp_path: Path) -> World:
    return first_world.copied_to(tmp_path)


@pytest.fixture
def mirrored(first_mirrored: Mirrored, world: World) -> Mirrored:
    return first_mirrored.copied_to(world)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().out
