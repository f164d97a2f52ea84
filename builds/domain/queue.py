"""The rules of the queue: what comes first, what a machine must have for it, and when a lost job is tried again."""

from __future__ import annotations

from datetime import timedelta
from enum import IntEnum
from typing import Annotated, Literal

from pydantic import Field

from builds.domain.frozen import CamelCase

MAX_ATTEMPTS = 6
"""A job that is lost so often is more likely to kill its machine than to meet so many bad ones."""
MAX_LIVE_CLAIMS = 50
"""Of one operator, over all releases: as many as a large fleet works on, and few of a long queue."""
PASSING_FAILURES = frozenset({"disk-full", "engine-unreachable", "mirror-unreachable", "source-unreachable"})
"""Codes of failures that are a machine's or the network's, not the build's: another try may not meet them."""
BUILD_FAILED_PAUSE = timedelta(days=1)
"""An operator whose build failed is not asked again at once: nothing has changed."""
_FIRST_RETRY = timedelta(seconds=5)
_RETRY_GROWTH = 4
LONGEST_RETRY = timedelta(hours=1)
_MOST = 2**60
_MIB, _GIB = 2**20, 2**30


class Priority(IntEnum):
    """Lower is sooner."""

    USER = 0
    NEW_RELEASE = 1
    RECHECK = 2

    @property
    def words(self) -> str:
        return self.name.lower().replace("_", " ")


def retry_delay(attempt: int) -> timedelta:
    """How long the job waits after its ``attempt``-th try (from 1) was lost: 5 s, 20 s, 80 s ... one hour."""
    # The exponent is bounded, so that no number of attempts overflows.
    factor: int = _RETRY_GROWTH ** min(attempt - 1, 10)
    return min(_FIRST_RETRY * factor, LONGEST_RETRY)


def pause_after(held: timedelta, failures: int) -> timedelta:
    """How long an operator whose run came to nothing is not given the release again; others may have it at once.

    ``failures`` are those of its machines or its network lately, this one among them; 0 when it did not fail. Who held
    it long waits as long: nobody keeps a place from others by taking it again and again.
    """
    pause = retry_delay(failures) if failures else timedelta(0)
    return max(pause, held) if held >= LONGEST_RETRY else pause


class Capability(CamelCase):
    """What a rebuilder's machine can do: sizes in bytes, and what its operator lets a build reach."""

    engine: Literal["docker"] = "docker"
    memory_bytes: Annotated[int, Field(ge=0, le=_MOST)]
    disk_bytes: Annotated[int, Field(ge=0, le=_MOST)]
    recipe_formats: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(default=(1,), max_length=10)
    network: bool = False
    """Whether stages that ask for the network may have it."""
    registry: bool = False
    """Whether a base image may be pulled."""


class Needs(CamelCase):
    """What rebuilding a release takes; sizes in bytes, zero when the recipe names none."""

    recipe_format: Annotated[int, Field(ge=1, le=1000)]
    memory_bytes: Annotated[int, Field(ge=0, le=_MOST)]
    disk_bytes: Annotated[int, Field(ge=0, le=_MOST)]
    network: bool
    registry: bool

    @property
    def words(self) -> str:
        """What the recipe names, as ``4.0 GiB memory, 12.0 GiB disk, the network``; "" when it names nothing."""
        sizes = ((self.memory_bytes, "memory"), (self.disk_bytes, "disk"))
        rights = ((self.network, "the network"), (self.registry, "an image registry"))
        return ", ".join(
            [f"{_size(size)} {what}" for size, what in sizes if size]
            + [what for is_needed, what in rights if is_needed]
        )

    def met_by(self, machine: Capability) -> bool:
        return (
            self.recipe_format in machine.recipe_formats
            and self.memory_bytes <= machine.memory_bytes
            and self.disk_bytes <= machine.disk_bytes
            and (machine.network or not self.network)
            and (machine.registry or not self.registry)
        )


def _size(count: int) -> str:
    """Never less than is needed: rounded up, in GiB with one decimal or in MiB."""
    if count < _GIB:
        return f"{-(-count // _MIB)} MiB"
    return f"{-(-count * 10 // _GIB) / 10:.1f} GiB"
