"""What the portal stores. Rules live in ``builds.domain``; constraints here hold what the code assumes."""

from builds.models.rebuild import (
    LogChunk,
    Rebuild,
    Rebuilder,
    RebuildEvent,
    RebuildStage,
    RebuiltComponent,
    RebuiltFile,
    RebuiltMeasurement,
)
from builds.models.release import (
    AcceptedOpaqueInput,
    Component,
    EmbeddedFile,
    LaunchConfiguration,
    Material,
    Measurement,
    Project,
    Release,
    ReleaseEvent,
)

__all__ = [
    "AcceptedOpaqueInput",
    "Component",
    "EmbeddedFile",
    "LaunchConfiguration",
    "LogChunk",
    "Material",
    "Measurement",
    "Project",
    "Rebuild",
    "RebuildEvent",
    "RebuildStage",
    "Rebuilder",
    "RebuiltComponent",
    "RebuiltFile",
    "RebuiltMeasurement",
    "Release",
    "ReleaseEvent",
]
