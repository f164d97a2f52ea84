"""What a build leaves, as values: components, the files inside them, measurements, environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builds.domain.digest import Digest, FileDigests
from builds.domain.errors import PortalError
from builds.domain.launch import LaunchMeasurement
from builds.domain.materials import MaterialsLock
from builds.domain.origins import Authenticity, Candidate, Origin
from builds.domain.recipe import LaunchConfigurationSpec, Recipe
from builds.domain.roles import Role
from builds.pipeline.recipes import FoundRecipe

BASE_IMAGE = "base_image"
"""Key of a build's environment: the image it was based on, ``name@sha256:...``, when a registry gave it."""

PORTAL_RECIPE = "portal_recipe"
"""Key of a build's environment: digest and author of the recipe, when the source tree had none."""


@dataclass(frozen=True, slots=True)
class KnownInputs:
    """What outputs are held against: each material's authenticity by sha256, and every input file by digest."""

    trust: Mapping[str, Authenticity]
    files: Mapping[Digest, Sequence[Candidate]]


@dataclass(frozen=True, slots=True)
class HashedComponent:
    """A component as built: digests of the component itself, and of the container around it if any."""

    role: Role
    path: Path
    content: FileDigests
    container: FileDigests | None


@dataclass(frozen=True, slots=True)
class BuiltComponent:
    """A component as built, with the origin of its bytes; digests as in ``HashedComponent``."""

    role: Role
    path: Path
    content: FileDigests
    container: FileDigests | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """A regular file inside a component."""

    role: Role
    path: str
    size: int
    digest: Digest
    origin: Origin


@dataclass(frozen=True, slots=True)
class BuiltMeasurement:
    """The launch measurement of one of the recipe's configurations, or why there is none."""

    spec: LaunchConfigurationSpec
    command_line: str
    measurement: LaunchMeasurement | None
    problem: PortalError | None


@dataclass(slots=True)
class BuildResult:
    """Everything a finished build leaves."""

    found: FoundRecipe
    recipe: Recipe
    lock: MaterialsLock
    epoch: int
    components: list[BuiltComponent] = field(default_factory=list)
    files: list[BuiltFile] = field(default_factory=list)
    measurements: list[BuiltMeasurement] = field(default_factory=list)
    environment: dict[str, str | int] = field(default_factory=dict)
