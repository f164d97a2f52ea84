"""What is asked of an engine and what it answers, as values, and how it fails, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from builds.domain.errors import PortalError


class EngineUnreachable(PortalError):
    """The Docker engine does not answer."""

    code: ClassVar[str] = "engine-unreachable"
    default_todo: ClassVar[str] = "Start the engine or correct DOCKER_HOST, then ask for the rebuild again."


class EngineRefused(PortalError):
    """The engine answered with an error of its own."""

    code: ClassVar[str] = "engine-refused"
    default_todo: ClassVar[str] = "Read the engine's message; its own log has the rest."


class BuildFailed(PortalError):
    """A build step ended with an error."""

    code: ClassVar[str] = "build-failed"
    default_todo: ClassVar[str] = "Read the log of this stage. A failed build is no mismatch: it is no evidence."

    def __init__(self, what: str, *, where: str, exit_code: int | None = None) -> None:
        super().__init__(what, where=where)
        self.exit_code = exit_code


class OutputMissing(PortalError):
    """A stage did not leave an output that the recipe names."""

    code: ClassVar[str] = "output-missing"
    default_todo: ClassVar[str] = "Compare the recipe's outputs with what the Dockerfile's last stage holds."


@dataclass(frozen=True, slots=True)
class Limits:
    """What one build may use. Zero CPUs text means all; sizes in bytes, times in seconds."""

    stage_seconds: float
    memory_bytes: int
    cpus: str
    log_bytes: int
    disk_bytes: int
    min_free_disk_bytes: int
    output_bytes: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine says of itself: part of a rebuild's environment."""

    version: str
    kernel: str
    operating_system: str
    storage_driver: str
    cpus: int
    memory_bytes: int
    root_dir: Path

    def as_dict(self) -> dict[str, str | int]:
        return {
            "engine_version": self.version,
            "kernel": self.kernel,
            "operating_system": self.operating_system,
            "storage_driver": self.storage_driver,
            "cpus": self.cpus,
        }


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One ``docker build``: a context tar, the Dockerfile's name in it, arguments and labels."""

    stage: str
    context: Path
    dockerfile: str
    build_args: Mapping[str, str]
    labels: Mapping[str, str]
    network: bool
