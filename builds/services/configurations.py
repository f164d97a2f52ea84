"""Launch measurements of a release for any configuration, computed from its kept firmware and stored digests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, cast

from django.conf import settings

from builds.domain.configuration import (
    ConfigurationJudgement,
    PublishedConfiguration,
    WantedConfiguration,
    judge_configuration,
)
from builds.domain.digest import Digest
from builds.domain.errors import PortalError
from builds.domain.launch import LaunchConfiguration, LaunchMeasurement, Vmm
from builds.domain.roles import BootMode, Role
from builds.models import LaunchConfiguration as StoredConfiguration
from builds.models import Release
from builds.pipeline.measurement import (
    MeasurementCalculator,
    MeasurementInputs,
)
from builds.services.evidence import ReleaseView
from builds.services.kept_firmware import kept_firmware

_CALCULATORS = 128
_MEASUREMENTS = 1024


class ComponentNotKnown(PortalError):
    """A file that is launched has no digest here, so that nothing can be computed with it."""

    code: ClassVar[str] = "component-not-known"
    default_todo: ClassVar[str] = "Ask the publisher for the file, and import the release again."


@dataclass(frozen=True, slots=True)
class Basis:
    """What a measurement is computed from: digests of the published files, and the command line."""

    store: Path
    ovmf: Digest
    kernel: Digest | None
    initrd: Digest | None
    command_line: str

    @property
    def boot_mode(self) -> BootMode:
        return BootMode.UEFI_DISK if self.kernel is None else BootMode.DIRECT_KERNEL


def published_configurations(release: Release) -> tuple[PublishedConfiguration, ...]:
    """The release's launch configurations as values, from a release loaded ``with_evidence``."""
    return tuple(_published(row) for row in release.launch_configurations.all())


def measurement_of(release: Release, wanted: WantedConfiguration) -> LaunchMeasurement:
    """The launch measurement that the published files give for any configuration; warm in a few milliseconds.

    Asks no publisher: the firmware was kept when the release was imported. Raises ``FirmwareNotKept``,
    ``ComponentNotKnown``, ``KernelHashesUnsupported``, ``UnknownVcpuType`` and ``MalformedFirmware``.
    """
    return _measured(basis_of(release, wanted.launch.boot_mode, wanted.command_line), wanted.launch)


def judged(view: ReleaseView, wanted: WantedConfiguration | PortalError) -> ConfigurationJudgement:
    """The decision about one configuration of a release whose attestations were judged; never raises.

    An error instead of the configuration says why it cannot be read which one is asked about; that denies.
    """
    published = published_configurations(view.release)
    if isinstance(wanted, PortalError):
        return judge_configuration(None, wanted, published, view.verdict)
    return judge_configuration(wanted, _found(view.release, wanted, published), published, view.verdict)


def _published(row: StoredConfiguration) -> PublishedConfiguration:
    measurement = row.measurement
    boot_mode = BootMode(row.boot_mode)
    recomputed = None
    if measurement.recomputed:
        recomputed = LaunchMeasurement(measurement.recomputed, boot_mode, frozenset(measurement.coverage))
    return PublishedConfiguration(row.name, launch_of(row), row.command_line, measurement.published or None, recomputed)


def launch_of(row: StoredConfiguration) -> LaunchConfiguration:
    """The stored row as the pure value that measurements are computed for."""
    return LaunchConfiguration(
        BootMode(row.boot_mode), row.vcpus, row.vcpu_type, row.guest_features, cast("Vmm", row.vmm)
    )


def _found(
    release: Release, wanted: WantedConfiguration, published: Sequence[PublishedConfiguration]
) -> LaunchMeasurement | PortalError:
    """What was computed at the import for a published configuration, else what is computed now, or why nothing is."""
    for entry in published:
        if entry.recomputed is not None and entry.is_for(wanted):
            return entry.recomputed
    try:
        return measurement_of(release, wanted)
    except PortalError as error:
        return error


def basis_of(release: Release, boot_mode: BootMode, command_line: str) -> Basis:
    known = {Role(row.role): row.sha256 for row in release.components.all()}

    def digest(role: Role) -> Digest:
        if not known.get(role):
            raise ComponentNotKnown(f"no digest of the published {role} is known", where=release.tag)
        return Digest.sha256(known[role])

    store: Path = settings.FIRMWARE_STORE
    if boot_mode is BootMode.UEFI_DISK:
        return Basis(store, digest(Role.OVMF), None, None, "")
    return Basis(store, digest(Role.OVMF), digest(Role.KERNEL), digest(Role.INITRD), command_line)


@lru_cache(maxsize=_CALCULATORS)
def calculator_of(basis: Basis) -> MeasurementCalculator:
    firmware = kept_firmware(basis.ovmf)
    return MeasurementCalculator(MeasurementInputs(firmware, basis.kernel, basis.initrd, basis.command_line))


@lru_cache(maxsize=_MEASUREMENTS)
def _measured(basis: Basis, launch: LaunchConfiguration) -> LaunchMeasurement:
    return calculator_of(basis).measure(launch)
