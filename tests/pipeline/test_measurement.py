"""Launch measurements of real firmware, held against the library's own answer."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import time
import uuid
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sevsnpmeasure.guest import snp_calc_launch_digest
from sevsnpmeasure.vmm_types import VMMType

from builds.domain.digest import Digest
from builds.domain.errors import MalformedInput, PortalError
from builds.domain.launch import LaunchConfiguration, Vmm, coverage_of
from builds.domain.roles import BootMode
from builds.pipeline.hashing import UnreadableFile
from builds.pipeline.measurement import (
    Firmware,
    FirmwareWithoutSnpMetadata,
    KernelHashesUnsupported,
    MalformedFirmware,
    MeasurementCalculator,
    MeasurementInputs,
    UnknownVcpuType,
    measure,
    vcpu_signature,
    vcpu_types,
    vcpu_types_by_signature,
)

COMMAND_LINE = "console=ttyS0 katana.args=--http.addr=0.0.0.0"
VMMS: dict[Vmm, VMMType] = {"qemu": VMMType.QEMU, "ec2": VMMType.ec2, "gce": VMMType.gce}
PLAIN_OVMF = Path("/usr/share/ovmf/OVMF.fd")
WITHOUT_METADATA = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
reuse = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


@pytest.fixture(scope="session")
def inputs(firmware: Path, tmp_path_factory: pytest.TempPathFactory) -> MeasurementInputs:
    directory = tmp_path_factory.mktemp("boot")
    (directory / "vmlinuz").write_bytes(b"kernel" * 10_000)
    (directory / "initrd.img").write_bytes(b"initrd" * 10_000)
    return MeasurementInputs(firmware, directory / "vmlinuz", directory / "initrd.img", COMMAND_LINE)


def configuration(
    vcpus: int = 4,
    vcpu_type: str = "EPYC-v4",
    guest_features: int = 1,
    vmm: Vmm = "qemu",
    boot_mode: BootMode = BootMode.DIRECT_KERNEL,
) -> LaunchConfiguration:
    return LaunchConfiguration(boot_mode, vcpus, vcpu_type, guest_features, vmm)


def library_answer(inputs: MeasurementInputs, wanted: LaunchConfiguration) -> str:
    return snp_calc_launch_digest(
        wanted.vcpus,
        vcpu_signature(wanted.vcpu_type),
        str(inputs.ovmf),
        str(inputs.kernel or ""),
        str(inputs.initrd or ""),
        inputs.command_line or "",
        wanted.guest_features,
        "",
        vmm_type=VMMS[wanted.vmm],
    ).hex()


@functools.cache
def shared(path: Path) -> Firmware:
    """Read once for all examples, as the portal does."""
    return Firmware(path)


def sha256_of(data: bytes) -> Digest:
    return Digest.sha256(hashlib.sha256(data).hexdigest())


@reuse
@given(
    vcpus=st.integers(1, 128),
    vcpu_type=st.sampled_from(vcpu_types()),
    guest_features=st.sampled_from([0x1, 0x21]),
    vmm=st.sampled_from(sorted(VMMS)),
)
def test_every_sampled_measurement_is_the_librarys_own(
    inputs: MeasurementInputs, vcpus: int, vcpu_type: str, guest_features: int, vmm: Vmm
) -> None:
    wanted = configuration(vcpus, vcpu_type, guest_features, vmm)
    assert measure(inputs, wanted).hex == library_answer(inputs, wanted)


@reuse
@given(
    vcpus=st.integers(1, 64),
    vcpu_type=st.sampled_from(vcpu_types()),
    vmm=st.sampled_from(sorted(VMMS)),
    kernel=st.binary(max_size=200),
    initrd=st.none() | st.binary(max_size=200),
    command_line=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80),
)
def test_the_digests_of_kernel_and_initrd_are_enough_for_the_librarys_own_measurement(
    firmware: Path,
    tmp_path: Path,
    vcpus: int,
    vcpu_type: str,
    vmm: Vmm,
    kernel: bytes,
    initrd: bytes | None,
    command_line: str,
) -> None:
    (tmp_path / "k").write_bytes(kernel)
    (tmp_path / "i").write_bytes(initrd or b"")
    wanted = configuration(vcpus, vcpu_type, vmm=vmm)
    files = MeasurementInputs(firmware, tmp_path / "k", tmp_path / "i" if initrd is not None else None, command_line)
    known = MeasurementInputs(shared(firmware), sha256_of(kernel), sha256_of(initrd or b""), command_line)
    assert measure(known, wanted) == measure(files, wanted)
    assert measure(known, wanted).hex == library_answer(files, wanted)


def test_a_digest_that_is_no_sha256_is_refused(firmware: Path) -> None:
    with pytest.raises(MalformedInput, match="takes sha256 digests, not sha384"):
        measure(MeasurementInputs(shared(firmware), Digest.sha384("a" * 96)), configuration())


def test_names_that_share_a_signature_stand_together() -> None:
    found = vcpu_types_by_signature()
    assert sorted(name for names in found.values() for name in names) == sorted(vcpu_types())
    assert all({vcpu_signature(name) for name in names} == {signature} for signature, names in found.items())
    assert next(names for names in found.values() if "EPYC-v4" in names)[0] == "EPYC"


def test_the_measurement_is_what_the_command_line_tool_prints(inputs: MeasurementInputs) -> None:
    command = [
        *(str(Path(sys.executable).parent / "sev-snp-measure"), "--mode", "snp", "--vcpus", "4"),
        *("--vcpu-type", "EPYC-v4", "--ovmf", str(inputs.ovmf), "--kernel", str(inputs.kernel)),
        *("--initrd", str(inputs.initrd), "--append", COMMAND_LINE),
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert measure(inputs, configuration()).hex == printed


def test_every_direct_kernel_input_changes_the_measurement(inputs: MeasurementInputs, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other")
    honest = measure(inputs, configuration())
    assert honest.coverage == {"ovmf", "kernel", "initrd", "cmdline"}
    changed = {
        measure(MeasurementInputs(inputs.ovmf, kernel, initrd, command_line), configuration()).hex
        for kernel, initrd, command_line in (
            (other, inputs.initrd, COMMAND_LINE),
            (inputs.kernel, other, COMMAND_LINE),
            (inputs.kernel, inputs.initrd, COMMAND_LINE + " init=/bin/sh"),
            (inputs.kernel, inputs.initrd, ""),
        )
    }
    assert len(changed | {honest.hex}) == 5


def test_a_firmware_only_measurement_says_that_it_covers_nothing_else(inputs: MeasurementInputs) -> None:
    wanted = configuration(boot_mode=BootMode.UEFI_DISK)
    measured = measure(MeasurementInputs(inputs.ovmf), wanted)
    assert measured.coverage == {"ovmf"}
    assert measured.hex == library_answer(MeasurementInputs(inputs.ovmf), wanted)
    assert coverage_of(BootMode.DIRECT_KERNEL, kernel_hashes=False) == {"ovmf"}


def test_a_kernel_with_firmware_that_cannot_bind_it_is_refused(inputs: MeasurementInputs) -> None:
    plain = MeasurementInputs(PLAIN_OVMF, inputs.kernel, inputs.initrd, COMMAND_LINE)
    with pytest.raises(KernelHashesUnsupported):
        measure(plain, configuration())
    with pytest.raises(MalformedInput, match="boot as direct_kernel"):
        measure(inputs, configuration(boot_mode=BootMode.UEFI_DISK))


def test_firmware_without_sev_metadata_is_refused_although_the_library_gives_a_digest(tmp_path: Path) -> None:
    inputs = MeasurementInputs(WITHOUT_METADATA)
    with pytest.raises(FirmwareWithoutSnpMetadata):
        measure(inputs, configuration(boot_mode=BootMode.UEFI_DISK))


def test_an_unknown_vcpu_type_is_named(inputs: MeasurementInputs) -> None:
    with pytest.raises(UnknownVcpuType, match="EPYC-v99"):
        measure(inputs, configuration(vcpu_type="EPYC-v99"))


@reuse
@given(st.data())
def test_firmware_that_was_tampered_with_is_measured_or_refused_by_name_in_bounded_time(
    firmware: Path, tmp_path: Path, data: st.DataObject
) -> None:
    image = bytearray(firmware.read_bytes())
    tail = 6000
    for _ in range(data.draw(st.integers(1, 6))):
        image[len(image) - data.draw(st.integers(1, tail))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del image[: data.draw(st.integers(1, len(image)))]
    path = tmp_path / "ovmf.fd"
    path.write_bytes(image)
    started = time.monotonic()
    try:
        measure(MeasurementInputs(path), configuration(boot_mode=BootMode.UEFI_DISK))
    except PortalError as error:
        assert error.code in {"malformed-firmware", "firmware-without-snp-metadata"}
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("data", [b"", b"\0" * 4096, os.urandom(8192), b"x" * 10])
def test_what_is_no_firmware_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "ovmf.fd"
    path.write_bytes(data)
    with pytest.raises(MalformedFirmware):
        measure(MeasurementInputs(path), configuration(boot_mode=BootMode.UEFI_DISK))


def test_all_vcpu_counts_come_from_one_chain_and_differ(inputs: MeasurementInputs) -> None:
    digests = list(MeasurementCalculator(inputs).digests("EPYC-v4", 1, "qemu", 128))
    assert len(set(digests)) == 128
    assert all(first != second for first, second in pairwise(digests))
    assert digests[63] == library_answer(inputs, configuration(vcpus=64))


def test_firmware_that_names_no_start_for_further_vcpus_is_refused(firmware: Path, tmp_path: Path) -> None:
    image = bytearray(firmware.read_bytes())
    # Footer table of edk2's OvmfPkg/ResetVector: data, 2 bytes of size, GUID.
    place = image.rfind(uuid.UUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e").bytes_le)
    image[place - 6 : place - 2] = bytes(4)
    path = tmp_path / "ovmf.fd"
    path.write_bytes(image)
    with pytest.raises(MalformedFirmware):
        measure(MeasurementInputs(path), configuration(boot_mode=BootMode.UEFI_DISK))


def test_what_is_not_a_regular_file_is_never_read(inputs: MeasurementInputs, tmp_path: Path) -> None:
    pipe, endless = tmp_path / "pipe", tmp_path / "endless"
    os.mkfifo(pipe)
    endless.symlink_to("/dev/zero")
    for bad in (pipe, endless, tmp_path, tmp_path / "absent"):
        for wrong in (
            MeasurementInputs(bad, inputs.kernel, inputs.initrd, ""),
            MeasurementInputs(inputs.ovmf, bad, inputs.initrd, ""),
            MeasurementInputs(inputs.ovmf, inputs.kernel, bad, ""),
        ):
            with pytest.raises(UnreadableFile):
                measure(wrong, configuration())


@pytest.mark.parametrize("text", ["console=ttyS0\0init=/bin/sh", "\udcff"])
def test_a_command_line_no_vm_can_be_given_is_refused(inputs: MeasurementInputs, text: str) -> None:
    with pytest.raises(MalformedInput, match="command line"):
        measure(MeasurementInputs(inputs.ovmf, inputs.kernel, inputs.initrd, text), configuration())
