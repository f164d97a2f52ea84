"""The published launch measurement of a release, recomputed from its published files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from builds.domain.errors import PortalError
from builds.domain.launch import LaunchConfiguration as Launch
from builds.domain.launch import LaunchMeasurement, Vmm
from builds.domain.manifest import MANIFEST_FILE, MEASUREMENT_FILE
from builds.domain.recipe import CommandLineUnknown, LaunchConfigurationSpec, RecipeOrigin, render_command_line
from builds.domain.roles import BootMode, Role
from builds.models import LaunchConfiguration, Measurement, Release
from builds.pipeline.published_release import PublishedRelease, StatedLaunch
from builds.pipeline.rebuild import measure_files
from builds.services.source_facts import SourceFacts

# What calculate-measurement.sh assumes when a recipe does not say: sev-snp-measure's own defaults.
_DEFAULT_GUEST_FEATURES = 0x1
_DEFAULT_VMM: Vmm = "qemu"
_MEASURED = frozenset({Role.OVMF, Role.KERNEL, Role.INITRD})


class MeasurementUnplaced(PortalError):
    """A launch measurement is published, and nothing says which launch configuration it is of."""

    code: ClassVar[str] = "measurement-unplaced"
    default_todo: ClassVar[str] = (
        "Give the project a recipe with the one launch configuration that is measured, then import the release again."
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """A launch configuration as published, and the measurement recomputed for it; neither is saved yet."""

    configuration: LaunchConfiguration
    measurement: Measurement

    def save(self, release: Release) -> None:
        self.configuration.release = release
        self.configuration.save()
        self.measurement.save()


@dataclass(frozen=True, slots=True)
class _Completed:
    """What is measured: the launch, the command line or why it is unknown, and where the values come from."""

    launch: Launch
    spec: LaunchConfigurationSpec | None
    command_line: str | None
    problem: PortalError | None
    origin: str


def measure_published(published: PublishedRelease, facts: SourceFacts | None) -> Measured | MeasurementUnplaced | None:
    """The published launch configuration, completed from the recipe, and its measurement recomputed.

    None when no measurement was published. A measurement that cannot be recomputed keeps its problem.
    """
    stated = published.measurement
    if stated is None:
        return None
    try:
        wanted = _completed(published, stated.launch, facts)
    except MeasurementUnplaced as error:
        return error
    launch, spec = wanted.launch, wanted.spec
    configuration = LaunchConfiguration(
        name=spec.name if spec is not None else "published",
        boot_mode=launch.boot_mode,
        vcpus=launch.vcpus,
        vcpu_type=launch.vcpu_type,
        guest_features=launch.guest_features,
        vmm=launch.vmm,
        command_line=wanted.command_line,
        origin=wanted.origin,
        not_covered=[entry.model_dump() for entry in spec.not_covered] if spec is not None else [],
    )
    recomputed, problem = _recompute(published, wanted)
    measurement = Measurement(
        launch_configuration=configuration,
        published=stated.value,
        recomputed=recomputed.hex if recomputed is not None else "",
        coverage=sorted(recomputed.coverage) if recomputed is not None else [],
        problem=problem.as_dict() if problem is not None else None,
    )
    return Measured(configuration, measurement)


def _completed(published: PublishedRelease, stated: StatedLaunch | None, facts: SourceFacts | None) -> _Completed:
    if stated is not None:
        return _from_documents(stated, facts)
    return _from_recipe(published, facts)


def _from_documents(stated: StatedLaunch, facts: SourceFacts | None) -> _Completed:
    """The documents say what was measured; guest features and VMM come from the recipe's like configuration."""
    spec = _matching_spec(facts, stated)
    launch = Launch(
        boot_mode=stated.boot_mode,
        vcpus=stated.vcpus,
        vcpu_type=stated.vcpu_type,
        guest_features=spec.guest_features if spec is not None else _DEFAULT_GUEST_FEATURES,
        vmm=spec.vmm if spec is not None else _DEFAULT_VMM,
    )
    completed = "from the recipe" if spec is not None else "assumed, the recipe has no such configuration"
    problem = None
    if stated.command_line is None:
        problem = PortalError(
            f"no published document names the command line of the measurement ({MEASUREMENT_FILE} is absent)",
            where=MANIFEST_FILE,
            todo="Ask the publisher for expected-measurement.json.",
        )
    origin = f"published documents; guest features and VMM {completed}"
    return _Completed(launch, spec, stated.command_line, problem, origin)


def _from_recipe(published: PublishedRelease, facts: SourceFacts | None) -> _Completed:
    """The documents say nothing but the value: everything else is the recipe's one configuration."""
    where = published.document_name
    if facts is None:
        raise MeasurementUnplaced(
            "a launch measurement is published, but the recipe that says what it is of could not be read", where=where
        )
    specs = facts.found.recipe.launch_configurations
    if len(specs) != 1:
        raise MeasurementUnplaced(
            f"a launch measurement is published, but the recipe has {len(specs)} launch configurations", where=where
        )
    (spec,) = specs
    launch = Launch(spec.boot_mode, spec.vcpus, spec.vcpu_type, spec.guest_features, spec.vmm)
    command_line, problem = _recipe_command_line(spec, published, facts)
    keeper = "portal-maintained recipe" if facts.found.origin is RecipeOrigin.PORTAL else "recipe of the source tree"
    origin = f"{keeper}; the command line's placeholders are filled from the published document"
    return _Completed(launch, spec, command_line, problem, origin)


def _recipe_command_line(
    spec: LaunchConfigurationSpec, published: PublishedRelease, facts: SourceFacts
) -> tuple[str | None, PortalError | None]:
    if spec.boot_mode is BootMode.UEFI_DISK:
        return "", None
    if spec.command_line is not None:
        try:
            return render_command_line(spec.command_line, published.values), None
        except CommandLineUnknown as error:
            return None, error
    found = facts.command_lines.get(
        spec.name, CommandLineUnknown("the recipe names no command line", where="launch configuration")
    )
    return (found, None) if isinstance(found, str) else (None, found)


def _recompute(published: PublishedRelease, wanted: _Completed) -> tuple[LaunchMeasurement | None, PortalError | None]:
    if wanted.command_line is None:
        return None, wanted.problem
    paths: dict[Role, Path] = {
        role: asset.path
        for role, asset in published.assets.items()
        if role in _MEASURED and asset.problem is None and asset.path is not None
    }
    return measure_files(paths, wanted.launch, wanted.command_line)


def _matching_spec(facts: SourceFacts | None, stated: StatedLaunch) -> LaunchConfigurationSpec | None:
    if facts is None:
        return None
    wanted = (stated.boot_mode, stated.vcpus, stated.vcpu_type)
    specs = facts.found.recipe.launch_configurations
    return next((spec for spec in specs if (spec.boot_mode, spec.vcpus, spec.vcpu_type) == wanted), None)
