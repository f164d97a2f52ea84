"""The components of a confidential VM release, by role."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """One published file each. The order is the order of every table."""

    KATANA = "katana"
    KERNEL = "kernel"
    INITRD = "initrd"
    OVMF = "ovmf"
    DISK = "disk"


class BootMode(StrEnum):
    """How a launch configuration boots, as ``expected-measurement.json`` names it."""

    DIRECT_KERNEL = "direct_kernel"
    UEFI_DISK = "uefi_disk"
