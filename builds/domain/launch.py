"""Launch configurations and launch measurements as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from builds.domain.roles import BootMode

type Vmm = Literal["qemu", "ec2", "gce"]

FIRMWARE_COVERAGE = frozenset({"ovmf"})
DIRECT_KERNEL_COVERAGE = frozenset({"ovmf", "kernel", "initrd", "cmdline"})


@dataclass(frozen=True, slots=True)
class LaunchConfiguration:
    """What a launch measurement is computed for, besides the files and the command line.

    ``guest_features`` is SEV_FEATURES of the VMSA (AMD APM volume 2, table B-4), bit 0 being SNP itself.
    """

    boot_mode: BootMode
    vcpus: int
    vcpu_type: str
    guest_features: int
    vmm: Vmm


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
