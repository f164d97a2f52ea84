"""SEV-SNP launch measurements: the only importer of sev-snp-measure (0.0.13).

The library does the cryptography; this adapter shares work between configurations (firmware pages
and kernel hashes once, VMSA pages chained vCPU by vCPU; SEV-SNP ABI 8.17, PAGE_INFO), refuses
firmware that only seems measurable, and turns what the library raises into named errors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sevsnpmeasure.gctx import GCTX
from sevsnpmeasure.guest import snp_update_metadata_pages
from sevsnpmeasure.ovmf import OVMF, SectionType
from sevsnpmeasure.sev_hashes import SevHashes
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vcpu_types import CPU_SIGS
from sevsnpmeasure.vmm_types import VMMType
from sevsnpmeasure.vmsa import VMSA

from builds.domain.errors import LimitExceeded, MalformedInput, PortalError
from builds.domain.launch import LaunchConfiguration, LaunchMeasurement, Vmm, coverage_of
from builds.domain.roles import BootMode
from builds.pipeline.hashing import open_regular

_PAGE = 4096
_MAX_FIRMWARE_BYTES = 32 * 1024**2
_MAX_BOOT_FILE_BYTES = 512 * 1024**2
_MAX_METADATA_PAGES = 64 * 1024
_VMMS: Mapping[Vmm, VMMType] = {"qemu": VMMType.QEMU, "ec2": VMMType.ec2, "gce": VMMType.gce}


class MalformedFirmware(MalformedInput):
    """A file that is no OVMF firmware which can be launched under SEV-SNP."""

    code: ClassVar[str] = "malformed-firmware"
    default_todo: ClassVar[str] = "Check that ovmf.fd is the whole firmware volume the VM boots with."


class FirmwareWithoutSnpMetadata(MalformedFirmware):
    """Firmware that carries no SEV metadata: a digest could be computed, but nothing can boot to it."""

    code: ClassVar[str] = "firmware-without-snp-metadata"
    default_todo: ClassVar[str] = "Use a firmware built for AMD SEV, such as OVMF's AmdSev package."


class KernelHashesUnsupported(PortalError):
    """Firmware without an SNP_KERNEL_HASHES section: it cannot bind kernel, initrd or command line."""

    code: ClassVar[str] = "kernel-hashes-unsupported"
    default_todo: ClassVar[str] = (
        "Use firmware with that section; a UEFI-only measurement does not cover kernel, initrd or command line."
    )


class UnknownVcpuType(MalformedInput):
    """A vCPU type that has no known CPUID signature."""

    code: ClassVar[str] = "unknown-vcpu-type"
    default_todo: ClassVar[str] = "Use one of the EPYC models that sev-snp-measure lists."


@dataclass(frozen=True, slots=True)
class MeasurementInputs:
    """Files to measure. ``kernel`` None means firmware only; then initrd and command line are not read."""

    ovmf: Path
    kernel: Path | None = None
    initrd: Path | None = None
    command_line: str | None = None


def vcpu_types() -> tuple[str, ...]:
    """Every vCPU type a measurement can be computed for."""
    return tuple(CPU_SIGS)


def vcpu_signature(vcpu_type: str) -> int:
    """CPUID_Fn00000001_EAX of a vCPU type; several types share one."""
    if vcpu_type not in CPU_SIGS:
        raise UnknownVcpuType(f"vCPU type {vcpu_type!r} has no known signature", where="launch configuration")
    return int(CPU_SIGS[vcpu_type])


def measure(inputs: MeasurementInputs, configuration: LaunchConfiguration) -> LaunchMeasurement:
    """The launch measurement of one configuration; see ``MeasurementCalculator`` for the errors."""
    return MeasurementCalculator(inputs).measure(configuration)


class MeasurementCalculator:
    """All measurements of one set of files: reads and hashes them once.

    Raises ``MalformedFirmware``, ``FirmwareWithoutSnpMetadata``, when a kernel is given to firmware
    that cannot bind it ``KernelHashesUnsupported``, ``UnreadableFile`` for a file that is not there or
    not a regular one, ``LimitExceeded``, and ``MalformedInput`` for a command line no VM can be given.
    """

    def __init__(self, inputs: MeasurementInputs) -> None:
        self._where = inputs.ovmf.name
        _check_file(inputs.ovmf, _MAX_FIRMWARE_BYTES)
        for path in (inputs.kernel, inputs.initrd):
            if path is not None:
                _check_file(path, _MAX_BOOT_FILE_BYTES)
        _check_command_line(inputs.command_line or "")
        with _named_errors(self._where):
            self._ovmf = OVMF(str(inputs.ovmf))
            self._check_metadata()
            self._reset_eip = self._ovmf.sev_es_reset_eip()
            if not self._reset_eip:
                raise MalformedFirmware("it names no place where further vCPUs start", where=self._where)
            self._hashes = self._kernel_hashes(inputs)
            pages = GCTX()
            pages.update_normal_pages(self._ovmf.gpa(), self._ovmf.data())
            self._firmware_digest: bytes = pages.ld()
        self._prefixes: dict[Vmm, bytes] = {}

    @property
    def boot_mode(self) -> BootMode:
        return BootMode.DIRECT_KERNEL if self._hashes is not None else BootMode.UEFI_DISK

    def measure(self, configuration: LaunchConfiguration) -> LaunchMeasurement:
        """One measurement; the configuration's boot mode must be that of the files."""
        if configuration.boot_mode is not self.boot_mode:
            raise MalformedInput(
                f"these files boot as {self.boot_mode}, not {configuration.boot_mode}", where=self._where
            )
        digests = self.digests(
            configuration.vcpu_type, configuration.guest_features, configuration.vmm, configuration.vcpus
        )
        last = ""
        for digest in digests:
            last = digest
        coverage = coverage_of(configuration.boot_mode, kernel_hashes=self._hashes is not None)
        return LaunchMeasurement(last, configuration.boot_mode, coverage)

    def digests(self, vcpu_type: str, guest_features: int, vmm: Vmm, most_vcpus: int) -> Iterator[str]:
        """The digests for 1, 2, ... ``most_vcpus`` vCPUs, each one VMSA page on from the last."""
        signature = vcpu_signature(vcpu_type)
        with _named_errors(self._where):
            context = GCTX(seed=self._prefix(vmm))
            vmsa = VMSA(SevMode.SEV_SNP, self._reset_eip, signature, guest_features, _VMMS[vmm])
            for page in vmsa.pages(most_vcpus):
                context.update_vmsa_page(page)
                yield context.ld().hex()

    def _prefix(self, vmm: Vmm) -> bytes:
        """The digest after firmware and metadata pages, before the first vCPU."""
        if vmm not in self._prefixes:
            context = GCTX(seed=self._firmware_digest)
            snp_update_metadata_pages(context, self._ovmf, self._hashes, _VMMS[vmm])
            self._prefixes[vmm] = context.ld()
        return self._prefixes[vmm]

    def _check_metadata(self) -> None:
        sections = self._ovmf.metadata_items()
        if not sections:
            raise FirmwareWithoutSnpMetadata("the firmware has no SEV metadata", where=self._where)
        if not any(section.section_type() is SectionType.SNP_SECRETS for section in sections):
            raise FirmwareWithoutSnpMetadata("the firmware's metadata has no SNP secrets page", where=self._where)
        pages = sum(max(section.size, _PAGE) for section in sections)
        if pages > _MAX_METADATA_PAGES * _PAGE:
            raise MalformedFirmware("its metadata names more memory than a firmware can need", where=self._where)
        if self._ovmf.size() % _PAGE:
            raise MalformedFirmware("its size is not a multiple of 4096 bytes", where=self._where)

    def _kernel_hashes(self, inputs: MeasurementInputs) -> SevHashes | None:
        if inputs.kernel is None:
            return None
        if not self._ovmf.has_metadata_section(SectionType.SNP_KERNEL_HASHES):
            raise KernelHashesUnsupported("the firmware has no SNP_KERNEL_HASHES section", where=self._where)
        if not self._ovmf.is_sev_hashes_table_supported():
            raise KernelHashesUnsupported("the firmware has no table for kernel hashes", where=self._where)
        initrd = str(inputs.initrd) if inputs.initrd is not None else ""
        return SevHashes(str(inputs.kernel), initrd, inputs.command_line or "")


def _check_file(path: Path, most_bytes: int) -> None:
    """The library reads a file whole, by its name; so it must be a plain file that fits."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most_bytes:
            raise LimitExceeded(f"the file is larger than {most_bytes} bytes", where=path.name)


def _check_command_line(text: str) -> None:
    """A command line ends at its first zero byte, and is bytes in the end."""
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise MalformedInput("the command line has a zero byte or a half character in it", where="command line")


@contextmanager
def _named_errors(where: str) -> Iterator[None]:
    """What the library raises on firmware it cannot read, as one named error."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError, IndexError, AssertionError, OverflowError, TypeError, OSError) as error:
        raise MalformedFirmware(
            f"the firmware cannot be measured: {str(error)[:200] or type(error).__name__}", where=where
        ) from error
