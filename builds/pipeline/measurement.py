"""SEV-SNP launch measurements: the only importer of sev-snp-measure (0.0.13).

The library does the cryptography; this adapter shares work between configurations (firmware pages
and kernel hashes once, VMSA pages chained vCPU by vCPU; SEV-SNP ABI 8.17, PAGE_INFO), refuses
firmware that only seems measurable, and turns what the library raises into named errors.
"""

from __future__ import annotations

import hashlib
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

from builds.domain.digest import Algorithm, Digest
from builds.domain.errors import LimitExceeded, MalformedInput, PortalError
from builds.domain.launch import LaunchConfiguration, LaunchMeasurement, Vmm, coverage_of
from builds.domain.roles import BootMode
from builds.pipeline.hashing import open_regular, read_chunks

_PAGE = 4096
MAX_FIRMWARE_BYTES = 32 * 1024**2
MAX_BOOT_FILE_BYTES = 512 * 1024**2
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


class _Volume(OVMF):
    """The library's firmware, of which only the tables are needed once its pages are hashed."""

    def forget_data(self) -> None:
        self._data = b""


class Firmware:
    """Firmware that can be launched under SEV-SNP, read and hashed once for every calculator that starts from it.

    Never changes once made, so that threads may share it, and holds a few kilobytes, so that many can be kept.
    ``name`` is what errors call it. Raises ``MalformedFirmware``, ``FirmwareWithoutSnpMetadata``,
    ``UnreadableFile`` for a file that is not there or not a regular one, and ``LimitExceeded``.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self.name = name or path.name
        _check_file(path, MAX_FIRMWARE_BYTES)
        with _named_errors(self.name):
            self.volume = _Volume(str(path))
            self._check_metadata()
            self.reset_eip = self.volume.sev_es_reset_eip()
            if not self.reset_eip:
                raise MalformedFirmware("it names no place where further vCPUs start", where=self.name)
            pages = GCTX()
            pages.update_normal_pages(self.volume.gpa(), self.volume.data())
        self.volume.forget_data()
        self.digest: bytes = pages.ld()
        """The launch digest after the firmware's own pages, 48 bytes."""

    def check_binds_kernel(self) -> None:
        """Raises ``KernelHashesUnsupported`` when another kernel would give the same measurement."""
        with _named_errors(self.name):
            if not self.volume.has_metadata_section(SectionType.SNP_KERNEL_HASHES):
                raise KernelHashesUnsupported("the firmware has no SNP_KERNEL_HASHES section", where=self.name)
            if not self.volume.is_sev_hashes_table_supported():
                raise KernelHashesUnsupported("the firmware has no table for kernel hashes", where=self.name)

    def _check_metadata(self) -> None:
        sections = self.volume.metadata_items()
        if not sections:
            raise FirmwareWithoutSnpMetadata("the firmware has no SEV metadata", where=self.name)
        if not any(section.section_type() is SectionType.SNP_SECRETS for section in sections):
            raise FirmwareWithoutSnpMetadata("the firmware's metadata has no SNP secrets page", where=self.name)
        pages = sum(max(section.size, _PAGE) for section in sections)
        if pages > _MAX_METADATA_PAGES * _PAGE:
            raise MalformedFirmware("its metadata names more memory than a firmware can need", where=self.name)
        if self.volume.size() % _PAGE:
            raise MalformedFirmware("its size is not a multiple of 4096 bytes", where=self.name)


@dataclass(frozen=True, slots=True)
class MeasurementInputs:
    """What to measure. ``kernel`` None means firmware only; then initrd and command line are not read.

    Kernel and initrd may be files or their SHA-256: only that enters a measurement (QEMU's SEV hashes table).
    """

    ovmf: Path | Firmware
    kernel: Path | Digest | None = None
    initrd: Path | Digest | None = None
    command_line: str | None = None


def vcpu_types() -> tuple[str, ...]:
    """Every vCPU type a measurement can be computed for."""
    return tuple(CPU_SIGS)


def vcpu_types_by_signature() -> dict[int, tuple[str, ...]]:
    """The names of vCPU types that one measurement is the same for, by the signature they share."""
    found: dict[int, tuple[str, ...]] = {}
    for name, signature in CPU_SIGS.items():
        found[int(signature)] = (*found.get(int(signature), ()), name)
    return found


