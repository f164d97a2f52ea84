"""The recipe ``tee-portal.toml`` (format 1): how a source tree becomes components.

The recipe lies in the source tree, so it is as hostile as the source: every path and name is
checked here, and nothing in it can widen what a build may reach.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from builds.domain.errors import MalformedInput, PortalError
from builds.domain.frozen import Frozen, TreePath, first_problem, inside_root
from builds.domain.paths import file_name
from builds.domain.queue import Needs
from builds.domain.roles import BootMode, Role

RECIPE_FILE = "tee-portal.toml"
MAX_RECIPE_BYTES = 256 * 1024

MAX_COMMAND_LINE_BYTES = 4096

_MIB = 1024 * 1024
_ABSOLUTE = "/"
_PLACEHOLDER = re.compile(r"\{([A-Z][A-Z0-9_]{0,79})\}", re.ASCII)
_COMMAND_LINE = re.compile(rf"([ -z|~]|{_PLACEHOLDER.pattern})*", re.ASCII)
_VALUE = re.compile(r"[!-z|~]+", re.ASCII)


class MalformedRecipe(MalformedInput):
    """The recipe is absent or does not follow format 1."""

    code = "malformed-recipe"
    default_todo = "Correct tee-portal.toml in the source repository and cut a new release."


class RecipeOrigin(StrEnum):
    """Who keeps a recipe: the source repository beside its code, or this portal."""

    SOURCE_TREE = "source-tree"
    PORTAL = "portal-maintained"


class RecipeHasNoStages(PortalError):
    """The recipe is publication-only: it says how a release is read, and nothing of how it is built."""

    code = "recipe-has-no-stages"
    default_todo = (
        "Write the stages that build this release into a recipe of kind build; until then nobody can rebuild it."
    )


class CommandLineUnknown(PortalError):
    """The command line names a key that the published documents give no usable value."""

    code = "command-line-unknown"
    default_todo = "Ask the publisher what the measurement was computed for."


def _file_name(text: str) -> str:
    try:
        return file_name(text, where=RECIPE_FILE)
    except PortalError as error:
        raise ValueError(error.what) from error


def _image_path(text: str) -> str:
    if not text.startswith(_ABSOLUTE):
        raise ValueError(f"{text!r} is not an absolute path inside the image")
    inside_root(text.removeprefix(_ABSOLUTE))
    return text


def _command_line(text: str) -> str:
    """A template as ``render_command_line`` takes it: printable ASCII, braces only around a key's name."""
    if not _COMMAND_LINE.fullmatch(text) or len(text) > MAX_COMMAND_LINE_BYTES:
        raise ValueError(f"{text[:200]!r} is no command line of printable ASCII with placeholders like {{LUKS_UUID}}")
    return text


FileName = Annotated[str, AfterValidator(_file_name)]
ImagePath = Annotated[str, AfterValidator(_image_path)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.+-]{0,79}$")]
ArgumentName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
CommandLineTemplate = Annotated[str, AfterValidator(_command_line)]
PinnedImage = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._/:-]{0,199}@sha256:[0-9a-f]{64}$")]


class MetaPackage(Frozen):
    """The dependency of ``metapackage`` whose name matches the glob ``depends``."""

    metapackage: Name
    depends: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.+*-]+$")]


class MaterialGroup(Frozen):
    """Packages that ``lock_materials`` resolves together from one suite of the archive."""

    name: Name
    suite: Name
    packages: list[Name | MetaPackage] = Field(min_length=1)
    dependencies: bool = False


class Materials(Frozen):
    """Where the lock lies, and the groups it is made from."""

    lock: TreePath
    groups: list[MaterialGroup] = Field(default=[])


class Base(Frozen):
    """The image that build stages start from: locked packages, or an image pinned by digest."""

    materials: Name | None = None
    image: PinnedImage | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.materials is None) == (self.image is None):
            raise ValueError("base needs exactly one of materials and image")
        return self


class Stage(Frozen):
    """One ``docker build``: its Dockerfile, what lies in the context, and what is taken out."""

    name: Name
    dockerfile: TreePath
    materials: list[Name] = Field(default=[])
    inputs: list[FileName] = Field(default=[])
    network: bool = False
    build_args: dict[ArgumentName, str] = Field(default={})
    outputs: dict[FileName, ImagePath] = Field(min_length=1)


class ComponentSource(Frozen):
    """Which stage output a component is; ``container`` when the output wraps it."""

    output: FileName
    container: Literal["gzip"] | None = None


class NotCovered(Frozen):
    """Something a launch measurement does not bind, and where to check it instead."""

    what: str
    check: str


class LaunchConfigurationSpec(Frozen):
    """A launch configuration that the publisher measures."""

    name: Name
    boot_mode: Annotated[BootMode, Field(strict=False)]
    vcpus: int = Field(ge=1, le=512)
    vcpu_type: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,40}$")]
    guest_features: int = Field(default=1, ge=0, lt=2**64)
    vmm: Literal["qemu", "ec2", "gce"] = "qemu"
    command_line_file: TreePath | None = None
    command_line: CommandLineTemplate | None = None
    not_covered: list[NotCovered] = Field(default=[])

    @model_validator(mode="after")
    def _one_command_line(self) -> Self:
        if self.command_line is not None and self.command_line_file is not None:
            raise ValueError("command_line and command_line_file exclude each other")
        return self


