"""Where an agent keeps things between runs: materials, base layers, its outbox and every statement it signed.

One agent at a time uses a home; what a killed one left in it and in the engine is removed by the next.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from builds.domain.errors import PortalError
from builds.pipeline.engine import DockerEngine
from builds.pipeline.regular_files import LockHeld, held_lock

REBUILD_LABEL = "org.tee-portal.rebuild"
INSTANCE_LABEL = "org.tee-portal.instance"
STATEMENT_SUFFIX = ".rebuild.sigstore.json"
# In bytes; with the suffix, and what it is called while it is written, less than NAME_MAX of Linux's file systems.
_LONGEST_STEM = 200
_KEPT_OF_STEM = 100


class HomeInUse(PortalError):
    """Another agent works in this directory."""

    code: ClassVar[str] = "home-in-use"
    default_todo: ClassVar[str] = "Wait for it to end, or give this one a directory of its own with --data."


class NotWritten(PortalError):
    """A statement could not be written."""

    code: ClassVar[str] = "not-written"
    default_todo: ClassVar[str] = "Make room, or name a place that can be written to with --data or --output."


@dataclass(frozen=True, slots=True)
class AgentHome:
    """The directory of one agent; ``shared_materials`` is a store that several may share."""

    root: Path
    shared_materials: Path | None = None

    @property
    def materials(self) -> Path:
        return self.shared_materials or self.root / "materials"

    @property
    def base_cache(self) -> Path:
        return self.root / "base"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def outbox(self) -> Path:
        """Statements that a portal has not confirmed yet."""
        return self.root / "outbox"

    @property
    def statements(self) -> Path:
        return self.root / "statements"

    @property
    def instance(self) -> str:
        """Names this home on an engine that several agents may share."""
        return hashlib.sha256(b"tee-portal-rebuilder " + os.fsencode(self.root.resolve())).hexdigest()[:16]

    def labels(self, build: str) -> dict[str, str]:
        """Labels of everything one build creates in the engine."""
        return {INSTANCE_LABEL: self.instance, REBUILD_LABEL: build}

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Hold the home for this process; ``HomeInUse`` when another has it, ``UnusableLock`` when it has no lock."""
        for path in (self.root, self.materials, self.base_cache, self.work, self.outbox, self.statements):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with held_lock(self.root / "lock"):
                yield
        except LockHeld as error:
            raise HomeInUse("another agent works here", where=str(self.root)) from error

    def reap(self, engine: DockerEngine) -> int:
        """Remove what killed runs of this home left; only for who occupies it. Returns how many things."""
        removed = 0
        for path in self.work.iterdir():
            shutil.rmtree(path, ignore_errors=True)
            removed += 1
        mine: Mapping[str, str] = {INSTANCE_LABEL: self.instance}
        for build in engine.label_values(REBUILD_LABEL, mine):
            removed += engine.remove_labelled(self.labels(build))
        return removed

    def statement_path(self, project: str, tag: str) -> Path:
        """Where the statement about a release is kept; a tag's slashes become part of the name.

        A name that file systems could refuse is cut, and told apart by the digest of the whole.
        """
        name = f"{project}@{tag.replace('/', '%2F')}"
        if len(name.encode()) > _LONGEST_STEM:
            # No tag has a tilde, so no other release has such a name.
            name = f"{name[:_KEPT_OF_STEM]}~{hashlib.sha256(f'{project}@{tag}'.encode()).hexdigest()}"
        return self.statements / f"{name}{STATEMENT_SUFFIX}"


def key_path(statement: Path) -> Path:
    """Where the public key lies that a kept statement is checked with: ``X.rebuild.pub`` beside it."""
    return statement.with_name(statement.name.removesuffix(".json").removesuffix(".sigstore") + ".pub")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, also after a crash; ``NotWritten`` when it cannot be."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise NotWritten(f"the statement cannot be written: {error.strerror}", where=str(path)) from error