def vcpu_signature(vcpu_type: str) -> int:
    """CPUID_Fn00000001_EAX of a vCPU type; several types share one."""
    if vcpu_type not in CPU_SIGS:
        raise UnknownVcpuType(f"vCPU type {vcpu_type!r} has no known signature", where="launch configuration")
    return int(CPU_SIGS[vcpu_type])


def signature_of(vcpu_type: str) -> int | None:
    """As ``vcpu_signature``, and None of a type whose signature is not known."""
    return int(CPU_SIGS[vcpu_type]) if vcpu_type in CPU_SIGS else None


def names_of_signature(vcpu_type: str) -> tuple[str, ...]:
    """Every vCPU type that has the same signature; of an unknown one only itself."""
    return next((names for names in vcpu_types_by_signature().values() if vcpu_type in names), (vcpu_type,))


def measure(inputs: MeasurementInputs, configuration: LaunchConfiguration) -> LaunchMeasurement:
    """The launch measurement of one configuration; see ``MeasurementCalculator`` for the errors."""
    return MeasurementCalculator(inputs).measure(configuration)


class MeasurementCalculator:
    """All measurements of one set of inputs: reads and hashes them once.

    Raises what ``Firmware`` does, when a kernel is given to firmware that cannot bind it
    ``KernelHashesUnsupported``, ``UnreadableFile`` and ``LimitExceeded`` for its files, and ``MalformedInput``
    for a command line no VM can be given.
    """

    def __init__(self, inputs: MeasurementInputs) -> None:
        self._firmware = inputs.ovmf if isinstance(inputs.ovmf, Firmware) else Firmware(inputs.ovmf)
        _check_command_line(inputs.command_line or "")
        self._hashes: SevHashes | None = None
        if inputs.kernel is not None:
            self._firmware.check_binds_kernel()
            self._hashes = _BootHashes(_sha256(inputs.kernel), _sha256(inputs.initrd), inputs.command_line or "")
        self._prefixes: dict[Vmm, bytes] = {}

    @property
    def boot_mode(self) -> BootMode:
        return BootMode.DIRECT_KERNEL if self._hashes is not None else BootMode.UEFI_DISK

    def measure(self, configuration: LaunchConfiguration) -> LaunchMeasurement:
        """One measurement; the configuration's boot mode must be that of the files."""
        if configuration.boot_mode is not self.boot_mode:
            raise MalformedInput(
                f"these files boot as {self.boot_mode}, not {configuration.boot_mode}", where=self._firmware.name
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
        with _named_errors(self._firmware.name):
            context = GCTX(seed=self._prefix(vmm))
            vmsa = VMSA(SevMode.SEV_SNP, self._firmware.reset_eip, signature, guest_features, _VMMS[vmm])
            for page in vmsa.pages(most_vcpus):
                context.update_vmsa_page(page)
                yield context.ld().hex()

    def _prefix(self, vmm: Vmm) -> bytes:
        """The digest after firmware and metadata pages, before the first vCPU."""
        if vmm not in self._prefixes:
            context = GCTX(seed=self._firmware.digest)
            snp_update_metadata_pages(context, self._firmware.volume, self._hashes, _VMMS[vmm])
            self._prefixes[vmm] = context.ld()
        return self._prefixes[vmm]


class _BootHashes(SevHashes):
    """The table of kernel, initrd and command line from digests; the library's own wants the files themselves."""

    def __init__(self, kernel: bytes, initrd: bytes, command_line: str) -> None:
        self.kernel_hash = kernel
        self.initrd_hash = initrd
        self.cmdline_hash = hashlib.sha256(command_line.encode() + b"\0").digest()


def _sha256(part: Path | Digest | None) -> bytes:
    """Of a file, as it is known, or of nothing: a VM without an initrd has an empty one."""
    if part is None:
        return hashlib.sha256().digest()
    if isinstance(part, Digest):
        if part.algorithm is not Algorithm.SHA256:
            raise MalformedInput(f"it takes sha256 digests, not {part.algorithm}", where="launch measurement")
        return bytes.fromhex(part.hex)
    _check_file(part, MAX_BOOT_FILE_BYTES)
    hasher = hashlib.sha256()
    for chunk in read_chunks(part, check=lambda: None):
        hasher.update(chunk)
    return hasher.digest()


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