class PublicationRecipe(Frozen):
    """A recipe that says how to read a publication and nothing of how to build it."""

    format: Literal[1]
    kind: Literal["publication-only"]
    name: Name
    launch_configurations: list[LaunchConfigurationSpec] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        _unique("launch configuration", [spec.name for spec in self.launch_configurations])
        return self


class MachineNeeds(Frozen):
    """What a rebuilder's machine must have for this recipe, in MiB; zero where the publisher names nothing."""

    memory_mib: int = Field(default=0, ge=0, le=2**32)
    disk_mib: int = Field(default=0, ge=0, le=2**32)


class Recipe(Frozen):
    """A whole recipe; ``parse_recipe`` is the way in."""

    format: Literal[1]
    kind: Literal["build"] = "build"
    name: Name
    materials: Materials
    base: Base
    needs: MachineNeeds = MachineNeeds()
    stages: list[Stage] = Field(min_length=1, max_length=16)
    components: dict[Annotated[Role, Field(strict=False)], ComponentSource] = Field(min_length=1)
    launch_configurations: list[LaunchConfigurationSpec] = Field(default=[])

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        groups = {group.name for group in self.materials.groups}
        produced: set[str] = set()
        _unique("stage", [stage.name for stage in self.stages])
        _unique("material group", [group.name for group in self.materials.groups])
        _unique("launch configuration", [spec.name for spec in self.launch_configurations])
        if self.base.materials is not None and self.base.materials not in groups:
            raise ValueError(f"base names the unknown material group {self.base.materials!r}")
        for stage in self.stages:
            if unknown := set(stage.materials) - groups:
                raise ValueError(f"stage {stage.name} names unknown material groups {sorted(unknown)}")
            if unknown := set(stage.inputs) - produced:
                raise ValueError(f"stage {stage.name} needs {sorted(unknown)}, which no earlier stage makes")
            if again := produced & set(stage.outputs):
                raise ValueError(f"stage {stage.name} makes {sorted(again)} a second time")
            if reserved := {"BASE_IMAGE", "SOURCE_DATE_EPOCH"} & set(stage.build_args):
                raise ValueError(f"stage {stage.name} sets {sorted(reserved)}, which the builder sets")
            produced |= set(stage.outputs)
        for role, source in self.components.items():
            if source.output not in produced:
                raise ValueError(f"component {role} is {source.output!r}, which no stage makes")
        return self

    @property
    def asks_for_network(self) -> tuple[str, ...]:
        """Names of the stages that ask for the network; such a rebuild counts as no evidence."""
        return tuple(stage.name for stage in self.stages if stage.network)

    @property
    def needs_of_a_machine(self) -> Needs:
        """What the queue holds against a rebuilder's capability."""
        return Needs(
            recipe_format=self.format,
            memory_bytes=self.needs.memory_mib * _MIB,
            disk_bytes=self.needs.disk_mib * _MIB,
            network=bool(self.asks_for_network),
            registry=self.base.image is not None,
        )


def _unique(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two {kind}s are named {name!r}")
        seen.add(name)


def parse_any_recipe(data: bytes, *, where: str = RECIPE_FILE) -> Recipe | PublicationRecipe:
    """Read a recipe of either kind from TOML bytes; ``MalformedRecipe`` names the first thing that is wrong."""
    if len(data) > MAX_RECIPE_BYTES:
        raise MalformedRecipe(f"the recipe is larger than {MAX_RECIPE_BYTES} bytes", where=where)
    try:
        document: Mapping[str, object] = tomllib.loads(data.decode("utf-8"))
        kind = PublicationRecipe if document.get("kind") == "publication-only" else Recipe
        return kind.model_validate(document)
    except ValidationError as error:
        raise MalformedRecipe(first_problem(error), where=where) from error
    except (ValueError, RecursionError) as error:
        # ValueError: not TOML, not UTF-8, or an integer of more digits than Python converts.
        raise MalformedRecipe(f"the recipe is not TOML: {str(error)[:300]}", where=where) from error


def parse_recipe(data: bytes, *, where: str = RECIPE_FILE) -> Recipe:
    """Read a recipe that builds; ``RecipeHasNoStages`` for one that does not, else as ``parse_any_recipe``."""
    recipe = parse_any_recipe(data, where=where)
    if isinstance(recipe, PublicationRecipe):
        raise RecipeHasNoStages(f"the recipe {recipe.name} is publication-only and has no stages", where=where)
    return recipe


def render_command_line(template: str, values: Mapping[str, str]) -> str:
    """The command line with every ``{KEY}`` replaced; ``CommandLineUnknown`` when a key has no usable value.

    A value is one word of printable ASCII: one with a space would add an argument that nobody chose.
    """

    def value_of(match: re.Match[str]) -> str:
        key = match[1]
        value = values.get(key)
        if not value:
            raise CommandLineUnknown(
                f"the command line needs {key}, which is not published", where="launch configuration"
            )
        if not _VALUE.fullmatch(value):
            raise CommandLineUnknown(f"{key} is {value[:80]!r}, which is not one word", where="launch configuration")
        return value

    return _PLACEHOLDER.sub(value_of, template)
