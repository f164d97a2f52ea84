"""What the portal stores. Rules live in ``builds.domain``; constraints here hold what the code assumes."""

from builds.models.access import AnsweredRequest, ApiToken, RebuildRequest, SignInAttempt
from builds.models.measurement_index import IndexedMeasurement, MeasurementSeries
from builds.models.operator import Affiliation, Operator, OperatorDecision, Rebuilder, RebuilderKey
from builds.models.rebuild import LogChunk, Rebuild, RebuildEvent, RebuildStage
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
from builds.models.results import RebuiltComponent, RebuiltFile, RebuiltMeasurement, ResultSetAside, StoredStatement

__all__ = [
    "AcceptedOpaqueInput",
    "Affiliation",
    "AnsweredRequest",
    "ApiToken",
    "Component",
    "EmbeddedFile",
    "IndexedMeasurement",
    "LaunchConfiguration",
    "LogChunk",
    "Material",
    "Measurement",
    "MeasurementSeries",
    "Operator",
    "OperatorDecision",
    "Project",
    "Rebuild",
    "RebuildEvent",
    "RebuildRequest",
    "RebuildStage",
    "Rebuilder",
    "RebuilderKey",
    "RebuiltComponent",
    "RebuiltFile",
    "RebuiltMeasurement",
    "Release",
    "ReleaseEvent",
    "ResultSetAside",
    "SignInAttempt",
    "StoredStatement",
]
