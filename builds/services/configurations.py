"""Launch measurements of a release for any configuration, computed from its kept firmware and stored digests."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, cast

from django.conf import settings

from builds.domain.configuration import (
    SNP_ONLY,
    VMMS,
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
    KernelHashesUnsupported,
    MeasurementCalculator,
    MeasurementInputs,
    vcpu_types_by_signature,
)
from builds.services.evidence import ReleaseView
from builds.services.kept_firmware import kept_firmware

MOST_VCPUS_SEARCHED = 64
MOST_COMBINATIONS = 12
"""Of command line, guest features and VMM; each is searched for every CPU signature."""
_MOST_OF_EACH = 4
_ROWS_READ = 100
_CALCULATORS = 128
_MEASUREMENTS = 1024
_TABLES = 512


class ComponentNotKnown(PortalError):
    """A file that is launched has no digest here, so that nothing can be computed with it."""

    code: ClassVar[str] = "component-not-known"
    default_todo: ClassVar[str] = "Ask the publisher for the file, and import the release again."


@dataclass(frozen=True, slots=True)
class _Basis:
    """What a measurement is computed from: digests of the published files, and the command line."""

    store: Path
    ovmf: Digest
    kernel: Digest | None
    initrd: Digest | None
    command_line: str

    @property
    def boot_mode(self) -> BootMode:
        return BootMode.UEFI_DISK if self.kernel is None else BootMode.DIRECT_KERNEL


@dataclass(frozen=True, slots=True)
class Search:
    """Which configuration of a release gives a measurement: None when none of those that were tried does."""

    found: WantedConfiguration | None
    vcpu_types: tuple[str, ...]
    """The names that share the found one's CPU signature, and with it the measurement."""
    tried: int
    sentence: str


def published_configurations(release: Release) -> tuple[PublishedConfiguration, ...]:
    """The release's launch configurations as values, from a release loaded ``with_evidence``."""
    return tuple(_published(row) for row in release.launch_configurations.all())


def measurement_of(release: Release, wanted: WantedConfiguration) -> LaunchMeasurement:
    """The launch measurement that the published files give for any configuration; warm in a few milliseconds.

    Asks no publisher: the firmware was kept when the release was imported. Raises ``FirmwareNotKept``,
    ``ComponentNotKnown``, ``KernelHashesUnsupported``, ``UnknownVcpuType`` and ``MalformedFirmware``.
    """
    return _measured(_basis(release, wanted.launch.boot_mode, wanted.command_line), wanted.launch)


def judged(view: ReleaseView, wanted: WantedConfiguration | PortalError) -> ConfigurationJudgement:
    """The decision about one configuration of a release whose attestations were judged; never raises.

    An error instead of the configuration says why it cannot be read which one is asked about; that denies.
    """
    published = published_configurations(view.release)
    if isinstance(wanted, PortalError):
        return judge_configuration(None, wanted, published, view.verdict)
    return judge_configuration(wanted, _found(view.release, wanted, published), published, view.verdict)


def configuration_giving(release: Release, value: str) -> Search:
    """Search the release's configurations for one that gives ``value``, 96 hex characters.

    Published ones first, then every CPU signature with 1 to ``MOST_VCPUS_SEARCHED`` vCPUs, for the boot modes,
    command lines, guest features and VMMs that the project has published: at most ``MOST_COMBINATIONS`` of them,
    remembered by the process. Raises ``MalformedInput`` for what is no measurement and as ``measurement_of`` when
    nothing can be computed for this release. Makes one query besides a release loaded ``with_evidence``.
    """
    wanted = Digest.sha384(value.strip().lower()).hex
    raw = bytes.fromhex(wanted)
    published = published_configurations(release)
    for entry in published:
        if entry.recomputed is not None and entry.recomputed.hex == wanted:
            found = WantedConfiguration(entry.launch, entry.command_line or "")
            return Search(found, _names_like(entry.launch.vcpu_type), 1, f"Published for {entry.name}.")
    tried = 0
    signatures = vcpu_types_by_signature().values()
    for combination, names in itertools.product(_combinations(release, published), signatures):
        digests = _table(*combination, names[0])
        tried += len(digests)
        if raw in digests:
            basis, guest_features, vmm = combination
            own = next((entry.launch.vcpu_type for entry in published if entry.launch.vcpu_type in names), names[0])
            launch = LaunchConfiguration(basis.boot_mode, digests.index(raw) + 1, own, guest_features, vmm)
            found = WantedConfiguration(launch, basis.command_line)
            return Search(found, names, tried, "Not published; it follows from the same files.")
    return Search(None, (), tried, _nothing_found(release, tried, len(signatures)))


