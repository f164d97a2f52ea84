"""Launch configurations and launch measurements as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from builds.domain.errors import MalformedInput
from builds.domain.roles import BootMode

type Vmm = Literal["qemu", "ec2", "gce"]

MAX_VCPUS = 512
FEATURES_END = 2**64

FIRMWARE_COVERAGE = frozenset({"ovmf"})
DIRECT_KERNEL_COVERAGE = frozenset({"ovmf", "kernel", "initrd", "cmdline"})


class Launch(Protocol):
    """What a measurement is computed for, whoever says so; see ``LaunchConfiguration``."""

    @property
    def boot_mode(self) -> str: ...
    @property
    def vcpus(self) -> int: ...
    @property
    def vcpu_type(self) -> str: ...
    @property
    def guest_features(self) -> int: ...
    @property
    def vmm(self) -> str: ...


@dataclass(frozen=True, slots=True)
class LaunchConfiguration:
    """What a launch measurement is computed for, besides the files and the command line.

    ``guest_features`` is SEV_FEATURES of the VMSA (AMD APM volume 2, table B-4), bit 0 being SNP itself,
    64 bits wide; ``vcpus`` is 1 to ``MAX_VCPUS``. Construction fails with ``MalformedInput`` outside of
    that, since a wider value would be cut silently and measured as another one.
    """

    boot_mode: BootMode
    vcpus: int
    vcpu_type: str
    guest_features: int
    vmm: Vmm

    def __post_init__(self) -> None:
        if not 1 <= self.vcpus <= MAX_VCPUS:
            raise MalformedInput(f"{self.vcpus} vCPUs: 1 to {MAX_VCPUS} can be measured", where="launch configuration")
        if not 0 <= self.guest_features < FEATURES_END:
            raise MalformedInput(
                f"guest features {self.guest_features:#x} do not fit 64 bits", where="launch configuration"
            )


@dataclass(frozen=True, slots=True)
class LaunchMeasurement:
    """A launch digest as 96 hex characters, and what it binds; see ``coverage_of``."""

    hex: str
    boot_mode: BootMode
    coverage: frozenset[str]


def coverage_of(boot_mode: BootMode, *, kernel_hashes: bool) -> frozenset[str]:
    """What a measurement binds: without the kernel-hashes page another kernel gives the same digest.

    A disk is never among it: firmware reads it after launch.
    """
    if boot_mode is BootMode.DIRECT_KERNEL and kernel_hashes:
        return DIRECT_KERNEL_COVERAGE
    return FIRMWARE_COVERAGE