def _nothing_found(release: Release, tried: int, signatures: int) -> str:
    return (
        f"None of {tried:,} configurations of {release.tag} gives it: 1 to {MOST_VCPUS_SEARCHED} vCPUs of"
        f" {signatures} CPU signatures, with the command lines, guest features and VMMs that its project published."
    )


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


def _basis(release: Release, boot_mode: BootMode, command_line: str) -> _Basis:
    known = {Role(row.role): row.sha256 for row in release.components.all()}

    def digest(role: Role) -> Digest:
        if not known.get(role):
            raise ComponentNotKnown(f"no digest of the published {role} is known", where=release.tag)
        return Digest.sha256(known[role])

    store: Path = settings.FIRMWARE_STORE
    if boot_mode is BootMode.UEFI_DISK:
        return _Basis(store, digest(Role.OVMF), None, None, "")
    return _Basis(store, digest(Role.OVMF), digest(Role.KERNEL), digest(Role.INITRD), command_line)


def _combinations(release: Release, published: Sequence[PublishedConfiguration]) -> list[tuple[_Basis, int, Vmm]]:
    """What is searched: the release's own values first, then those of the project's other releases."""
    others = StoredConfiguration.objects.filter(release__project=release.project_id).exclude(release=release.pk)
    rows = others.order_by("-pk").values_list("command_line", "guest_features", "vmm")[:_ROWS_READ]
    known = [(entry.command_line, entry.launch.guest_features, entry.launch.vmm) for entry in published]
    lines, all_features, all_vmms = zip(*known, *rows, (None, SNP_ONLY, VMMS[0]), strict=True)
    bases = [*_direct_bases(release, lines), _basis(release, BootMode.UEFI_DISK, "")]
    # Every command line and none with the likeliest features and VMM, before any with others.
    found = itertools.product(_first(all_features), _first(all_vmms), bases)
    return [(basis, features, vmm) for features, vmm, basis in itertools.islice(found, MOST_COMBINATIONS)]


def _direct_bases(release: Release, command_lines: Sequence[str | None]) -> list[_Basis]:
    """None when the release has no kernel or its firmware cannot bind one."""
    lines = [line for line in _first(command_lines) if line is not None]
    try:
        bases = [_basis(release, BootMode.DIRECT_KERNEL, line) for line in lines]
        for basis in bases:
            _calculator(basis)
    except (ComponentNotKnown, KernelHashesUnsupported):
        return []
    return bases


def _first[Value](values: Sequence[Value]) -> list[Value]:
    """The first few different ones."""
    return list(dict.fromkeys(values))[:_MOST_OF_EACH]


def _names_like(vcpu_type: str) -> tuple[str, ...]:
    """Every name with the same CPU signature; of an unknown type only its own."""
    return next((names for names in vcpu_types_by_signature().values() if vcpu_type in names), (vcpu_type,))


@lru_cache(maxsize=_CALCULATORS)
def _calculator(basis: _Basis) -> MeasurementCalculator:
    firmware = kept_firmware(basis.ovmf)
    return MeasurementCalculator(MeasurementInputs(firmware, basis.kernel, basis.initrd, basis.command_line))


@lru_cache(maxsize=_MEASUREMENTS)
def _measured(basis: _Basis, launch: LaunchConfiguration) -> LaunchMeasurement:
    return _calculator(basis).measure(launch)


@lru_cache(maxsize=_TABLES)
def _table(basis: _Basis, guest_features: int, vmm: Vmm, vcpu_type: str) -> tuple[bytes, ...]:
    """The digests for 1, 2, ... vCPUs, 48 bytes each."""
    digests = _calculator(basis).digests(vcpu_type, guest_features, vmm, MOST_VCPUS_SEARCHED)
    return tuple(bytes.fromhex(digest) for digest in digests)
